"""How a problem with few channels is cut into tasks, and which of a kernel's accumulator tiles computes them.

A task stages its source rows: the larger it is, the fewer rows are staged twice, as long as they stay in a share of the
second-level cache and there are tasks for every thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from striate.compiler.algorithms.residues import Roles, axis_sizes
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.algorithms.few_channels import Gather
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target


@dataclass(frozen=True, slots=True)
class Form:
    """Accumulators of the inner loop: ``rows`` x ``channels`` x ``across``, ``width`` columns wide."""

    rows: int
    channels: int
    across: int
    width: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a problem is cut up."""

    form: int
    counts: tuple[int, int, int]
    blocks: tuple[int, int, int]
    staged: tuple[int, int]
    columns: int
    pitch: int
    staged_size: int
    scratch_size: int

    @property
    def tasks(self) -> int:
        """Tasks of one sample."""
        return math.prod(-(-count // block) for count, block in zip(self.counts, self.blocks, strict=True))


@dataclass(frozen=True, slots=True)
class Tiles:
    """What can be said of a kernel before a problem is known."""

    roles: Roles
    forms: tuple[Form, ...]
    cycles: tuple[float, ...]
    """Of one tile of each form."""


@lru_cache(maxsize=1024)
def tiles_of(gather: Gather, spec: Spec, target: Target) -> Tiles:
    """Remembered, because every launch asks."""
    forms = gather.forms(spec, target)
    return Tiles(Roles.of(spec), forms, tuple(gather.tile_cycles(spec, target, form) for form in forms))


def blocks_of(gather: Gather, problem: ConvProblem, target: Target, threads: int) -> Blocks:
    """Cut a problem into tasks whose scratch stays within a share of the second-level cache."""
    spec, lanes, tiles = problem.spec, target.lanes(problem.spec.dtype), tiles_of(gather, problem.spec, target)
    roles, forms = tiles.roles, tiles.forms
    counts = _counts(problem, roles)
    line = 64 // BYTES[spec.dtype]
    row_size = gather.row_size(roles, lanes)
    depth, height, axis = roles.axes

    def cut(form: int, blocks: tuple[int, int, int]) -> Blocks:
        rows, width = forms[form].rows, max(forms[form].width, lanes)
        columns = -(-blocks[2] // width) * width
        staged = (
            (blocks[0] - 1) * depth.step + 1 + depth.span,
            (-(-blocks[1] // rows) * rows - 1) * height.step + 1 + height.span,
        )
        pitch = gather.pitch(roles, columns, lanes)
        size = -(-staged[0] * staged[1] * row_size * pitch // line) * line
        results = rows * axis.classes * roles.result * columns
        return Blocks(form, counts, blocks, staged, columns, pitch, size, -(-(size + results) // line) * line)

    def cost(form: int) -> float:
        tile = forms[form]
        count = -(-counts[1] // tile.rows) * -(-counts[2] // tile.width) * -(-roles.result // tile.channels)
        return count * tiles.cycles[form]

    best = min(range(len(forms)), key=cost)
    limit = target.l2_bytes // 4 // BYTES[spec.dtype]
    enough = min(4 * threads, 16)
    most = max(1, counts[2] // (4 * lanes))
    chunks = max(-(-counts[2] // (32 * lanes)), min(most, enough // max(1, problem.batch * counts[0] * counts[1])))
    block = (1, min(forms[best].rows, counts[1]), -(-counts[2] // chunks))
    while block[2] > lanes and cut(best, block).scratch_size > limit:
        block = (1, block[1], -(-block[2] // 2))
    # Deep and high blocks stage fewer rows twice.
    chosen, grown = cut(best, block), True
    while grown:
        grown = False
        for number in (0, 1):
            now = list(chosen.blocks)
            now[number] = min(2 * now[number], counts[number])
            if now[number] > chosen.blocks[number]:
                larger = cut(best, (now[0], now[1], now[2]))
                if larger.scratch_size <= limit and larger.tasks * problem.batch >= enough:
                    chosen, grown = larger, True
    return chosen


def _counts(problem: ConvProblem, roles: Roles) -> tuple[int, int, int]:
    pairs = zip(roles.axes, axis_sizes(problem), strict=True)
    depth, height, width = (axis.numbers(*sizes)[0] for axis, sizes in pairs)
    return depth, height, width
