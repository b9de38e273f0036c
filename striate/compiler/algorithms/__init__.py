"""One file per idea of how to compute a convolution. The tests run over all that are listed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithms.direct import Direct

if TYPE_CHECKING:
    from striate.compiler.algorithm import Algorithm

ALGORITHMS: tuple[Algorithm, ...] = (Direct(),)
"""Every algorithm, in the order in which `striate.compiler.choose` lists them."""
