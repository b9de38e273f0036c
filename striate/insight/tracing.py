"""Watching the operators of a forward pass: what they cost and what their outputs see of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from striate.insight.cost import macs
from striate.insight.fields import Field
from striate.insight.forward import tensors
from striate.insight.layout import Trace
from striate.insight.modes import OperatorMode
from striate.insight.rules import Call, fitted, rule_for, schema_of, windows

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    import torch


class Tracing(OperatorMode):  # type: ignore[no-untyped-call]  # PyTorch leaves __init_subclass__ unannotated
    """Counts multiply-accumulates and follows receptive fields, operator by operator, while it is active.

    ``place()`` names the layer at work, for the notes. ``macs`` is the count so far, ``notes`` what could not be
    followed, ``steps`` the number of operators that touched a followed tensor.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self.macs = 0
        self.steps = 0
        self.notes: dict[str, None] = {}  # a set that keeps its order
        self._place = place
        self._traces: MutableMapping[Tensor, Trace] = WeakTensorKeyDictionary()
        self._bases: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._paused = False

    def follow(self, source: Tensor) -> None:
        """Start from the network's input ``(N, C, *spatial)``, or ``(N, length)`` of integer tokens."""
        first = 1 if source.ndim == 2 and not source.is_floating_point() else 2
        axes = range(first, source.ndim)
        self._traces[source] = Trace.plain([Field() for _ in axes], source.shape, list(axes))

    def trace(self, value: Any) -> Trace | None:
        """What is known of a tensor's units; None if it does not depend on the input."""
        return self._traces.get(value) if isinstance(value, Tensor) else None

    def circular_pad(self, source: Tensor, amounts: list[int], pad: Callable[[], Tensor]) -> Tensor:
        """Run a circular padding, which PyTorch puts together from copies into parts of a new tensor."""
        self._paused = True
        try:
            output = pad()
        finally:
            self._paused = False
        self._record(windows.pad(self._call("circular padding", {"self": source, "pad": amounts}), output, 0), output)
        return output

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and follow it."""
        output = func(*args, **(kwargs or {}))
        if func.namespace == "prim" or self._paused:
            return output
        schema = schema_of(func)
        arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        arguments |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)} | (kwargs or {})
        self.macs += macs(schema.name, arguments, output)
        source = arguments.get("self")
        if func.is_view and isinstance(source, Tensor):
            for tensor in tensors(output):
                self._bases[tensor] = self._bases.get(source, source)
        followed = [trace for tensor in tensors(arguments) if (trace := self.trace(tensor)) is not None]
        if followed:
            self.steps += 1
            self._follow(func, self._call(schema.name, arguments), output, followed[0])
        return output

    def _call(self, name: str, arguments: dict[str, Any]) -> Call:
        return Call(name, arguments, self.trace, self.note)

    def note(self, text: str) -> None:
        """Remember what could not be followed, and where."""
        self.notes[f"{self._place() or 'the model'}: {text}"] = None

    def _record(self, trace: Trace | None, output: Tensor) -> None:
        if trace is None:
            self._traces.pop(output, None)
        else:
            self._traces[output] = trace

    def _follow(self, func: torch._ops.OpOverload, call: Call, output: Any, followed: Trace) -> None:
        rule = rule_for(func)
        outputs = tensors(output)
        if rule is None:
            fields = tuple(field.unknown() for field in followed.fields)
            if outputs and any(not field.known for field in fields):
                self.note(f"what {call.name} does is not known; receptive fields and macs leave it out")
        for index, tensor in enumerate(outputs):
            if rule is None:
                self._record(Trace(fields, followed.dims).forgotten(tensor.shape), tensor)
            else:
                self._record(fitted(call, rule(call, tensor, index), tensor), tensor)
        source = call.arguments.get("self")
        if schema_of(func).is_mutable and isinstance(source, Tensor):
            if outputs:
                self._record(self.trace(outputs[0]), source)  # not always the same object, see modes.Shapes
            if source in self._bases:
                self._overwritten(call, source)

    def _overwritten(self, call: Call, part: Tensor) -> None:
        """A part of a tensor was written to. What is written there may see more than the rest does."""
        others = [t for t in tensors(dict(call.arguments)) if t is not part and self.trace(t) is not None]
        base = self._bases[part]
        if not others:
            return
        trace = self.trace(base) or self.trace(others[0])
        if trace is not None:
            hidden = call.lose(trace)
            self._record(hidden if self.trace(base) else hidden.forgotten(base.shape), base)
