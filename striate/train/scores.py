"""What an evaluation is made of: scores of classes, the samples that fare worst, and how far probabilities hold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from striate.train.metrics import brier_score, calibration_error, reliability
from striate.train.metrics.classification import log_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.train.metrics import Calibration, Reliability

_Z95 = 1.959963984540054  # the standard normal quantile of 0.975


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class or label fares; 0 where a ratio has nothing below the line. ``support`` counts its samples."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def of_counts(cls, name: str, hits: int, said: int, support: int) -> ClassScore:
        """From how many samples were rightly said to be of the class, were said to be, and are.

        >>> ClassScore.of_counts("cat", 3, 4, 6)
        ClassScore(name='cat', precision=0.75, recall=0.5, f1=0.6, support=6)
        """
        return cls(
            name=name,
            precision=hits / said if said else 0.0,
            recall=hits / support if support else 0.0,
            f1=2 * hits / (said + support) if said + support else 0.0,
            support=support,
        )


@dataclass(frozen=True, slots=True)
class Mistake:
    """A sample that was taken for something else: its place in its part, and the probabilities of both answers.

    ``input`` is the sample as stored, (C, *spatial) or tokens (L,); it is no part of `to_dict`.
    """

    index: int
    name: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    input: Tensor = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The mistake in the plain types of JSON, without its input."""
        return {key.name: getattr(self, key.name) for key in fields(self) if key.name != "input"}


@dataclass(frozen=True, slots=True)
class WorstSample:
    """A sample that fares badly where there is more than one answer: several labels, numbers, or labels of positions.

    ``error`` is its log loss per label, its largest error in units of the targets' deviation, or one minus its Dice
    score; ``true`` and ``predicted`` say in words what is in it and what was found. ``truth`` and ``said`` are the
    labels of its positions, for segmentation. Tensors are no part of `to_dict`.
    """

    index: int
    name: str
    true: str
    predicted: str
    error: float
    input: Tensor = field(repr=False, compare=False)
    truth: Tensor | None = field(default=None, repr=False, compare=False)
    said: Tensor | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The sample in the plain types of JSON, without its tensors."""
        return {name: getattr(self, name) for name in ("index", "name", "true", "predicted", "error")}


@dataclass(frozen=True, slots=True)
class WorstPair:
    """Two samples that are wrongly taken for the same identity, or for two; inputs are no part of `to_dict`."""

    names: tuple[str, str]
    identities: tuple[str, str]
    similarity: float
    inputs: tuple[Tensor, Tensor] = field(repr=False, compare=False)

    @property
    def same(self) -> bool:
        """Whether the two are of one identity."""
        return self.identities[0] == self.identities[1]

    def to_dict(self) -> dict[str, Any]:
        """The pair in the plain types of JSON, without its inputs."""
        return {"names": list(self.names), "identities": list(self.identities), "similarity": self.similarity}


@dataclass(frozen=True, slots=True)
class Trust:
    """How far probabilities can be believed: calibration errors over equal and adaptive bins, and proper scores."""

    ece: float
    adaptive_ece: float
    brier: float
    log_loss: float
    reliability: Reliability

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Trust:
        """Measure probabilities ``(n, classes)``.

        >>> import torch
        >>> Trust.of(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1])).ece
        0.0
        """
        diagram = reliability(probabilities, labels)
        return cls(
            ece=diagram.error,
            adaptive_ece=calibration_error(probabilities, labels, scheme="adaptive"),
            brier=brier_score(probabilities, labels),
            log_loss=float(log_losses(probabilities, labels).mean()),
            reliability=diagram,
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers in the plain types of JSON."""
        return asdict(self) | {"reliability": self.reliability.to_dict()}


@dataclass(frozen=True, slots=True)
class Trusted:
    """The calibration of an evaluation: as the network puts it, and ``scaled`` by a temperature if one was asked for.

    ``fitted`` says what the temperature is and did on the samples it was fitted to.
    """

    plain: Trust
    scaled: Trust | None = None
    fitted: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """The calibration in the plain types of JSON."""
        return {
            "plain": self.plain.to_dict(),
            "scaled": self.scaled.to_dict() if self.scaled else None,
            "fitted": self.fitted.to_dict() if self.fitted else None,
        }


def class_scores(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> tuple[ClassScore, ...]:
    """The scores of each class of a confusion matrix of counts, rows by true class.

    >>> [score.recall for score in class_scores(["cat", "dog"], [[3, 1], [0, 4]])]
    [0.75, 1.0]
    """
    said = [sum(row[place] for row in confusion) for place in range(len(names))]
    return tuple(
        ClassScore.of_counts(name, confusion[place][place], said[place], sum(confusion[place]))
        for place, name in enumerate(names)
    )


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, by Wilson's score method; it stays within 0 and 1.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    >>> [round(bound, 4) for bound in wilson_interval(90, 100)]
    [0.8256, 0.9448]
    """
    share, z2 = correct / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # At the ends the formula gives 0 and 1 exactly; floating point nearly does.
    return 0.0 if correct == 0 else max(centre - half, 0.0), 1.0 if correct == count else min(centre + half, 1.0)
