"""Sets of images as they are distributed: the embedded digits, IDX (MNIST and its like) and CIFAR."""
