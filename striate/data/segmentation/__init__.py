"""Images with masks: their reader, what masks hold, large images tile by tile, and masks of new images."""
