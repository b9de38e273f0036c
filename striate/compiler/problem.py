"""Exactly which convolution: the problem a kernel is asked to solve, and the part of it a kernel is specialised on.

A `ConvProblem` is complete: shapes, paddings, pass. Its `Spec` leaves out what a compiled kernel takes at run time
(batch, spatial sizes, paddings), so that one kernel serves every batch and image size.

The text form lists the rank, then a letter and a value per field, sizes per axis joined by ``x`` where they differ::

    2d n8 c64 o64 i56 k3 s1 p1                 a 3x3 layer of a residual network, batch 8
    2d n8 c3 o64 i224x192 k7 s2 p3             a stem; another height than width
    1d n32 c64 o64 i1000 k3 s1 p64:0 d32       causal padding: 64 before, none after
    2d n8 c192 o192 i28 k3 s1 p1 g192 grad_weight
    2d n8 c64 o64 i56 k3 s1 p1 bias relu       what the epilogue adds
    2d n8 c64 o64 i56 k3 s1 p1 contiguous      (N, C, H, W) in memory; (N, H, W, C) where nothing is said
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from striate import geometry
from striate.errors import GeometryError
from striate.geometry import Pads, Size, Window

Pass: TypeAlias = Literal["forward", "grad_input", "grad_weight"]
"""The three computations of a layer: its output, and the gradients of its input and of its weight."""

Activation: TypeAlias = Literal["relu", "relu6"]
"""Non-linearities that a forward kernel can apply before it stores its output."""

Layout: TypeAlias = Literal["channels_last", "contiguous"]
"""How input and output lie in memory: ``(N, *spatial, C)`` or ``(N, C, *spatial)``, dense."""

PASSES: tuple[Pass, ...] = get_args(Pass)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DTYPES = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a kernel is compiled for: everything about a problem but its batch, sizes and paddings."""

    kernel_size: Size
    stride: Size
    dilation: Size
    in_channels: int
    out_channels: int
    groups: int = 1
    dtype: str = "float32"
    pass_: Pass = "forward"
    bias: bool = False
    """Whether a bias is added (forward, grad_input) or its gradient computed (grad_weight)."""
    activation: Activation | None = None
    layout: Layout = "channels_last"
    scale: bool = False
    """Whether sums are multiplied by a number per output channel before the bias; the scales lie behind the biases."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read what ``str`` writes: the text form of a problem without batch, sizes and paddings.

        >>> str(Spec.parse("2d c64 o64 k3 s1 grad_input"))
        '2d c64 o64 k3 s1 grad_input'
        """
        dims, values = _read(text, required="cok")
        if values.keys() & {"batch", "input_size", "padding"}:
            raise _unreadable(text, "", "Leave out n, i and p, which kernels take at run time.")
        window = Window.of(dims, values["kernel_size"], dilation=values.get("dilation", 1))  # type: ignore[arg-type]
        size = window.effective_kernel_size  # an input that any kernel fits into
        return ConvProblem.of(spatial_dims=dims, batch=1, input_size=size, **values).spec  # type: ignore[arg-type]

    @property
    def spatial_dims(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel_size)

    @property
    def group_in_channels(self) -> int:
        """Input channels of one group."""
        return self.in_channels // self.groups

    @property
    def group_out_channels(self) -> int:
        """Output channels of one group."""
        return self.out_channels // self.groups

    def __str__(self) -> str:
        fields = [
            f"{self.spatial_dims}d c{self.in_channels} o{self.out_channels}",
            f"k{_sizes(self.kernel_size)} s{_sizes(self.stride)}",
        ]
        return " ".join([*fields, *_rest(self)])


