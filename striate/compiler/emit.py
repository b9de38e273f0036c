"""The kernel language: readable Python that writes LLVM code.

A kernel is written as the loops one would write by hand::

    k = Kernel("scale", target, pointers=("source", "result"), indices=("count",), scalars=("factor",))
    factor = k.scalars["factor"].broadcast(k.lanes)
    with k.tasks() as row:
        start = row * k.indices["count"]
        with k.loop(k.indices["count"], step=k.lanes) as i:
            mask = k.mask(k.indices["count"] - i)
            value = (k.pointers["source"] + start + i).load(k.lanes, mask)
            (k.pointers["result"] + start + i).store(value * factor, mask)
    program = k.finish()

The outermost loop runs over *tasks*, which are split over threads: a task may write nothing that another one touches.

Python computes what is known when the kernel is made, LLVM what is known when it runs: an `Index` and plain numbers mix
freely. Loops are context managers; a `Variable` is a register that survives them. Offsets and strides count elements,
never bytes.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeAlias, TypeVar

from llvmlite import ir

from striate.compiler import parallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from striate.compiler.target import Target

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)
_I1 = ir.IntType(1)
_POINTER = ir.PointerType()
_FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
_CTYPES = {
    _POINTER: ctypes.c_void_p,
    _I64: ctypes.c_int64,
    _FLOATS["float32"]: ctypes.c_float,
    _FLOATS["float64"]: ctypes.c_double,
}
_SUFFIX = {"float32": "f32", "float64": "f64"}
# Contraction lets LLVM fuse a multiply and an add. Reassociation is not given: sums keep the order they are written in.
_FAST = ("contract", "nsz")

Number: TypeAlias = "Index | int"


class Held(Protocol):
    """What a register can hold."""

    @property
    def value(self) -> ir.Value:
        """The LLVM value."""

    def holding(self, value: ir.Value) -> Self:
        """The same kind of thing with another value."""


T = TypeVar("T", bound=Held)


class Index:
    """A 64-bit integer that is known only when the kernel runs. Arithmetic with neutral constants emits nothing."""

    def __init__(self, kernel: Kernel, value: ir.Value) -> None:
        self._kernel = kernel
        self.value = value

    def holding(self, value: ir.Value) -> Index:
        """Another index."""
        return Index(self._kernel, value)

    def _with(self, operation: str, left: Number, right: Number) -> Index:
        k = self._kernel
        build = getattr(k.builder, operation)
        flags = {"flags": ("nsw",)} if operation in {"add", "sub", "mul"} else {}
        return Index(k, build(k.i64(left), k.i64(right), **flags))

    def __add__(self, other: Number) -> Index:
        return self if _is(other, 0) else self._with("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Number) -> Index:
        return self if _is(other, 0) else self._with("sub", self, other)

    def __rsub__(self, other: Number) -> Index:
        return self._with("sub", other, self)

    def __mul__(self, other: Number) -> Index:
        return self if _is(other, 1) else self._with("mul", self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Number) -> Index:
        """Divide, rounding towards zero; meant for non-negative numbers."""
        return self if _is(other, 1) else self._with("sdiv", self, other)

    def __mod__(self, other: Number) -> Index:
        """The remainder; meant for non-negative numbers."""
        return self._with("srem", self, other)

    def _compare(self, sign: str, other: Number) -> Condition:
        k = self._kernel
        return Condition(k, k.builder.icmp_signed(sign, self.value, k.i64(other)))

    def __lt__(self, other: Number) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: Number) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Condition:
        return self._compare(">=", other)

    def equals(self, other: Number) -> Condition:
        """Whether both are the same number (``==`` keeps Python's meaning)."""
        return self._compare("==", other)


def _is(number: Number, constant: int) -> bool:
    return isinstance(number, int) and number == constant


@dataclass(frozen=True, slots=True)
class Condition:
    """A truth value that is known only when the kernel runs."""

    kernel: Kernel
    value: ir.Value

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.kernel, self.kernel.builder.and_(self.value, other.value))

    def __or__(self, other: Condition) -> Condition:
        return Condition(self.kernel, self.kernel.builder.or_(self.value, other.value))


