"""Operators on tensors ``(N, C, *spatial)`` in one, two and three dimensions.

`conv`, `conv_transpose` and the pools are written once for every rank; the names ending in ``1d``, ``2d`` and ``3d``
have the signatures of `torch.nn.functional` and can take its place. All accept what torch does not: every padding of
`striate.geometry`, and the padding modes in transposed convolutions too. Wrong arguments raise `GeometryError`.

Convolutions of float32 tensors on the CPU are computed by compiled kernels, all others by PyTorch's operator;
`compiled.route` says which and why. `use_compiled` and `precision` choose for the calling thread.

>>> import torch
>>> conv(torch.ones(1, 1, 5), torch.ones(1, 1, 3), stride=2, padding="same")
tensor([[[2., 3., 2.]]])
"""

from striate.ops.adaptive import (
    adaptive_avg_pool,
    adaptive_max_pool,
    global_avg_pool,
    global_max_pool,
    global_sum_pool,
)
from striate.ops.by_rank import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from striate.ops.convolution import conv, conv_transpose, true_convolution
from striate.ops.pooling import avg_pool, lp_pool, max_pool, max_unpool, sum_pool
from striate.ops.resizing import resize
from striate.ops.settings import precision, use_compiled

__all__ = [
    "adaptive_avg_pool",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "global_avg_pool",
    "global_max_pool",
    "global_sum_pool",
    "lp_pool",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "precision",
    "resize",
    "sum_pool",
    "true_convolution",
    "use_compiled",
]
