"""NumPy arrays: their readers, and arrays that stay on disk until rows are asked for."""
