"""Weights and inputs as pure functions of tensor names, so that two implementations can be compared by their outputs.

NumPy's RandomState is used because its streams are frozen. A value is scaled by the role of its tensor so that signals
keep their size with depth.
"""

import math
import zlib

import numpy as np
import torch


def normals(name, count):
    """``count`` standard normal values that depend on ``name`` alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(count)


def filled(name, tensor):
    """The values of one parameter or buffer."""
    values = normals(name, tensor.numel())
    if name.endswith("running_var"):
        values = np.exp(0.1 * values)
    elif name.endswith("running_mean"):
        values = 0.1 * values
    elif name.endswith("layer_scale"):
        values = 0.3 + 0.05 * values
    elif tensor.dim() <= 1:
        values = float(name.endswith("weight")) + 0.1 * values
    else:
        values = values * math.sqrt(2 / math.prod(tensor.shape[1:]))
    return torch.from_numpy(values).to(tensor.dtype).view(tensor.shape)


@torch.no_grad()
def fill_model(model):
    """Fill every floating-point parameter and buffer in place."""
    for name, tensor in model.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(filled(name, tensor))


def reference_input(shape):
    """A standard normal input (N, C, *spatial)."""
    return torch.from_numpy(normals("input", math.prod(shape))).float().view(shape)
