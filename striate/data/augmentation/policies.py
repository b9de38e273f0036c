"""RandAugment and TrivialAugment: for each sample, operations picked at random from one list.

The papers' list for images has fourteen operations. Of these, a rank and a kind of values keeps those with a meaning:
rotations and shears need two axes, saturation needs RGB, and what is defined by black and white (autocontrast,
equalize, posterize, solarize) needs values with a known full white. Signals keep shifts, brightness (a gain), contrast
and sharpness. All samples whose operation moves them are moved in one call.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from striate.data.augmentation import colour
from striate.data.augmentation.affine import backwards, rotations
from striate.data.augmentation.draws import Draws
from striate.data.augmentation.parameters import OneOf, Within
from striate.data.augmentation.transform import Facts, Transform, register
from striate.data.augmentation.warping import PADDING_MODES, warp_affine


@dataclass(frozen=True)
class Strengths:
    """What the full level of each operation is: degrees, slope, part of the side, change of factor, bits lost."""

    rotate: float
    shear: float
    translate: float
    enhance: float
    bits: int


# Translation in the papers is in pixels: 100 of 224 in the one (here 150 of 331, as its search ran), 32 in the other.
_USUAL = Strengths(rotate=30, shear=0.3, translate=150 / 331, enhance=0.9, bits=4)
_WIDE = Strengths(rotate=135, shear=0.99, translate=0.5, enhance=0.99, bits=6)

_Toning = Callable[[Tensor, Tensor, Tensor, Strengths, Facts], Tensor]
_MOVING = ("rotate", "shear", "translate")


def _enhancing(adjust: Callable[[Tensor, Tensor, Facts], Tensor]) -> _Toning:
    def tone(inputs: Tensor, level: Tensor, sign: Tensor, strengths: Strengths, facts: Facts) -> Tensor:
        return adjust(inputs, 1 + level * sign * strengths.enhance, facts)

    return tone


def _posterized(inputs: Tensor, level: Tensor, sign: Tensor, strengths: Strengths, facts: Facts) -> Tensor:
    return colour.posterize(inputs, 8 - (level * strengths.bits).round().long())


def _solarized(inputs: Tensor, level: Tensor, sign: Tensor, strengths: Strengths, facts: Facts) -> Tensor:
    # At level 0 not even full white is inverted.
    return colour.solarize(inputs, torch.where(level == 0, 2.0, 1 - level))


_TONING: dict[str, _Toning] = {
    "brightness": _enhancing(colour.adjust_brightness),
    "contrast": _enhancing(colour.adjust_contrast),
    "sharpness": _enhancing(colour.adjust_sharpness),
    "saturation": _enhancing(colour.adjust_saturation),
    "posterize": _posterized,
    "solarize": _solarized,
    "autocontrast": lambda inputs, *_: colour.autocontrast(inputs),
    "equalize": lambda inputs, *_: colour.equalize(inputs),
}


def operations(facts: Facts) -> tuple[str, ...]:
    """The operations that have a meaning for such data, each as likely as another.

    >>> operations(Facts(size=(128,), channels=3))
    ('identity', 'translate 0', 'brightness', 'contrast', 'sharpness')
    >>> len(operations(Facts(size=(32, 32), channels=3, value_scale=255.0)))
    14
    """
    rank = facts.spatial_dims
    names = ["identity", *(f"translate {axis}" for axis in range(rank))]
    if rank > 1:
        names += [f"shear {axis}" for axis in range(rank)] + ["rotate"]
    names += ["brightness", "contrast", "sharpness"]
    if rank == 2 and facts.channels == 3:
        names.append("saturation")
    if facts.bounded:
        names += ["posterize", "solarize", "autocontrast", "equalize"]
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class _Policy(Transform):
    """What both share: carrying out one picked operation per sample at a level from 0 to 1."""

    strengths: ClassVar[Strengths]

    padding_mode: Annotated[str, OneOf(PADDING_MODES)] = "zeros"

    @abstractmethod
    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Pick operations and levels, and carry them out."""

    def _carried_out(
        self, inputs: Tensor, targets: Tensor, level: Tensor, draws: Draws, facts: Facts
    ) -> tuple[Tensor, Tensor]:
        names = operations(facts)
        choice = draws.integers("operation", 0, len(names))
        sign = draws.chance("sign", 0.5).float() * 2 - 1
        inputs = inputs.clone()
        for place, name in enumerate(names):
            if name in _TONING:
                chosen = (choice == place).nonzero()[:, 0]
                if len(chosen):
                    toned = _TONING[name](inputs[chosen], level[chosen], sign[chosen], self.strengths, facts)
                    inputs[chosen] = toned
        matrix, shift = self._moves(names, choice, level * sign, draws, inputs)
        return warp_affine(inputs, targets, matrix, shift, self.padding_mode, facts)

    def _moves(
        self, names: tuple[str, ...], choice: Tensor, level: Tensor, draws: Draws, inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        rank = inputs.ndim - 2
        count, amount = len(inputs), level.double().numpy()
        forward = np.broadcast_to(np.eye(rank), (count, rank, rank)).copy()
        translation = np.zeros((count, rank))
        for place, name in enumerate(names):
            kind, _, axis = name.partition(" ")
            chosen = (choice == place).numpy()
            if kind not in _MOVING or not chosen.any():
                continue
            if kind == "translate":
                translation[chosen, int(axis)] = amount[chosen] * self.strengths.translate
            elif kind == "shear":
                forward[chosen, int(axis), (int(axis) + 1) % rank] = amount[chosen] * self.strengths.shear
            else:
                # In 3-D in one plane, which is drawn too.
                plane = draws.integers("plane", 0, rank * (rank - 1) // 2).numpy()[:, None]
                angles = np.where(np.arange(rank * (rank - 1) // 2) == plane, amount[:, None], 0.0)
                forward[chosen] = rotations(angles * self.strengths.rotate, rank)[chosen]
        return backwards(forward, translation, inputs.shape[2:])


@register
@dataclass(frozen=True, kw_only=True)
class RandAugment(_Policy):
    """Carry out ``ops`` random operations at one level (Cubuk et al. 2020).

    ``magnitude``: the level, from 0 to 30. The list of operations is in `operations`.
    """

    name: ClassVar[str] = "rand_augment"
    strengths: ClassVar[Strengths] = _USUAL

    ops: Annotated[int, Within(1, 16)] = 2
    magnitude: Annotated[float, Within(0, 30)] = 9.0

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Change every sample by its own operations."""
        level = torch.full((len(inputs),), self.magnitude / 30)
        for turn in range(self.ops):
            inputs, targets = self._carried_out(inputs, targets, level, draws.named(f"turn {turn}"), facts)
        return inputs, targets


@register
@dataclass(frozen=True, kw_only=True)
class TrivialAugment(_Policy):
    """Carry out one random operation at a random level, from the wide ranges (Müller and Hutter 2021).

    Nothing is shifted by more than half a side; the paper's 32 pixels would empty an image of 32.
    """

    name: ClassVar[str] = "trivial_augment"
    strengths: ClassVar[Strengths] = _WIDE

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Change every sample by its own operation at its own level."""
        level = draws.integers("level", 0, 31).float() / 30
        return self._carried_out(inputs, targets, level, draws, facts)
