"""The convolution compiler: from a problem to machine code. numpy and llvmlite; it knows no torch."""
