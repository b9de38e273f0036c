"""What every algorithm says of itself, and what running one needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import ctypes

    from striate.compiler.emit import Program, Signature
    from striate.compiler.problem import ConvProblem, Pass, Spec
    from striate.compiler.target import Target

POINTERS: dict[Pass, tuple[str, ...]] = {
    "forward": ("input", "weight", "bias", "output", "workspace"),
    "grad_input": ("grad_output", "weight", "bias", "grad_input", "workspace"),
    "grad_weight": ("grad_output", "input", "grad_bias", "grad_weight", "workspace"),
}
"""The addresses a kernel of each pass is given. A bias that the spec does not have is 0, and so is an unused workspace.

The bias of ``grad_input`` is that of a transposed convolution, whose forward it is: one value per input channel.
"""

Strides = tuple[int, ...]
"""Elements between neighbours of a weight ``(C_out, C_in // groups, *kernel_size)`` along each of its axes."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a kernel has to be told of one problem."""

    table: ctypes.Array[ctypes.c_int64]
    workspace_bytes: int
    """Memory the kernel works in, aligned to 64 bytes; it need not be cleared."""
    threads: int
    """How many threads are worth waking, at most as many as were offered."""


class Algorithm(ABC):
    """One way to compute convolutions. Instances have no state: the same spec and target give the same code."""

    name: ClassVar[str]
    passes: ClassVar[tuple[Pass, ...]]
    exact: ClassVar[bool] = True
    """Whether every sum is made of products of inputs and weights: whole numbers give exact results."""

    def __repr__(self) -> str:
        return self.name

    def tolerance(self, problem: ConvProblem) -> float:
        """The largest error allowed for operands of whole numbers up to 3; 0 where the algorithm is exact."""
        return 0.0

    @abstractmethod
    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """Why this algorithm cannot compute ``spec``; None if it can. The pass is one of its ``passes``."""

    @abstractmethod
    def signature(self, spec: Spec) -> Signature:
        """The kernel's parameters; its pointers are those of `POINTERS`."""

    @abstractmethod
    def build(self, spec: Spec, target: Target) -> Program:
        """Write the kernel."""

    @abstractmethod
    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """The table and memory for one problem, on at most ``threads`` threads. A batch of 0 is a problem too."""

    @abstractmethod
    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """About how many processor cycles all cores together spend: what `choose` compares."""
