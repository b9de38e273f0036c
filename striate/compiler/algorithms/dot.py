"""Few result channels from many source channels: lanes along the channels that are summed over.

Staged rows are ``[column][source channel]``, channels filled up with zeros to whole vectors. An accumulator belongs to
one result pixel and channel and holds one partial sum in each lane; its lanes are added up at the very end, for as many
pixels at once as fit, which costs about three instructions an accumulator::

    sums[row][channel][pixel] += source[row * step + kh, column + pixel * step + kw, ic] * weight[kh, kw, ic, oc]

Every vector lies within a cache line where the channels are a multiple of a vector's lanes, and P pixels by C channels
cost P + C loads for P * C multiply-adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithms.few_blocks import Form
from striate.compiler.algorithms.few_channels import Gather, Staged, block_of
from striate.compiler.algorithms.residues import FEW, Roles
from striate.compiler.moves import sums, turn
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Vector


class Dot(Gather):
    """Few result channels, with lanes along the source channels."""

    name = "dot"

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if spec.groups > 1:
            return "groups"
        roles, lanes = Roles.of(spec), target.lanes(spec.dtype)
        if min(spec.in_channels, spec.out_channels) > FEW:
            return "enough channels for vectors of their own"
        depth, height, _ = roles.axes
        rows = (1 + depth.span) * (1 + height.span) * self.row_size(roles, lanes)
        if rows * self.pitch(roles, lanes, lanes) * BYTES[spec.dtype] > target.l2_bytes // 2:
            return "the rows that one result reads do not fit the cache"
        return None

    def forms(self, spec: Spec, target: Target) -> tuple[Form, ...]:
        """See `Gather`."""
        roles, lanes = Roles.of(spec), target.lanes(spec.dtype)
        chosen = []
        for pixels in (16, 8, 4, 2, 1):
            if pixels <= lanes:
                channels = block_of(roles.result)
                # More rows make blocks of code that LLVM reorders until registers run out.
                sizes = [r for r in self.rows(spec, target, channels, pixels) if r <= 2]
                forms = [Form(r, channels, pixels, pixels) for r in sizes]
                chosen += (
                    [min(forms, key=lambda form: self.tile_cycles(spec, target, form) / form.rows)] if forms else []
                )
        return tuple(chosen[:2])

    def pitch(self, roles: Roles, columns: int, lanes: int) -> int:
        """See `Gather`."""
        width = roles.axes[2]
        return -(-((columns - 1) * width.step + 1 + width.span) // lanes) * lanes

    def row_size(self, roles: Roles, lanes: int) -> int:
        """See `Gather`."""
        return -(-roles.source // lanes) * lanes

    def steps(self, roles: Roles, pitch: Index, lanes: int) -> tuple[int, Number, int]:
        """See `Gather`."""
        return -(-roles.source // lanes), lanes, lanes

    def weights(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """See `Gather`."""
        return -(-roles.source // lanes), lanes

    def across(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """See `Gather`."""
        apart = roles.axes[2].step * self.row_size(roles, lanes)
        return apart, apart

    def column(self, k: Kernel, roles: Roles, place: Number, pitch: Index) -> Number:
        """See `Gather`."""
        return k.index(place) * self.row_size(roles, k.lanes)

    def results(self, k: Kernel, vectors: list[Vector]) -> list[Vector]:
        """See `Gather`."""
        return [sums(vectors)]

    def tile_cycles(self, spec: Spec, target: Target, form: Form) -> float:
        """See `Gather`."""
        roles = Roles.of(spec)
        depth, height, width = roles.axes
        taps = depth.size * height.size * width.size / (depth.classes * height.classes * width.classes)
        products = form.rows * form.channels * form.across
        heights = height.size / height.classes
        rows = (form.rows - 1) * height.step + height.size if form.rows > 1 else heights
        loads = form.across * rows + form.rows * heights * form.channels
        once = max(loads, products * heights, 4 * heights if products < 8 else 0) + 2
        steps = -(-roles.source // target.lanes(spec.dtype))
        return taps / heights * steps * once * 1.1 + 10 + 4 * products

    def stage_cycles(self, spec: Spec, target: Target) -> float:
        """See `Gather`."""
        vectors = -(-spec.out_channels // target.lanes(spec.dtype))
        if spec.pass_ == "forward":
            vectors = -(-spec.in_channels // target.lanes(spec.dtype))
        return vectors * (4.0 if spec.layout == "channels_last" else 10.0)

    def stage(self, k: Kernel, spec: Spec, roles: Roles, staged: Staged) -> None:
        """See `Gather`."""
        channels, lanes, pitch = roles.source, k.lanes, k.numbers["pitch"]
        padded = self.row_size(roles, lanes)
        if spec.layout == "contiguous":
            self._turn(k, channels, padded, staged)
        elif channels == padded:
            begin, end = staged.column * channels, k.select(staged.inside, staged.width * channels, 0)
            with k.loop(pitch * channels, step=lanes) as i:
                at = begin + i
                (staged.to + i).store((staged.row + at).load(lanes, k.window(0 - at, end - at)))
        else:
            with k.loop(pitch) as i, k.loop(channels, step=lanes) as c:
                x = staged.column + i
                inside = staged.inside & (x >= 0) & (x < staged.width)
                mask = k.mask(k.select(inside, channels - c, 0))
                (staged.to + i * padded + c).store((staged.row + x * channels + c).load(lanes, mask))

    def _turn(self, k: Kernel, channels: int, padded: int, staged: Staged) -> None:
        """Stage contiguous rows by turning squares of channels and pixels."""
        with k.loop(channels, step=k.lanes) as c, k.loop(k.numbers["pitch"], step=k.lanes) as i:
            square = []
            for r in range(k.lanes):
                at = staged.column + i
                # Channels that are not there must be zero: a weight of zero does not silence a NaN.
                end = k.select(staged.inside & (c + r < channels), staged.width, 0)
                mask = k.window(0 - at, end - at)
                square.append((staged.row + staged.plane * (c + r) + at).load(k.lanes, mask))
            for r, vector in enumerate(turn(square)):
                (staged.to + (i + r) * padded + c).store(vector)
