"""Few channels, lanes along space: a vector is a piece of a row of one channel.

Staged rows are ``[source channel][column mod stride][column div stride]``, so that neighbouring results read
neighbouring elements whatever the stride. An accumulator holds a vector of results of one channel; the weight is one
float, broadcast::

    sums[row][channel][v] += source[row * step + kh][(column + kw) mod step][...] * weight[kd, kh, kw, ic, oc]

Vectors at any column cross a cache line, and so cost two loads: worth it only if each is used several times, by result
channels or by rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithms.few_blocks import Form
from striate.compiler.algorithms.few_channels import Gather, Staged, block_of, each
from striate.compiler.algorithms.residues import FEW, Roles
from striate.compiler.moves import fill, split, transpose, turn
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Vector


class Planar(Gather):
    """Few channels, with lanes along space."""

    name = "planar"

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if spec.groups > 1:
            return "groups"
        if min(spec.in_channels, spec.out_channels) > FEW:
            return "enough channels for vectors of their own"
        roles, lanes = Roles.of(spec), target.lanes(spec.dtype)
        depth, height, width = roles.axes
        if width.step > FEW:
            return "a stride too long to take apart"
        rows = (1 + depth.span) * (1 + height.span) * roles.source * width.step
        if rows * self.pitch(roles, lanes, lanes) * BYTES[spec.dtype] > target.l2_bytes // 2:
            return "the rows that one result reads do not fit the cache"
        return None

    def forms(self, spec: Spec, target: Target) -> tuple[Form, ...]:
        """See `Gather`."""
        roles, lanes = Roles.of(spec), target.lanes(spec.dtype)
        channels = block_of(roles.result)
        chosen = []
        for across in (8, 4, 2, 1):
            forms = [Form(r, channels, across, across * lanes) for r in self.rows(spec, target, channels, across)]
            if forms:
                chosen.append(min(forms, key=lambda form: self.tile_cycles(spec, target, form) / form.rows))
        return tuple(chosen[-3:])

    def pitch(self, roles: Roles, columns: int, lanes: int) -> int:
        """See `Gather`."""
        width = roles.axes[2]
        vectors = -(-(columns + width.span // width.step) // lanes)
        # Channels a power of two apart would meet in a few sets of the first-level cache.
        return (vectors + (vectors % 8 == 0)) * lanes

    def row_size(self, roles: Roles, lanes: int) -> int:
        """See `Gather`."""
        return roles.source * roles.axes[2].step

    def steps(self, roles: Roles, pitch: Index, lanes: int) -> tuple[int, Number, int]:
        """See `Gather`."""
        return roles.source, pitch * roles.axes[2].step, 1

    def weights(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """See `Gather`."""
        return roles.source, 1

    def across(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """See `Gather`."""
        return lanes, 1

    def column(self, k: Kernel, roles: Roles, place: Number, pitch: Index) -> Number:
        """See `Gather`."""
        step, at = roles.axes[2].step, k.index(place)
        return at if step == 1 else at % step * pitch + at // step

    def results(self, k: Kernel, vectors: list[Vector]) -> list[Vector]:
        """See `Gather`."""
        return vectors

    def tile_cycles(self, spec: Spec, target: Target, form: Form) -> float:
        """See `Gather`."""
        depth, height, width = Roles.of(spec).axes
        taps = depth.size * height.size * width.size / (depth.classes * height.classes * width.classes)
        products = form.rows * form.channels * form.across
        rows = (form.rows - 1) * height.step + height.size if form.rows > 1 else 1
        heights = height.size / height.classes
        loads = form.across * 2 * (rows if form.rows > 1 else heights) + form.rows * heights * form.channels
        latency = 4 * heights if products < 8 else 0
        once = max(loads, products * heights, latency) + 2
        # Many source channels are as many streams, from beyond the first-level cache.
        source = Roles.of(spec).source
        return taps / heights * source * once * (1.1 if source < 16 else 1.35) + 10 + 2 * products

    def stage_cycles(self, spec: Spec, target: Target) -> float:
        """See `Gather`."""
        roles, lanes = Roles.of(spec), target.lanes(spec.dtype)
        ways = roles.axes[2].step * (roles.source if spec.layout == "channels_last" else 1)
        if ways <= FEW:
            return roles.source * (4 + ways) / lanes
        # Squares are turned whole, also where only some of their channels are there.
        return -(-roles.source // lanes) * (14.0 if roles.axes[2].step > 1 else 8.0)

    def stage(self, k: Kernel, spec: Spec, roles: Roles, staged: Staged) -> None:
        """See `Gather`."""
        step, pitch = roles.axes[2].step, k.numbers["pitch"]
        if spec.layout == "contiguous":
            with each(k, roles.source) as c:
                _deal(k, staged, k.index(c) * staged.plane, 1, step, k.index(c) * (pitch * step))
        elif step * roles.source <= FEW:
            _deal(k, staged, k.index(0), roles.source, step, k.index(0))
        elif step == 1:
            _turn_row(k, staged, roles.source)
        else:
            _turn(k, staged, roles.source, step)


def _deal(k: Kernel, staged: Staged, plane: Index, channels: int, step: int, to: Index) -> None:
    """Stage ``channels`` interleaved channels at once, by picking lanes."""
    pitch, ways = k.numbers["pitch"], channels * step
    begin = staged.column * channels
    end = k.select(staged.inside, staged.width * channels, 0)
    with k.loop(pitch, step=k.lanes) as i:
        vectors = []
        for number in range(ways):
            at = begin + i * ways + number * k.lanes
            vectors.append((staged.row + plane + at).load(k.lanes, k.window(0 - at, end - at)))
        for way, vector in enumerate(split(vectors)):
            residue, c = way // channels, way % channels
            (staged.to + to + pitch * (c * step + residue) + i).store(vector)


def _turn_row(k: Kernel, staged: Staged, channels: int) -> None:
    """Stage a channels-last row of stride 1 by turning it, with zeros before and after."""
    pitch = k.numbers["pitch"]
    low = k.minimum(k.maximum(0 - staged.column, 0), pitch)
    high = k.select(staged.inside, k.minimum(staged.width - staged.column, pitch), low)
    high = k.maximum(high, low)
    with each(k, channels) as c:
        fill(k, staged.to + pitch * c, low)
        fill(k, staged.to + pitch * c + high, pitch - high)
    start = staged.row + (staged.column + low) * channels
    transpose(k, start, channels, staged.to + low, pitch, high - low, channels)


def _turn(k: Kernel, staged: Staged, channels: int, step: int) -> None:
    """Stage channels-last rows by turning squares of pixels and channels."""
    pitch = k.numbers["pitch"]
    with each(k, step) as residue, k.loop(channels, step=k.lanes) as c, k.loop(pitch, step=k.lanes) as i:
        square = []
        for r in range(k.lanes):
            x = staged.column + (i + r) * step + residue
            inside = staged.inside & (x >= 0) & (x < staged.width)
            mask = k.mask(k.select(inside, channels - c, 0))
            square.append((staged.row + x * channels + c).load(k.lanes, mask))
        for r, vector in enumerate(turn(square)):
            with k.when(c + r < channels):
                (staged.to + pitch * ((c + r) * step + residue) + i).store(vector)
