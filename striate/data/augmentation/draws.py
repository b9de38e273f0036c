"""Random numbers that belong to a sample, not to a moment.

A generator with a state gives a sample other numbers when the batch, the number of workers or the process before it
changes. Here a number is a function of (seed, epoch, index of the sample, name of the stream, place in the stream), so
there is no state: any worker computes the same numbers in any order, and a resumed run needs nothing saved.

The function is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; its
finaliser is Stafford's variant 13): `mix(key + place * GOLDEN)`, with keys that are mixed themselves at every step from
the seed to the stream. Only additions, products and shifts of 64-bit integers are involved, which every machine does
alike; normal numbers go through logarithms and cosines of numpy, whose last bit may differ between processors.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL = 2**64 - 1

_Words = npt.NDArray[np.uint64]


class Draws:
    """The random numbers of some samples in one epoch.

    ``indices`` are the samples' places in the training part. Every method takes the name of a stream, so that a new use
    of chance leaves all others as they were, and gives one row per sample: a tensor (n, *shape). Asking again for the
    same stream gives the same numbers. Raises `DataError` for negative or non-integer seeds, epochs and indices.

    >>> draws = Draws(seed=0, epoch=3, indices=[7, 8, 9])
    >>> alone = Draws(seed=0, epoch=3, indices=[8])
    >>> bool(draws.uniform("angle", -1, 1)[1] == alone.uniform("angle", -1, 1)[0])
    True
    """

    __slots__ = ("_keys",)

    def __init__(self, seed: int, epoch: int, indices: Tensor | Sequence[int]) -> None:
        for name, value in (("seed", seed), ("epoch", epoch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise DataError(f"a whole {name} of at least 0", f"{name}={value!r}", "Count from 0.")
        places = np.asarray(indices)
        if places.ndim != 1 or (places.size and (places.dtype.kind not in "iu" or places.min() < 0)):
            raise DataError(
                "a list of places in the training part, counted from 0",
                f"indices of shape {places.shape} and type {places.dtype}",
                "Give the indices that the batch was fetched with.",
            )
        start = _mixed(_mixed(seed + _GOLDEN) + _GOLDEN * (epoch + 1))
        self._keys = _mix(_word(start) + (places.astype(np.uint64) + np.uint64(1)) * _word(_GOLDEN))

    def __len__(self) -> int:
        return len(self._keys)

    def named(self, name: str) -> Draws:
        """The same samples with streams of their own, for one transform of a chain.

        >>> draws = Draws(0, 0, [0])
        >>> bool(draws.named("flip").uniform("p") == draws.named("crop").uniform("p"))
        False
        """
        return self._with(_mix(self._keys ^ _word(_hashed(name))))

    def at(self, positions: Tensor) -> Draws:
        """The draws of some of these samples: ``positions`` count within them.

        >>> draws = Draws(0, 0, [5, 6, 7])
        >>> bool(draws.at(torch.tensor([2])).uniform("p") == draws.uniform("p")[2])
        True
        """
        return self._with(self._keys[positions.numpy()])

    def uniform(self, stream: str, low: float = 0.0, high: float = 1.0, shape: Sequence[int] = ()) -> Tensor:
        """Numbers evenly spread in [low, high), float32, (n, *shape), of 24 random bits each.

        >>> Draws(0, 0, [0, 1]).uniform("x", shape=(3,)).shape
        torch.Size([2, 3])
        """
        unit = self._halves(stream, math.prod(shape)) >> np.uint32(8)
        numbers = unit.astype(np.float32) * np.float32(2**-24)
        if (low, high) != (0.0, 1.0):
            numbers = numbers * np.float32(high - low) + np.float32(low)
        return torch.from_numpy(numbers.reshape(len(self), *shape))

    def normal(self, stream: str, mean: float = 0.0, std: float = 1.0, shape: Sequence[int] = ()) -> Tensor:
        """Normally distributed numbers, float32, (n, *shape), none beyond 5.9 standard deviations.

        The method is Box and Muller's (1958).

        >>> bool(Draws(0, 0, range(1000)).normal("x").mean().abs() < 0.1)
        True
        """
        count = math.prod(shape)
        pairs = self._halves(stream, 2 * ((count + 1) // 2)).reshape(len(self), -1, 2) >> np.uint32(8)
        units = (pairs.astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)
        radius = np.sqrt(np.float32(-2) * np.log(np.ascontiguousarray(units[..., 0])))
        angle = np.ascontiguousarray(units[..., 1]) * np.float32(2 * math.pi)
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
        if (mean, std) != (0.0, 1.0):
            both = both * np.float32(std) + np.float32(mean)
        return torch.from_numpy(np.ascontiguousarray(both).reshape(len(self), *shape))

    def integers(self, stream: str, low: int, high: int | Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Whole numbers in [low, high), int64, (n, *shape); ``high`` may be one per sample, (n,).

        >>> sorted(set(Draws(0, 0, range(100)).integers("x", 2, 5).tolist()))
        [2, 3, 4]
        """
        words = self._halves(stream, math.prod(shape)).astype(np.uint64)
        span = np.asarray(high, dtype=np.int64).reshape(-1, 1) - low
        # The upper half of the product: without a division, and uneven by less than span / 2^32.
        numbers = (words * span.astype(np.uint64)) >> np.uint64(32)
        return torch.from_numpy(numbers.astype(np.int64).reshape(len(self), *shape) + low)

    def chance(self, stream: str, p: float, shape: Sequence[int] = ()) -> Tensor:
        """True with probability ``p``, bool, (n, *shape); never for 0 and always for 1.

        >>> Draws(0, 0, [0, 1]).chance("p", 1.0).tolist()
        [True, True]
        """
        return self.uniform(stream, shape=shape) < p

    def beta(self, stream: str, alpha: float) -> Tensor:
        """Numbers of the distribution Beta(alpha, alpha), float32, (n,).

        A ratio of two gamma variates by Marsaglia and Tsang (2000). Of each sample the first accepted candidate counts,
        so that here too nothing depends on the others.

        >>> bool(Draws(0, 0, range(1000)).beta("x", 0.2).mean().sub(0.5).abs() < 0.05)
        True
        """
        first, second = self._log_gamma(f"{stream}/first", alpha), self._log_gamma(f"{stream}/second", alpha)
        ratio = np.exp(-np.abs(first - second))
        small = ratio / (1 + ratio)
        return torch.from_numpy(np.where(first < second, small, 1 - small).astype(np.float32))

    def permutation(self, stream: str, count: int) -> Tensor:
        """A random order of 0 ... count - 1 for each sample, int64, (n, count).

        >>> sorted(Draws(0, 0, [4]).permutation("order", 5)[0].tolist())
        [0, 1, 2, 3, 4]
        """
        return torch.from_numpy(np.argsort(self._words(stream, count), axis=1, kind="stable"))

    def _log_gamma(self, stream: str, alpha: float) -> npt.NDArray[np.float64]:
        # Logarithms, because numbers of the distribution with a small alpha are smaller than any float. Alpha is raised
        # by one, where the method holds, and a uniform number to the power 1 / alpha takes that back.
        d = alpha + 1 - 1 / 3
        result = np.full(len(self), np.nan)
        attempt = 0
        while np.isnan(result).any():
            normal = self.normal(f"{stream}/normal {attempt}").double().numpy()
            uniform = (self.uniform(f"{stream}/uniform {attempt}").double().numpy()) + 2**-25
            v = np.maximum(1 + normal / math.sqrt(9 * d), 1e-30) ** 3
            accepted = (v > 1e-80) & (np.log(uniform) < normal**2 / 2 + d - d * v + d * np.log(v))
            result = np.where(np.isnan(result) & accepted, np.log(d * v), result)
            attempt += 1
        boost = (self.uniform(f"{stream}/boost").double().numpy()) + 2**-25
        return result + np.log(boost) / alpha

    def _halves(self, stream: str, count: int) -> npt.NDArray[np.uint32]:
        """``count`` numbers of 32 bits per sample."""
        return self._words(stream, (count + 1) // 2).view(np.uint32)[:, :count]

    def _words(self, stream: str, count: int) -> _Words:
        keys = _mix(self._keys ^ _word(_hashed(stream)))
        steps = np.arange(1, count + 1, dtype=np.uint64) * _word(_GOLDEN)
        return _mix(keys[:, None] + steps)

    def _with(self, keys: _Words) -> Draws:
        draws = object.__new__(Draws)
        draws._keys = keys
        return draws


def _mix(words: _Words) -> _Words:
    # In place after the first step: fields of noise are large.
    words = words ^ (words >> np.uint64(30))
    words *= np.uint64(_FIRST)
    words ^= words >> np.uint64(27)
    words *= np.uint64(_SECOND)
    words ^= words >> np.uint64(31)
    return words


def _mixed(number: int) -> int:
    return int(_mix(_word(number))[0])


def _word(number: int) -> _Words:
    # An array, because numpy warns of overflow in single numbers only.
    return np.array([number & _ALL], dtype=np.uint64)


@functools.lru_cache(maxsize=4096)
def _hashed(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
