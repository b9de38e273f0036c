"""What a folder of shards says about its samples: ``dataset.json`` beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from striate.data.dataset import Normalise, Task
from striate.data.layout import LAYOUTS
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.source import Source

FACTS = "dataset.json"
FORMAT = 1

_MAX_BYTES = 2**26


@dataclass(frozen=True)
class ShardFacts:
    """What samples in shards are, as in `Dataset`; ``label_ids`` are the numbers of the classes in masks.

    ``layout`` names the axes of arrays, ``value_scale`` is None where the files themselves say it.

    >>> ShardFacts("classification", ("cat", "dog")).to_dict()["classes"]
    ['cat', 'dog']
    """

    task: Task
    classes: tuple[str, ...]
    label_ids: tuple[int, ...] = ()
    input_kind: Literal["values", "tokens"] = "values"
    vocabulary: tuple[str, ...] = ()
    void: int | None = None
    normalise: Normalise = "dataset"
    value_scale: float | None = None
    layout: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"format": FORMAT, **plain}


def read_facts(source: Source) -> ShardFacts | None:
    """Read ``dataset.json`` if there is one. Raises `DataError` for what is none of ours."""
    file = source.find(FACTS)
    if file is None:
        return None
    try:
        if file.size > _MAX_BYTES:
            raise _other(file.label, f"of {file.size} bytes")
        given = json.loads(file.read())
    except ValueError as error:
        raise _other(file.label, str(error)) from error
    if not isinstance(given, dict) or given.pop("format", None) != FORMAT:
        raise _other(file.label, f"of another format than {FORMAT}")
    wanted = ShardFacts.__dataclass_fields__
    texts = [name for key in ("classes", "vocabulary") for name in given.get(key) or ()]
    if (
        not {"task", "classes"} <= set(given) <= set(wanted)
        or given["task"] not in get_args(Task)
        or given.get("normalise", "dataset") not in get_args(Normalise)
        or given.get("input_kind", "values") not in ("values", "tokens")
        or given.get("layout") not in (None, *LAYOUTS)
        or not isinstance(given.get("reading", {}), dict)
        or not all(isinstance(name, str) for name in texts)
        or not all(type(number) is int for number in given.get("label_ids") or ())
        or not (given.get("void") is None or type(given["void"]) is int)
        or not (given.get("value_scale") is None or _is_positive(given["value_scale"]))
    ):
        raise _other(file.label, f"with {', '.join(sorted(map(str, given)))[:200]}")
    listed = {name: tuple(given[name]) for name in ("classes", "vocabulary", "label_ids") if name in given}
    return ShardFacts(**{**given, **listed})


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _other(label: str, what: str) -> DataError:
    return DataError("a dataset.json as striate pack writes it", f"{label} {what}", "Pack the set again, or remove it.")
