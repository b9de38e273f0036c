"""Running any model once, knowing which layer is at work, and leaving the model as it was found."""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from striate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What PyTorch and models raise when an input does not suit them. Other exceptions are bugs and pass through."""

_SEVERAL = "For a model of several inputs give a Module of one, whose forward supplies the others."


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put everything a forward pass may change about a model's modules back, whether it succeeds or fails.

    That is: the attributes of every submodule (``training`` flags, hooks, caches, which tensor is which buffer) and the
    random number generators of PyTorch, NumPy and Python. The contents of parameters and buffers are not copied here:
    `run` lets the model work on others.

    >>> model = nn.Dropout()
    >>> with untouched(model):
    ...     model.training = False
    >>> model.training
    True
    """
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    containers = [
        (value, value.copy())
        for _, saved in attributes
        for value in saved.values()
        if isinstance(value, dict | list | set)
    ]
    python, numpy = random.getstate(), np.random.get_state()
    devices = sorted({t.device.index or 0 for t in states(model).values() if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for value, saved in containers:
                value.clear()
                value.extend(saved) if isinstance(value, list) else value.update(saved)
            for module, saved in attributes:
                vars(module).clear()
                vars(module).update(saved)
            random.setstate(python)
            np.random.set_state(numpy)


def states(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a model by name, shared ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class Layers:
    """The names of a model's layers, and the stack of those at work.

    ``entered(module, inputs)`` and ``left(module, inputs, output)`` are called around every layer's forward. A layer
    that stands in several places goes by its first name; the model itself by the empty one.
    """

    def __init__(
        self,
        model: nn.Module,
        entered: Callable[[nn.Module, list[Tensor]], None] = lambda module, inputs: None,
        left: Callable[[nn.Module, list[Tensor], Any], None] = lambda module, inputs, output: None,
    ) -> None:
        self.model = model
        self.names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
        self.stack: list[nn.Module] = []
        self.shape: tuple[int, ...] | None = None  # of what the innermost layer was given
        self._entered, self._left = entered, left

    @property
    def current(self) -> nn.Module:
        """The innermost layer at work."""
        return self.stack[-1] if self.stack else self.model

    @property
    def place(self) -> str:
        """The name of the innermost layer at work."""
        return self.names[self.current]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Follow the layers while the context lasts. `untouched` around it removes what a failure leaves."""
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = tensors((args, kwargs))
        self.stack.append(module)
        self.shape = tuple(inputs[0].shape) if inputs else None
        self._entered(module, inputs)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._left(module, tensors((args, kwargs)), output)
        # A model that catches a layer's exception leaves that layer's name on the stack.
        while self.stack and self.stack.pop() is not module:
            pass


def convolution_weight(module: nn.Module) -> Tensor | None:
    """The weight of a convolution layer, ``(C_out, C_in // groups, *kernel_size)``; None for other layers.

    Layers that keep their kernels in another form are known by a method ``dense_weight()``, which gives this one.

    >>> convolution_weight(nn.Conv1d(2, 4, 3)).shape, convolution_weight(nn.ReLU())
    (torch.Size([4, 2, 3]), None)
    """
    if isinstance(module, _ConvNd):
        return module.weight
    offered = getattr(module, "dense_weight", None)
    return cast("Tensor", offered()) if callable(offered) else None


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def run(layers: Layers, inputs: Tensor, modes: Sequence[Any] = (), replaced: Mapping[str, Tensor] | None = None) -> Any:
    """Run the model once in evaluation mode, without gradients, on copies of its parameters and buffers.

    ``replaced`` are the tensors to work on instead; ``modes`` are entered in order, the first outermost.
    Raises `ModelError`, which names the layer, if the model cannot take the input.
    """
    model = layers.model
    if replaced is None:
        replaced = {name: tensor.detach().clone() for name, tensor in states(model).items()}
    with ExitStack() as contexts:
        contexts.enter_context(untouched(model))
        contexts.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # which takes a second to load, and has been if anything is compiled
            contexts.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code hides the operators
        for module in model.modules():
            module.training = False  # not .eval(), which models may override to do more
        contexts.enter_context(layers.watched())
        for mode in modes:
            contexts.enter_context(mode)
        try:
            return torch.func.functional_call(model, dict(replaced), (inputs,))
        except _REFUSALS as error:
            raise _refusal(layers, tuple(inputs.shape), error) from error


def _refusal(layers: Layers, given: tuple[int, ...], error: Exception) -> ModelError:
    layer, name = layers.current, layers.place
    kind = type(layer).__name__
    where = f"layer {name!r} ({kind})" if name else f"the model ({kind})"
    there = "" if layers.shape in (given, None) else f" there, from a model input of {given}"
    received = f"{layers.shape or given}{there}"
    if isinstance(layer, _ConvNd) and layers.shape is not None:
        rank = len(layer.kernel_size)
        wanted = f"(N, {layer.in_channels}{', size' * rank})"
        if len(layers.shape) == rank + 2 and layers.shape[1] != layer.in_channels:
            return ModelError(
                f"an input of {wanted} at {where}",
                received,
                f"Give inputs with {layer.in_channels} channels there, or build the model for {layers.shape[1]}.",
            )
    if isinstance(layer, nn.Linear) and layers.shape is not None and layers.shape[-1:] != (layer.in_features,):
        return ModelError(
            f"{layer.in_features} features at {where}",
            received,
            "Give inputs of the size that the model was built for, or build it for this size.",
        )
    return ModelError(
        f"an input that {where} can take",
        f"{received}, which it refuses: {(str(error).splitlines() or [kind])[0].rstrip('.')}",
        _SEVERAL
        if isinstance(error, TypeError) and "required positional argument" in str(error)
        else "Give inputs of the shape and type that the model was built for.",
    )


def check_model(model: object) -> nn.Module:
    """Check that a model can be run by this package's tools. Raises `ModelError`."""
    if not isinstance(model, nn.Module):
        raise ModelError("a torch.nn.Module", f"{type(model).__name__}", "Wrap a function in a Module's forward.")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError("a model in Python", "a TorchScript module", "Use the module that it was made from.")
    for name, tensor in states(model).items():
        if is_lazy(tensor):
            raise ModelError(
                "a model whose layers know their sizes",
                f"the lazy parameter {name!r}",
                "Run the model once on an example, which settles them.",
            )
    return model


def one_input(given: object, expected: str, remedy: str) -> ModelError:
    """The error for what is no input of a model; several tensors are counted instead of printed."""
    count = len(tensors(given))
    if count:
        return ModelError(expected, f"{count} tensors in a {type(given).__name__}", _SEVERAL)
    return ModelError(expected, f"{given!r}", remedy)


def example(model: nn.Module, given: Tensor | Sequence[int]) -> Tensor:
    """The input to run a model on: a tensor as it is, or zeros of a shape with the model's type and device.

    Both are ``(N, C, *spatial)``. The batch may be left out, and is 1 then, if the model has a convolution layer: the
    rank of the first one tells ``(C, *spatial)`` from the whole. Raises `ModelError`.

    >>> example(nn.Conv2d(3, 8, 3), (3, 32, 32)).shape
    torch.Size([1, 3, 32, 32])
    """
    if isinstance(given, Tensor):
        inputs = given.detach()
    else:
        shape = tuple(given) if isinstance(given, list | tuple) else ()
        if not shape or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape):
            raise one_input(
                given,
                "an input tensor, or its shape (N, C, *spatial) in positive integers",
                "For one colour image of 32 x 32 pixels give (1, 3, 32, 32).",
            )
        floating = (tensor for tensor in states(model).values() if tensor.is_floating_point())
        like = next(floating, torch.empty(0))
        inputs = torch.zeros((1,), dtype=like.dtype, device=like.device).expand(shape)
    rank = next((len(module.kernel_size) for module in model.modules() if isinstance(module, _ConvNd)), None)
    # Integers are tokens (N, length), which an embedding turns into channels.
    unbatched = rank is not None and inputs.ndim == rank + 1 and inputs.is_floating_point()
    return inputs.unsqueeze(0) if unbatched else inputs
