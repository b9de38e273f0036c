"""Which kernel computes a call, remembered, so that a known call is one look-up and one call of machine code.

A call is known by the shapes and strides of its tensors, its window, the precision and the number of threads. What is
remembered holds no tensor, and no more than `MOST_PLANS` of the latest calls. Where no kernel can be had, PyTorch's
operator is remembered, with the reason.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import sys
import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

import torch

from striate.ops.compiled.layouts import dense_strides, densified, fits, suggests_channels_last

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

    from striate.compiler.algorithm import Algorithm
    from striate.compiler.choose import Plan
    from striate.compiler.problem import Activation, ConvProblem, Pass
    from striate.geometry import Pads, Size

logger = logging.getLogger("striate.ops")

MOST_PLANS = 4096
SMALL_WORKSPACE = 4 << 20
"""Bytes of working memory that each thread keeps; what needs more asks for it call by call."""
_CPU = torch.device("cpu")
_FLOAT = torch.float32
# What torch.compile allocates with, in half the time of torch.empty_strided.
_empty: Callable[[Sequence[int], Sequence[int], torch.dtype], Tensor]
_empty = torch._C._dynamo.guards._empty_strided_cpu  # type: ignore[attr-defined]  # noqa: SLF001


class Arguments(NamedTuple):
    """What a convolution is told besides its tensors; one entry per spatial axis.

    ``channels_last`` is the layout of input and output; None leaves it to torch's rule. ``activation`` is applied to
    the output of the forward pass, where no gradient is wanted; with ``scale`` its bias is followed by factors for the
    output, as many.
    """

    stride: Size
    pads: Pads
    dilation: Size
    groups: int
    strict: bool = False
    channels_last: bool | None = None
    activation: Activation | None = None
    scale: bool = False


class Operand(NamedTuple):
    """What a plan has to know of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, tensor: Tensor) -> Operand:
        """Describe a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)


class Native(NamedTuple):
    """PyTorch's operator computes this call."""

    channels_last: bool


class Compiled:
    """A kernel computes this call: everything that has to be known when the tensors come."""

    __slots__ = ("channels_last", "plan", "run")

    def __init__(
        self, plan: Plan, shape: Size, strides: Size, channels_last: bool, convert_first: bool, convert_second: bool
    ) -> None:
        self.plan = plan
        self.channels_last = channels_last
        # A closure finds its variables faster than a method finds attributes, and this runs in every call.
        call, table, threads = plan.function.call, ctypes.addressof(plan.launch.table), plan.launch.threads
        workspace_bytes = plan.launch.workspace_bytes
        shape, strides = tuple(shape), tuple(strides)
        small, as_it_lies = workspace_bytes <= SMALL_WORKSPACE, not convert_first and not convert_second

        def run(first: Tensor, second: Tensor, bias: Tensor | None, _: Arguments | None = None) -> Tensor:
            if not as_it_lies:
                first = densified(first, channels_last) if convert_first else first
                second = densified(second, channels_last) if convert_second else second
            a, b, c = first.data_ptr(), second.data_ptr(), 0
            if bias is not None:
                bias = bias.contiguous()
                c = bias.data_ptr()
            if not a or not b or (bias is not None and not c):
                return run(_stored(first), _stored(second), None if bias is None else _stored(bias))
            output = _empty(shape, strides, _FLOAT)
            if small:
                workspace = _kept.address
            else:
                large = torch.empty(workspace_bytes, dtype=torch.uint8, device=_CPU)
                workspace = large.data_ptr()
            call(a, b, c, output.data_ptr(), workspace, table, threads)
            return output

        # Code and table are the plan's, and some keep `run` alone.
        run.plan = plan  # type: ignore[attr-defined]
        self.run = run
        """Compute the call. Only for tensors that are exactly what the plan was made for."""


def _stored(tensor: Tensor) -> Tensor:
    """The tensor in memory: torch keeps some that are known to be zeros without any."""
    return tensor if tensor.data_ptr() else _empty(tuple(tensor.shape), tensor.stride(), _FLOAT).zero_()


Choice: TypeAlias = Compiled | Native


class _Kept(threading.local):
    """Working memory of a thread. Kernels leave nothing in it that anybody needs."""

    def __init__(self) -> None:
        # torch aligns to 64 bytes; untouched pages cost nothing.
        self.memory = torch.empty(SMALL_WORKSPACE, dtype=torch.uint8, device=_CPU)
        self.address = self.memory.data_ptr()


_kept = _Kept()
_forked = False


def _in_child() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_in_child)


def threads() -> int:
    """How many threads a kernel may use: torch's number, but one in a forked child, where libgomp's pool is gone."""
    return 1 if _forked else torch.get_num_threads()


T = TypeVar("T")


