"""Samples that are a file each: in a folder per class, with their labels in their names, or listed in a table."""
