"""Where the input's spatial axes lie in a tensor, through reshapes, and what its units see of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from striate.insight.fields import Field


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of a tensor's dimension: its size, and the input's axes along which it runs (none for channels)."""

    size: int
    axes: tuple[int, ...] = ()


Dim: TypeAlias = tuple[Factor, ...]
"""The factors of one dimension, outermost first: one, or several where a reshape has merged dimensions."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The fields of a tensor's units, one per spatial axis of the input, and the dimensions that these axes lie along.

    An axis may have no dimension left (after a mean over it, or where one position was selected).
    """

    fields: tuple[Field, ...]
    dims: tuple[Dim, ...]

    @classmethod
    def plain(cls, fields: Sequence[Field], shape: Sequence[int], positions: Sequence[int | None]) -> Trace:
        """A trace of a tensor of ``shape`` in which axis ``a`` lies along dimension ``positions[a]``."""
        dims = [(Factor(size),) for size in shape]
        for axis, position in enumerate(positions):
            if position is not None:
                dims[position] = (Factor(shape[position], (axis,)),)
        return cls(tuple(fields), tuple(dims))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(math.prod(factor.size for factor in dim) for dim in self.dims)

    def axes_along(self, *dims: int) -> set[int]:
        """The axes that lie, at least in part, along these dimensions."""
        return {axis for dim in dims for factor in self.dims[dim] for axis in factor.axes}

    def only_axis(self, dim: int) -> int | None:
        """The axis that a dimension consists of, or None if there is none or more than one."""
        factors = [factor for factor in self.dims[dim] if factor.axes or factor.size != 1]
        if len(factors) == 1 and len(factors[0].axes) == 1 and not self._split(factors[0].axes[0], {dim}):
            return factors[0].axes[0]
        return None

    def _split(self, axis: int, dims: Iterable[int]) -> bool:
        """Whether an axis lies along other dimensions than these as well."""
        return any(axis in self.axes_along(dim) for dim in set(range(len(self.dims))) - set(dims))

    def change(self, axes: Iterable[int], how: Callable[[Field], Field]) -> Trace:
        """Replace the fields of some axes."""
        chosen = set(axes)
        return replace(self, fields=tuple(how(f) if axis in chosen else f for axis, f in enumerate(self.fields)))

    def hidden(self, axes: Iterable[int]) -> Trace:
        """Mark the fields of some axes as unknown."""
        return self.change(axes, lambda field: field.unknown())

    def spread(self, *dims: int) -> Trace:
        """Let every unit see all positions along these dimensions (a sum over them, attention among them)."""
        axes = self.axes_along(*dims)
        # Of an axis that was cut into blocks only a part may have been summed.
        part = {axis for axis in axes if self._split(axis, dims)}
        return self.change(axes - part, lambda field: field.through_everything()).hidden(part)

    def with_dim(self, dim: int, new: Dim) -> Trace:
        """Replace what one dimension runs along."""
        return replace(self, dims=(*self.dims[:dim], new, *self.dims[dim + 1 :]))

    def without_dims(self, *dims: int) -> Trace:
        """Drop dimensions."""
        return replace(self, dims=tuple(dim for index, dim in enumerate(self.dims) if index not in dims))

    def with_new_dim(self, dim: int, size: int = 1) -> Trace:
        """Insert a dimension that runs along no axis."""
        return replace(self, dims=(*self.dims[:dim], (Factor(size),), *self.dims[dim:]))

    def permuted(self, order: Sequence[int]) -> Trace:
        """Reorder the dimensions."""
        return replace(self, dims=tuple(self.dims[dim] for dim in order))

    def forgotten(self, shape: Sequence[int]) -> Trace:
        """The same fields in a tensor of another shape, when it is not known what its dimensions run along."""
        return Trace(self.fields, tuple((Factor(size),) for size in shape))

    def reshaped(self, shape: Sequence[int]) -> tuple[Trace, bool]:
        """Reshape; the second value is False if an axis was cut, so that its field is no longer known."""
        before = self.shape
        head = 0
        while head < min(len(before), len(shape)) and before[head] == shape[head]:
            head += 1
        tail = 0
        while tail < min(len(before), len(shape)) - head and before[-1 - tail] == shape[-1 - tail]:
            tail += 1
        middle = self.dims[head : len(before) - tail]
        regrouped = _regroup([factor for dim in middle for factor in dim], shape[head : len(shape) - tail])
        if regrouped is None:
            axes = tuple(sorted({axis for dim in middle for factor in dim for axis in factor.axes}))
            new: tuple[Dim, ...] = tuple((Factor(size, axes),) for size in shape[head : len(shape) - tail])
            cut = set(axes)
        else:
            new, cut = regrouped
        reshaped = replace(self, dims=(*self.dims[:head], *new, *self.dims[len(before) - tail :])).hidden(cut)
        return reshaped, not any(self.fields[axis].known and not self.fields[axis].everywhere for axis in cut)


def _regroup(factors: Iterable[Factor], sizes: Sequence[int]) -> tuple[tuple[Dim, ...], set[int]] | None:
    """Distribute factors over new dimensions; also the axes that had to be cut. None if the sizes do not divide."""
    pending = [factor for factor in factors if factor.size != 1]
    dims: list[Dim] = []
    cut: set[int] = set()
    for size in sizes:
        taken: list[Factor] = []
        missing = size
        while missing != 1:
            if not pending or missing == 0 or pending[0].size == 0:
                return None
            factor = pending.pop(0)
            if missing % factor.size == 0:
                taken.append(factor)
                missing //= factor.size
            elif factor.size % missing == 0:
                taken.append(Factor(missing, factor.axes))
                pending.insert(0, Factor(factor.size // missing, factor.axes))
                cut.update(factor.axes)
                missing = 1
            else:
                return None
        dims.append(tuple(taken) or (Factor(1),))
    return tuple(dims), cut
