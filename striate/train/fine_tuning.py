"""Starting from weights that were trained before, with parts of the network kept as they are."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch.nn.modules.batchnorm import _BatchNorm

from striate.errors import ConfigError
from striate.models.features import head_name, stage_names
from striate.train.section import Section
from striate.train.stages import parameters_by_stage

if TYPE_CHECKING:
    from torch import nn

ALL_BUT_HEAD = "all but head"


class FineTuning(Section):
    """Which weights to begin with, and what to freeze.

    ``weights`` is the folder of a run, whose best weights are taken, or a file of weights; "" starts fresh. What fits
    is loaded (see `striate.models.weights.load_weights`), a final layer for other outputs starts fresh. ``freeze``
    keeps parameters as they are: ``"all but head"``, the first so many stages, or a list of stages, layers and
    patterns such as ``"features.*.conv*"``. From epoch ``unfreeze_after`` (counted from 0) on everything learns.
    """

    section: ClassVar[str] = "fine_tuning"
    weights: str = ""
    freeze: str | int | list[str] = Field(default_factory=list)
    unfreeze_after: int | None = Field(default=None, ge=1)


class Freezing:
    """Keeps parts of a network as they are: their parameters get no gradients, and batch norms no new statistics.

    >>> from striate.models import create_model
    >>> model = create_model("lenet")
    >>> Freezing(model, FineTuning(freeze=1)).apply(epoch=0)
    >>> [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    ['conv1.weight', 'conv1.bias']
    """

    def __init__(self, model: nn.Module, settings: FineTuning) -> None:
        every = dict(model.named_parameters())
        names = _chosen(model, settings.freeze)
        if names and len(names) == len(every):
            raise ConfigError(
                "fine_tuning.freeze to leave something that learns",
                f"fine_tuning.freeze={settings.freeze!r}",
                "Freeze fewer layers.",
            )
        self._parameters = [every[name] for name in names]
        owners = {name.rpartition(".")[0] for name in names}
        self._norms = [
            module for name, module in model.named_modules() if isinstance(module, _BatchNorm) and name in owners
        ]
        self._until = settings.unfreeze_after

    def frozen_at(self, epoch: int) -> bool:
        """Whether anything is frozen in an epoch, counted from 0."""
        return bool(self._parameters) and (self._until is None or epoch < self._until)

    @property
    def thaws(self) -> bool:
        """Whether what is frozen will learn later."""
        return self._until is not None

    def apply(self, epoch: int) -> None:
        """Freeze, or thaw, for an epoch; after ``model.train()``, which batch norms would follow."""
        frozen = self.frozen_at(epoch)
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
        if frozen:
            for norm in self._norms:
                norm.eval()


def _chosen(model: nn.Module, freeze: str | int | list[str]) -> list[str]:
    """The names of the parameters that a setting means."""
    every = [name for name, _ in model.named_parameters()]
    if freeze == ALL_BUT_HEAD:
        head = head_name(model)
        return [name for name in every if not name.startswith(f"{head}.")]
    if isinstance(freeze, int):
        stages = list(parameters_by_stage(model).values())
        if not 0 <= freeze < len(stages):
            raise ConfigError(
                f"fine_tuning.freeze from 0 to {len(stages) - 1}, the number of stages",
                f"fine_tuning.freeze={freeze}",
                "Freeze fewer stages.",
            )
        return [name for names in stages[:freeze] for name in names]
    chosen: set[str] = set()
    patterns = [freeze] if isinstance(freeze, str) else freeze
    stages_of = parameters_by_stage(model) if patterns and stage_names(model) else {}
    for pattern in patterns:
        matched = {name for name in every if name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)}
        matched |= set(stages_of.get(pattern, ()))
        if not matched:
            named = ", ".join(dict.fromkeys(name.partition(".")[0] for name in every))
            raise ConfigError(
                f"fine_tuning.freeze to be {ALL_BUT_HEAD!r}, a number of stages, or names and patterns of layers",
                f"{pattern!r}, which no parameter has",
                f"The network has {named}, and what is inside them.",
            )
        chosen |= matched
    return [name for name in every if name in chosen]
