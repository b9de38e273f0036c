"""One file per idea of how to compute a convolution."""
