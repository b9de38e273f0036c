"""What kernels compute with: indices, vectors of floats, addresses, masks, and variables that hold one of them.

Python computes what is known when the kernel is made, LLVM what is known when it runs: an `Index` and plain numbers mix
freely. Offsets count elements, never bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeAlias, TypeVar

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.compiler.emit import Kernel

I64 = ir.IntType(64)
I32 = ir.IntType(32)
I1 = ir.IntType(1)
POINTER = ir.PointerType()
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

    def minimum(self, other: Vector) -> Vector:
        """The smaller of each pair of lanes; NaN in ``self`` stays NaN."""
        k = self.kernel
        keep = k.builder.fcmp_unordered("<=", self.value, other.value)
        return Vector(k, k.builder.select(keep, self.value, other.value), self.lanes)

    def shuffle(self, order: Sequence[int], other: Vector | None = None) -> Vector:
        """Lanes in another order; numbers from ``lanes`` on pick from ``other``."""
        b = self.kernel.builder
        second = ir.Constant(self.value.type, ir.Undefined) if other is None else other.value
        places = self.kernel.literal(ir.VectorType(I32, len(order)), list(order))
        return Vector(self.kernel, b.shuffle_vector(self.value, second, places), len(order))

    def lane(self, number: int) -> Vector:
        """One lane, as a single float."""
        k = self.kernel
        return Vector(k, k.builder.extract_element(self.value, ir.Constant(I32, number)), 1)

    def sum(self) -> Vector:
        """The sum of all lanes, added in pairs, then pairs of pairs, so that the order is always the same."""
        half = self
        while half.lanes > 2:
            middle = half.lanes // 2
            half = half.shuffle(range(middle)) + half.shuffle(range(middle, half.lanes))
        return half if half.lanes == 1 else half.lane(0) + half.lane(1)

    def broadcast(self, lanes: int) -> Vector:
        """Copy one float to all lanes."""
        k = self.kernel
        if lanes == self.lanes:
            return self
        kind = ir.VectorType(k.float, lanes)
        first = k.builder.insert_element(ir.Constant(kind, ir.Undefined), self.value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, lanes), None)
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


class Indices:
    """A few indices in memory, for code that computes them in a loop rather than each by its own instructions."""

    def __init__(self, kernel: Kernel, count: int) -> None:
        self._kernel = kernel
        with kernel.builder.goto_entry_block():
            self._slots = kernel.builder.alloca(ir.ArrayType(I64, count))

    def _slot(self, place: Number) -> ir.Value:
        k = self._kernel
        return k.builder.gep(self._slots, (k.i64(0), k.i64(place)), inbounds=True)

    def __getitem__(self, place: Number) -> Index:
        k = self._kernel
        return Index(k, k.builder.load(self._slot(place), typ=I64))

    def __setitem__(self, place: Number, index: Index) -> None:
        self._kernel.builder.store(index.value, self._slot(place))


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
        masked = k.intrinsic(name, kind, (POINTER, I32, ir.VectorType(I1, lanes), kind))
        align = ir.Constant(I32, k.element_bytes)
        return Vector(k, k.builder.call(masked, (self.value, align, mask.value, ir.Constant(kind, None))), lanes)

    def store(self, value: Vector, mask: Mask | None = None) -> None:
        """Store a vector; lanes that are masked off write nothing."""
        k = self._kernel
        if mask is None:
            k.builder.store(value.value, self.value, align=k.element_bytes)
            return
        kind = k.vector_type(value.lanes)
        name = f"llvm.masked.store.v{value.lanes}{k.suffix}.p0"
        masked = k.intrinsic(name, ir.VoidType(), (kind, POINTER, I32, ir.VectorType(I1, value.lanes)))
        k.builder.call(masked, (value.value, self.value, ir.Constant(I32, k.element_bytes), mask.value))

    def prefetch(self, write: bool = False, level: int = 1) -> None:
        """Bring the cache line at this address into the ``level``-th cache; one outside any array does no harm."""
        k = self._kernel
        hint = k.intrinsic("llvm.prefetch.p0", ir.VoidType(), (POINTER, I32, I32, I32))
        near, data = ir.Constant(I32, 4 - level), ir.Constant(I32, 1)
        k.builder.call(hint, (self.value, ir.Constant(I32, int(write)), near, data))
