"""The losses a run can name. Each takes a network's outputs and the targets, and gives the mean over the batch.

Outputs are (n, outputs), or (n, classes, *spatial) for segmentation. Targets are those of the task (see
`striate.data.Samples`), regression's in units of their standard deviation; mixed samples have soft ones, (n, classes).

With class weights ``w`` the loss of a batch is ``sum(w[y] * loss) / n``: the weights of a balanced run have the mean 1
over the training part, so that the size of the steps stays what it was, and a batch in pieces gives what a whole one
does. PyTorch divides by the sum of the weights in each batch instead.

Of a batch that several processes share, each computes a loss such that their mean, weighted by samples, is that of the
batch, also where that is no mean over samples: positions that count, and the sums of Dice, are those of all processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from pydantic import Field

from striate.errors import ConfigError
from striate.models.outputs import WithAuxiliary, main_output
from striate.nn.losses import half_squared_error
from striate.nn.synchronised import summed
from striate.train.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ClassWeights: TypeAlias = Literal["balanced"] | list[Annotated[float, Field(ge=0)]] | None
"""One weight per class, or ``balanced``: inversely proportional to how often each class occurs in the training part."""


_NO_VOID = -100  # PyTorch's own, which is no label


class _Loss(Section):
    section: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = ()


class Auto(_Loss):
    """The usual loss of the task, with those of its settings that are given here.

    Cross entropy for classes and identities, with Dice for segmentation; binary cross entropy for several labels;
    squared error for numbers.
    """

    name: Literal["auto"] = "auto"
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    class_weights: ClassWeights = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Raise `ConfigError`: which loss it is follows from the data (see `striate.train.settling`)."""
        raise ConfigError(
            "the loss of a run, which knows its task", "loss.name='auto'", f"Name one of: {', '.join(LOSSES)}."
        )


class CrossEntropy(_Loss):
    """Softmax and cross-entropy, with label smoothing and class weights.

    With smoothing ``s`` and ``K`` classes the target is ``1 - s + s / K`` for the true class and ``s / K`` for the
    others. Source: Szegedy et al., Rethinking the Inception architecture for computer vision, 2016, section 7.
    Positions of the class ``void`` do not count.

    >>> import torch
    >>> round(CrossEntropy()(torch.zeros(1, 4), torch.tensor([2])).item(), 4)
    1.3863
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "verification", "segmentation")
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: ClassWeights = None
    void: int | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        if self.class_weights is None and self.void is None:
            return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        total = F.cross_entropy(
            outputs,
            targets,
            weight=_as_tensor(self.class_weights, outputs),
            label_smoothing=self.label_smoothing,
            reduction="sum",
            ignore_index=_NO_VOID if self.void is None else self.void,
        )
        return total / _counted(targets, outputs, self.void)


class Focal(_Loss):
    """Cross-entropy in which what is known already counts less: ``-(1 - p) ** gamma * log(p)`` of the true class.

    For unbalanced classes. Source: Lin, Goyal, Girshick, He and Dollar, Focal loss for dense object detection, 2017.

    >>> logits = torch.tensor([[0.9, 0.1]]).log()
    >>> round(Focal()(logits, torch.tensor([0])).item() / CrossEntropy()(logits, torch.tensor([0])).item(), 4)
    0.01
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "verification", "segmentation")
    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)
    class_weights: ClassWeights = None
    void: int | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        logs = outputs.log_softmax(dim=1)
        losses = -((1 - logs.exp()) ** self.gamma) * logs * one_hot(targets, outputs, self.void)
        weights = _as_tensor(self.class_weights, outputs)
        if weights is not None:
            losses = losses * weights.view(1, -1, *[1] * (outputs.ndim - 2))
        return losses.sum() / _counted(targets, outputs, self.void)


