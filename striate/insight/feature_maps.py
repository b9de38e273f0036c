"""What a network makes of an input on the way: the maps of every convolution, and the filters themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from striate.errors import ModelError, did_you_mean
from striate.insight.forward import Layers, check_model, convolution_weight, example, one_input, run, tensors
from striate.insight.modes import OperatorMode
from striate.insight.rules.call import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from torch import nn

CONVOLUTION, ACTIVATION, POOLING = "convolution", "activation", "pooling"
"""The steps of a stage."""

# Operators by name in PyTorch's ATen library, without the underscore of those that work in place.
_CONVOLUTIONS = {
    "convolution", "_convolution", "striate::conv", "striate::conv_grad_input",
}  # fmt: skip
_NON_LINEARITIES = {
    "relu", "leaky_relu", "rrelu_with_noise", "_prelu_kernel", "elu", "celu", "selu", "gelu", "silu", "mish",
    "softplus", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "threshold", "sigmoid",
    "log_sigmoid_forward", "tanh", "clamp", "clamp_min", "glu",
}  # fmt: skip
_NORMALISATIONS = {
    "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "native_group_norm", "native_layer_norm", "_fused_rms_norm",
}  # fmt: skip
_ARITHMETIC = {
    "add", "sub", "rsub", "mul", "div", "neg", "pow", "abs", "sign", "sqrt", "copy", "where", "native_dropout",
}  # fmt: skip
_VIEWS = {
    "view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "clone", "contiguous",
    "alias", "detach", "slice", "constant_pad_nd", "lift_fresh", "_to_copy",
}  # fmt: skip


@dataclass(slots=True)
class Stage:
    """What one convolution made of an input: its maps ``(N, C, *spatial)``, and those behind what follows it.

    ``steps`` holds the maps by step, ``"convolution"``, ``"activation"`` and ``"pooling"``, in order of execution; a
    step that the network does not take is missing. A normalisation between the convolution and its non-linearity is
    part of the activation step.
    """

    name: str
    steps: dict[str, Tensor] = field(default_factory=dict)

    @property
    def convolution(self) -> Tensor:
        """The convolution's output, before its non-linearity."""
        return self.steps[CONVOLUTION]

    @property
    def activation(self) -> Tensor | None:
        """The maps behind the non-linearity, None if there is none."""
        return self.steps.get(ACTIVATION)

    @property
    def pooling(self) -> Tensor | None:
        """The maps behind the pool, None if there is none."""
        return self.steps.get(POOLING)


def feature_maps(model: nn.Module, input: Tensor, stages: Iterable[str] | None = None) -> dict[str, Stage]:
    """Run a model once and keep the output of every convolution, of its non-linearity and of its pooling.

    ``input`` is ``(N, C, *spatial)``; without the batch, a batch of 1. The result is in order of execution, by the
    convolution's name in the model (``"name [2]"`` for a second call, ``"place.conv2d"`` for functions); ``stages``
    chooses some of them. Layers and functions are treated alike. What follows a convolution is its own as long as it is
    elementwise, normalises or pools, up to the next convolution, dense layer or concatenation; a sum belongs to the
    convolutions on both its sides. The model runs in evaluation mode and is left as it was found.

    Raises `ModelError` for an unknown stage, or a model that cannot take the input.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> {name: tuple(maps.shape) for name, maps in feature_maps(net, torch.ones(1, 1, 8, 8))["0"].steps.items()}
    {'convolution': (1, 4, 6, 6), 'activation': (1, 4, 6, 6), 'pooling': (1, 4, 3, 3)}
    """
    model = check_model(model)
    if not isinstance(input, Tensor):
        raise one_input(input, "an input tensor (N, C, *spatial)", "Give an example to compute maps from.")
    recorder = _Recorder(Layers(model))
    with torch.inference_mode(False):  # tensors made in it hide what functions are made of
        run(recorder.layers, example(model, input).clone(), [recorder])
    if stages is None:
        return recorder.stages
    return {name: recorder.stages[name] for name in _known(stages, recorder.stages)}


