"""Convolution layers: torch's own classes, with every padding that `striate.geometry` knows.

A layer here *is* the torch class of the same name (to `isinstance`, in its state_dict, its initialisation and its
attributes) and computes through `striate.ops`. Beyond torch it takes ``same`` with a stride, ``same_lower``,
``causal``, (before, after) pairs, constant padding, and padding modes in transposed convolutions. The behaviour is
written once in two mixins; the classes below them only name the rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from torch import nn

from striate import ops
from striate.geometry import (
    Axes,
    Padding,
    Pads,
    Size,
    TransposedWindow,
    Window,
    check_conv,
    check_groups,
    check_spatial_dims,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor
    from torch.nn.modules.conv import _ConvNd as _TorchConv

    from striate.compiler.problem import Activation
else:
    _TorchConv = object

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular", "constant"]


def check_padding_value(padding_mode: str, padding_value: float) -> None:
    """Check the mode's name, and that a padding value is given only where it is used. Raises `GeometryError`."""
    check_conv((1, 1, 1), (1, 1, 1), padding_mode=padding_mode, padding_value=padding_value)


def simplest(padding: str | Pads) -> Any:
    """Say padding as torch does, with one number per axis, wherever that says it all.

    Then repr and whoever reads the attribute see what torch would show, and the operators remember their checks.

    >>> simplest(((1, 1), (2, 2))), simplest(((1, 1), (2, 3)))
    ((1, 2), ((1, 1), (2, 3)))
    """
    if isinstance(padding, str) or any(before != after for before, after in padding):
        return padding
    return tuple(before for before, _ in padding)


class _Layer(_TorchConv):
    """What convolutions and transposed convolutions share: the constant of constant padding, and how it is shown."""

    spatial_dims: ClassVar[int]
    padding_value: float = 0.0

    def _store(self, padding: str | Pads, padding_mode: PaddingMode, padding_value: float) -> None:
        # torch's constructor refuses these, so it was given plain zeros and they are put in place afterwards.
        self.padding = simplest(padding)
        self.padding_mode = padding_mode  # type: ignore[assignment]  # torch's list of modes lacks "constant"
        self.padding_value = padding_value
        pads = padding if not isinstance(padding, str) else ((0, 0),) * self.spatial_dims
        self._reversed_padding_repeated_twice = [amount for pair in reversed(pads) for amount in pair]

    def extra_repr(self) -> str:
        """The arguments as torch shows them, and the padding value where it is not zero."""
        shown = super().extra_repr()  # type: ignore[no-untyped-call]  # untyped in torch
        return f"{shown}, padding_value={self.padding_value}" if self.padding_value else shown


