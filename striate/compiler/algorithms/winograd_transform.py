"""The transforms of Winograd's convolution: matrices as exact fractions, and code that applies them with few additions.

``F(m, r)`` computes m outputs of a filter of r taps with only ``m + r - 1`` multiplications (Shmuel Winograd,
Arithmetic Complexity of Computations, 1980; for networks: Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, 2016)::

    y = A^T [(G w) * (B^T x)]        x: m + r - 1 inputs, w: r taps, y: m outputs, * element by element

The product of two polynomials is found from its values at points ``p_j``; filtering is that product transposed. With
the last point at infinity, for ``M_j(x)`` the product of all ``x - p_l`` but the j-th::

    A^T[i][j] = p_j ** i                       the column at infinity: 1 in the last row
    G[j][k]   = p_j ** k / M_j(p_j)            the row at infinity: 1 for the last tap
    B^T[j]    = the coefficients of M_j        the row at infinity: those of the product of all x - p_l

Points come in pairs p, -p. Rows of such a pair differ in the sign of every second entry, so that their even and odd
parts are computed once, added, and subtracted: about half of the additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from striate.compiler.emit import Kernel
    from striate.compiler.values import Number, Pointer, Vector

Matrix: TypeAlias = tuple[tuple[Fraction, ...], ...]

_A, _B = Fraction(5, 8), Fraction(3, 2)
_C, _D = Fraction(3, 4), Fraction(2)
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    3: (Fraction(0), _C, -_C, _D),
    4: (Fraction(0), _A, -_A, _B, -_B),
}
"""Points of F(m, 3), by m, besides infinity.

Measured on random 3x3 layers, the usual 0, 1, -1, 2, -2 have 2.4 times the root mean square error of these and 4 times
the largest, because their powers differ less in size; multiplying by 5/8 costs no more than adding. Those for three
outputs are the best of some seventy tried, two thirds of the error of 0, 1, -1, 2.
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """F(outputs, taps): so many outputs at a time, from ``inputs`` neighbouring ones."""

    taps: int
    outputs: int
    b: Matrix
    """B^T, ``inputs`` x ``inputs``: transforms the input."""
    g: Matrix
    """G, ``inputs`` x ``taps``: transforms the weight."""
    a: Matrix
    """A^T, ``outputs`` x ``inputs``: brings sums of products back."""

    @property
    def inputs(self) -> int:
        """Inputs of one tile, which is also the number of products."""
        return self.outputs + self.taps - 1

    @property
    def amplification(self) -> float:
        """How much larger than the largest possible result its terms can be: what rounding errors grow by."""
        terms = [_size(g) * _size(b) for g, b in zip(self.g, self.b, strict=True)]
        return float(max(sum(abs(a) * term for a, term in zip(row, terms, strict=True)) for row in self.a) / self.taps)

    @property
    def gradient_amplification(self) -> float:
        """The same for the gradient of the taps, ``G^T [(A dy) * (B^T x)]``."""
        terms = [_size(a) * _size(b) for a, b in zip(transposed(self.a), self.b, strict=True)]
        sums = (sum(abs(g) * term for g, term in zip(row, terms, strict=True)) for row in transposed(self.g))
        return float(max(sums) / self.outputs)


def transposed(matrix: Matrix) -> Matrix:
    """Rows and columns exchanged."""
    return tuple(zip(*matrix, strict=True))


def _size(row: Sequence[Fraction]) -> Fraction:
    """The largest value of a sum of these times numbers up to 1."""
    return sum((abs(value) for value in row), Fraction(0))


@cache
def filtering(outputs: int, taps: int) -> Filter:
    """F(outputs, taps); one tap is computed pixel by pixel.

    >>> filtering(2, 3).a == ((1, 1, 1, 0), (0, 1, -1, 1))
    True
    """
    if taps == 1:
        one = ((Fraction(1),),)
        return Filter(1, 1, one, one, one)
    points = POINTS[outputs]
    others = [points[:j] + points[j + 1 :] for j in range(len(points))]
    a = [(*(p**i for p in points), Fraction(int(i == outputs - 1))) for i in range(outputs)]
    g = [tuple(p**k / _at(rest, p) for k in range(taps)) for p, rest in zip(points, others, strict=True)]
    g.append(tuple(Fraction(int(k == taps - 1)) for k in range(taps)))
    b = [(*_coefficients(rest), Fraction(0)) for rest in others]
    b.append(_coefficients(points))
    return Filter(taps, outputs, tuple(b), tuple(g), tuple(a))


