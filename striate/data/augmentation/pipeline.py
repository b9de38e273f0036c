"""The chain of transforms of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.mixing import CutMix, Mixup, soft_targets
from striate.data.augmentation.presets import expand
from striate.data.augmentation.transform import make_transform
from striate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from striate.data.augmentation.transform import Facts, Transform


class Augmentation:
    """A chain of transforms for training batches; build it with `from_settings`.

    What a sample becomes depends on the seed, the epoch, its index in the training part, and the transforms, down to
    the last bit (mixing: on its partner too). So batches may be made by any number of workers or processes, and a run
    resumed in the middle of an epoch goes on with the same samples. Two uses of one transform draw different numbers,
    and one more transform leaves the draws of the others as they were.
    """

    def __init__(self, transforms: Sequence[Transform], facts: Facts, *, seed: int) -> None:
        for transform in transforms:
            transform.check(facts)
        self.transforms, self.facts, self.seed = tuple(transforms), facts, seed
        Draws(seed, 0, [])
        counts: dict[str, int] = {}
        self._streams = []
        for transform in self.transforms:
            counts[transform.name] = counts.get(transform.name, 0) + 1
            self._streams.append(f"{transform.name} {counts[transform.name]}")

    @classmethod
    def from_settings(cls, settings: Sequence[str | Mapping[str, Any]], facts: Facts, *, seed: int = 0) -> Augmentation:
        """Build a chain from names of transforms or presets, and tables of a name with parameters.

        Raises `ConfigError` for unknown names and parameters, values out of range, and transforms that have no meaning
        for the data.

        >>> from striate.data.augmentation import Facts
        >>> facts = Facts(size=(4,), channels=1, outputs=2)
        >>> augment = Augmentation.from_settings([{"name": "flip", "p": 1.0}], facts, seed=0)
        >>> inputs, targets = augment(torch.arange(4.0).reshape(1, 1, 4), torch.tensor([1]), [17], epoch=0)
        >>> inputs, targets
        (tensor([[[3., 2., 1., 0.]]]), tensor([1]))
        """
        if isinstance(settings, str):
            raise ConfigError("a list of transforms", repr(settings), "Put a text through parse_augmentation first.")
        return cls([make_transform(table) for table in expand(settings, facts)], facts, seed=seed)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The transforms as tables, presets written out and defaults included, for config.toml.

        >>> from striate.data.augmentation import Facts
        >>> Augmentation.from_settings(["light"], Facts(size=(128,), channels=1)).settings
        [{'name': 'jitter', 'p': 1.0, 'std': [0.05, 0.05]}]
        """
        return [transform.settings() for transform in self.transforms]

    @property
    def softens(self) -> bool:
        """Whether class numbers (n,) come out as soft targets (n, K)."""
        mixes = any(isinstance(transform, Mixup | CutMix) for transform in self.transforms)
        return mixes and self.facts.task in ("classification", "verification")

    def __call__(
        self, inputs: Tensor, targets: Tensor, indices: Tensor | Sequence[int], epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch on the CPU as `Samples.fetch` gives it for ``indices``, and leave that as it is.

        ``inputs`` (n, C, *spatial) come back as float32 in the units they are stored in, tokens (n, L) as tokens.
        ``targets`` keep their form, except that class numbers become soft where `softens` says so. Raises `DataError`
        for another shape than the data set's, or a number of indices or targets that differs from n.
        """
        facts = self.facts
        tokens = facts.input_kind == "tokens"
        wanted = facts.size if tokens else (facts.channels, *facts.size)
        if tuple(inputs.shape[1:]) != tuple(wanted) or not len(inputs) == len(targets) == len(indices):
            raise DataError(
                f"inputs of shape (n, {', '.join(map(str, wanted))}) with n targets and n indices",
                f"inputs of shape {tuple(inputs.shape)}, {len(targets)} targets and {len(indices)} indices",
                "Give what fetch() gave, and the indices it was given.",
            )
        draws = Draws(self.seed, epoch, indices)
        values = inputs if tokens else inputs.to(torch.float32)
        if len(inputs) == 0:
            return values, soft_targets(targets, facts) if self.softens else targets
        # There and back is exact for the whole numbers of 8 and 16 bits.
        scaled = not tokens and facts.value_scale != 1
        if scaled:
            values = values / facts.value_scale
        for transform, stream in zip(self.transforms, self._streams, strict=True):
            values, targets = transform(values, targets, draws.named(stream), facts)
        return (values * facts.value_scale if scaled else values), targets
