"""A network at a glance: its stages in the order in which they run, with what each puts out, costs and sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from torch import nn

from striate.insight.summary import Row, Summary, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Size
    from striate.insight.summary import FieldOfAxis


@dataclass(frozen=True, slots=True)
class Part:
    """A stage of a network, or what runs between two of them.

    ``name`` is that of the submodule, or the names of the layers in between; ``content`` says what it is made of.
    ``output_shape`` and ``receptive_field`` are those of its last layer, ``field`` and ``stride`` the latter as text.
    """

    name: str
    content: str
    output_shape: Size | None
    parameters: int
    macs: int
    receptive_field: tuple[FieldOfAxis, ...]
    field: str
    stride: str


def outline(model: nn.Module, input: Tensor | Sequence[int], stages: Sequence[str]) -> tuple[tuple[Part, ...], Summary]:
    """Divide a network into the submodules named in ``stages`` and what runs before, between and after them.

    The parts are in order of execution, and their parameters and macs sum to those of the summary, which comes with
    them. A layer that the forward pass does not reach, such as an auxiliary head, belongs to no part. Raises
    `ModelError` as `summary` does.

    >>> from striate.models import create_model
    >>> parts, total = outline(create_model("lenet"), (1, 1, 32, 32), ("conv1", "conv2"))
    >>> [(part.name, part.content, part.output_shape, part.macs) for part in parts[:2]]
    [('conv1', 'FieldConv2d', (1, 6, 28, 28), 117600), ('act1, pool1', '', (1, 6, 14, 14), 0)]
    """
    total = summary(model, input)
    modules = dict(model.named_modules())
    called = [row for row in total.rows if row.call]
    parts = []
    for stage, group in groupby(called, lambda row: _stage_of(row.name, stages)):
        rows = list(group)
        name, content = (stage, _content(modules[stage])) if stage else (_names(rows, stages), "")
        cells = dict(zip(total.headings, rows[-1].cells(), strict=True))
        parts.append(
            Part(
                name,
                content,
                rows[-1].output_shape,
                sum(row.parameters for row in rows),
                sum(row.macs for row in rows),
                rows[-1].receptive_field,
                cells["field"],
                cells["stride"],
            )
        )
    return tuple(parts), total


def _stage_of(name: str, stages: Sequence[str]) -> str:
    """The innermost stage that a layer lies in, "" for none."""
    return max((stage for stage in stages if f"{name}.".startswith(f"{stage}.")), key=len, default="")


def _content(module: nn.Module) -> str:
    """What a submodule is made of: its class, or of a container the classes in it with their number."""
    kinds = Counter(type(child).__name__ for child in module.children())
    if not isinstance(module, nn.Sequential | nn.ModuleList) or not kinds:
        return type(module).__name__
    return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())


def _names(rows: Sequence[Row], stages: Sequence[str]) -> str:
    """The names of layers between stages, as far as they tell these apart from the stages."""
    names = []
    for row in rows:
        words = row.name.split(".")
        depth = 1
        while depth < len(words) and any(stage.startswith(".".join(words[:depth]) + ".") for stage in stages):
            depth += 1
        names.append(".".join(words[:depth]))
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct) if len(distinct) < 5 else f"{distinct[0]} ... {distinct[-1]}"