class _Convolution(_Layer):
    """A convolution of any rank; see `Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        padding_value: float = 0.0,
    ) -> None:
        window = Window.of(self.spatial_dims, kernel_size, stride, padding, dilation)
        check_groups(in_channels, out_channels, groups)
        check_padding_value(padding_mode, padding_value)
        super().__init__(
            in_channels,
            out_channels,
            window.kernel_size,
            stride=window.stride,
            dilation=window.dilation,
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )  # type: ignore[call-arg]  # the next class is torch's of this rank, which fills in the rest
        self._store(window.padding, padding_mode, padding_value)

    def pads(self, input_size: Size) -> Pads:
        """The (before, after) padding per axis that an input of this size gets. Raises `GeometryError`."""
        return Window.of(self.spatial_dims, self.kernel_size, self.stride, self.padding, self.dilation).pads(input_size)

    def _conv_forward(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor | None = None,
        activation: Activation | None = None,
    ) -> Tensor:
        if self.padding_mode == "zeros" and scale is None and activation is None:
            # The layer's arguments were checked when it was made, so that a known call need not look at them.
            written = (self.stride, self.padding, self.dilation, self.groups, None)
            output = ops.compiled.again(input, weight, bias, written)
            if output is not None:
                return output
        return ops.conv(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            padding_mode=self.padding_mode,
            padding_value=self.padding_value,
            scale=scale,
            activation=activation,
        )


class _TransposedConvolution(_Layer):
    """A transposed convolution of any rank; see `ConvTranspose2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = 0,
        output_padding: Axes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Axes = 1,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        padding_value: float = 0.0,
    ) -> None:
        window = Window.of(self.spatial_dims, kernel_size, stride, padding, dilation)
        checked = TransposedWindow.of(self.spatial_dims, kernel_size, stride, padding, dilation, output_padding)
        check_groups(in_channels, out_channels, groups)
        check_padding_value(padding_mode, padding_value)
        super().__init__(
            in_channels,
            out_channels,
            window.kernel_size,
            stride=window.stride,
            dilation=window.dilation,
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )  # type: ignore[call-arg]  # the next class is torch's of this rank, which fills in the rest
        self.output_padding = (
            checked.output_padding if not isinstance(window.padding, str) else (0,) * self.spatial_dims
        )
        self._store(window.padding, padding_mode, padding_value)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Apply the layer; ``output_size`` chooses among the sizes that a stride leaves open, as in torch."""
        if output_size is not None and len(output_size) == self.spatial_dims + 2:
            output_size = output_size[2:]
        return ops.conv_transpose(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            # As in torch, a size that is asked for takes the place of the layer's output_padding.
            0 if output_size is not None else self.output_padding,
            self.groups,
            self.dilation,
            output_size=output_size,
            padding_mode=self.padding_mode,
            padding_value=self.padding_value,
        )


class Conv1d(_Convolution, nn.Conv1d):
    """Convolution of signals, (N, C_in, L) -> (N, C_out, L_out). Arguments and errors as `Conv2d`.

    >>> import torch
    >>> Conv1d(3, 1, 5)(torch.zeros(2, 3, 120)).shape
    torch.Size([2, 1, 116])
    """

    spatial_dims = 1


class Conv2d(_Convolution, nn.Conv2d):
    """Convolution of images, (N, C_in, H, W) -> (N, C_out, H_out, W_out).

    A `torch.nn.Conv2d` with the same arguments and state_dict, which also takes:

    - ``padding`` as ``"same"`` with any stride (output = ceil(input / stride), the odd pixel after), ``"same_lower"``
      (the odd pixel before), ``"causal"``, ``"valid"``, or one (before, after) pair per axis;
    - ``padding_mode="constant"``, which pads with ``padding_value``.

    Raises `GeometryError` at construction for arguments that contradict each other, and when called with an input that
    does not fit.

    >>> import torch
    >>> layer = Conv2d(1, 8, kernel_size=3, stride=2, padding="same")
    >>> layer(torch.zeros(1, 1, 7, 7)).shape
    torch.Size([1, 8, 4, 4])
    >>> isinstance(layer, torch.nn.Conv2d)
    True
    """

    spatial_dims = 2


class Conv3d(_Convolution, nn.Conv3d):
    """Convolution of volumes and video, (N, C_in, D, H, W). Arguments and errors as `Conv2d`.

    >>> import torch
    >>> Conv3d(1, 2, kernel_size=(1, 3, 3), padding="same")(torch.zeros(1, 1, 4, 6, 6)).shape
    torch.Size([1, 2, 4, 6, 6])
    """

    spatial_dims = 3


class ConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """Transposed convolution of signals, (N, C_in, L) -> (N, C_out, L_out). Arguments and errors as `ConvTranspose2d`.

    >>> import torch
    >>> ConvTranspose1d(4, 2, kernel_size=4, stride=2, padding=1)(torch.zeros(1, 4, 8)).shape
    torch.Size([1, 2, 16])
    """

    spatial_dims = 1


class ConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """Transposed convolution of images, (N, C_in, H, W) -> (N, C_out, H_out, W_out).

    A `torch.nn.ConvTranspose2d` with the same arguments and state_dict, which also takes ``padding`` as a word
    (``same``, ``same_lower`` and ``causal`` give an output of input * stride) or as (before, after) pairs, and every
    padding mode. Raises `GeometryError`.

    >>> import torch
    >>> ConvTranspose2d(4, 2, kernel_size=3, stride=2, padding="same")(torch.zeros(1, 4, 5, 5)).shape
    torch.Size([1, 2, 10, 10])
    """

    spatial_dims = 2


class ConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """Transposed convolution of volumes, (N, C_in, D, H, W). Arguments and errors as `ConvTranspose2d`.

    >>> import torch
    >>> ConvTranspose3d(4, 2, kernel_size=2, stride=2)(torch.zeros(1, 4, 3, 3, 3)).shape
    torch.Size([1, 2, 6, 6, 6])
    """

    spatial_dims = 3


def conv_class(spatial_dims: int) -> type[Conv1d] | type[Conv2d] | type[Conv3d]:
    """The convolution of a rank, so that a model is written once. Raises `GeometryError`.

    >>> conv_class(3).__name__
    'Conv3d'
    """
    return (Conv1d, Conv2d, Conv3d)[check_spatial_dims(spatial_dims) - 1]


def conv_transpose_class(
    spatial_dims: int,
) -> type[ConvTranspose1d] | type[ConvTranspose2d] | type[ConvTranspose3d]:
    """The transposed convolution of a rank. Raises `GeometryError`.

    >>> conv_transpose_class(1).__name__
    'ConvTranspose1d'
    """
    return (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)[check_spatial_dims(spatial_dims) - 1]