@dataclass(frozen=True, slots=True)
class Mask:
    """Which lanes of a vector take part in a load or store."""

    value: ir.Value


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of floats (or one float, with one lane) in a register."""

    kernel: Kernel
    value: ir.Value
    lanes: int

    def holding(self, value: ir.Value) -> Vector:
        """Another vector of as many lanes."""
        return Vector(self.kernel, value, self.lanes)

    def _with(self, operation: str, other: Vector) -> Vector:
        build = getattr(self.kernel.builder, operation)
        return Vector(self.kernel, build(self.value, other.value, flags=_FAST), self.lanes)

    def __add__(self, other: Vector) -> Vector:
        return self._with("fadd", other)

    def __sub__(self, other: Vector) -> Vector:
        return self._with("fsub", other)

    def __mul__(self, other: Vector) -> Vector:
        return self._with("fmul", other)

    def maximum(self, other: Vector) -> Vector:
        """The larger of each pair of lanes; NaN in ``self`` stays NaN, as in torch's relu."""
        k = self.kernel
        keep = k.builder.fcmp_unordered(">=", self.value, other.value)
        return Vector(k, k.builder.select(keep, self.value, other.value), self.lanes)

    def broadcast(self, lanes: int) -> Vector:
        """Copy one float to all lanes."""
        k = self.kernel
        if lanes == self.lanes:
            return self
        kind = ir.VectorType(k.float, lanes)
        first = k.builder.insert_element(ir.Constant(kind, ir.Undefined), self.value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, lanes), None)
        return Vector(k, k.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros), lanes)


class Variable(Generic[T]):
    """A register that can be assigned in loops and branches: it holds an index, an address or a vector."""

    def __init__(self, kernel: Kernel, value: T) -> None:
        self._kernel = kernel
        self._like = value
        # Allocated on entry, promoted to a register by LLVM: the kernel writer never sees a phi node.
        with kernel.builder.goto_entry_block():
            self._slot = kernel.builder.alloca(value.value.type)
        self.set(value)

    def get(self) -> T:
        """The current value."""
        loaded = self._kernel.builder.load(self._slot, typ=self._like.value.type)
        return self._like.holding(loaded)

    def set(self, value: T) -> None:
        """Assign."""
        self._kernel.builder.store(value.value, self._slot)


class Pointer:
    """An address of floats; adding an `Index` moves it by that many elements."""

    def __init__(self, kernel: Kernel, value: ir.Value) -> None:
        self._kernel = kernel
        self.value = value

    def holding(self, value: ir.Value) -> Pointer:
        """Another address."""
        return Pointer(self._kernel, value)

    def __add__(self, elements: Number) -> Pointer:
        k = self._kernel
        if _is(elements, 0):
            return self
        return Pointer(k, k.builder.gep(self.value, (k.i64(elements),), inbounds=True, source_etype=k.float))

    def load(self, lanes: int = 1, mask: Mask | None = None) -> Vector:
        """Load ``lanes`` neighbouring floats; lanes that are masked off read nothing and hold zero."""
        k = self._kernel
        kind = k.vector_type(lanes)
        if mask is None:
            return Vector(k, k.builder.load(self.value, align=k.element_bytes, typ=kind), lanes)
        name = f"llvm.masked.load.v{lanes}{k.suffix}.p0"
        masked = k.intrinsic(name, kind, (_POINTER, _I32, ir.VectorType(_I1, lanes), kind))
        align = ir.Constant(_I32, k.element_bytes)
        return Vector(k, k.builder.call(masked, (self.value, align, mask.value, ir.Constant(kind, None))), lanes)

    def store(self, value: Vector, mask: Mask | None = None) -> None:
        """Store a vector; lanes that are masked off write nothing."""
        k = self._kernel
        if mask is None:
            k.builder.store(value.value, self.value, align=k.element_bytes)
            return
        kind = k.vector_type(value.lanes)
        name = f"llvm.masked.store.v{value.lanes}{k.suffix}.p0"
        masked = k.intrinsic(name, ir.VoidType(), (kind, _POINTER, _I32, ir.VectorType(_I1, value.lanes)))
        k.builder.call(masked, (value.value, self.value, ir.Constant(_I32, k.element_bytes), mask.value))


@dataclass(frozen=True, slots=True)
class Program:
    """A finished kernel: its LLVM text, the function to call, and the ctypes of its arguments.

    The arguments are the kernel's pointers, indices and scalars in order, then the number of tasks and of threads.
    """

    text: str
    entry: str
    kinds: tuple[type, ...]


