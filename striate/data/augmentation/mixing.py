"""Mixing pairs of samples, and their targets with them.

The partner of a sample is its neighbour in the batch: places 0 and 1, 2 and 3, ... The order of an epoch is random, so
partners are too; and because pairs do not reach beyond even places, an epoch cut into even pieces, for several
processes, has the same pairs as the whole. A last sample without a partner stays as it is. What is drawn for a pair is
drawn from its first sample.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.hiding import box
from striate.data.augmentation.parameters import Within
from striate.data.augmentation.transform import Facts, Transform, register


@dataclass(frozen=True, kw_only=True)
class _Mixing(Transform):
    """What mixing shares: pairs, the share of the first sample from Beta(``alpha``, ``alpha``), and soft targets."""

    alpha: Annotated[float, Within(0.01, 100)] = 1.0

    def __call__(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Mix the pairs that chance picks; class numbers become soft targets for all."""
        return self.apply(inputs, targets, draws, facts)

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Mix the pairs that chance picks."""
        targets = soft_targets(targets, facts)
        paired = len(inputs) // 2 * 2
        if paired == 0:
            return inputs, targets
        pairs = draws.at(torch.arange(0, paired, 2))
        share = torch.where(pairs.chance("p", self.p), pairs.beta("share", self.alpha), 1.0)
        first, second = inputs[0:paired:2], inputs[1:paired:2]
        labels, others = targets[0:paired:2], targets[1:paired:2]
        mixed, mixed_targets = self.mix((first, second), (labels, others), share, pairs, facts)
        return _woven(inputs, *mixed), _woven(targets, *mixed_targets)

    @abstractmethod
    def mix(
        self, inputs: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], share: Tensor, draws: Draws, facts: Facts
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Mix the first and second samples of all pairs; ``share`` (pairs,) is what a sample keeps of itself."""


def soft_targets(targets: Tensor, facts: Facts) -> Tensor:
    """Class numbers (n,) as shares (n, K) of the classes; other targets as they are.

    >>> soft_targets(torch.tensor([1]), Facts(size=(4,), channels=1, outputs=3))
    tensor([[0., 1., 0.]])
    """
    if facts.task not in ("classification", "verification") or targets.ndim != 1:
        return targets
    return F.one_hot(targets, facts.outputs).float()


def _woven(whole: Tensor, first: Tensor, second: Tensor) -> Tensor:
    woven = whole.clone()
    woven[0 : 2 * len(first) : 2] = first
    woven[1 : 2 * len(first) : 2] = second
    return woven


def _crossed(pair: tuple[Tensor, Tensor], share: Tensor) -> tuple[Tensor, Tensor]:
    first, second = pair
    own = share.reshape(-1, *(1,) * (first.ndim - 1))
    return first * own + second * (1 - own), second * own + first * (1 - own)


@register
@dataclass(frozen=True, kw_only=True)
class Mixup(_Mixing):
    """Blend pairs of samples and their targets (Zhang et al. 2018).

    ``alpha``: the share that a sample keeps is distributed as Beta(alpha, alpha); small ones mix little.

    >>> facts = Facts(size=(1,), channels=1, outputs=2)
    >>> inputs, targets = Mixup()(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([0, 1]), Draws(0, 0, [0, 1]), facts)
    >>> inputs.sum(), targets.sum(0)
    (tensor(4.), tensor([1., 1.]))
    """

    name: ClassVar[str] = "mixup"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multi-label", "regression", "verification")

    alpha: Annotated[float, Within(0.01, 100)] = 0.2

    def mix(
        self, inputs: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], share: Tensor, draws: Draws, facts: Facts
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Blend all pairs."""
        return _crossed(inputs, share), _crossed(targets, share)


@register
@dataclass(frozen=True, kw_only=True)
class CutMix(_Mixing):
    """Exchange a box between pairs of samples, and as much of their targets (Yun et al. 2019).

    The box has 1 - share of the area, share ~ Beta(``alpha``, ``alpha``); its middle may lie anywhere, what falls
    outside is cut off, and targets go by what is left. Masks exchange the same box.
    """

    name: ClassVar[str] = "cutmix"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multi-label", "verification", "segmentation")

    def mix(
        self, inputs: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], share: Tensor, draws: Draws, facts: Facts
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Exchange the boxes of all pairs."""
        shape = inputs[0].shape[2:]
        size = torch.tensor(shape)
        side = torch.from_numpy((1 - share).double().numpy() ** (1 / len(size))).unsqueeze(1)
        lengths = (side * size).long()
        middle = (draws.uniform("middle", shape=(len(size),)) * size).long()
        starts = middle - lengths // 2
        stops = (starts + lengths).clamp(max=size)
        starts = starts.clamp(min=0)
        cut = box(starts, stops, shape)
        swapped = _exchanged(inputs, cut)
        if facts.masks:
            return swapped, _exchanged(targets, cut.squeeze(1))
        kept = 1 - (stops - starts).prod(dim=1).double() / size.prod()
        return swapped, _crossed(targets, kept.float())


def _exchanged(pair: tuple[Tensor, Tensor], cut: Tensor) -> tuple[Tensor, Tensor]:
    first, second = pair
    return torch.where(cut, second, first), torch.where(cut, first, second)