class HalfSquared(_Loss):
    """The "total error" of the textbooks: half the squared differences to the one-hot target, summed over the classes.

    Networks give logits, and the textbooks' outputs are probabilities, so a softmax comes first.

    >>> import torch
    >>> logits = torch.tensor([[0.2, 0.4, 0.1, 0.3]]).log()
    >>> round(HalfSquared()(logits, torch.tensor([2])).item(), 4)
    0.55
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "verification")
    name: Literal["half_squared_error"] = "half_squared_error"

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return half_squared_error(outputs.softmax(dim=1), targets)


class BinaryCrossEntropy(_Loss):
    """Sigmoid and cross-entropy of each label by itself; the mean over samples and labels.

    ``class_weights`` multiply the loss of the positive samples of each label; balanced ones are the negative samples
    per positive one.

    >>> round(BinaryCrossEntropy()(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).item(), 4)
    0.6931
    """

    tasks: ClassVar[tuple[str, ...]] = ("multi-label",)
    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    class_weights: ClassWeights = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        weights = _as_tensor(self.class_weights, outputs)
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), pos_weight=weights)


class BinaryFocal(_Loss):
    """`Focal` of each label by itself, with a sigmoid.

    >>> round(BinaryFocal(gamma=0.0)(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).item(), 4)
    0.6931
    """

    tasks: ClassVar[tuple[str, ...]] = ("multi-label",)
    name: Literal["binary_focal"] = "binary_focal"
    gamma: float = Field(default=2.0, ge=0)
    class_weights: ClassWeights = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        weights = _as_tensor(self.class_weights, outputs)
        present = targets * outputs.sigmoid().neg().add(1) ** self.gamma * F.logsigmoid(outputs)
        absent = (1 - targets) * outputs.sigmoid() ** self.gamma * F.logsigmoid(-outputs)
        return -((present if weights is None else present * weights) + absent).mean()


class SquaredError(_Loss):
    """The mean squared difference, in units of the targets' variance over the training part.

    >>> SquaredError()(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]])).item()
    2.0
    """

    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    name: Literal["squared_error"] = "squared_error"

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return F.mse_loss(outputs, targets.to(outputs.dtype))


class Huber(_Loss):
    """Half the squared difference up to ``delta`` standard deviations, linear beyond, so that outliers pull less.

    Source: Huber, Robust estimation of a location parameter, 1964.

    >>> Huber()(torch.tensor([[1.0], [4.0]]), torch.tensor([[0.0], [0.0]])).item()
    2.0
    """

    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    name: Literal["huber"] = "huber"
    delta: float = Field(default=1.0, gt=0)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return F.huber_loss(outputs, targets.to(outputs.dtype), delta=self.delta)


class DiceCrossEntropy(_Loss):
    """Cross-entropy per position, plus one minus the Dice score of the probabilities, averaged over the classes.

    Dice is ``(2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)`` per class, summed over all positions of the batch that are
    not ``void``, and so does not care how small a class is. Sources: Milletari, Navab and Ahmadi, V-Net, 2016;
    Isensee and others, nnU-Net, 2021, for the sum of both.

    >>> sure = torch.tensor([[[20.0, -20.0], [-20.0, 20.0]]])
    >>> round(DiceCrossEntropy()(sure, torch.tensor([[0, 1]])).item(), 4)
    0.0
    """

    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    name: Literal["dice_cross_entropy"] = "dice_cross_entropy"
    dice: float = Field(default=1.0, ge=0)
    class_weights: ClassWeights = None
    void: int | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        entropy = CrossEntropy(class_weights=self.class_weights, void=self.void)(outputs, targets)
        truth = one_hot(targets, outputs, self.void)
        said = outputs.softmax(dim=1)
        if self.void is not None:
            said = said * (targets != self.void).unsqueeze(1)
        over = [0, *range(2, outputs.ndim)]
        sums = summed(torch.stack(((said * truth).sum(over), said.sum(over) + truth.sum(over))))
        return entropy + self.dice * (1 - ((2 * sums[0] + 1) / (sums[1] + 1)).mean())


Loss: TypeAlias = (
    CrossEntropy | Focal | HalfSquared | BinaryCrossEntropy | BinaryFocal | SquaredError | Huber | DiceCrossEntropy
)
LossSettings: TypeAlias = Annotated[Auto | Loss, Field(discriminator="name")]

LOSSES: dict[str, type[Loss]] = {
    kind.model_fields["name"].default: kind
    for kind in (
        CrossEntropy,
        Focal,
        HalfSquared,
        BinaryCrossEntropy,
        BinaryFocal,
        SquaredError,
        Huber,
        DiceCrossEntropy,
    )
}


def total_loss(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor | WithAuxiliary, targets: Tensor) -> Tensor:
    """The loss of a network's output; where it has auxiliary heads, plus theirs, each with its weight.

    Source: Szegedy and others, Going deeper with convolutions, 2015.

    >>> import torch
    >>> from striate.models.outputs import WithAuxiliary
    >>> logits = torch.zeros(1, 4)
    >>> round(total_loss(CrossEntropy(), WithAuxiliary(logits, (logits,), (0.3,)), torch.tensor([2])).item(), 4)
    1.8022
    """
    total = loss(main_output(output), targets)
    if isinstance(output, WithAuxiliary):
        for weight, auxiliary in zip(output.weights, output.auxiliary, strict=True):
            total = total + weight * loss(auxiliary, targets)
    return total


def one_hot(targets: Tensor, outputs: Tensor, void: int | None = None) -> Tensor:
    """Targets as one plane per class, in the shape and type of the outputs; soft ones as they are, void ones all zero.

    >>> one_hot(torch.tensor([1, 9]), torch.zeros(2, 3), void=9).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    if targets.is_floating_point():
        return targets.to(outputs.dtype)
    planes = torch.arange(outputs.shape[1], device=targets.device).view(1, -1, *[1] * (outputs.ndim - 2))
    same = targets.unsqueeze(1) == planes
    return (same if void is None else same & (targets != void).unsqueeze(1)).to(outputs.dtype)


def _as_tensor(weights: ClassWeights, outputs: Tensor) -> Tensor | None:
    return None if weights is None or isinstance(weights, str) else outputs.new_tensor(weights)


def _counted(targets: Tensor, outputs: Tensor, void: int | None) -> Tensor | int:
    """How many samples, or positions, the loss is the mean of; 1 where all are void."""
    positions = outputs.numel() // outputs.shape[1]
    if void is None or targets.is_floating_point():
        return positions
    # Processes that share a batch weigh their losses by their positions, those of the void label too.
    sums = summed(torch.stack(((targets != void).sum(), targets.new_tensor(positions))))
    return sums[0].clamp_min(1) * (positions / sums[1].clamp_min(1))