class Kernel:
    """One kernel under construction, with named pointers, indices (integers) and scalars (floats) as parameters."""

    def __init__(
        self,
        name: str,
        target: Target,
        *,
        pointers: Sequence[str] = (),
        indices: Sequence[str] = (),
        scalars: Sequence[str] = (),
        dtype: str = "float32",
    ) -> None:
        self.target = target
        self.name = name
        self.float = _FLOATS[dtype]
        self.suffix = _SUFFIX[dtype]
        self.element_bytes = 4 if dtype == "float32" else 8
        self.lanes = target.lanes(dtype)
        self.module = ir.Module(name=name)
        self.module.triple = target.triple
        kinds = [_POINTER] * len(pointers) + [_I64] * len(indices) + [self.float] * len(scalars)
        self._kinds = tuple(_CTYPES[kind] for kind in kinds)
        self._function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64, *kinds]), name)
        self._function.attributes.add("nounwind")
        for argument, label in zip(
            self._function.args, ("begin", "end", "thread", *pointers, *indices, *scalars), strict=True
        ):
            argument.name = label
            if argument.type == _POINTER:
                # Inputs and outputs never overlap, which lets LLVM keep loads ahead of stores.
                argument.add_attribute("noalias")
        self.builder = ir.IRBuilder(self._function.append_basic_block("entry"))
        arguments = iter(self._function.args)
        self._begin, self._end, self.thread = (Index(self, next(arguments)) for _ in range(3))
        self.pointers = {label: Pointer(self, next(arguments)) for label in pointers}
        self.indices = {label: Index(self, next(arguments)) for label in indices}
        self.scalars = {label: Vector(self, next(arguments), 1) for label in scalars}

    def finish(self) -> Program:
        """End the kernel and add the function that runs it in parallel."""
        self.builder.ret_void()
        entry = parallel.add_entry(self.module, self._function)
        return Program(str(self.module), entry, (*self._kinds, ctypes.c_int64, ctypes.c_int64))

    # Values

    def i64(self, number: Number) -> ir.Value:
        """The LLVM value of an index."""
        return number.value if isinstance(number, Index) else ir.Constant(_I64, number)

    def vector_type(self, lanes: int) -> ir.Type:
        """The type of ``lanes`` floats; one lane is a plain float."""
        return self.float if lanes == 1 else ir.VectorType(self.float, lanes)

    def constant(self, value: float, lanes: int = 1) -> Vector:
        """A vector with the same constant in every lane."""
        kind = self.vector_type(lanes)
        return Vector(self, ir.Constant(kind, value if lanes == 1 else [value] * lanes), lanes)

    def variable(self, value: T) -> Variable[T]:
        """A register variable, assigned ``value``."""
        return Variable(self, value)

    def mask(self, count: Number, lanes: int | None = None) -> Mask:
        """The mask of the first ``count`` lanes; all of them if ``count`` is larger, none if it is not positive."""
        lanes = self.lanes if lanes is None else lanes
        numbers = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
        kind = ir.VectorType(_I64, lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), self.i64(count), ir.Constant(_I32, 0))
        spread = self.builder.shuffle_vector(
            first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, lanes), None)
        )
        return Mask(self.builder.icmp_signed("<", numbers, spread))

    def fma(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """``a * b + c``, in one rounding where the target has the instruction."""
        if not self.target.fma:
            return a * b + c
        kind = self.vector_type(a.lanes)
        prefix = "" if a.lanes == 1 else f"v{a.lanes}"
        fused = self.intrinsic(f"llvm.fma.{prefix}{self.suffix}", kind, (kind, kind, kind))
        return Vector(self, self.builder.call(fused, (a.value, b.value, c.value)), a.lanes)

    def minimum(self, a: Number, b: Number) -> Index:
        """The smaller index."""
        return self._choose("<", a, b)

    def maximum(self, a: Number, b: Number) -> Index:
        """The larger index."""
        return self._choose(">", a, b)

    def _choose(self, sign: str, a: Number, b: Number) -> Index:
        test = self.builder.icmp_signed(sign, self.i64(a), self.i64(b))
        return Index(self, self.builder.select(test, self.i64(a), self.i64(b)))

    def intrinsic(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """Declare an LLVM intrinsic, once per module."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def index(self, number: Number) -> Index:
        """A number as an `Index`."""
        return number if isinstance(number, Index) else Index(self, self.i64(number))

    # Control

    @contextmanager
    def loop(self, stop: Number, start: Number = 0, step: int = 1) -> Iterator[Index]:
        """Repeat the body for each index from ``start`` below ``stop``; not at all if there is none."""
        b = self.builder
        counter = self.variable(self.index(start))
        head, body, after = (b.append_basic_block(label) for label in ("loop", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        current = counter.get()
        b.cbranch((current < stop).value, body, after)
        b.position_at_end(body)
        yield current
        counter.set(current + step)
        b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def tasks(self) -> Iterator[Index]:
        """Repeat the body for each task of this thread's share."""
        with self.loop(self._end, self._begin) as task:
            yield task

    @contextmanager
    def unless(self, condition: Condition) -> Iterator[None]:
        """Run the body only if ``condition`` does not hold."""
        with self.builder.if_then(self.builder.not_(condition.value)):
            yield

    @contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """Run the body only if ``condition`` holds."""
        with self.builder.if_then(condition.value):
            yield
