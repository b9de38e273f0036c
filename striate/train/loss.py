"""The losses a run can name. Each takes logits (N, classes) and labels (N,) and gives the mean over the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

import torch.nn.functional as F
from pydantic import Field

from striate.models.outputs import WithAuxiliary, main_output
from striate.nn.losses import half_squared_error
from striate.train.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class CrossEntropy(Section):
    """Softmax and cross-entropy, with label smoothing.

    With smoothing ``s`` and ``K`` classes the target is ``1 - s + s / K`` for the true class and ``s / K`` for the
    others. Source: Szegedy et al., Rethinking the Inception architecture for computer vision, 2016, section 7.

    >>> import torch
    >>> round(CrossEntropy()(torch.zeros(1, 4), torch.tensor([2])).item(), 4)
    1.3863
    """

    section: ClassVar[str] = "loss"
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class HalfSquared(Section):
    """The "total error" of the textbooks: half the squared differences to the one-hot target, summed over the classes.

    Networks give logits, and the textbooks' outputs are probabilities, so a softmax comes first.

    >>> import torch
    >>> logits = torch.tensor([[0.2, 0.4, 0.1, 0.3]]).log()
    >>> round(HalfSquared()(logits, torch.tensor([2])).item(), 4)
    0.55
    """

    section: ClassVar[str] = "loss"
    name: Literal["half_squared_error"] = "half_squared_error"

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return half_squared_error(logits.softmax(dim=1), labels)


def total_loss(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor | WithAuxiliary, labels: Tensor) -> Tensor:
    """The loss of a network's output; where it has auxiliary heads, plus theirs, each with its weight.

    Source: Szegedy and others, Going deeper with convolutions, 2015.

    >>> import torch
    >>> from striate.models.outputs import WithAuxiliary
    >>> logits = torch.zeros(1, 4)
    >>> round(total_loss(CrossEntropy(), WithAuxiliary(logits, (logits,), (0.3,)), torch.tensor([2])).item(), 4)
    1.8022
    """
    total = loss(main_output(output), labels)
    if isinstance(output, WithAuxiliary):
        for weight, auxiliary in zip(output.weights, output.auxiliary, strict=True):
            total = total + weight * loss(auxiliary, labels)
    return total


LossSettings: TypeAlias = Annotated[CrossEntropy | HalfSquared, Field(discriminator="name")]
