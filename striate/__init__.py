"""Convolutional networks for PyTorch in one, two and three dimensions: compiled, trained, explained."""