def _known(names: Iterable[str], stages: dict[str, Stage]) -> list[str]:
    chosen = list(names)
    for name in chosen:
        if name not in stages:
            remedy = did_you_mean(name, stages) if stages else "This model computes no convolution."
            raise ModelError("stages to be convolutions of the model", f"{name!r}", remedy)
    return chosen


class _Recorder(OperatorMode):  # type: ignore[no-untyped-call]  # PyTorch leaves __init_subclass__ unannotated
    """Follows tensors from convolutions on; each knows the stages it belongs to and the step it has reached in them."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        self.stages: dict[str, Stage] = {}
        self._convolutions = {module for module in layers.names if convolution_weight(module) is not None}
        self._calls: dict[str, int] = {}
        self._reached: MutableMapping[Tensor, dict[str, str]] = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and keep what it makes of a convolution's maps."""
        output = func(*args, **(kwargs or {}))
        outputs = tensors(output)
        if not outputs or func.namespace == "prim":
            return output
        name = schema_of(func).name.removeprefix("aten::")
        name = name[:-1] if name.endswith("_") else name
        if name in _CONVOLUTIONS:
            self._begin(func, outputs[0])
        else:
            self._continue(name, [self._reached.get(t, {}) for t in tensors((args, kwargs))], outputs[0])
        return output

    def _begin(self, func: torch._ops.OpOverload, output: Tensor) -> None:
        name = self.layers.place
        if self.layers.current not in self._convolutions:
            name = f"{name}.conv{output.ndim - 2}d".lstrip(".")
        name = name or type(self.layers.model).__name__
        self._calls[name] = self._calls.get(name, 0) + 1
        unique = name if self._calls[name] == 1 else f"{name} [{self._calls[name]}]"
        self.stages[unique] = Stage(unique, {CONVOLUTION: _kept(output)})
        self._reached[output] = {unique: CONVOLUTION}

    def _continue(self, operator: str, operands: Sequence[dict[str, str]], output: Tensor) -> None:
        reached: dict[str, str] = {}
        for operand in operands:
            for stage, step in operand.items():
                # x * sigmoid(x) has reached the non-linearity through its second operand.
                reached[stage] = step if reached.get(stage, CONVOLUTION) == CONVOLUTION else reached[stage]
        made = _step(operator)
        if made is None or not reached:
            self._reached.pop(output, None)
            return
        if made:
            reached = dict.fromkeys(reached, made)
        # What is scaled or shifted behind a non-linearity (1.7 tanh, a swish) is still its result; a sum of two is not.
        revised = operator in _ARITHMETIC and len(reached) == 1
        for stage, at in reached.items():
            steps = self.stages[stage].steps
            # PyTorch pools a signal as an image of one row: its maps are those that are signals again.
            if at != CONVOLUTION and output.ndim == steps[CONVOLUTION].ndim and (revised or at not in steps):
                steps[at] = _kept(output)
        self._reached[output] = reached


def _step(operator: str) -> str | None:
    """The step an operator makes: ``""`` if it stays in the one it is in, None if it ends the stage."""
    if operator in _NON_LINEARITIES:
        return ACTIVATION
    if "_pool" in operator or operator == "mean":
        return POOLING
    if operator in _NORMALISATIONS | _ARITHMETIC | _VIEWS:
        return ""
    return None


def _kept(maps: Tensor) -> Tensor:
    # A copy at once, because an in-place ReLU would write over it.
    return maps.detach().clone()


def filters(model: nn.Module) -> dict[str, Tensor]:
    """The weights of all convolution layers, ``(C_out, C_in // groups, *kernel_size)``, by layer name, as copies.

    Transposed convolutions are ``(C_in, C_out // groups, *kernel_size)``, as PyTorch keeps them. A layer of another
    kind counts as a convolution if it has a method ``dense_weight()``, such as the partial connections of LeNet-5,
    where zeros stand for connections that do not exist. Raises `ModelError` for something that is not a model.

    >>> from torch import nn
    >>> {name: tuple(weight.shape) for name, weight in filters(nn.Sequential(nn.Conv1d(2, 4, 3))).items()}
    {'0': (4, 2, 3)}
    """
    return {
        name or type(module).__name__: weight.detach().clone()
        for name, module in check_model(model).named_modules()
        if (weight := convolution_weight(module)) is not None
    }
