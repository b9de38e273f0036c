"""The kernel language: readable Python that writes LLVM code.

A kernel is one or more *phases*, each a loop over tasks that is split over threads; a phase begins when the one before
it is done by all. All phases may be run through in several rounds. A task may write nothing that another task of its
phase touches::

    SIGNATURE = Signature(pointers=("source", "result"), numbers=("count", "rows"), phases=("scale",))

    k = Kernel("scale", target, SIGNATURE)
    with k.phase("scale"):
        two = k.constant(2.0, k.lanes)
        with k.tasks() as row:
            start = row * k.numbers["count"]
            with k.loop(k.numbers["count"], step=k.lanes) as i:
                mask = k.mask(k.numbers["count"] - i)
                value = (k.pointers["source"] + start + i).load(k.lanes, mask)
                (k.pointers["result"] + start + i).store(value * two, mask)
    program = k.finish()

Loops are context managers; a `Variable` is a register that survives them. `striate.compiler.values` has what is
computed with, `striate.compiler.moves` whole copies and transpositions.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from llvmlite import ir

from striate.compiler import parallel
from striate.compiler.target import BYTES
from striate.compiler.values import I32, I64, POINTER, Condition, Index, Mask, Number, Pointer, T, Variable, Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from striate.compiler.target import Target

_FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
_SUFFIX = {"float32": "f32", "float64": "f64"}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a kernel is given: addresses, a table of whole numbers, and how many tasks each phase has.

    ``rounds`` is the number that says how often the phases are run through, in their order; once, if it has no name.
    """

    pointers: tuple[str, ...]
    numbers: tuple[str, ...]
    phases: tuple[str, ...]
    rounds: str | None = None

    def table(self, tasks: Sequence[int], **numbers: int) -> ctypes.Array[ctypes.c_int64]:
        """The table of one launch: the tasks of each phase, then the numbers, all of which must be given."""
        if len(tasks) != len(self.phases) or numbers.keys() != set(self.numbers):
            raise TypeError(f"expected tasks of {self.phases} and {self.numbers}, received {tasks} and {[*numbers]}")
        values = [*tasks, *(numbers[name] for name in self.numbers)]
        return (ctypes.c_int64 * len(values))(*values)


@dataclass(frozen=True, slots=True)
class Program:
    """A finished kernel, as LLVM text. Its function takes the addresses, the table's address, and the threads."""

    text: str


