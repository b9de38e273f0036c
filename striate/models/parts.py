"""Parts that many families are built of, with the submodule names that published weights use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from striate.nn import Activation, Norm, activation_layer, conv_class, norm_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.geometry import Axes


def conv_norm_act(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Axes = 3,
    stride: Axes = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    norm: Norm = "batch",
    activation: Activation = "relu",
    bias: bool | None = None,
) -> nn.Sequential:
    """Convolution ``0``, norm ``1``, activation ``2``, centred: (N, C_in, *spatial) -> (N, C_out, *spatial // stride).

    A part that is None is left out. The convolution has a bias where there is no norm.

    >>> conv_norm_act(1, 2, 4)
    Sequential(
      (0): Conv1d(2, 4, kernel_size=(3,), stride=(1,), padding=(1,), bias=False)
      (1): BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
      (2): ReLU()
    )
    """
    sizes = (kernel_size,) * spatial_dims if isinstance(kernel_size, int) else tuple(kernel_size)
    padding = tuple((size - 1) // 2 * dilation for size in sizes)
    layers: list[nn.Module] = [
        conv_class(spatial_dims)(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias=norm is None if bias is None else bias,
        )
    ]
    if norm is not None:
        layers.append(norm_layer(norm, spatial_dims, out_channels))
    if activation is not None:
        layers.append(activation_layer(activation))
    return nn.Sequential(*layers)


def round_channels(channels: float, divisor: int = 8, least: int | None = None) -> int:
    """The multiple of ``divisor`` next to ``channels``, at most a tenth below it: how mobile networks are widened.

    >>> round_channels(32 * 0.75), round_channels(8 * 0.35), round_channels(11)
    (24, 8, 16)
    """
    rounded = max(divisor if least is None else least, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def initialise(model: nn.Module, rules: dict[type[nn.Module], Callable[[nn.Module], object]]) -> None:
    """Apply to every module the rule of the first of its classes that has one.

    >>> layer = nn.Linear(2, 2)
    >>> initialise(layer, {nn.Linear: lambda linear: nn.init.zeros_(linear.bias)})
    >>> layer.bias.tolist()
    [0.0, 0.0]
    """
    for module in model.modules():
        for kind, rule in rules.items():
            if isinstance(module, kind):
                rule(module)
                break
