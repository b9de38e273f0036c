"""One file per idea of how to compute a convolution. The tests run over all that are listed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithms.direct import Direct
from striate.compiler.algorithms.dot import Dot
from striate.compiler.algorithms.lanewise import Lanewise
from striate.compiler.algorithms.lanewise_weight import LanewiseWeight
from striate.compiler.algorithms.outer import Outer
from striate.compiler.algorithms.planar import Planar
from striate.compiler.algorithms.weight_gradient import WeightGradient
from striate.compiler.algorithms.winograd import WinogradFour, WinogradFourWide, WinogradThree, WinogradTwo
from striate.compiler.algorithms.winograd_weight import WinogradWeight, WinogradWeightThree

if TYPE_CHECKING:
    from striate.compiler.algorithm import Algorithm

ALGORITHMS: tuple[Algorithm, ...] = (
    Direct(),
    Lanewise(),
    LanewiseWeight(),
    WinogradFour(),
    WinogradThree(),
    WinogradTwo(),
    WinogradFourWide(),
    Planar(),
    Dot(),
    Outer(),
    WeightGradient(),
    WinogradWeight(),
    WinogradWeightThree(),
)
"""Every algorithm, in the order in which `striate.compiler.choose` lists them."""
