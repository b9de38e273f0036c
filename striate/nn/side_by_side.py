"""One model in several guises, timed in turns: PyTorch as it is, channels-last, torch.compile, and accelerated."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from striate.errors import InputError
from striate.memory import added_bytes
from striate.nn.accelerate import accelerate
from striate.nn.timing import Times, interleaved
from striate.ops.settings import use_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from striate.nn.acceleration import Acceleration

SIDES = ("pytorch", "channels-last", "torch.compile", "striate")
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True, slots=True)
class Side:
    """One guise of the model. ``start_seconds`` is what it takes to prepare it and run the first step.

    ``step_bytes`` is what a later step adds at most to the memory of the process; None where the system does not tell.
    """

    name: str
    times: Times
    start_seconds: float
    step_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """The side in JSON's types."""
        about = {"name": self.name, "start_seconds": self.start_seconds, "step_bytes": self.step_bytes}
        return {**about, **self.times.to_dict()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The sides in the order asked for, and what `accelerate` said of its own, if it was one of them."""

    sides: tuple[Side, ...]
    train: bool
    acceleration: Acceleration | None

    @property
    def best(self) -> Side:
        """The fastest side that is not ours; ours if it is alone."""
        others = [side for side in self.sides if side.name != "striate"] or list(self.sides)
        return min(others, key=lambda side: side.times.median)

    def ratio(self, side: Side) -> float:
        """How many times faster than the best of the others a side is."""
        return self.best.times.median / side.times.median


def compare(
    model: nn.Module,
    input: Tensor,
    *,
    train: bool = False,
    sides: Sequence[str] = ("pytorch", "channels-last", "striate"),
    rounds: int = 7,
    measure_layers: bool = True,
    peers: Mapping[str, Callable[[], Callable[[], object]]] | None = None,
) -> Comparison:
    """Time a step of copies of ``model`` in turns: inference, or with ``train`` a step of SGD on random labels.

    ``sides`` are names of `SIDES`; 1-D models have no channels-last one in PyTorch, and it is left out. Without
    ``measure_layers`` layers are accelerated wherever possible, and not only where that is faster. ``peers`` are other
    programs: functions that prepare one, and give a function that runs it. Raises `InputError` for an unknown side.

    >>> found = compare(nn.Conv1d(1, 2, 3), torch.zeros(1, 1, 8), sides=["pytorch", "channels-last"], rounds=1)
    >>> [side.name for side in found.sides]
    ['pytorch']
    """
    for name in sides:
        if name not in SIDES:
            raise InputError(f"sides of {', '.join(SIDES)}", repr(name), "Leave it out.")
    reports: list[Acceleration] = []
    starts: dict[str, float] = {}
    steps: dict[str, Callable[[], object]] = {}
    # What PyTorch loads when it first trains is no side's start.
    _prepared("pytorch", nn.Linear(1, 2), torch.zeros(1, 1), train)()
    for name in sides:
        if name == "channels-last" and input.dim() not in _FORMATS:
            continue
        own = copy.deepcopy(model).train(train)
        began = time.perf_counter()
        steps[name] = _prepared(name, own, input, train)
        steps[name]()
        starts[name] = time.perf_counter() - began
        if name == "striate" and measure_layers:
            reports.append(accelerate(own, input, train=train))
    for name, prepare in (peers or {}).items():
        began = time.perf_counter()
        steps[name] = prepare()
        steps[name]()
        starts[name] = time.perf_counter() - began
    added = {name: added_bytes(step) for name, step in steps.items()}
    times = interleaved(steps, rounds=rounds, pause=0.05 if peers else 0.0)
    return Comparison(
        tuple(Side(name, times[name], starts[name], added[name]) for name in steps),
        train,
        reports[0] if reports else None,
    )


def _prepared(name: str, model: nn.Module, input: Tensor, train: bool) -> Callable[[], object]:
    called: Callable[[Tensor], Any] = model
    if name == "channels-last":
        memory_format = _FORMATS[input.dim()]
        model.to(memory_format=memory_format)  # type: ignore[call-overload]  # left out of PyTorch's annotations
        input = input.contiguous(memory_format=memory_format)  # noqa: A001  # the same input, lying otherwise
    elif name == "torch.compile":
        called = torch.compile(model)
    elif name == "striate":
        accelerate(model, input, train=train, measure=False)
    step = training_step(called, model, input) if train else inference_step(called, input)
    return step if name == "striate" else _without_kernels(step)


def _without_kernels(step: Callable[[], object]) -> Callable[[], object]:
    """PyTorch's sides of a model whose layers are Striate's own, which use the kernels wherever they are called."""

    def run() -> object:
        with use_compiled(False):
            return step()

    return run


def inference_step(model: Callable[[Tensor], Any], input: Tensor) -> Callable[[], object]:
    """A function that runs ``model`` without gradients."""

    def step() -> object:
        with torch.inference_mode():
            return model(input)

    return step


def training_step(called: Callable[[Tensor], Any], model: nn.Module, input: Tensor) -> Callable[[], object]:
    """A function that does one step of SGD on the cross-entropy with random labels, one per position of the output.

    The learning rate is so small that many steps leave the weights, and so the times, as they are.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    labels: list[Tensor] = []

    def step() -> object:
        output = next(each for each in tree_leaves(called(input)) if isinstance(each, Tensor))
        if not labels:
            shape = (output.shape[0], *output.shape[2:])
            labels.append(torch.randint(output.shape[1], shape, generator=torch.Generator().manual_seed(0)))
        loss = F.cross_entropy(output, labels[0])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss

    return step