class Kernel:
    """One kernel under construction. Inside a phase, ``pointers`` and ``numbers`` hold its parameters by name."""

    builder: ir.IRBuilder
    pointers: dict[str, Pointer]
    numbers: dict[str, Index]
    thread: Index
    """Which thread this is, from 0; scratch memory of its own begins at ``thread`` times its size."""
    round: Index
    """Which round this is, from 0."""

    def __init__(self, name: str, target: Target, signature: Signature, dtype: str = "float32") -> None:
        self.target = target
        self.name = name
        self.signature = signature
        self.float = _FLOATS[dtype]
        self.suffix = _SUFFIX[dtype]
        self.element_bytes = BYTES[dtype]
        self.lanes = target.lanes(dtype)
        self.module = ir.Module(name=name)
        self.module.triple = target.triple
        self._phases: list[ir.Function] = []
        self._literals: dict[tuple[str, ...], ir.Constant] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Write one phase; in the order of the signature."""
        expected = self.signature.phases[len(self._phases)]
        if name != expected:
            raise ValueError(f"expected phase {expected!r} next, received {name!r}")
        pointers = [POINTER] * len(self.signature.pointers)
        kind = ir.FunctionType(ir.VoidType(), [*[I64] * parallel.BEFORE, *pointers, POINTER])
        function = ir.Function(self.module, kind, f"{self.name}_{name}")
        function.linkage = "internal"
        function.attributes.add("nounwind")
        labels = ("begin", "end", "thread", "round", *self.signature.pointers, "table")
        for argument, label in zip(function.args, labels, strict=True):
            argument.name = label
            if argument.type == POINTER:
                # Inputs and outputs never overlap, which lets LLVM keep loads ahead of stores.
                argument.add_attribute("noalias")
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._begin, self._end, self.thread, self.round = map(partial(Index, self), function.args[: parallel.BEFORE])
        self.pointers = {
            label: Pointer(self, argument)
            for label, argument in zip(self.signature.pointers, function.args[parallel.BEFORE : -1], strict=True)
        }
        first = len(self.signature.phases)
        self.numbers = {
            label: self._number(function.args[-1], first + place) for place, label in enumerate(self.signature.numbers)
        }
        self._phases.append(function)
        yield
        self.builder.ret_void()

    @contextmanager
    def routine(self, name: str, arguments: int) -> Iterator[list[Index]]:
        """Write a piece of code that phases run with `call`: once in the kernel, however often it is used."""
        kind = ir.FunctionType(ir.VoidType(), [*[I64] * arguments, *[POINTER] * len(self.signature.pointers), POINTER])
        function = ir.Function(self.module, kind, f"{self.name}_{name}")
        function.linkage = "internal"
        function.attributes.add("nounwind")
        function.attributes.add("noinline")
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.pointers = {
            label: Pointer(self, argument)
            for label, argument in zip(self.signature.pointers, function.args[arguments:-1], strict=True)
        }
        first = len(self.signature.phases)
        self.numbers = {
            label: self._number(function.args[-1], first + place) for place, label in enumerate(self.signature.numbers)
        }
        yield [Index(self, argument) for argument in function.args[:arguments]]
        self.builder.ret_void()

    def call(self, name: str, *arguments: Number) -> None:
        """Run a `routine` that was written before."""
        addresses = [pointer.value for pointer in self.pointers.values()]
        table = self.builder.function.args[-1]
        values = [*(self.i64(argument) for argument in arguments), *addresses, table]
        self.builder.call(self.module.get_global(f"{self.name}_{name}"), values)

    def shared(self, name: str, write: Callable[..., None], *arguments: Number | Pointer) -> None:
        """Run ``write(kernel, *arguments)``, whose code stands once in the kernel, however often it is run.

        ``write`` is given its own names for the arguments, and may use nothing else that a phase has computed.
        """
        values = [argument.value if isinstance(argument, Pointer) else self.i64(argument) for argument in arguments]
        function = self.module.globals.get(f"{self.name}_{name}")
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            function = ir.Function(self.module, kind, f"{self.name}_{name}")
            function.linkage = "internal"
            function.attributes.add("nounwind")
            function.attributes.add("noinline")
            around, self.builder = self.builder, ir.IRBuilder(function.append_basic_block("entry"))
            for argument in function.args:
                if argument.type == POINTER:
                    argument.add_attribute("noalias")
            write(self, *(Pointer(self, a) if a.type == POINTER else Index(self, a) for a in function.args))
            self.builder.ret_void()
            self.builder = around
        self.builder.call(function, values)

    def _number(self, table: ir.Value, place: int) -> Index:
        b = self.builder
        return Index(self, b.load(b.gep(table, (ir.Constant(I64, place),), source_etype=I64), typ=I64))

    def finish(self) -> Program:
        """End the kernel and add the function that runs its phases in parallel."""
        if len(self._phases) != len(self.signature.phases):
            raise ValueError(f"expected phases {self.signature.phases}, {len(self._phases)} of them were written")
        rounds = self.signature.rounds
        place = None if rounds is None else len(self._phases) + self.signature.numbers.index(rounds)
        parallel.add_entry(self.module, self.name, self._phases, place)
        return Program(str(self.module))

    # Values

    def i64(self, number: Number) -> ir.Value:
        """The LLVM value of an index."""
        return number.value if isinstance(number, Index) else ir.Constant(I64, number)

    def vector_type(self, lanes: int) -> ir.Type:
        """The type of ``lanes`` floats; one lane is a plain float."""
        return self.float if lanes == 1 else ir.VectorType(self.float, lanes)

    def constant(self, value: float, lanes: int = 1) -> Vector:
        """A vector with the same constant in every lane."""
        kind = self.vector_type(lanes)
        if lanes == 1:
            return Vector(self, ir.Constant(kind, value), lanes)
        return Vector(self, self.literal(kind, [value] * lanes), lanes)

    def literal(self, kind: ir.VectorType, lanes: Sequence[float]) -> ir.Constant:
        """A constant vector, made once: llvmlite takes its time to write one down, and then remembers the text."""
        key = (str(kind), *map(repr, lanes))
        known = self._literals.get(key)
        if known is None:
            known = self._literals[key] = ir.Constant(kind, list(lanes))
        return known

    def variable(self, value: T) -> Variable[T]:
        """A register variable, assigned ``value``."""
        return Variable(self, value)

    def mask(self, count: Number, lanes: int | None = None) -> Mask:
        """The mask of the first ``count`` lanes; all of them if ``count`` is larger, none if it is not positive."""
        lanes = self.lanes if lanes is None else lanes
        kind = ir.VectorType(I32, lanes)
        last = self.builder.trunc(self.minimum(count, lanes).value, I32)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), last, ir.Constant(I32, 0))
        spread = self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(kind, None))
        return Mask(self.builder.icmp_signed("<", self.literal(kind, range(lanes)), spread))

    def window(self, low: Number, high: Number, lanes: int | None = None) -> Mask:
        """The mask of the lanes from ``low`` up to but without ``high``, which may lie outside the vector."""
        lanes = self.lanes if lanes is None else lanes
        after = self.mask(high, lanes)
        kind = ir.VectorType(I32, lanes)
        first = self.builder.trunc(self.maximum(self.minimum(low, lanes), 0).value, I32)
        begin = self.builder.insert_element(ir.Constant(kind, ir.Undefined), first, ir.Constant(I32, 0))
        spread = self.builder.shuffle_vector(begin, ir.Constant(kind, ir.Undefined), ir.Constant(kind, None))
        begun = self.builder.icmp_signed(">=", self.literal(kind, range(lanes)), spread)
        return Mask(self.builder.and_(after.value, begun))

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

    def choose(self, condition: Condition, a: Number, b: Number) -> Index:
        """``a`` where ``condition`` holds, else ``b``."""
        return Index(self, self.builder.select(condition.value, self.i64(a), self.i64(b)))

    def _choose(self, sign: str, a: Number, b: Number) -> Index:
        test = self.builder.icmp_signed(sign, self.i64(a), self.i64(b))
        return Index(self, self.builder.select(test, self.i64(a), self.i64(b)))

    def select(self, condition: Condition, a: Number, b: Number) -> Index:
        """``a`` where the condition holds, else ``b``; neither costs a branch."""
        return Index(self, self.builder.select(condition.value, self.i64(a), self.i64(b)))

    def either(self, condition: Condition, a: T, b: T) -> T:
        """``a`` where the condition holds, else ``b``: addresses, vectors or indices, without a branch."""
        return a.holding(self.builder.select(condition.value, a.value, b.value))

    def zeros(self, count: int) -> Pointer:
        """The address of ``count`` zeros that nothing may write."""
        name = f"zeros_{count}"
        kind = ir.ArrayType(self.float, count)
        known = self.module.globals.get(name)
        if known is None:
            known = ir.GlobalVariable(self.module, kind, name)
            known.linkage = "internal"
            known.global_constant = True
            known.initializer = ir.Constant(kind, None)
        # llvmlite gives globals a typed pointer and arguments an opaque one.
        return Pointer(self, self.builder.bitcast(known, POINTER))

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
    def walk(self, count: Number, *steps: tuple[Pointer, Number]) -> Iterator[list[Pointer]]:
        """Repeat the body ``count`` times, with each pointer moved on by its step every time.

        For inner loops: an addition for each pointer, where addresses made of an index take shifts and products.
        """
        if isinstance(count, int) and count == 1:
            yield [pointer for pointer, _ in steps]
            return
        places = [self.variable(pointer) for pointer, _ in steps]
        with self.loop(count):
            current = [place.get() for place in places]
            yield current
            for place, pointer, (_, step) in zip(places, current, steps, strict=True):
                place.set(pointer + step)

    @contextmanager
    def tasks(self) -> Iterator[Index]:
        """Repeat the body for each task of this thread's share of the phase."""
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
