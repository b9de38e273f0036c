"""The arithmetic of convolutions and pools: sizes, padding, parameters, cost and receptive fields.

Standard library only. Every argument of a convolution or a pool is normalised and checked here, once; the layers above
pass what they were given and use what comes back. Tensors are ``(N, C, *spatial)``, and all sizes below are the spatial
part, one entry per axis, first axis first.

What is called convolution is cross-correlation, as everywhere in this field: the kernel is not flipped.
"""

from striate.geometry.arguments import (
    PADDING_MODES,
    PADDING_WORDS,
    Axes,
    Padding,
    Pads,
    Size,
    check_groups,
    check_padding_mode,
    check_spatial_dims,
    normalise_padding,
    per_axis,
)
from striate.geometry.cost import conv_macs, conv_parameters, flops
from striate.geometry.operators import (
    check_adaptive,
    check_conv,
    check_conv_transpose,
    check_pooling,
    check_unpool,
    operator_rank,
    spatial_size,
)
from striate.geometry.receptive_field import ReceptiveField
from striate.geometry.transposed import TransposedWindow, transposed_output_size
from striate.geometry.window import Window, check_pool, output_size

__all__ = [
    "PADDING_MODES",
    "PADDING_WORDS",
    "Axes",
    "Padding",
    "Pads",
    "ReceptiveField",
    "Size",
    "TransposedWindow",
    "Window",
    "check_adaptive",
    "check_conv",
    "check_conv_transpose",
    "check_groups",
    "check_padding_mode",
    "check_pool",
    "check_pooling",
    "check_spatial_dims",
    "check_unpool",
    "conv_macs",
    "conv_parameters",
    "flops",
    "normalise_padding",
    "operator_rank",
    "output_size",
    "per_axis",
    "spatial_size",
    "transposed_output_size",
]
