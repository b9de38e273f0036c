"""The register of networks: `register` puts one in, `create_model` builds it, `list_models` and `model_entry` tell.

A builder is a function ``(spatial_dims, in_channels, num_classes, *, option=default, ...) -> nn.Module``. Its name is
the network's, and its keyword-only arguments are the options that `create_model` accepts. The sizes of a family are
`functools.partial` of one builder, each registered under its name; what the partial fixes is no option. Tests run over
all that is registered.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What the register knows of a network.

    ``spatial_dims`` are the ranks it exists in. ``input_size`` is the usual size per axis, and ``min_input_size`` the
    smallest size per axis that it can be built for and called with. ``parameters`` and ``macs`` (of one input) are
    those of the usual form: in 2-D, or else the lowest rank, with ``in_channels``, ``num_classes`` and ``input_size``.
    ``accuracy`` is what the paper, or the implementation whose form is built, reports, in words.
    """

    name: str
    summary: str
    paper: str
    year: int
    task: str
    spatial_dims: tuple[int, ...]
    input_size: int
    min_input_size: int
    builder: Callable[..., nn.Module]
    in_channels: int = 1
    num_classes: int = 10
    parameters: int | None = None
    macs: int | None = None
    accuracy: str = ""

    @property
    def usual_rank(self) -> int:
        """The rank of the usual form."""
        return 2 if 2 in self.spatial_dims else self.spatial_dims[0]

    @property
    def options(self) -> dict[str, object]:
        """The options that `create_model` accepts for this network, with their defaults."""
        fixed = self.builder.keywords if isinstance(self.builder, functools.partial) else {}
        parameters = inspect.signature(self.builder).parameters.values()
        return {
            entry.name: entry.default
            for entry in parameters
            if entry.kind is inspect.Parameter.KEYWORD_ONLY and entry.name not in fixed
        }

    @property
    def description(self) -> str:
        """The builder's docstring, then what is counted and published of this very network."""
        builder = self.builder.func if isinstance(self.builder, functools.partial) else self.builder
        facts = [f"{self.paper}, {self.year}." if self.paper else ""]
        if self.parameters is not None and self.macs is not None:
            facts.append(f"{self.parameters:,} parameters and {self.macs:,} macs for one {self._usual_input()}.")
        facts.append(self.accuracy)
        return f"{inspect.getdoc(builder) or self.summary}\n\n{' '.join(filter(None, facts))}".strip()

    def _usual_input(self) -> str:
        size = "x".join([str(self.input_size)] * self.usual_rank)
        return f"{size} input of {self.in_channels} channel{'s' * (self.in_channels > 1)}, {self.num_classes} classes"


_ENTRIES: dict[str, ModelEntry] = {}


def register(
    *,
    summary: str,
    paper: str,
    year: int,
    input_size: int,
    min_input_size: int,
    spatial_dims: tuple[int, ...] = (1, 2, 3),
    task: str = "classification",
    name: str | None = None,
    in_channels: int = 1,
    num_classes: int = 10,
    parameters: int | None = None,
    macs: int | None = None,
    accuracy: str = "",
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register the builder below as a network under ``name``, or the builder's own name.

    The other arguments are described at `ModelEntry`. Raises `ModelError` if the name is taken.

    >>> import torch
    >>> @register(summary="One dense layer", paper="", year=1958, input_size=8, min_input_size=1, spatial_dims=(1,))
    ... def perceptron(spatial_dims, in_channels, num_classes, *, input_size=8):
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_channels * input_size, num_classes))
    >>> create_model("perceptron", spatial_dims=1)
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=8, out_features=10, bias=True)
    )
    >>> unregister("perceptron")
    """

    def enter(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        chosen = name or builder.__name__
        if chosen in _ENTRIES:
            raise ModelError(
                "a name that no other model has", f"a second model named {chosen!r}", "Rename the builder function."
            )
        _ENTRIES[chosen] = ModelEntry(
            chosen,
            summary,
            paper,
            year,
            task,
            spatial_dims,
            input_size,
            min_input_size,
            builder,
            in_channels,
            num_classes,
            parameters,
            macs,
            accuracy,
        )
        return builder

    return enter


def unregister(name: str) -> None:
    """Take a network out of the register. Raises `ModelError` for an unknown name."""
    del _ENTRIES[model_entry(name).name]


def list_models(*, task: str | None = None, spatial_dims: int | None = None) -> list[str]:
    """The names of the registered networks, sorted; with arguments only those for a task or in a rank.

    >>> list_models(spatial_dims=3)
    ['lenet', 'lenet_drawn', 'two_conv']
    """
    return sorted(
        entry.name
        for entry in _ENTRIES.values()
        if (task is None or entry.task == task) and (spatial_dims is None or spatial_dims in entry.spatial_dims)
    )


def model_entry(name: str) -> ModelEntry:
    """The entry of a network. Raises `ModelError` for an unknown name, with the nearest known ones.

    >>> model_entry("lenet5").year
    1998
    """
    if not isinstance(name, str) or name not in _ENTRIES:
        raise ModelError("the name of a model", repr(name), did_you_mean(str(name), _ENTRIES))
    return _ENTRIES[name]


def create_model(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, num_classes: int = 10, **options: Any
) -> nn.Module:
    """Build a registered network with fresh weights.

    It maps (N, in_channels, *spatial) to logits (N, num_classes). ``options`` are the network's own, such as
    ``input_size``; `ModelEntry.options` lists them. Raises `ModelError` for an unknown name, a rank in which the
    network does not exist, counts below 1, and options it does not take.

    >>> model = create_model("lenet", in_channels=3)
    >>> sum(parameter.numel() for parameter in model.parameters())
    62006
    """
    entry = model_entry(name)
    if spatial_dims not in entry.spatial_dims:
        raise ModelError(
            f"{name} in {' or '.join(f'{rank}-D' for rank in entry.spatial_dims)}",
            f"spatial_dims={spatial_dims!r}",
            _models_of_rank(spatial_dims),
        )
    for argument, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{argument} to be a positive integer", f"{argument}={value!r}", "Use 1 or more.")
    known = entry.options
    for option, value in options.items():
        if option not in known:
            takes = ", ".join(f"{key}={value!r}" for key, value in known.items())
            raise ModelError(
                f"options that {name} takes: {takes or 'none'}",
                f"{option}={value!r}",
                did_you_mean(option, known) if known else "Leave it out.",
            )
    return entry.builder(spatial_dims, in_channels, num_classes, **options)


def _models_of_rank(spatial_dims: int) -> str:
    names = list_models(spatial_dims=spatial_dims)
    return f"Models in {spatial_dims}-D: {', '.join(names)}." if names else "Networks exist in 1-D, 2-D and 3-D."
