"""Runs any algorithm on NumPy arrays ``(N, C, *spatial)``, on memory that ends at a page nobody may touch."""

import ctypes
import math
import mmap

import numpy as np

from striate.compiler import reference
from striate.compiler.choose import plan
from striate.compiler.target import host


class Guarded:
    """Memory for an array between two pages that nobody may touch: it ends where the second one begins."""

    def __init__(self, nbytes, at_start=False):
        page = mmap.PAGESIZE
        pages = max(1, -(-nbytes // page))
        self._map = mmap.mmap(-1, (pages + 2) * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        for wall in (start, start + (pages + 1) * page):
            if libc.mprotect(ctypes.c_void_p(wall), page, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        # The last byte touches the upper wall, or the first byte the lower one.
        self.address = start + page + (0 if at_start else pages * page - nbytes)

    def array(self, shape, dtype):
        """The memory as an array."""
        count = math.prod(shape)
        kind = ctypes.c_float if dtype == "float32" else ctypes.c_double
        flat = np.ctypeslib.as_array(ctypes.cast(self.address, ctypes.POINTER(kind)), (max(count, 1),))[:count]
        return flat.reshape(shape)


def whole_numbers(problem, seed=0):
    """The two operands of the problem's pass and its bias, small integers: every sum is exact in float32."""
    spec, random = problem.spec, np.random.default_rng(seed)
    shapes = {
        "input": (problem.batch, spec.in_channels, *problem.input_size),
        "weight": (spec.out_channels, spec.group_in_channels, *spec.kernel_size),
        "grad_output": (problem.batch, spec.out_channels, *problem.output_size),
    }
    names = {
        "forward": ("input", "weight"),
        "grad_input": ("grad_output", "weight"),
        "grad_weight": ("grad_output", "input"),
    }[spec.pass_]
    first, second = (random.integers(-3, 4, shapes[name]).astype(float) for name in names)
    channels = spec.in_channels if spec.pass_ == "grad_input" else spec.out_channels * (1 + spec.scale)
    return first, second, random.integers(-3, 4, channels).astype(float) if spec.bias else None


def expected(problem, first, second, bias=None):
    """What the definition says: the result, and the gradient of the bias where one is wanted (else None)."""
    spec = problem.spec
    if spec.pass_ == "forward":
        return reference.forward(problem, first, second, bias), None
    if spec.pass_ == "grad_input":
        gradient = reference.grad_input(problem, first, second)
        if bias is not None:
            gradient += bias.reshape(-1, *[1] * spec.spatial_dims)
        return reference.activated(spec.activation, gradient), None
    axes = (0, *range(2, first.ndim))
    return reference.grad_weight(problem, first, second), first.sum(axes) if spec.bias else None


def run(
    algorithm, problem, first, second, bias=None, *, jit, target=None, threads=2, weight_last=False, at_start=False
):
    """Compute the problem; return the result and the gradient of the bias (or None), as float64 ``(N, C, ...)``.

    ``weight_last`` stores the weight, or its gradient, as ``(C_out, *kernel_size, C_in // groups)``.
    """
    spec = problem.spec
    dtype = spec.dtype
    axes = tuple(range(2, 2 + spec.spatial_dims))
    activation_order = (0, *axes, 1) if spec.layout == "channels_last" else (0, 1, *axes)
    weight_order = (0, *axes, 1) if weight_last else (0, 1, *axes)
    weight_shape = (spec.out_channels, spec.group_in_channels, *spec.kernel_size)
    if spec.pass_ == "grad_weight":
        shape, order, orders = weight_shape, weight_order, (activation_order, activation_order)
    else:
        channels, size = (
            (spec.out_channels, problem.output_size)
            if spec.pass_ == "forward"
            else (spec.in_channels, problem.input_size)
        )
        shape, order, orders = (
            (problem.batch, channels, *size), activation_order, (activation_order, weight_order)
        )  # fmt: skip

    def place(values):
        memory = Guarded(values.size * np.dtype(dtype).itemsize, at_start)
        memory.array(values.shape, dtype)[...] = values
        return memory

    weight = np.empty([weight_shape[axis] for axis in weight_order], dtype).transpose(np.argsort(weight_order))
    strides = tuple(stride // weight.itemsize for stride in weight.strides)
    if spec.pass_ == "grad_weight":
        bias_memory = place(np.full(spec.out_channels, np.nan)) if spec.bias else None
    else:
        bias_memory = place(bias) if spec.bias else None
    operands = [place(values.transpose(o)) for values, o in zip((first, second), orders, strict=True)]
    result = place(np.full([shape[axis] for axis in order], np.nan))
    ready = plan(problem, algorithm, target or host(), strides, threads, jit)
    # Workspaces begin on a cache line; what lies in them must not matter.
    workspace = Guarded(-(-ready.launch.workspace_bytes // 64) * 64)
    workspace.array((-(-ready.launch.workspace_bytes // 64) * 16,), "float32")[:] = np.nan
    ready(
        operands[0].address,
        operands[1].address,
        bias_memory.address if bias_memory else 0,
        result.address,
        workspace.address,
    )
    stored = result.array([shape[axis] for axis in order], dtype)
    gradient = bias_memory.array((spec.out_channels,), dtype) if spec.pass_ == "grad_weight" and spec.bias else None
    return (
        stored.transpose(np.argsort(order)).astype(float),
        None if gradient is None else gradient.astype(float),
    )