def _at(roots: Sequence[Fraction], x: Fraction) -> Fraction:
    """The polynomial with these roots, at x."""
    value = Fraction(1)
    for root in roots:
        value *= x - root
    return value


def _coefficients(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """The polynomial with these roots, its constant term first."""
    values = [Fraction(1)]
    for root in roots:
        values = [low - root * high for low, high in zip([Fraction(0), *values], [*values, Fraction(0)], strict=True)]
    return tuple(values)


def apply(k: Kernel, matrix: Matrix, values: Sequence[Vector]) -> list[Vector]:
    """The vectors ``matrix @ values``."""
    pair = next((pair for pair in combinations(range(len(values)), 2) if _alike(matrix, *pair)), None)
    if pair is not None:
        # Columns that differ in signs only: every row uses either the sum or the difference of the two.
        first, second = pair
        rest = [j for j in range(len(values)) if j not in pair]
        folded = []
        for row in matrix:
            same = row[first] == row[second]
            folded.append((*(row[j] for j in rest), row[first] * same, row[first] * (not same)))
        together = (values[first] + values[second], values[first] - values[second])
        return apply(k, tuple(folded), [*(values[j] for j in rest), *together])
    results: dict[int, Vector] = {}
    for first, row in enumerate(matrix):
        if first in results:
            continue
        twin = next(
            (i for i in range(first + 1, len(matrix)) if _alike(tuple(zip(*matrix, strict=True)), first, i)), None
        )
        kept = [(c, value) for j, (c, value) in enumerate(zip(row, values, strict=True))
                if c and (twin is None or c == matrix[twin][j])]  # fmt: skip
        if twin is None:
            results[first] = _combine(k, kept)
            continue
        turned = [(c, value) for c, other, value in zip(row, matrix[twin], values, strict=True) if c != other]
        even, odd = _combine(k, kept), _combine(k, turned)
        results[first], results[twin] = even + odd, even - odd
    return [results[i] for i in range(len(matrix))]


def _alike(matrix: Matrix, first: int, second: int) -> bool:
    """Whether two columns differ in signs only, and in some but not in all of them."""
    pairs = [(row[first], row[second]) for row in matrix if row[first] or row[second]]
    signs = {a == b for a, b in pairs}
    return len(signs) == 2 and all(a in (b, -b) for a, b in pairs)


def _combine(k: Kernel, terms: Sequence[tuple[Fraction, Vector]]) -> Vector:
    """The sum of vectors times constants, of which at least one is not zero."""
    # A term that needs no multiplication begins the sum.
    (first, start), *rest = sorted(terms, key=lambda term: term[0] != 1)
    total = start if first == 1 else start * k.constant(float(first), start.lanes)
    for factor, value in rest:
        if abs(factor) == 1:
            total = total + value if factor > 0 else total - value
        else:
            total = k.fma(value, k.constant(float(factor), value.lanes), total)
    return total


def transform(
    k: Kernel,
    matrices: tuple[Matrix, Matrix, Matrix],
    read: Callable[[Number, int, int], Vector],
    write: Callable[[int, Number, Number, Vector], None],
    scratch: Pointer,
) -> None:
    """Transform a box of vectors along depth, height and width.

    Height and width are unrolled; slabs of more than one depth lie in ``scratch`` (a vector for each) between the two
    steps, so that code for volumes is little longer than that for images.
    """
    depth, height, width = matrices

    def slab(d: Number) -> list[list[Vector]]:
        rows = [apply(k, width, [read(d, h, w) for w in range(len(width[0]))]) for h in range(len(height[0]))]
        return [apply(k, height, column) for column in zip(*rows, strict=True)]

    if len(depth) == len(depth[0]) == 1:
        for w, column in enumerate(slab(0)):
            for h, value in enumerate(column):
                write(0, h, w, value)
        return
    across = len(width)
    plane = len(height) * across * k.lanes
    with k.loop(len(depth[0])) as d:
        for w, column in enumerate(slab(d)):
            for h, value in enumerate(column):
                (scratch + d * plane + (h * across + w) * k.lanes).store(value)
    with k.loop(len(height)) as row, k.loop(across) as place:
        behind = scratch + (row * across + place) * k.lanes
        slabs = [(behind + number * plane).load(k.lanes) for number in range(len(depth[0]))]
        for number, value in enumerate(apply(k, depth, slabs)):
            write(number, row, place, value)