@dataclass(frozen=True, slots=True)
class ConvProblem:
    """One convolution with all its sizes. Build it with `ConvProblem.of` or `ConvProblem.parse`, which check.

    >>> problem = ConvProblem.parse("2d n8 c64 o64 i56 k3 s1 p1")
    >>> problem.output_size, problem.macs
    ((56, 56), 924844032)
    >>> str(problem)
    '2d n8 c64 o64 i56 k3 s1 p1'
    """

    spec: Spec
    batch: int
    input_size: Size
    pads: Pads

    @classmethod
    def of(
        cls,
        *,
        spatial_dims: int,
        batch: int,
        in_channels: int,
        out_channels: int,
        input_size: geometry.Axes,
        kernel_size: geometry.Axes,
        stride: geometry.Axes = 1,
        padding: geometry.Padding = 0,
        dilation: geometry.Axes = 1,
        groups: int = 1,
        dtype: str = "float32",
        pass_: Pass = "forward",
        bias: bool = False,
        activation: Activation | None = None,
        layout: Layout = "channels_last",
        scale: bool = False,
    ) -> ConvProblem:
        """Normalise and check the arguments. A batch of 0 is a problem too. Raises `GeometryError`."""
        window = Window.of(spatial_dims, kernel_size, stride, padding, dilation)
        size = geometry.per_axis("input_size", input_size, spatial_dims)
        geometry.check_groups(in_channels, out_channels, groups)
        words = (("dtype", dtype, DTYPES), ("pass", pass_, PASSES), ("layout", layout, LAYOUTS))
        for name, value, known in words:
            if value not in known:
                raise GeometryError(f"{name} to be one of {', '.join(known)}", f"{name}={value!r}", "Pick one.")
        if activation is not None and activation not in ACTIVATIONS:
            raise GeometryError(
                f"activation to be one of {', '.join(ACTIVATIONS)}", f"activation={activation!r}", "Pick one, or None."
            )
        if scale and not (bias and pass_ == "forward"):
            given = f"{pass_} {'with' if bias else 'without'} a bias"
            raise GeometryError("a scale in the forward pass with a bias", given, "Leave it out.")
        if batch < 0:
            raise GeometryError("batch of at least 0", f"batch={batch}", "Give the number of samples.")
        window.output_size(size)
        spec = Spec(
            window.kernel_size,
            window.stride,
            window.dilation,
            in_channels,
            out_channels,
            groups,
            dtype,
            pass_,
            bias,
            activation,
            layout,
            scale,
        )
        return cls(spec, batch, size, window.pads(size))

    @classmethod
    def parse(cls, text: str) -> ConvProblem:
        """Read the text form. Raises `GeometryError` naming the word that cannot be read."""
        dims, values = _read(text, required="ncoik")
        return cls.of(spatial_dims=dims, **values)  # type: ignore[arg-type]

    @property
    def window(self) -> Window:
        """The sliding window, with paddings as numbers."""
        return Window(self.spec.kernel_size, self.spec.stride, self.pads, self.spec.dilation)

    @property
    def output_size(self) -> Size:
        """The spatial size of the output."""
        return self.window.output_size(self.input_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of any one pass, padding counted as input."""
        spec = self.spec
        return self.batch * geometry.conv_macs(
            spec.in_channels, spec.out_channels, spec.kernel_size, self.output_size, spec.groups
        )

    def with_pass(self, pass_: Pass) -> ConvProblem:
        """The same layer's ``forward``, ``grad_input`` or ``grad_weight`` problem; only the first can have a scale."""
        return replace(self, spec=replace(self.spec, pass_=pass_, scale=self.spec.scale and pass_ == "forward"))

    def __str__(self) -> str:
        spec = self.spec
        fields = [
            f"{spec.spatial_dims}d n{self.batch} c{spec.in_channels} o{spec.out_channels}",
            f"i{_sizes(self.input_size)} k{_sizes(spec.kernel_size)} s{_sizes(spec.stride)} p{_pads(self.pads)}",
        ]
        return " ".join([*fields, *_rest(spec)])


_LETTERS = {
    "n": "batch",
    "c": "in_channels",
    "o": "out_channels",
    "i": "input_size",
    "k": "kernel_size",
    "s": "stride",
    "p": "padding",
    "d": "dilation",
    "g": "groups",
}
_SCALARS = ("batch", "in_channels", "out_channels", "groups")


def _sizes(values: Size) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def _pads(pads: Pads) -> str:
    words = [str(before) if before == after else f"{before}:{after}" for before, after in pads]
    return words[0] if len(set(words)) == 1 else "x".join(words)


def _rest(spec: Spec) -> list[str]:
    words = []
    if set(spec.dilation) != {1}:
        words.append(f"d{_sizes(spec.dilation)}")
    if spec.groups != 1:
        words.append(f"g{spec.groups}")
    if spec.dtype != "float32":
        words.append(spec.dtype)
    if spec.pass_ != "forward":
        words.append(spec.pass_)
    if spec.bias:
        words.append("bias")
    if spec.scale:
        words.append("scale")
    if spec.activation:
        words.append(spec.activation)
    if spec.layout != "channels_last":
        words.append(spec.layout)
    return words


def _read(text: str, required: str) -> tuple[int, dict[str, object]]:
    """The rank and the keyword arguments of `ConvProblem.of` that a text stands for."""
    words = text.split()
    rank = re.fullmatch(r"([123])d", words[0]) if words else None
    if rank is None:
        raise _unreadable(text, words[0] if words else "", "Begin with 1d, 2d or 3d.")
    dims = int(rank[1])
    values: dict[str, object] = {}
    for word in words[1:]:
        name, value = _field(text, word, dims)
        if name in values:
            raise _unreadable(text, word, f"Give {name} once.")
        values[name] = value
    missing = [letter for letter, name in _LETTERS.items() if letter in required and name not in values]
    if missing:
        raise _unreadable(text, "", f"Add {', '.join(missing)}: n batch, c in, o out, i size, k kernel.")
    return dims, values


def _field(text: str, word: str, spatial_dims: int) -> tuple[str, object]:
    """The keyword argument of `ConvProblem.of` that one word of the text form stands for."""
    if word in DTYPES:
        return "dtype", word
    if word in PASSES:
        return "pass_", word
    if word in ACTIVATIONS:
        return "activation", word
    if word in LAYOUTS:
        return "layout", word
    if word in ("bias", "scale"):
        return word, True
    match = re.fullmatch(r"([a-z])(\d+(?::\d+)?(?:x\d+(?::\d+)?)*)", word)
    name = _LETTERS.get(match[1]) if match else None
    if match is None or name is None or (":" in word and name != "padding") or ("x" in word and name in _SCALARS):
        raise _unreadable(text, word, "See striate.compiler.problem for the words of the text form.")
    parts = match[2].split("x")
    if name in _SCALARS:
        return name, int(parts[0])
    entries = [(int(p.split(":")[0]), int(p.split(":")[-1])) if name == "padding" else int(p) for p in parts]
    # One entry stands for every axis.
    return name, tuple(entries * spatial_dims if len(entries) == 1 else entries)


def _unreadable(text: str, word: str, remedy: str) -> GeometryError:
    return GeometryError(
        "a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'", f"{text!r}" + (f", at {word!r}" if word else ""), remedy
    )
