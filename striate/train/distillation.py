"""Learning from another network's answers besides the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field

from striate.errors import ConfigError
from striate.models.outputs import main_output
from striate.train.loss import total_loss
from striate.train.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric
    from torch import Tensor

    from striate.data import Dataset
    from striate.models.outputs import WithAuxiliary
    from striate.train.run import Run


class Distillation(Section):
    """Which run teaches, and how much of the loss is its.

    The loss is ``(1 - alpha) * loss + alpha * temperature ** 2 * KL(teacher || student)``, with the probabilities of
    both taken at ``temperature``. ``teacher`` is the folder of a run on the same classes, "" for none. Source: Hinton,
    Vinyals and Dean, Distilling the knowledge in a neural network, 2015.
    """

    section: ClassVar[str] = "distillation"
    teacher: str = ""
    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.9, ge=0, le=1)


class Teacher:
    """Another run's network, which answers the same inputs."""

    def __init__(self, run: Run, settings: Distillation, dataset: Dataset, fabric: Fabric) -> None:
        _check(run, settings, dataset)
        self._settings = settings
        self._preprocessing = run.preprocessing
        self._model = fabric.setup(run.model().requires_grad_(False))
        self._model.eval()

    def loss(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        output: Tensor | WithAuxiliary,
        targets: Tensor,
        inputs: Tensor,
    ) -> Tensor:
        """The student's loss; ``inputs`` come as stored."""
        with torch.no_grad():
            taught = self._model(self._preprocessing(inputs))
        given = total_loss(loss, output, targets)
        alpha, temperature = self._settings.alpha, self._settings.temperature
        return (1 - alpha) * given + alpha * soft_loss(main_output(output), taught, temperature)


def soft_loss(output: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """``temperature ** 2`` times the divergence of the student's probabilities from the teacher's, mean over samples.

    The factor keeps its gradients as large as those of the labels, whatever the temperature.

    >>> soft_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 3.0]]), 4.0).item()
    0.0
    """
    student, teacher = (logits.movedim(1, -1).flatten(0, -2) / temperature for logits in (output, taught))
    divergence = F.kl_div(
        student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="batchmean", log_target=True
    )
    return divergence * temperature**2


def _check(run: Run, settings: Distillation, dataset: Dataset) -> None:
    place = f"distillation.teacher={settings.teacher!r}"
    tasks = ("classification", "segmentation")
    if dataset.task not in tasks or run.network.task != dataset.task:
        raise ConfigError(
            "a teacher and data of one task, classification or segmentation",
            f"{place} of {run.network.task}, and data for {dataset.task}",
            "Train without distillation.",
        )
    if run.classes != dataset.classes:
        raise ConfigError(
            f"a teacher of the classes {', '.join(dataset.classes[:5])}{', ...' if len(dataset.classes) > 5 else ''}",
            f"{place} of {', '.join(run.classes[:5])}{', ...' if len(run.classes) > 5 else ''}",
            "Train the teacher on the same data.",
        )
    mine, theirs = (dataset.in_channels, dataset.input_size), (run.network.in_channels, run.preprocessing.size)
    if mine != tuple(theirs) or dataset.vocabulary != run.network.vocabulary:
        raise ConfigError(
            f"a teacher of inputs with {mine[0]} channels of size {mine[1]}",
            f"{place} of inputs with {theirs[0]} channels of size {theirs[1]}",
            "Train the teacher on the same data, or give data.image_size and data.channels.",
        )
