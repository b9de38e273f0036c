"""What a network is: its layers with shapes, parameters, cost and receptive fields.

The model runs once on tensors that have a shape and a type but no memory, so nothing is computed and any size of
network or input can be looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from striate.errors import ModelError
from striate.geometry import ReceptiveField, Size, flops
from striate.insight.forward import Layers, check_model, convolution_weight, example, run, states, tensors
from striate.insight.modes import Shapes
from striate.insight.tracing import Tracing
from striate.units import readable_bytes, readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

FieldOfAxis = ReceptiveField | None
"""The receptive field along one axis, None where it is not known."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call of a layer or function, in order of execution.

    Shapes are those of the first tensor in and out. ``parameters`` are those not counted in an earlier row, so that the
    rows sum to the total; ``call`` is 2 when the same name comes a second time, and 0 for layers never called.
    ``activation_bytes`` is the memory of the output, 0 where it shares the memory of an earlier one (a view such as
    flatten, or an in-place ReLU). ``receptive_field`` has one entry per spatial axis of the input: size (infinite once
    all positions were mixed), jump (the total stride) and offset; or None where it is not known.
    """

    name: str
    kind: str
    input_shape: Size | None
    output_shape: Size | None
    parameters: int
    trainable: int
    macs: int
    activation_bytes: int
    receptive_field: tuple[FieldOfAxis, ...]
    call: int = 1

    @property
    def fixed(self) -> int:
        """Parameters that are not trained."""
        return self.parameters - self.trainable

    @property
    def flops(self) -> int:
        """Floating-point operations, two for every multiply-accumulate."""
        return flops(self.macs)

    def to_dict(self) -> dict[str, Any]:
        """The row in JSON's types. A size of ``"all"`` sees every position; a field that is not known is null."""
        return {
            "name": self.name,
            "kind": self.kind,
            "call": self.call,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "output_shape": None if self.output_shape is None else list(self.output_shape),
            "parameters": self.parameters,
            "trainable": self.trainable,
            "fixed": self.fixed,
            "macs": self.macs,
            "flops": self.flops,
            "activation_bytes": self.activation_bytes,
            "receptive_field": _plain_fields(self.receptive_field),
        }

    def cells(self) -> tuple[str, ...]:
        """The row as text, one entry per heading of `Summary.headings`."""
        name = self.name if self.call < 2 else f"{self.name} [{self.call}]"
        return (
            name,
            self.kind,
            _shape(self.output_shape),
            f"{self.parameters:,}" if self.parameters else "",
            f"{self.macs:,}" if self.macs else "",
            f"{self.flops:,}" if self.flops else "",
            readable_bytes(self.activation_bytes) if self.activation_bytes else "",
            *self._field_cells(),
        )

    def _field_cells(self) -> tuple[str, str, str]:
        if self.output_shape is None or not self.receptive_field:
            return "", "", ""
        known = [axis for axis in self.receptive_field if axis is not None]
        if len(known) < len(self.receptive_field):
            return "?", "?", "?"
        if all(axis.size == math.inf for axis in known):
            return "all", "", ""
        return (
            _per_axis(["all" if axis.size == math.inf else _number(axis.size) for axis in known]),
            _per_axis([_number(axis.jump) for axis in known]),
            _per_axis([_number(axis.offset) for axis in known]),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The rows of a network and their totals, for the batch in ``input_shape``.

    ``output_shape`` and ``receptive_field`` are those of what the network returns, of its first tensor if of several.
    ``activation_bytes`` is what the outputs of all rows take if all are kept, as training does. ``training_bytes`` is
    an estimate: input, parameters, activations, and for every trainable parameter a gradient and the two moments of
    Adam; the workspaces of operators come on top. ``notes`` say what could not be followed.
    """

    model: str
    input_shape: Size
    output_shape: Size | None
    receptive_field: tuple[FieldOfAxis, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    parameter_bytes: int
    macs: int
    activation_bytes: int
    training_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def fixed(self) -> int:
        """Parameters that are not trained."""
        return self.parameters - self.trainable

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass, two for every multiply-accumulate."""
        return flops(self.macs)

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the table that `Row.cells` fills."""
        return ("layer", "kind", "output", "parameters", "macs", "flops", "memory", "field", "stride", "offset")

    def totals(self) -> list[tuple[str, str]]:
        """The totals as pairs of a name and a text."""
        return [
            ("input", _shape(self.input_shape)),
            ("parameters", f"{self.parameters:,} ({self.trainable:,} trainable, {self.fixed:,} fixed)"),
            ("parameter memory", readable_bytes(self.parameter_bytes)),
            ("macs", f"{self.macs:,}"),
            ("flops", f"{self.flops:,} (two per mac)"),
            ("activation memory", f"{readable_bytes(self.activation_bytes)} (all outputs of one forward pass)"),
            (
                "training memory",
                f"about {readable_bytes(self.training_bytes)} (with gradients, Adam's moments, activations)",
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The summary in JSON's types; bytes, macs and flops are for the whole batch."""
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "output_shape": None if self.output_shape is None else list(self.output_shape),
            "receptive_field": _plain_fields(self.receptive_field),
            "layers": [row.to_dict() for row in self.rows],
            "totals": {
                "parameters": self.parameters,
                "trainable": self.trainable,
                "fixed": self.fixed,
                "parameter_bytes": self.parameter_bytes,
                "macs": self.macs,
                "flops": self.flops,
                "activation_bytes": self.activation_bytes,
                "training_bytes": self.training_bytes,
            },
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """A table in plain text."""
        table = [self.headings, *(row.cells() for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in table
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        totals = self.totals()
        margin = max(len(name) for name, _ in totals)
        footer = [f"{name.ljust(margin)}  {text}" for name, text in totals]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([self.model, rule, lines[0], rule, *lines[1:], rule, *footer, *notes])


def _plain_fields(fields: tuple[FieldOfAxis, ...]) -> list[dict[str, Any] | None]:
    return [
        None
        if axis is None
        else {
            "size": "all" if axis.size == math.inf else _plain(axis.size),
            "stride": _plain(axis.jump),
            "offset": _plain(axis.offset),
        }
        for axis in fields
    ]


def _plain(value: Fraction | float) -> int | float:
    return int(value) if value == int(value) else float(value)


def _number(value: Fraction | float) -> str:
    return f"{float(value):.4g}" if value != int(value) else str(int(value))


def _per_axis(texts: list[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else readable_size(texts)


def _shape(shape: Size | None) -> str:
    return "not called" if shape is None else readable_size(shape) or "scalar"


# Making the rows -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A layer that is being run: where the counters stood when it began."""

    module: nn.Module
    macs: int
    parameters: tuple[int, int]


class _Listing(TorchFunctionMode):
    """Makes a row for every call of a layer without sub-layers, and of a function outside such a layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.layers = Layers(model, self._entered, self._left)
        self.tracing = Tracing(lambda: self.layers.place)
        self.rows: list[Row] = []
        self.output_shape: Size | None = None
        self.receptive_field: tuple[FieldOfAxis, ...] = ()
        # The modules hold stand-ins while they run, so their parameters are looked up before.
        self._own = {module: list(module.parameters(recurse=False)) for module in self.layers.names}
        self._all = {module: list(module.parameters()) for module in self.layers.names}
        self._zeros = {module: count for module in self.layers.names if (count := _zeros(module))}
        self._counted: set[nn.Parameter] = set()
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._calls: dict[str, int] = {}
        self._leaf: _Open | None = None

    # Layers

    def _entered(self, module: nn.Module, inputs: list[Tensor]) -> None:
        if self._leaf is not None:
            return
        if _is_leaf(module):
            self._leaf = _Open(module, self.tracing.macs, self._count(self._all[module]))
        else:
            own = self._count(self._own[module])
            if own[0]:
                # A class token, a layer scale: its cost is in the functions that use it.
                name = self.layers.names[module] or _kind(module)
                self._add(name, f"{_kind(module)} (own)", inputs, inputs, own, 0)

    def _left(self, module: nn.Module, inputs: list[Tensor], output: Any) -> None:
        if self._leaf is None or self._leaf.module is not module:
            return
        opened, self._leaf = self._leaf, None
        macs = self.tracing.macs - opened.macs
        name = self.layers.names[module] or _kind(module)
        if module in self._zeros:
            zeros = int(macs * self._zeros[module])
            self.tracing.note(f"{zeros:,} of {macs:,} macs multiply weights that are always zero")
        self._add(name, _kind(module), inputs, tensors(output), opened.parameters, macs)

    # Functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Run one of PyTorch's functions and list it, if no layer does."""
        kwargs = kwargs or {}
        macs, steps = self.tracing.macs, self.tracing.steps
        name = getattr(func, "__name__", "")
        if name == "pad" and (kwargs.get("mode") or (*args, "", "")[2]) == "circular":
            source, amounts = (*args, *kwargs.values())[:2]
            output: Any = self.tracing.circular_pad(source, list(amounts), lambda: func(*args, **kwargs))
            steps -= 1
        else:
            output = func(*args, **kwargs)
        outputs = tensors(output)
        acted = self.tracing.steps > steps or self.tracing.macs > macs
        if self._leaf is None and acted and any(self.tracing.trace(tensor) is not None for tensor in outputs):
            if name == "__get__":  # an attribute such as x.mT
                name = getattr(func.__self__, "__name__", name)
            name = name.strip("_")
            path = f"{self.layers.place}.{name}".lstrip(".")
            inputs = [t for t in tensors((args, kwargs)) if self.tracing.trace(t) is not None]
            self._add(path, f"{name}()", inputs, outputs, (0, 0), self.tracing.macs - macs)
        return output

    def _add(
        self, name: str, kind: str, inputs: list[Tensor], outputs: list[Tensor], parameters: tuple[int, int], macs: int
    ) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        self.rows.append(
            Row(
                name,
                kind,
                tuple(inputs[0].shape) if inputs else None,
                tuple(outputs[0].shape) if outputs else None,
                *parameters,
                macs,
                sum(map(self.new_bytes, outputs)),
                self.fields_of(outputs[0]) if outputs else (),
                self._calls[name],
            )
        )

    def fields_of(self, tensor: Tensor) -> tuple[FieldOfAxis, ...]:
        """The receptive fields of a tensor's units; none if it does not depend on the input."""
        trace = self.tracing.trace(tensor)
        return () if trace is None else tuple(field.report() for field in trace.fields)

    # Counting

    def _count(self, parameters: list[nn.Parameter]) -> tuple[int, int]:
        """The sizes of those parameters that were not counted before: all, and the trainable ones."""
        new = set(parameters) - self._counted
        self._counted |= new
        return sum(p.numel() for p in new), sum(p.numel() for p in new if p.requires_grad)

    def new_bytes(self, tensor: Tensor) -> int:
        """The memory of a tensor, 0 if it is in memory that was counted before."""
        storage = tensor.untyped_storage()
        if id(storage) in self._storages:
            return 0
        self._storages[id(storage)] = storage  # kept: an identity is good only as long as its object lives
        return tensor.numel() * tensor.element_size()

    def add_uncalled(self) -> None:
        """Add the layers with parameters that the forward pass did not reach."""
        for module, name in self.layers.names.items():
            count = self._count(self._own[module])
            if count[0]:
                self.rows.append(Row(name, _kind(module), None, None, *count, 0, 0, (), 0))


def _is_leaf(module: nn.Module) -> bool:
    # Attention uses the weights of its output layer without calling it; a parametrised layer's only children make its
    # weight (weight norm).
    if isinstance(module, nn.MultiheadAttention):
        return True
    return all(name == "parametrizations" for name, _ in module.named_children())


def _zeros(module: nn.Module) -> Fraction:
    """The share of a convolution's weight that stands for connections which do not exist."""
    weight, dense = getattr(module, "weight", None), convolution_weight(module)
    if not isinstance(weight, Tensor) or dense is None:
        return Fraction(0)
    return 1 - Fraction(weight.numel(), dense.numel())


def _kind(module: nn.Module) -> str:
    return parametrize.type_before_parametrizations(module).__name__


def summary(model: nn.Module, input: Tensor | Sequence[int]) -> Summary:
    """Describe a network layer by layer: shapes, parameters, macs, flops, activation memory, receptive fields.

    ``input`` is an example or its shape, ``(N, C, *spatial)``; the batch may be left out, and is 1 then, if the model
    has a convolution layer, whose rank tells ``(C, *spatial)`` from the whole. Any `torch.nn.Module` of one input will
    do, in evaluation mode; functions it calls (``F.max_pool2d``, ``+``, ``torch.cat``) are listed beside its layers.
    Nothing is computed unless the forward pass asks for values, which a note then
    says. The model is left as it was found.

    Macs are those of convolutions, matrix products and attention as they are computed, padding counted and biases left
    out; where a layer multiplies weights that are always zero, as LeNet-5's partial connections do, a note says how
    often. Receptive fields
    are the positions that *can* matter, borders not regarded, and leave out the statistics of normalisations.

    Raises `ModelError` for a model that cannot take the input, naming the layer that refuses it. Source of the fields:
    Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, Distill 2019.

    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 10))
    >>> found = summary(net, (1, 28, 28))
    >>> found.parameters, found.macs, found.rows[2].output_shape
    (8806, 95040, (1, 6, 12, 12))
    >>> int(found.rows[2].receptive_field[0].size)
    6
    """
    model = check_model(model)
    source = example(model, input)
    note: tuple[str, ...] = ()
    with torch.inference_mode(False):  # tensors made in it hide what functions are made of
        try:
            listing = _listed(model, source, shapes_only=True)
        except ModelError:
            # What needs values (.item(), .numpy(), a branch) cannot run on shapes; a wrong input fails again.
            listing = _listed(model, source, shapes_only=False)
            note = ("the model does not run on shapes alone (it asks for values), so it was run for real, once",)
    parameters = list(model.parameters())
    held = sum(p.numel() * p.element_size() for p in parameters)
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    activations = sum(row.activation_bytes for row in listing.rows)
    return Summary(
        model=type(model).__name__,
        input_shape=tuple(source.shape),
        output_shape=listing.output_shape,
        receptive_field=listing.receptive_field,
        rows=tuple(listing.rows),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=held,
        macs=listing.tracing.macs,
        activation_bytes=activations,
        training_bytes=source.numel() * source.element_size() + held + activations + 3 * trained,
        notes=(*note, *listing.tracing.notes),
    )


def _listed(model: nn.Module, source: Tensor, *, shapes_only: bool) -> _Listing:
    listing = _Listing(model)
    modes: list[Any] = [listing.tracing, listing]
    replaced = None
    if shapes_only:
        replaced = {name: tensor.detach().to("meta") for name, tensor in states(model).items()}
        source = torch.empty_like(source, device="meta")
        modes.insert(0, Shapes())
    else:
        source = source.clone(memory_format=torch.preserve_format)
    listing.tracing.follow(source)
    listing.new_bytes(source)  # so that a view of the input is not an activation
    outputs = tensors(run(listing.layers, source, modes, replaced))
    if outputs:
        listing.output_shape, listing.receptive_field = tuple(outputs[0].shape), listing.fields_of(outputs[0])
    listing.add_uncalled()
    return listing
