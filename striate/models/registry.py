"""The register of networks: `register` puts one in, `create_model` builds it, `list_models` and `model_entry` tell.

A builder is a function ``(spatial_dims, in_channels, num_classes, *, option=default, ...) -> nn.Module``. Its name is
the network's, and its keyword-only arguments are the options that `create_model` accepts. The sizes of a family are
`functools.partial` of one builder, each registered under its name; what the partial fixes is no option. Tests run over
all that is registered.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.errors import ModelError, did_you_mean
from striate.geometry import per_axis
from striate.units import readable_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor, nn

    from striate.geometry import Axes, Size


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What the register knows of a network.

    ``spatial_dims`` are the ranks it exists in. ``input_size`` is the usual size, and ``min_input_size`` the smallest
    that it can be built for and called with: one size for all axes, or one per axis of a network of one rank, such as
    the frames, rows and columns of a clip; `usual_size` and `smallest_size` give them per axis. ``parameters`` and
    ``macs`` (of one input) are those of the usual form: in 2-D, or else the lowest rank, with ``in_channels``,
    ``num_classes`` and ``input_size``.
    ``input_kind`` is "values", (N, in_channels, *spatial), or "tokens", integers (N, length) below ``in_channels``.
    ``accuracy`` is what the paper, or the implementation whose form is built, reports, in words. ``learns_by`` is
    "gradients", or names the learning procedure of its own of a network that gradients do not train, and its method.
    """

    name: str
    summary: str
    paper: str
    year: int
    task: str
    spatial_dims: tuple[int, ...]
    input_size: Axes
    min_input_size: Axes
    builder: Callable[..., nn.Module]
    in_channels: int = 1
    num_classes: int = 10
    parameters: int | None = None
    macs: int | None = None
    accuracy: str = ""
    input_kind: str = "values"
    learns_by: str = "gradients"

    @property
    def usual_rank(self) -> int:
        """The rank of the usual form."""
        return 2 if 2 in self.spatial_dims else self.spatial_dims[0]

    def usual_size(self, spatial_dims: int | None = None) -> Size:
        """The usual size per axis, in a rank or else the usual one. Raises `GeometryError`.

        >>> model_entry("r3d_18").usual_size(), model_entry("resnet18").usual_size(3)
        ((16, 112, 112), (224, 224, 224))
        """
        return per_axis("input_size", self.input_size, spatial_dims or self.usual_rank)

    def smallest_size(self, spatial_dims: int | None = None) -> Size:
        """The smallest size per axis, in a rank or else the usual one. Raises `GeometryError`.

        >>> model_entry("two_conv").smallest_size()
        (4, 4)
        """
        return per_axis("min_input_size", self.min_input_size, spatial_dims or self.usual_rank)

    def example(self, shape: Size, *, generator: Generator | None = None) -> Tensor:
        """A random batch of ``shape``, (N, C, *spatial): normal values, or (N, length) tokens below C.

        >>> model_entry("wavenet").example((2, 256, 1024)).shape
        torch.Size([2, 1024])
        """
        import torch

        if self.input_kind == "tokens":
            count, tokens, *size = shape
            return torch.randint(tokens, (count, *size), generator=generator)
        return torch.randn(shape, generator=generator)

    def usual_form(self) -> nn.Module:
        """Build the network as published, with the channels, classes and size that its parameters are counted for."""
        options = {"input_size": self.usual_size()} if "input_size" in self.options else {}
        return self.builder(self.usual_rank, self.in_channels, self.num_classes, **options)

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
    def family(self) -> Callable[..., nn.Module]:
        """The function that builds this network and the other sizes of its family."""
        return self.builder.func if isinstance(self.builder, functools.partial) else self.builder

    @property
    def docstring(self) -> str:
        """What the builder says of itself, for all sizes of the family."""
        return inspect.getdoc(self.family) or self.summary

    @property
    def description(self) -> str:
        """The builder's docstring, then what is counted and published of this very network."""
        facts = [f"{self.paper}, {self.year}." if self.paper else ""]
        if self.parameters is not None and self.macs is not None:
            facts.append(f"{self.parameters:,} parameters and {self.macs:,} macs for one {self._usual_input()}.")
        facts.append(self.accuracy)
        if self.learns_by != "gradients":
            facts.append(f"Learns by {self.learns_by}.")
        return f"{self.docstring}\n\n{' '.join(filter(None, facts))}".strip()

    def _usual_input(self) -> str:
        size = readable_size(self.usual_size())
        if self.input_kind == "tokens":
            return f"sequence of {size} tokens out of {self.in_channels:,}, {self.num_classes} classes"
        return f"{size} input of {self.in_channels} channel{'s' * (self.in_channels > 1)}, {self.num_classes} classes"


_ENTRIES: dict[str, ModelEntry] = {}


def register(
    *,
    summary: str,
    paper: str,
    year: int,
    input_size: Axes,
    min_input_size: Axes,
    spatial_dims: tuple[int, ...] = (1, 2, 3),
    task: str = "classification",
    name: str | None = None,
    in_channels: int = 1,
    num_classes: int = 10,
    parameters: int | None = None,
    macs: int | None = None,
    accuracy: str = "",
    input_kind: str = "values",
    learns_by: str = "gradients",
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register the builder below as a network under ``name``, or the builder's own name.

    The other arguments are described at `ModelEntry`. Raises `ModelError` if the name is taken, and `GeometryError` for
    sizes that are not one positive integer, or one per axis in every rank of the network.

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
        entry = ModelEntry(
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
            input_kind,
            learns_by,
        )
        for rank in spatial_dims:
            entry.usual_size(rank)
            entry.smallest_size(rank)
        _ENTRIES[chosen] = entry
        return builder

    return enter


def unregister(name: str) -> None:
    """Take a network out of the register. Raises `ModelError` for an unknown name."""
    del _ENTRIES[model_entry(name).name]


def list_models(*, task: str | None = None, spatial_dims: int | None = None) -> list[str]:
    """The names of the registered networks, sorted; with arguments only those for a task or in a rank.

    >>> list_models(task="next-sample prediction", spatial_dims=1)
    ['wavenet']
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
        raise ModelError("the name of a model", repr(name), _nearest(str(name)))
    return _ENTRIES[name]


def _nearest(name: str) -> str:
    """Which names may be meant: those that begin so, such as the sizes of a family, or else are spelled alike."""
    wanted = name.strip().lower()
    near = sorted(known for known in _ENTRIES if wanted and known.startswith(wanted))[:4]
    near = near or difflib.get_close_matches(wanted, sorted(_ENTRIES), n=2)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return "`striate models` and list_models() list them."


def create_model(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, num_classes: int = 10, **options: Any
) -> nn.Module:
    """Build a registered network with fresh weights.

    It maps (N, in_channels, *spatial), or integers (N, length) where its entry's ``input_kind`` is "tokens", to logits
    (N, num_classes). ``options`` are the network's own, such as ``input_size``; `ModelEntry.options` lists them. Raises
    `ModelError` for an unknown name, a rank in which the network does not exist, counts below 1, and options it does
    not take.

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
    if list_models(spatial_dims=spatial_dims):
        return f"`striate models --rank {spatial_dims}` lists the models in {spatial_dims}-D."
    return "Networks exist in 1-D, 2-D and 3-D."
