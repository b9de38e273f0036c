"""A convolution layer with all its sizes, transposed or not, as text: what benches and reports speak of.

The text is that of `striate.compiler.problem`. A transposed convolution has the word ``transposed``, and then ``c``,
``o`` and ``i`` are the channels and size that *it* takes and ``p`` is what it crops, as in its constructor; ``op`` is
its output_padding::

    2d n8 c64 o32 i28 k2 s2 p0 transposed             an up-convolution of a U-Net
    2d n16 c128 o64 i16 k4 s2 p1 transposed           a layer of a DCGAN's generator
    1d n4 c8 o4 i50 k3 s2 p1 op1 transposed           100 positions out, where 99 would do
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from striate import geometry
from striate.compiler.problem import ConvProblem
from striate.geometry import TransposedWindow, Window
from striate.nn.conv import _Convolution
from striate.units import readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from striate.compiler.problem import Layout, Pass
    from striate.geometry import Size

_ADJOINT: dict[Pass, Pass] = {"forward": "grad_input", "grad_input": "forward", "grad_weight": "grad_weight"}


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """A layer: the convolution that it is, or whose transpose it is.

    >>> layer = LayerProblem.parse("2d n8 c64 o32 i28 k2 s2 p0 transposed")
    >>> layer.input_shape, layer.output_shape, layer.weight_shape
    ((8, 64, 28, 28), (8, 32, 56, 56), (64, 32, 2, 2))
    >>> str(layer), str(layer.compiler_problem("forward"))
    ('2d n8 c64 o32 i28 k2 s2 p0 transposed', '2d n8 c32 o64 i56 k2 s2 p0 grad_input')
    """

    convolution: ConvProblem
    transposed: bool = False

    @classmethod
    def parse(cls, text: str) -> LayerProblem:
        """Read the text form. Raises `GeometryError`."""
        words = text.split()
        if "transposed" not in words:
            return cls(ConvProblem.parse(text))
        given = {word: re.fullmatch(r"(i|op)(\d+(?:x\d+)*)", word) for word in words}
        sizes = {match[1]: tuple(map(int, match[2].split("x"))) for match in given.values() if match}
        # A convolution's input must be as large as its kernel; what a transposed one takes need not be.
        like = [word if (match := given[word]) is None else "i65536" if match[1] == "i" else "" for word in words]
        of = ConvProblem.parse(" ".join(word for word in like if word != "transposed"))
        return cls._transposed(of, sizes["i"], sizes.get("op", (0,)))

    @classmethod
    def of_layer(cls, module: nn.Module, input_shape: Sequence[int], layout: Layout = "channels_last") -> LayerProblem:
        """The problem of a layer of PyTorch's or ours for an input of (N, C, *spatial) or (C, *spatial).

        Padding that is not with zeros is counted as part of the input. Raises `GeometryError`.
        """
        layer: Any = module
        rank = len(layer.kernel_size)
        size, padding = tuple(input_shape[-rank:]), layer.padding
        if layer.transposed:
            window = TransposedWindow.of(
                rank, layer.kernel_size, layer.stride, padding, layer.dilation, layer.output_padding
            )
            padding = window.pads
        elif layer.padding_mode == "zeros" and isinstance(layer, _Convolution):
            padding = layer.pads(size)
        elif layer.padding_mode != "zeros":
            pads = Window.of(rank, layer.kernel_size, layer.stride, padding, layer.dilation).pads(size)
            size, padding = tuple(i + sum(pair) for i, pair in zip(size, pads, strict=True)), 0
        of = ConvProblem.of(
            spatial_dims=rank,
            batch=input_shape[0] if len(input_shape) == rank + 2 else 1,
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            input_size=65536 if layer.transposed else size,
            kernel_size=layer.kernel_size,
            stride=layer.stride,
            padding=padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
            layout=layout,
        )
        return cls._transposed(of, size, window.output_padding) if layer.transposed else cls(of)

    @classmethod
    def _transposed(cls, like: ConvProblem, input_size: Size, output_padding: Size) -> LayerProblem:
        """The transposed convolution with the window of ``like``, and its channels the other way round."""
        spec = like.spec
        rank = spec.spatial_dims
        window = TransposedWindow.of(
            rank, spec.kernel_size, spec.stride, like.pads, spec.dilation, _all(output_padding, rank)
        )
        return cls(
            ConvProblem.of(
                spatial_dims=rank,
                batch=like.batch,
                in_channels=spec.out_channels,
                out_channels=spec.in_channels,
                input_size=window.output_size(_all(input_size, rank)),
                kernel_size=spec.kernel_size,
                stride=spec.stride,
                padding=like.pads,
                dilation=spec.dilation,
                groups=spec.groups,
                dtype=spec.dtype,
                bias=spec.bias,
                layout=spec.layout,
            ),
            transposed=True,
        )

    @property
    def input_shape(self) -> Size:
        """(N, C_in, *spatial) of what the layer takes."""
        shapes = _input_shape(self.convolution), _output_shape(self.convolution)
        return shapes[self.transposed]

    @property
    def output_shape(self) -> Size:
        """(N, C_out, *spatial) of what the layer gives."""
        shapes = _input_shape(self.convolution), _output_shape(self.convolution)
        return shapes[not self.transposed]

    @property
    def weight_shape(self) -> Size:
        """(C_out, C_in // groups, *kernel_size), of a transposed layer (C_in, C_out // groups, *kernel_size)."""
        spec = self.convolution.spec
        return spec.out_channels, spec.group_in_channels, *spec.kernel_size

    @property
    def output_padding(self) -> Size:
        """What a transposed layer adds to the least of the outputs that its stride allows."""
        spec, inside = self.convolution.spec, self.convolution.output_size
        least = TransposedWindow.of(
            spec.spatial_dims, spec.kernel_size, spec.stride, self.convolution.pads, spec.dilation
        )
        return tuple(
            size - start for size, start in zip(self.convolution.input_size, least.output_size(inside), strict=True)
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of each of the three passes."""
        return self.convolution.macs

    def compiler_problem(self, pass_: Pass) -> ConvProblem:
        """The problem that a pass of this layer is for the compiler: a transposed forward is a grad_input.

        The gradient of a bias comes with that of the weight, except where the layer is transposed.
        """
        problem = self.convolution.with_pass(_ADJOINT[pass_] if self.transposed else pass_)
        bias = problem.spec.bias and (pass_ == "forward" or (pass_ == "grad_weight" and not self.transposed))
        return replace(problem, spec=replace(problem.spec, bias=bias))

    def __str__(self) -> str:
        if not self.transposed:
            return str(self.convolution)
        spec = self.convolution.spec
        _, channels, *size = self.input_shape
        words = str(self.convolution).split()
        words[2:5] = [f"c{channels}", f"o{spec.in_channels}", f"i{_short(tuple(size))}"]
        added = [f"op{_short(self.output_padding)}"] if any(self.output_padding) else []
        return " ".join([*words, *added, "transposed"])


def _all(size: Size, spatial_dims: int) -> Size:
    return geometry.per_axis("size", size if len(size) > 1 else size[0], spatial_dims, 0)


def _short(size: Size) -> str:
    return str(size[0]) if len(set(size)) == 1 else readable_size(size)


def _input_shape(problem: ConvProblem) -> Size:
    return problem.batch, problem.spec.in_channels, *problem.input_size


def _output_shape(problem: ConvProblem) -> Size:
    return problem.batch, problem.spec.out_channels, *problem.output_size
