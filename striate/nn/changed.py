"""Layers of existing models, made to use the compiled kernels by giving them another class.

A layer is changed by assigning to its ``__class__`` a class made for it, which derives from the one it had. So it stays
the same object: whoever holds it, its parameters, buffers, hooks and training flag see nothing of it, its state_dict
has the same keys, and the way back is another assignment. The alternatives are worse: another ``forward`` on the
instance is lost by `copy.deepcopy` or keeps computing with the layer it was copied from, new layers in the place of old
ones break optimisers and references, and overriding PyTorch's operators would reach models that nobody asked about.

The made classes are told apart from hand-written ones by deriving from `Changed`. They are pickled as "the class made
from this one", so that `torch.save` of a whole module and `copy.deepcopy` keep them.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from striate import ops
from striate.nn.conv import _Convolution, _TransposedConvolution
from striate.nn.fusion import NORMS, PADS, RELUS, Fusion, Scope, passes_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from striate.compiler.problem import Activation

M = TypeVar("M", bound=nn.Module)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BETWEEN = (nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d)
"""Layers of PyTorch that leave channels-last order in 1-D, but not in 2-D, and can be computed there."""
AROUND = (*PADS, *NORMS, *RELUS)
"""Layers of PyTorch that a convolution can compute on the way (see `striate.nn.fusion`)."""

_OURS = (_Convolution, _TransposedConvolution)
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(input: Tensor) -> Tensor:
    """``input`` of (N, C, *spatial) with its channels next to each other in memory; itself if they are.

    >>> channels_last(torch.zeros(2, 3, 5)).stride(), channels_last(torch.zeros(2, 1, 4, 5)).stride()
    ((15, 1, 3), (20, 1, 5, 1))
    """
    if input.shape[1] == 1 and input.stride(1) != 1:
        # PyTorch takes one channel to be in either order. The strides say which is meant for what comes after.
        return input.reshape(input.shape[0], *input.shape[2:], 1).movedim(-1, 1)
    if input.dim() != 3:
        return input.contiguous(memory_format=_FORMATS[input.dim()])
    if input.stride(1) == 1:
        return input
    return input.transpose(1, 2).contiguous().transpose(1, 2)


@torch.fx.wrap  # a leaf of torch.fx graphs: what is checked in here needs sizes, which a tracer does not have
def convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    padding_mode: str = "zeros",
    to_channels_last: bool = False,
    scale: Tensor | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """What a changed convolution computes: `striate.ops.conv`, of the input in channels-last order if asked for."""
    return ops.conv(
        channels_last(input) if to_channels_last and input.dim() == weight.dim() else input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        spatial_dims=weight.dim() - 2,
        scale=scale,
        activation=activation,
    )


@torch.fx.wrap
def convolve_transposed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
    output_size: Any = None,
    to_channels_last: bool = False,
) -> Tensor:
    """What a changed transposed convolution computes: `striate.ops.conv_transpose`."""
    if output_size is not None and len(output_size) == weight.dim():
        output_size = output_size[2:]
    return ops.conv_transpose(
        channels_last(input) if to_channels_last and input.dim() == weight.dim() else input,
        weight,
        bias,
        stride,
        padding,
        # As in torch, a size that is asked for takes the place of the layer's output_padding.
        0 if output_size is not None else output_padding,
        groups,
        dilation,
        output_size=None if output_size is None else tuple(output_size),
        spatial_dims=weight.dim() - 2,
    )


class Changed:
    """A class made by `changed_class`."""

    original: ClassVar[type[nn.Module]]
    to_channels_last: ClassVar[bool]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy as the class made from the original one, which can be found by its name."""
        return _revived, (self.original, self.to_channels_last), self.__getstate__()


class _Fused(Changed):
    """A convolution that computes what follows it too, where a `Fusion` says so."""

    fusion: Fusion | None = None

    def _conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        fusion: Fusion | None = self.fusion
        padding = None if fusion is None else fusion.padding_of(input)
        if fusion is None or not fusion.applies(self):
            plain: Tensor = self._plain(input, weight, bias, padding)
            return plain
        bias, scale = fusion.affine(bias)
        output: Tensor = self._plain(input, weight, bias, padding, scale, fusion.activation)
        return fusion.mark(output)


class _ChangedConvolution(_Fused):
    def _plain(
        self: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: Any,
        scale: Any = None,
        activation: Any = None,
    ) -> Tensor:
        return convolve(
            input,
            weight,
            bias,
            self.stride,
            self.padding if padding is None else padding,
            self.dilation,
            self.groups,
            self.padding_mode,
            to_channels_last=self.to_channels_last,
            scale=scale,
            activation=activation,
        )