class Memory(Generic[T]):
    """The latest values by what they depend on, at most ``most``; the older half leaves when it is full."""

    def __init__(self, most: int = MOST_PLANS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: dict[Hashable, T] = {}
        self.get = self._values.get
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: Hashable, value: T) -> None:
        """Remember a value."""
        with self._lock:
            if len(self._values) >= self._most:
                for old in list(self._values)[: self._most // 2]:
                    del self._values[old]
            self._values[key] = value


class Decision(NamedTuple):
    """What is to compute a pass: an algorithm, or PyTorch's operator for a reason."""

    channels_last: bool
    problem: ConvProblem | None
    algorithm: Algorithm | None
    reason: str


def decide(pass_: Pass, first: Operand, second: Operand, arguments: Arguments, result: Size, bias: bool) -> Decision:
    """Decide without compiling.

    ``first`` and ``second`` are the operands in the order of `striate.compiler.algorithm.POINTERS`, ``result`` is the
    shape of the result.
    """
    channels_last = layout_of(arguments, first.shape, first.strides, second.shape, second.strides)
    problem, reason = _problem(pass_, first, second, arguments, result, bias, channels_last)
    if problem is None:
        return Decision(channels_last, None, None, reason)
    from striate.compiler.choose import choose as cheapest
    from striate.compiler.target import host

    algorithm = cheapest(problem, host(), arguments.strict)
    return Decision(channels_last, problem, algorithm, "" if algorithm else f"no algorithm computes {problem}")


def choose(
    pass_: Pass,
    first: Operand,
    second: Operand,
    arguments: Arguments,
    shape: Size,
    strides: Size | None,
    bias: bool,
    threads: int,
) -> Choice:
    """What computes a pass, compiled and ready; see `decide`. Without ``strides`` the result is dense."""
    channels_last, problem, algorithm, reason = decide(pass_, first, second, arguments, shape, bias)
    if problem is None or algorithm is None:
        _log(reason)
        return Native(channels_last)
    from striate.compiler.choose import plan
    from striate.compiler.target import host

    strides = strides or dense_strides(shape, channels_last)
    weight_strides = strides if pass_ == "grad_weight" else second.strides
    return Compiled(
        plan(problem, algorithm, host(), weight_strides, threads),
        shape,
        strides,
        channels_last,
        not fits(first.shape, first.strides, channels_last),
        pass_ == "grad_weight" and not fits(second.shape, second.strides, channels_last),
    )


def layout_of(arguments: Arguments, shape: Size, strides: Size, weight_shape: Size, weight_strides: Size) -> bool:
    """Whether a call's input and output lie channels last: as told, else by torch's rule; in 1-D the input decides."""
    if arguments.channels_last is not None:
        return arguments.channels_last
    if suggests_channels_last(shape, strides):
        return True
    return len(arguments.stride) > 1 and suggests_channels_last(weight_shape, weight_strides)


def _problem(
    pass_: Pass,
    first: Operand,
    second: Operand,
    arguments: Arguments,
    result: Size,
    bias: bool,
    channels_last: bool,
) -> tuple[ConvProblem | None, str]:
    """The problem a kernel would solve, or why there is none."""
    reason = unsupported()
    if reason is None and {first.dtype, second.dtype} != {torch.float32}:
        reason = f"kernels compute float32, these are {first.dtype} and {second.dtype}".replace("torch.", "")
    if reason is None and 0 in (*first.shape, *second.shape, *result):
        reason = "an operand or the result is empty"
    if reason is not None:
        return None, reason
    from striate.compiler.problem import ConvProblem

    stride, pads, dilation, groups, *_ = arguments
    shapes = {
        "forward": {"input": first.shape, "weight": second.shape, "output": result},
        "grad_input": {"output": first.shape, "weight": second.shape, "input": result},
        "grad_weight": {"output": first.shape, "input": second.shape, "weight": result},
    }[pass_]
    batch, in_channels, *size = shapes["input"]
    problem = ConvProblem.of(
        spatial_dims=len(stride),
        batch=batch,
        in_channels=in_channels,
        out_channels=shapes["weight"][0],
        input_size=tuple(size),
        kernel_size=shapes["weight"][2:],
        stride=stride,
        padding=pads,
        dilation=dilation,
        groups=groups,
        pass_=pass_,
        bias=bias,
        layout="channels_last" if channels_last else "contiguous",
        activation=arguments.activation,
        scale=arguments.scale,
    )
    # Kernels trust their sizes, so whatever was called has to fit.
    spec = problem.spec
    fitting = {
        "input": (batch, spec.in_channels, *problem.input_size),
        "weight": (spec.out_channels, spec.group_in_channels, *spec.kernel_size),
        "output": (batch, spec.out_channels, *problem.output_size),
    }
    if fitting != shapes:
        received = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(f"shapes of the {pass_} pass of {problem} do not fit: {received}")
    return problem, ""


@functools.cache
def unsupported() -> str | None:
    """Why this machine can run no kernel; None if it can."""
    machine = platform.machine().lower()
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "amd64", "aarch64", "arm64"):
        return f"kernels run on Linux on x86-64 and AArch64, this is {sys.platform} on {machine}"
    try:
        import llvmlite.binding  # noqa: F401  # heavy: loaded by the first convolution
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be loaded: {error}"
    return None


_logged: set[str] = set()


def _log(reason: str) -> None:
    if reason not in _logged and len(_logged) < MOST_PLANS:
        _logged.add(reason)
        logger.debug("PyTorch's operator computes a convolution: %s", reason)
