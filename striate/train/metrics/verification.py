"""The metrics of verification: whether two samples are of the same identity, told by how alike their features are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import binary_auroc, binary_roc

from striate.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

MOST_PAIRS = 2_000_000
"""Of more pairs than these a sample of so many is compared."""


@dataclass(frozen=True)
class Verification:
    """Pairs of samples: how alike each is (cosine similarity) and whether it is of one identity.

    ``pairs`` is (2, count) indices of the samples, ``same`` (count,) bool; ``possible`` is how many pairs there are,
    of which ``pairs`` is a sample where it holds fewer. ``threshold`` accepts as many false pairs as it rejects true
    ones, ``eer`` of either. ``false_accepts`` and ``true_accepts`` are the shares accepted at each of ``thresholds``,
    from the strictest on: the ROC curve.
    """

    pairs: Tensor = field(repr=False)
    similarity: Tensor = field(repr=False)
    same: Tensor = field(repr=False)
    possible: int
    eer: float
    threshold: float
    false_accepts: Tensor = field(repr=False)
    true_accepts: Tensor = field(repr=False)
    thresholds: Tensor = field(repr=False)

    def values(self) -> dict[str, float | None]:
        """The metrics by name."""
        unit = (self.similarity + 1) / 2  # torchmetrics squashes scores that are not between 0 and 1
        return {
            "auroc": float(binary_auroc(unit, self.same.long(), validate_args=False)),
            "eer": self.eer,
            "tar_at_far_1e-2": self.accepted(1e-2),
            "tar_at_far_1e-3": self.accepted(1e-3),
        }

    def accepted(self, false_accepts: float) -> float:
        """The largest share of true pairs accepted where no more than this share of the false ones is."""
        return float(self.true_accepts[self.false_accepts <= false_accepts].max())


def compare(embeddings: Tensor, identities: Tensor, *, seed: int = 0, most: int = MOST_PAIRS) -> Verification:
    """Compare all pairs of embeddings ``(n, features)`` whose identities are ``(n,)``.

    Of more than ``most`` pairs a sample of so many is drawn, without repeats, by ``seed``; true pairs, which are few,
    are all kept as long as they are at most half of it. Raises `DataError` where there are no two samples of one
    identity, or no two of different ones.

    >>> faces = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 1.0]])
    >>> compared = compare(faces, torch.tensor([5, 5, 8, 8]))
    >>> compared.possible, compared.eer
    (6, 0.0)
    """
    first, second, same, possible = _pairs(identities, seed, most)
    if not same.any() or same.all():
        raise DataError(
            "pairs of one identity and pairs of two",
            f"{len(identities)} samples of {len(torch.unique(identities))} identities",
            "Give two samples or more of each of two identities or more.",
        )
    unit = F.normalize(embeddings.double(), dim=1)
    similarity = torch.cat(
        [
            (unit[one] * unit[two]).sum(dim=1)
            for one, two in zip(torch.split(first, 2**17), torch.split(second, 2**17), strict=True)
        ]
    ).clamp(-1, 1)
    false_accepts, true_accepts, thresholds = binary_roc((similarity + 1) / 2, same.long(), validate_args=False)
    false_accepts, true_accepts = false_accepts.double(), true_accepts.double()
    # The first threshold of the curve accepts nothing: any similarity above the largest would do.
    thresholds = 2 * thresholds.double() - 1
    thresholds[0] = 1.0
    eer, threshold = _equal_error(false_accepts, 1 - true_accepts, thresholds)
    return Verification(
        torch.stack((first, second)),
        similarity,
        same,
        possible,
        eer,
        threshold,
        false_accepts,
        true_accepts,
        thresholds,
    )


def verification_metrics(embeddings: Tensor, identities: Tensor) -> dict[str, float | None]:
    """Measure embeddings ``(n, features)`` against identities ``(n,)``; None for all where there is nothing to compare.

    >>> faces = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 1.0]])
    >>> verification_metrics(faces, torch.tensor([5, 5, 8, 8]))["auroc"]
    1.0
    """
    counts = torch.unique(identities, return_counts=True)[1]
    if len(counts) < 2 or int(counts.max()) < 2:
        return dict.fromkeys(("auroc", "eer", "tar_at_far_1e-2", "tar_at_far_1e-3"))
    return compare(embeddings, identities).values()


def _pairs(identities: Tensor, seed: int, most: int) -> tuple[Tensor, Tensor, Tensor, int]:
    count = len(identities)
    possible = count * (count - 1) // 2
    if possible <= most:
        first, second = torch.triu_indices(count, count, 1)
        return first, second, identities[first] == identities[second], possible
    generator = torch.Generator().manual_seed(seed)
    first, second = _true_pairs(identities)
    if len(first) > most // 2:
        chosen = torch.randperm(len(first), generator=generator)[: most // 2]
        first, second = first[chosen], second[chosen]
    # Pairs drawn at random are mostly false ones; what is drawn twice or true after all is drawn anew.
    wanted, drawn = most - len(first), torch.zeros(0, dtype=torch.int64)
    enough = min(wanted, possible - len(_true_pairs(identities)[0]))
    while len(drawn) < enough:
        one, two = torch.randint(count, (2, 2 * (enough - len(drawn)) + 16), generator=generator)
        one, two = torch.minimum(one, two), torch.maximum(one, two)
        false = identities[one] != identities[two]
        codes = torch.cat((drawn, one[false] * count + two[false]))
        drawn = _without_repeats(codes)[:enough]
    return (
        torch.cat((first, drawn // count)),
        torch.cat((second, drawn % count)),
        torch.cat((torch.ones(len(first), dtype=torch.bool), torch.zeros(len(drawn), dtype=torch.bool))),
        possible,
    )


def _true_pairs(identities: Tensor) -> tuple[Tensor, Tensor]:
    order = identities.argsort(stable=True)
    _, counts = torch.unique(identities, return_counts=True)
    firsts, seconds = [], []
    for members in torch.split(order, counts.tolist()):
        one, two = torch.triu_indices(len(members), len(members), 1)
        firsts.append(members[one])
        seconds.append(members[two])
    return torch.cat(firsts), torch.cat(seconds)


def _without_repeats(codes: Tensor) -> Tensor:
    # In their order of drawing: sorted, the cut would prefer the first samples.
    order = codes.argsort(stable=True)
    ordered = codes[order]
    first = torch.ones(len(codes), dtype=torch.bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return codes[first]


def _equal_error(accepts: Tensor, rejects: Tensor, thresholds: Tensor) -> tuple[float, float]:
    """Where the falling rate of false rejects meets the rising one of false accepts, on the line between two points."""
    gap = accepts - rejects
    after = int((gap >= 0).nonzero()[0, 0])
    if after == 0 or float(gap[after]) == 0:
        return float((accepts[after] + rejects[after]) / 2), float(thresholds[after])
    before = after - 1
    share = float(-gap[before] / (gap[after] - gap[before]))
    return (
        float(torch.lerp(accepts[before], accepts[after], share)),
        float(torch.lerp(thresholds[before], thresholds[after], share)),
    )
