"""What `striate.accelerate` did to a model, and how to take it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from striate.nn.changed import Changed, original_class

if TYPE_CHECKING:
    from torch import nn

    from striate.nn.timing import Times

HEADINGS = ("layer", "PyTorch ms", "ours ms", "gain", "error", "what")
RIGHT = ("PyTorch ms", "ours ms", "gain", "error")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One convolution, for one shape of its input.

    ``algorithms`` maps each pass that runs to what computes it; it is empty where the layer stays with PyTorch, and
    then ``reason`` says why. Where only some passes stay, they map to ``PyTorch: `` and why. ``error`` is the largest
    difference to PyTorch's operator in float64, relative to the largest value, over output and gradients;
    ``torch_error`` is PyTorch's own in float32. ``torch_times`` are those of PyTorch's better layout.
    """

    name: str
    kind: str
    problem: str
    calls: int
    algorithms: dict[str, str]
    reason: str | None = None
    error: float | None = None
    torch_error: float | None = None
    times: Times | None = None
    torch_times: Times | None = None

    @property
    def gain(self) -> float | None:
        """How many times faster the compiled kernels are; None where nothing was measured."""
        if self.times is None or self.torch_times is None:
            return None
        return self.torch_times.median / self.times.median

    def cells(self) -> tuple[str, ...]:
        """The row as text, one entry per heading of `HEADINGS`."""
        told = f"{self.problem}: " if self.problem else ""
        by = ", ".join(dict.fromkeys(self.algorithms.values()))
        return (
            self.name if self.calls < 2 else f"{self.name} ({self.calls}x)",
            "" if self.torch_times is None else f"{self.torch_times.median_ms:.3g}",
            "" if self.times is None else f"{self.times.median_ms:.3g}",
            "" if self.gain is None else f"{self.gain:.2f}x",
            "" if self.error is None else f"{self.error:.0e}",
            f"{told}PyTorch, {self.reason}" if self.reason is not None else f"{told}{by}",
        )

    def to_dict(self) -> dict[str, Any]:
        """The row in JSON's types."""
        return {
            "name": self.name,
            "kind": self.kind,
            "problem": self.problem,
            "calls": self.calls,
            "algorithms": dict(self.algorithms),
            "reason": self.reason,
            "error": self.error,
            "torch_error": self.torch_error,
            "times": None if self.times is None else self.times.to_dict(),
            "torch_times": None if self.torch_times is None else self.torch_times.to_dict(),
            "gain": self.gain,
        }


@dataclass(frozen=True, slots=True)
class Acceleration:
    """The report of `striate.accelerate`: a row per convolution, and the whole model before and after.

    ``layout`` is what the changed layers keep their activations in. ``difference`` is how much the model's output
    changed, relative to its largest value. ``times`` and ``times_before`` are those of the whole model (forward, and
    backward with ``train``), measured in turns; all three are None without ``measure``. ``notes`` say what else there
    is to know.
    """

    model: nn.Module = field(repr=False)
    layers: tuple[LayerReport, ...]
    layout: str
    train: bool
    difference: float | None = None
    times: Times | None = None
    times_before: Times | None = None
    notes: tuple[str, ...] = ()

    @property
    def gain(self) -> float | None:
        """How many times faster the whole model became; None where it was not measured."""
        if self.times is None or self.times_before is None:
            return None
        return self.times_before.median / self.times.median

    @property
    def compiled(self) -> int:
        """How many convolutions compute with compiled kernels now."""
        return len({layer.name for layer in self.layers if layer.reason is None})

    def totals(self) -> list[tuple[str, str]]:
        """The facts on the whole model, as names and texts."""
        convolutions = len({layer.name for layer in self.layers})
        layout = f", activations {self.layout.replace('_', '-')}" if self.compiled else ""
        facts = [("convolutions", f"{self.compiled} of {convolutions} compiled{layout}")]
        if self.times is not None and self.times_before is not None:
            what = "forward and backward" if self.train else "forward"
            before, after = self.times_before.median_ms, self.times.median_ms
            facts.append((what, f"{before:.3g} ms before, {after:.3g} ms after: {self.gain:.2f}x"))
        if self.difference is not None:
            facts.append(("output", f"differs by {self.difference:.0e} of its largest value"))
        return facts

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        return {
            "layers": [layer.to_dict() for layer in self.layers],
            "layout": self.layout,
            "train": self.train,
            "difference": self.difference,
            "times": None if self.times is None else self.times.to_dict(),
            "times_before": None if self.times_before is None else self.times_before.to_dict(),
            "gain": self.gain,
            "notes": list(self.notes),
        }

    def undo(self) -> None:
        """Restore the model; see `undo`."""
        undo(self.model)

    def __str__(self) -> str:
        rows = [HEADINGS, *(layer.cells() for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if heading in RIGHT else cell.ljust(width)
                for cell, width, heading in zip(row, widths, HEADINGS, strict=True)
            ).rstrip()
            for row in rows
        ]
        facts = [f"{name}: {text}" for name, text in self.totals()]
        return "\n".join([*lines, "", *facts, *(f"note: {note}" for note in self.notes)])


def undo(model: nn.Module) -> None:
    """Give every layer that `striate.accelerate` changed its class back. Nothing else about the model was changed.

    >>> from torch import nn
    >>> from striate.nn.changed import changed_class
    >>> layer = nn.Conv2d(1, 1, 3)
    >>> layer.__class__ = changed_class(nn.Conv2d, True)
    >>> undo(layer)
    >>> type(layer) is nn.Conv2d
    True
    """
    for module in model.modules():
        if issubclass(type(module), Changed):
            module.__class__ = original_class(type(module))
            for name in ("fusion", "scope"):
                vars(module).pop(name, None)