class _ChangedTransposed(Changed):
    def forward(self: Any, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return convolve_transposed(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            output_size,
            to_channels_last=self.to_channels_last,
        )


class _ChangedInput(Changed):
    """What a layer of Striate's own needs: it uses the kernels already, whatever else its forward may do."""

    def forward(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.to_channels_last and isinstance(input, torch.Tensor) and input.dim() == self.weight.dim():
            input = channels_last(input)  # noqa: A001  # the same input, lying otherwise
        output: Tensor = self.original.forward(self, input, *args, **kwargs)
        return output


class _ChangedOwn(_ChangedInput, _Fused):
    """A convolution of Striate's own."""

    def _plain(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None, _: None, *args: Any) -> Tensor:
        output: Tensor = self.original._conv_forward(self, input, weight, bias, *args)  # noqa: SLF001
        return output


class _ChangedFollowing(Changed):
    """A batch norm or ReLU that passes on what the convolution before it has computed already."""

    def forward(self: Any, input: Tensor) -> Tensor:
        if passes_on(self, input):
            return input
        output: Tensor = self.original.forward(self, input)
        return output


class _ChangedPad(Changed):
    """A layer that leaves its padding to the convolution behind it, where a `Fusion` says so."""

    fusion: Fusion | None = None

    def forward(self: Any, input: Tensor) -> Tensor:
        fusion: Fusion | None = self.fusion
        handed = None if fusion is None else fusion.hand_on(input)
        output: Tensor = self.original.forward(self, input) if handed is None else handed
        return output


class _ChangedRoot(Changed):
    """A model in whose forward, and nowhere else, convolutions compute what follows them."""

    scope: Scope

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # a compiler fuses by itself
            return self.original.__call__(self, *args, **kwargs)
        with self.scope:
            return self.original.__call__(self, *args, **kwargs)


class _ChangedBatchNorm(Changed):
    """Normalises (N, C, L) as (N, C, 1, L), the same sums, for which PyTorch's kernel keeps channels-last order."""

    def forward(self: Any, input: Tensor) -> Tensor:
        if passes_on(self, input):
            return input
        if input.dim() != 3:
            return nn.BatchNorm1d.forward(self, input)
        return nn.BatchNorm2d.forward(self, input.unsqueeze(2)).squeeze(2)

    def _check_input_dim(self, input: Tensor) -> None:
        """Both ranks come here; PyTorch's operator refuses others."""


class _ChangedMaxPool(Changed):
    def forward(self: Any, input: Tensor) -> Any:
        if input.dim() != 3 or self.return_indices:
            return nn.MaxPool1d.forward(self, input)
        size, stride, padding, dilation = map(_single, (self.kernel_size, self.stride, self.padding, self.dilation))
        pooled = F.max_pool2d(
            input.unsqueeze(2), (1, size), (1, stride), (0, padding), (1, dilation), ceil_mode=self.ceil_mode
        )
        return pooled.squeeze(2)


class _ChangedAvgPool(Changed):
    def forward(self: Any, input: Tensor) -> Tensor:
        if input.dim() != 3:
            return nn.AvgPool1d.forward(self, input)
        size, stride, padding = map(_single, (self.kernel_size, self.stride, self.padding))
        pooled = F.avg_pool2d(
            input.unsqueeze(2), (1, size), (1, stride), (0, padding), self.ceil_mode, self.count_include_pad
        )
        return pooled.squeeze(2)


def _single(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def changed_class(original: type[M], to_channels_last: bool) -> type[M]:
    """The class that a layer of class ``original`` gets, which puts its input into channels-last order, or does not.

    >>> made = changed_class(nn.Conv2d, True)
    >>> made.__name__, made is changed_class(nn.Conv2d, True), issubclass(made, nn.Conv2d)
    ('CompiledConv2d', True, True)
    """
    if _is_parametrized(original):
        # torch.nn.utils.parametrize makes a class for every such layer, and takes the class below it back later.
        below: type[nn.Module] = changed_class(original.__bases__[0], to_channels_last)
        return _on_top_of(below, original, {"parametrized": original})
    kind: Any = original
    made: type[M] = _made(kind, to_channels_last)
    return made


@functools.cache
def _made(original: Any, to_channels_last: bool) -> type[Any]:
    name = f"Compiled{original.__name__}"
    about = f"A {original.__name__} that computes with compiled kernels; made by `striate.accelerate`."
    names = {
        "__doc__": about,
        # torch.fx takes layers of torch.nn for leaves, and those that may follow a convolution are to stay leaves.
        "__module__": original.__module__ if original in (*AROUND, *BETWEEN) else __name__,
        "__qualname__": name,
        "original": original,
        "to_channels_last": to_channels_last,
    }
    return type(name, (_mixin(original), original), names)


def _mixin(original: type[nn.Module]) -> type[Changed]:
    if issubclass(original, _Convolution):
        return _ChangedOwn
    if issubclass(original, _OURS):
        return _ChangedInput
    if issubclass(original, PADS):
        return _ChangedPad
    if issubclass(original, (nn.BatchNorm2d, nn.BatchNorm3d, *RELUS)):
        return _ChangedFollowing
    if not issubclass(original, (*CONVOLUTIONS, *BETWEEN)):
        return _ChangedRoot
    if issubclass(original, _ConvTransposeNd):
        return _ChangedTransposed
    if issubclass(original, nn.BatchNorm1d):
        return _ChangedBatchNorm
    if issubclass(original, nn.MaxPool1d):
        return _ChangedMaxPool
    return _ChangedAvgPool if issubclass(original, nn.AvgPool1d) else _ChangedConvolution


def original_class(layer_class: type[nn.Module]) -> type[nn.Module]:
    """The class that a layer had before; the class itself if it was not changed.

    >>> original_class(changed_class(nn.Conv2d, True)) is original_class(nn.Conv2d) is nn.Conv2d
    True
    """
    if not issubclass(layer_class, Changed):
        return layer_class
    if not _is_parametrized(layer_class):
        return layer_class.original
    before: type[nn.Module] | None = vars(layer_class).get("parametrized")
    if before is not None and _properties(before) == _properties(layer_class):
        return before
    # Parametrized after it was changed, or more parameters since: no class of before fits.
    below: Any = layer_class.__bases__[0]
    return _on_top_of(below.original, layer_class, {})


def _is_parametrized(layer_class: type[nn.Module]) -> bool:
    return layer_class.__module__ == parametrize.__name__


def _properties(layer_class: type[nn.Module]) -> dict[str, object]:
    return {name: value for name, value in vars(layer_class).items() if isinstance(value, property)}


def _on_top_of(below: type[nn.Module], parametrized: type[Any], extra: dict[str, object]) -> type[Any]:
    names = {
        name: value
        for name, value in vars(parametrized).items()
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__", "parametrized")
    }
    return type(f"Parametrized{below.__name__}", (below,), {**names, "__module__": parametrize.__name__, **extra})


def _revived(original: type[M], to_channels_last: bool) -> M:
    made = changed_class(original, to_channels_last)
    return made.__new__(made)


def obstacle(module: nn.Module) -> str | None:
    """Why a convolution cannot be given another class; None if it can.

    >>> class Doubled(nn.Conv2d):
    ...     def forward(self, input):
    ...         return 2 * super().forward(input)
    >>> obstacle(Doubled(1, 1, 1)), obstacle(nn.Conv2d(1, 1, 1))
    ('Doubled has a forward of its own', None)
    """
    kind = type(module)
    if kind.__module__.startswith("torch.ao."):
        return "it is quantised"
    if isinstance(module, torch.jit.ScriptModule):
        return "it is TorchScript: accelerate first, script never"
    if isinstance(module, LazyModuleMixin):
        return "it is lazy and not initialised"
    if isinstance(module, _OURS):
        return None
    known = [each for each in CONVOLUTIONS if isinstance(module, each)]
    for name in ("forward", "_conv_forward"):
        if name in vars(module):
            return f"{name} is replaced on this instance"
        if name == "forward" or not isinstance(module, _ConvTransposeNd):
            theirs: Callable[..., Any] = getattr(kind, name)
            if theirs not in [getattr(each, name, None) for each in known]:
                return f"{kind.__name__} has a {name} of its own"
    return None


def is_convolution(module: nn.Module) -> bool:
    """Whether a module is a convolution or transposed convolution of PyTorch, also a quantised or unfinished one."""
    return isinstance(module, (*CONVOLUTIONS, _ConvNd)) or (
        type(module).__module__.startswith("torch.ao.") and "Conv" in type(module).__name__
    )


def fusible(convolution: nn.Module) -> bool:
    """Whether a convolution can be told what to do with its output: not a transposed one, nor one with its own way."""
    if not isinstance(convolution, _Convolution):
        return not isinstance(convolution, _ConvTransposeNd)
    return "activation" in inspect.signature(type(convolution)._conv_forward).parameters  # noqa: SLF001


def uses_kernels_already(module: nn.Module) -> bool:
    """Whether a layer is one of Striate's own, which compute with the compiled kernels as they are."""
    return isinstance(module, _OURS)


def plain_between(module: nn.Module) -> bool:
    """Whether a module is exactly one of the layers in `BETWEEN`, with nothing replaced."""
    return type(module) in BETWEEN and "forward" not in vars(module)
