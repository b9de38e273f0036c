"""Batch norm and ReLU computed by the convolution before them, in inference; zero padding by the one behind it.

In inference batch norm is a scale and a shift per channel. These, and a ReLU, cost nothing where the output is still in
registers; what is saved is reading and writing every activation once for each. The scale is not multiplied into the
weights: that would have to be done anew whenever one of them changed, and nobody can tell without looking at them all.

`chains` watches one run of a model and finds the convolutions whose output goes to one batch norm or ReLU and nowhere
else. Each gets a `Fusion`. It computes all of it and marks its output; the layers that follow pass on what is marked
with them. So the model's own code, parameters and buffers stay, training is untouched, and whoever changes a
weight, puts a hook on one of the layers, or calls a convolution outside of the model gets what he would have got. Not
seen is a model that on other inputs uses the same convolution for something else.

Kernels pad at the edges as they go, so a layer that only pads with zeros, for a convolution and nobody else, hands its
input on, marked, and spares a copy. That holds in training too.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from striate.compiler.problem import Activation, Spec

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PADS = (
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
)
RELUS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.ReLU6: "relu6"}


class _Entered(threading.local):
    def __init__(self) -> None:
        self.scopes: list[Scope] = []


_entered = _Entered()


class Scope:
    """The extent of a model's forward. Copied with the model, it is the copy's.

    >>> scope = Scope()
    >>> with scope:
    ...     inside = scope.entered
    >>> inside, scope.entered
    (True, False)
    """

    @property
    def entered(self) -> bool:
        """Whether this thread is in the model's forward."""
        return bool(_entered.scopes) and _entered.scopes[-1] is self

    def __enter__(self) -> None:
        _entered.scopes.append(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.scopes.pop()


class Fusion:
    """What a convolution does besides: the padding before it, the batch norm and the ReLU behind it; one at least."""

    def __init__(self, scope: Scope, chain: Chain) -> None:
        self.scope, self.chain = scope, chain
        self.activation: Activation | None = None if chain.relu is None else RELUS[type(chain.relu)]
        self.padding = None if chain.pad is None else _both(chain.pad, chain.convolution)

    def hand_on(self, input: Tensor) -> Tensor | None:
        """What the layer that pads gives: its input, marked for the convolution; None if it has to pad itself."""
        chain = self.chain
        if not self.scope.entered or torch.compiler.is_compiling() or _hooks(chain.convolution):
            return None
        if chain.pad is None or _hooks(chain.pad):
            return None
        handed = input.view_as(input)  # so that the mark is on no tensor that others see
        handed.striate_padding = self  # type: ignore[attr-defined]
        return handed

    def padding_of(self, input: Tensor) -> Any:
        """The padding of the convolution with that which is left to it; None where nothing is."""
        return self.padding if getattr(input, "striate_padding", None) is self else None

    def applies(self, convolution: nn.Module) -> bool:
        """Whether something follows, and nobody can tell now who computes it: inference, no hooks, nothing traced."""
        norm, relu = self.chain.norm, self.chain.relu
        if norm is None and relu is None:
            return False
        if convolution.training or torch.is_grad_enabled() or not self.scope.entered or torch.compiler.is_compiling():
            return False
        if norm is not None and (norm.training or norm.running_mean is None):
            return False
        return not any(_hooks(layer) for layer in (convolution, norm, relu) if layer is not None)

    def affine(self, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The bias of the convolution with the batch norm in it, and the scale that comes before it."""
        norm: Any = self.chain.norm
        if norm is None:
            return bias, None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale *= norm.weight
        mean = norm.running_mean if bias is None else norm.running_mean - bias
        if norm.bias is None:
            return mean.neg().mul_(scale), scale
        return torch.addcmul(norm.bias, mean, scale, value=-1), scale

    def mark(self, output: Tensor) -> Tensor:
        """Note on the output what has been computed already."""
        output.striate_fusion = self  # type: ignore[attr-defined]
        return output


def passes_on(layer: nn.Module, input: Tensor) -> bool:
    """Whether the convolution before ``layer`` has computed it; the last of the layers takes the mark away.

    >>> passes_on(nn.ReLU(), torch.zeros(1))
    False
    """
    fusion: Fusion | None = getattr(input, "striate_fusion", None)
    if fusion is None or (layer is not fusion.chain.norm and layer is not fusion.chain.relu):
        return False
    if layer is fusion.chain.relu or fusion.chain.relu is None:
        del input.striate_fusion  # type: ignore[attr-defined]
    return True


def _hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks  # noqa: SLF001
        or layer._forward_pre_hooks  # noqa: SLF001
        or torch_module._global_forward_hooks  # noqa: SLF001
        or torch_module._global_forward_pre_hooks  # noqa: SLF001
    )


# Finding chains ------------------------------------------------------------------------------------------------------


class Chain(NamedTuple):
    """A convolution with what is around it; one of the others is there."""

    convolution: nn.Module
    pad: nn.Module | None
    norm: nn.Module | None
    relu: nn.Module | None

    def spec(self, alone: Spec) -> Spec:
        """What a kernel is made for that computes all of it, rather than the convolution ``alone``."""
        normed = self.norm is not None
        activation = None if self.relu is None else RELUS[type(self.relu)]
        return replace(alone, bias=alone.bias or normed, scale=normed, activation=activation)


def _both(pad: nn.Module, convolution: nn.Module) -> tuple[tuple[int, int], ...]:
    """The padding of a layer and of the convolution behind it: (before, after) of each axis."""
    first: Any = pad
    second: Any = convolution
    ends = list(zip(first.padding[::2], first.padding[1::2], strict=True))[::-1]  # the last axis comes first
    return tuple((before + own, after + own) for (before, after), own in zip(ends, second.padding, strict=True))


def _pads_with_zeros(pad: nn.Module, convolution: nn.Module) -> bool:
    """Whether a convolution of PyTorch can do what a layer before it does."""
    first: Any = pad
    second: Any = convolution
    return (
        isinstance(convolution, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and first.value == 0
        and min(first.padding) >= 0
        and second.padding_mode == "zeros"
        and not isinstance(second.padding, str)
        and len(first.padding) == 2 * len(second.padding)
        and all(type(each) is int for each in second.padding)
    )


class _Uses(TorchFunctionMode):
    """Counts how often functions that give tensors take each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.alive: list[Tensor] = []  # so that no two tensors have one address

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self.alive.append(leaf)
                    self.count[id(leaf)] += 1
        return result


class _Call(NamedTuple):
    layer: nn.Module
    input: Tensor
    output: Tensor
    uses_before: int


def chains(model: nn.Module, convolutions: Iterable[nn.Module], run: Callable[[], Any]) -> list[Chain]:
    """Find what is around each of ``convolutions`` while ``run`` calls the model once, in inference without gradients.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3))
    >>> found = chains(model, [model[0], model[4]], lambda: model.eval()(torch.zeros(1, 1, 5, 5)))
    >>> found[0].norm is model[1], found[0].relu is model[2], found[1].pad is model[3]
    (True, True, True)
    """
    wanted = list(convolutions)
    others = [module for module in model.modules() if type(module) in (*PADS, *NORMS, *RELUS)]
    uses, calls, hooks = _Uses(), list[_Call](), []
    before: dict[int, int] = {}

    def enter(layer: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor):
            before[id(layer)] = uses.count[id(args[0])]

    def leave(layer: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            uses.alive.append(output)
            calls.append(_Call(layer, args[0], output, before.pop(id(layer), 1)))

    for layer in (*wanted, *others):
        hooks += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        with torch.no_grad(), uses:
            result = run()
    finally:
        for hook in hooks:
            hook.remove()
    kept = {id(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
    taken = {id(call.input): call for call in reversed(calls)}
    given = {id(call.output): call for call in calls if isinstance(call.layer, PADS)}
    padded: Counter[nn.Module] = Counter(call.layer for call in calls if isinstance(call.layer, PADS))

    def next_of(output: Tensor, kinds: tuple[type[nn.Module], ...]) -> _Call | None:
        call = taken.get(id(output))
        if call is None or not isinstance(call.layer, kinds) or call.uses_before:
            return None
        in_place = call.output is output
        return call if in_place or (uses.count[id(output)] == 1 and id(output) not in kept) else None

    def pad_of(call: _Call) -> nn.Module | None:
        found = given.get(id(call.input))
        if found is None or not _pads_with_zeros(found.layer, call.layer):
            return None
        alone = uses.count[id(call.input)] == 1 and id(call.input) not in kept
        return found.layer if alone and padded[found.layer] == 1 else None

    found: dict[nn.Module, set[tuple[nn.Module | None, nn.Module | None, nn.Module | None]]] = {}
    for call in calls:
        if any(call.layer is each for each in wanted):
            norm = next_of(call.output, NORMS)
            relu = next_of(norm.output if norm is not None else call.output, tuple(RELUS))
            around = pad_of(call), None if norm is None else norm.layer, None if relu is None else relu.layer
            found.setdefault(call.layer, set()).add(around)
    return [
        Chain(layer, *around) for layer, ways in found.items() if len(ways) == 1 and any(around := next(iter(ways)))
    ]
