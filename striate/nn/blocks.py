"""Layers made of layers: separable convolutions, and the convolution block in any order.

Norms and activations are torch's own, chosen by a word so that a model can offer the choice and is written once for
every rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from striate.errors import GeometryError, did_you_mean
from striate.geometry import Axes, Padding, check_spatial_dims
from striate.nn.chain import Chain
from striate.nn.conv import PaddingMode, conv_class
from striate.nn.grouped import check_multiplier, depthwise_conv_class, pointwise_conv_class

if TYPE_CHECKING:
    from collections.abc import Callable

Norm: TypeAlias = "str | Callable[[int], nn.Module] | None"
"""A word of NORMS, or a function from the number of channels to a module, or None for no norm."""

Activation: TypeAlias = "str | Callable[[], nn.Module] | None"
"""A word of ACTIVATIONS, or a function that makes a module, or None for no activation."""

NORMS = ("batch", "instance", "group", "layer")

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}

ORDER_WORDS = ("conv", "norm", "activation", "dropout")


def norm_layer(norm: Norm, spatial_dims: int, channels: int) -> nn.Module:
    """A norm of torch's for ``channels`` channels: batch, instance, group (of 8 channels or fewer) or layer.

    ``layer`` is over the channels and all positions of a sample, which is one group. Raises `GeometryError` for an
    unknown word.

    >>> norm_layer("batch", 3, 16)
    BatchNorm3d(16, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    check_spatial_dims(spatial_dims)
    if norm is None:
        return nn.Identity()
    if not isinstance(norm, str):
        return norm(channels)
    if norm == "batch":
        return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 1](channels)
    if norm == "instance":
        return (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[spatial_dims - 1](channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(next(channels // size for size in range(8, 0, -1) if channels % size == 0), channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    raise GeometryError(f"norm to be one of {', '.join(NORMS)}", f"norm={norm!r}", did_you_mean(norm, NORMS))


def activation_layer(activation: Activation) -> nn.Module:
    """An activation of torch's by its word. Raises `GeometryError` for an unknown one.

    >>> activation_layer("relu")
    ReLU()
    """
    if activation is None:
        return nn.Identity()
    if not isinstance(activation, str):
        return activation()
    if activation not in ACTIVATIONS:
        raise GeometryError(
            f"activation to be one of {', '.join(ACTIVATIONS)}",
            f"activation={activation!r}",
            did_you_mean(activation, ACTIVATIONS),
        )
    return ACTIVATIONS[activation]()


def dropout_layer(probability: float, spatial_dims: int = 0) -> nn.Module:
    """Dropout of whole channels, as fits convolutions, or of single units after dense layers (``spatial_dims`` 0).

    Raises `GeometryError` for a probability outside 0 to 1.

    >>> dropout_layer(0.5, 2)
    Dropout2d(p=0.5, inplace=False)
    """
    if spatial_dims:
        check_spatial_dims(spatial_dims)
    if not isinstance(probability, int | float) or not 0 <= probability < 1:
        raise GeometryError(
            "a dropout probability of at least 0 and below 1", f"dropout={probability!r}", "Use 0 for no dropout."
        )
    return (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)[spatial_dims](probability)


class _SeparableConv(Chain):
    """A depthwise separable convolution of any rank; see `SeparableConv2d`."""

    spatial_dims: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
        multiplier: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        padding_value: float = 0.0,
        norm: Norm = None,
        activation: Activation = None,
    ) -> None:
        super().__init__()
        between = in_channels * check_multiplier(multiplier)
        self.depthwise = depthwise_conv_class(self.spatial_dims)(
            in_channels,
            kernel_size,
            multiplier,
            stride,
            padding,
            dilation,
            bias and norm is None,
            padding_mode,
            padding_value=padding_value,
        )
        if norm is not None:
            self.norm = norm_layer(norm, self.spatial_dims, between)
        if activation is not None:
            self.activation = activation_layer(activation)
        self.pointwise = pointwise_conv_class(self.spatial_dims)(between, out_channels, bias=bias)


class SeparableConv1d(_SeparableConv):
    """Depthwise separable convolution of signals. Arguments and errors as `SeparableConv2d`.

    >>> import torch
    >>> SeparableConv1d(3, 8, 5, padding="causal")(torch.zeros(1, 3, 20)).shape
    torch.Size([1, 8, 20])
    """

    spatial_dims = 1


class SeparableConv2d(_SeparableConv):
    """Depthwise separable convolution of images: every channel by itself, then a 1x1 convolution that mixes them.

    ``norm`` and ``activation`` go between the two, as MobileNet has them (Howard and others 2017, figure 3); Xception
    (Chollet 2017) has none. A norm makes the bias before it useless, so the depthwise step then has none. Shapes as
    `Conv2d`. Raises `GeometryError`.

    >>> layer = SeparableConv2d(3, 8, 3, padding="same", norm="batch", activation="relu")
    >>> [name for name, _ in layer.named_children()]
    ['depthwise', 'norm', 'activation', 'pointwise']
    """

    spatial_dims = 2


class SeparableConv3d(_SeparableConv):
    """Depthwise separable convolution of volumes. Arguments and errors as `SeparableConv2d`.

    >>> import torch
    >>> SeparableConv3d(2, 4, 3, padding="same")(torch.zeros(1, 2, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4, 4])
    """

    spatial_dims = 3


def separable_conv_class(spatial_dims: int) -> type[SeparableConv1d] | type[SeparableConv2d] | type[SeparableConv3d]:
    """The separable convolution of a rank. Raises `GeometryError`.

    >>> separable_conv_class(2).__name__
    'SeparableConv2d'
    """
    return (SeparableConv1d, SeparableConv2d, SeparableConv3d)[check_spatial_dims(spatial_dims) - 1]


class ConvBlock(Chain):
    """A convolution with its norm, activation and dropout, in any order; its parts are named by the words of ``order``.

    ``conv`` makes the convolution and defaults to `Conv1d`, `Conv2d` or `Conv3d`; it is called as they are, with the
    channels, ``kernel_size`` and the keywords in this signature that come after it. ``norm`` and ``activation`` are
    words (see `norm_layer`, `activation_layer`), functions, or None; parts that are None, and a dropout of 0, are left
    out. ``order`` holds ``conv`` and those of ``norm``, ``activation``, ``dropout`` that are wanted, each once. Without
    ``bias`` being given, the convolution has one unless a norm follows it directly.

    Raises `GeometryError`.

    >>> block = ConvBlock(2, 3, 8, kernel_size=3, order="norm activation conv")
    >>> [name for name, _ in block.named_children()], block.norm.num_features
    (['norm', 'activation', 'conv'], 3)
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = "same",
        dilation: Axes = 1,
        groups: int = 1,
        bias: bool | None = None,
        padding_mode: PaddingMode = "zeros",
        *,
        conv: Callable[..., nn.Module] | None = None,
        norm: Norm = "batch",
        activation: Activation = "relu",
        dropout: float = 0.0,
        order: str = "conv norm activation dropout",
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        left_out = {word for word, part in (("norm", norm), ("activation", activation)) if part is None}
        words = [word for word in _order_words(order) if word not in left_out]
        if dropout and "dropout" not in words:
            raise GeometryError(
                "order to say where dropout goes", f"dropout={dropout!r} with order={order!r}", "Add dropout to order."
            )
        place = words.index("conv")
        if bias is None:
            bias = words[place + 1 : place + 2] != ["norm"]
        make_conv = conv_class(spatial_dims) if conv is None else conv
        for position, word in enumerate(words):
            if word == "conv":
                part: nn.Module = make_conv(
                    in_channels,
                    out_channels,
                    kernel_size,
                    stride=stride,
                    padding=padding,
                    dilation=dilation,
                    groups=groups,
                    bias=bias,
                    padding_mode=padding_mode,
                )
            elif word == "norm":
                part = norm_layer(norm, spatial_dims, in_channels if position < place else out_channels)
            elif word == "activation":
                part = activation_layer(activation)
            else:
                part = dropout_layer(dropout, spatial_dims)
                if not dropout:
                    continue
            self.add_module(word, part)


def _order_words(order: str) -> list[str]:
    words = order.split()
    if "conv" not in words or len(set(words)) < len(words) or set(words) - set(ORDER_WORDS):
        raise GeometryError(
            f"order to hold conv once, and any of {', '.join(ORDER_WORDS[1:])} at most once",
            f"order={order!r}",
            'Separate the words by spaces, as in "conv norm activation".',
        )
    return words
