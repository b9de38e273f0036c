"""Moving whole grid steps: flips, crops after padding, and pieces in another order. No value is interpolated."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.parameters import Axes, OneOf, Within
from striate.data.augmentation.transform import KINDS, Facts, Transform, register
from striate.data.augmentation.warping import PADDING_MODES
from striate.errors import ConfigError


@register
@dataclass(frozen=True, kw_only=True)
class Flip(Transform):
    """Mirror along each of ``axes`` with probability ``p``; by default along the last, left to right.

    >>> sample = torch.arange(3.0).reshape(1, 1, 3)
    >>> Flip(p=1.0)(sample, torch.zeros(1), Draws(0, 0, [0]), Facts(size=(3,), channels=1))[0]
    tensor([[[2., 1., 0.]]])
    """

    name: ClassVar[str] = "flip"

    p: Annotated[float, Within(0, 1)] = 0.5
    axes: Annotated[tuple[int, ...], Axes()] = (-1,)

    def __call__(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Mirror the samples that chance picks, for each axis anew."""
        return self.apply(inputs, targets, draws, facts)

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Mirror along each axis the samples that chance picks."""
        for axis in self.axes:
            from_end = axis if axis < 0 else axis - (inputs.ndim - 2)
            chosen = draws.chance(f"axis {from_end}", self.p).nonzero()[:, 0]
            inputs = _flipped(inputs, chosen, from_end)
            targets = _flipped(targets, chosen, from_end) if facts.masks else targets
        return inputs, targets

    def check(self, facts: Facts) -> None:
        """Raise `ConfigError` where an axis does not exist, or is named twice."""
        super().check(facts)
        rank = facts.spatial_dims
        places = [axis if axis >= 0 else axis + rank for axis in self.axes]
        if min(places) < 0 or max(places) >= rank or len(set(places)) < len(places):
            raise ConfigError(
                f"{self.name}.axes of the {rank} of {KINDS[rank]}, each once",
                f"axes={self.axes}",
                f"Count them from 0 to {rank - 1}.",
            )


def _flipped(tensor: Tensor, chosen: Tensor, axis: int) -> Tensor:
    return tensor.index_copy(0, chosen, tensor[chosen].flip(axis)) if len(chosen) else tensor


@register
@dataclass(frozen=True, kw_only=True)
class Reverse(Flip):
    """Play a signal backwards."""

    name: ClassVar[str] = "reverse"
    ranks: ClassVar[tuple[int, ...]] = (1,)


@register
@dataclass(frozen=True, kw_only=True)
class Crop(Transform):
    """Pad every side by ``padding`` places, and cut a random piece of the old size out of it.

    ``padding_mode``: what the padding shows, "zeros", "border" or "reflection" (the edge is not repeated). With 4
    places it is what most networks for CIFAR-10 were trained with (Lee et al. 2015).

    >>> sample = torch.ones(1, 1, 3)
    >>> Crop(padding=1, padding_mode="border")(sample, torch.zeros(1), Draws(0, 0, [0]), Facts(size=(3,), channels=1))
    (tensor([[[1., 1., 1.]]]), tensor([0.]))
    """

    name: ClassVar[str] = "crop"

    padding: Annotated[int, Within(0, 4096)] = 4
    padding_mode: Annotated[str, OneOf(PADDING_MODES)] = "zeros"

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Cut every sample at its own place."""
        rank = inputs.ndim - 2
        starts = draws.integers("start", 0, 2 * self.padding + 1, (rank,))
        if self.padding == 0:
            return inputs, targets
        inputs = self._cut(inputs, starts, rank, 0)
        return inputs, self._cut(targets, starts, rank, facts.entering) if facts.masks else targets

    def check(self, facts: Facts) -> None:
        """Raise `ConfigError` where a reflection is longer than the sample."""
        super().check(facts)
        if self.padding_mode == "reflection" and self.padding >= min(facts.size):
            raise ConfigError(
                f"crop.padding below the smallest side, {min(facts.size)}, to reflect",
                f"padding={self.padding}",
                "Pad by less, or use padding_mode='border'.",
            )

    def _cut(self, tensor: Tensor, starts: Tensor, rank: int, entering: int) -> Tensor:
        padded = self._padded(tensor, rank, entering)
        size = tensor.shape[-rank:]
        windows = padded
        for axis, length in enumerate(size, start=tensor.ndim - rank):
            windows = windows.unfold(axis, length, 1)
        # (n, starts ..., channels if there are, size ...): then indexing picks one window of each sample.
        windows = windows.movedim(tuple(range(tensor.ndim - rank, tensor.ndim)), tuple(range(1, rank + 1)))
        return windows[(torch.arange(len(tensor)), *starts.unbind(1))]

    def _padded(self, tensor: Tensor, rank: int, entering: int) -> Tensor:
        if self.padding_mode == "zeros":
            return F.pad(tensor, (self.padding,) * (2 * rank), value=entering)
        for axis in range(tensor.ndim - rank, tensor.ndim):
            length = tensor.shape[axis]
            tensor = tensor.index_select(axis, surrounding(length, self.padding, self.padding_mode))
        return tensor


def surrounding(length: int, padding: int, padding_mode: str) -> Tensor:
    """The places of a padded axis: "border" repeats the edge, "reflection" mirrors about it, as often as needed.

    >>> surrounding(3, 2, "reflection").tolist(), surrounding(3, 2, "border").tolist()
    ([2, 1, 0, 1, 2, 1, 0], [0, 0, 0, 1, 2, 2, 2])
    """
    places = torch.arange(-padding, length + padding)
    if padding_mode == "border" or length == 1:
        return places.clamp(0, length - 1)
    period = 2 * (length - 1)
    places = places.remainder(period)
    return torch.where(places < length, places, period - places)


@register
@dataclass(frozen=True, kw_only=True)
class Permutation(Transform):
    """Cut a signal into ``segments`` pieces of equal length and put them in another order (Um et al. 2017)."""

    name: ClassVar[str] = "permutation"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    segments: Annotated[int, Within(2, 64)] = 4

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Reorder the pieces of every signal."""
        length = inputs.shape[2]
        order = draws.permutation("order", self.segments)
        bounds = torch.arange(self.segments + 1) * length // self.segments
        lengths = (bounds[1:] - bounds[:-1])[order]
        stops = lengths.cumsum(1)
        places = torch.arange(length).expand(len(inputs), length)
        # Which piece, in the new order, every place lies in; then how far it moves.
        piece = (places.unsqueeze(2) >= stops.unsqueeze(1)).sum(2)
        moves = bounds[:-1][order] - (stops - lengths)
        source = places + moves.gather(1, piece)
        inputs = inputs.gather(2, source.unsqueeze(1).expand_as(inputs))
        return inputs, targets.gather(1, source) if facts.masks else targets
