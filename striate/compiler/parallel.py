"""Parallel regions: the tasks of a kernel, split over PyTorch's own threads.

Each phase of a kernel computes tasks ``begin`` up to ``end``. This file adds the function that Python calls, which
opens one region of the OpenMP runtime that PyTorch ships and computes with, gives each thread its share of each phase,
and waits between phases, which may be run through in several *rounds*. A pool of our own would fight with PyTorch's
threads, which spin for a while after each of their regions. On a system without that runtime the kernel runs on the
calling thread.

Denormal numbers, which can make arithmetic a hundred times slower, count as zero inside a region; the caller's
floating-point state is put back at its end.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm
from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_VOID, _I32, _I64, _POINTER = ir.VoidType(), ir.IntType(32), ir.IntType(64), ir.PointerType()
_FLUSH_X86 = 0x8040  # MXCSR: flush to zero and denormals are zero
_FLUSH_ARM = 1 << 24  # FPCR: flush to zero


ENTRY = "entry"
"""The name of the function that Python calls, in every kernel."""

BEFORE = 4
"""Arguments of a phase before its pointers."""


def add_entry(module: ir.Module, name: str, phases: list[ir.Function], rounds: int | None = None) -> None:
    """Add the function Python calls for phases ``void phase(begin, end, thread, round, pointers..., table)``.

    Its signature is ``void entry(pointers..., table, threads)``. The table begins with the tasks of each phase, and has
    the number of rounds at the place ``rounds``; there is one if that is None.
    """
    pointers = len(phases[0].args) - BEFORE
    region = _add_region(module, name, phases, rounds)
    entry = ir.Function(module, ir.FunctionType(_VOID, [*[_POINTER] * pointers, _I64]), ENTRY)
    *addresses, threads = entry.args
    b = ir.IRBuilder(entry.append_basic_block("entry"))
    frame = b.alloca(_frame(pointers))
    for position, value in enumerate(addresses):
        b.store(value, _slot(b, pointers, frame, position))
    alone = b.icmp_signed("<", threads, ir.Constant(_I64, 2))
    with b.if_else(alone) as (then, otherwise):
        with then:
            b.call(region, (frame, ir.Constant(_I64, 0), ir.Constant(_I64, 1)))
        with otherwise:
            gomp = ir.Function(module, ir.FunctionType(_VOID, [_POINTER, _POINTER, _I32, _I32]), "GOMP_parallel")
            member = _add_member(module, name, region)
            b.call(gomp, (member, frame, b.trunc(threads, _I32), ir.Constant(_I32, 0)))
    b.ret_void()


def _frame(pointers: int) -> ir.LiteralStructType:
    return ir.LiteralStructType([_POINTER] * pointers)


def _slot(b: ir.IRBuilder, pointers: int, frame: ir.Value, position: int) -> ir.Value:
    where = (ir.Constant(_I32, 0), ir.Constant(_I32, position))
    # llvmlite gives stack slots a typed pointer and arguments an opaque one.
    return b.gep(frame, where, inbounds=True, source_etype=_frame(pointers) if frame.type.is_opaque else None)


def _add_region(module: ir.Module, name: str, phases: list[ir.Function], rounds: int | None) -> ir.Function:
    """``region(frame, thread, threads)``: one thread's share of every phase, with denormals flushed."""
    pointers = len(phases[0].args) - BEFORE
    region = ir.Function(module, ir.FunctionType(_VOID, [_POINTER, _I64, _I64]), f"{name}_region")
    region.linkage = "internal"
    frame, thread, threads = region.args
    b = ir.IRBuilder(region.append_basic_block("entry"))
    addresses = [b.load(_slot(b, pointers, frame, position), typ=_POINTER) for position in range(pointers)]
    restore = _flush_denormals(module, b)

    def number(place: int) -> ir.Value:
        return b.load(b.gep(addresses[-1], (ir.Constant(_I64, place),), source_etype=_I64), typ=_I64)

    def wait() -> None:
        barrier = module.globals.get("GOMP_barrier") or ir.Function(module, ir.FunctionType(_VOID, []), "GOMP_barrier")
        with b.if_then(b.icmp_signed(">", threads, ir.Constant(_I64, 1))):
            b.call(barrier, ())

    with _rounds(b, None if rounds is None else number(rounds)) as turn:
        for place, phase in enumerate(phases):
            if place or rounds is not None:
                wait()
            tasks = number(place)
            begin = b.sdiv(b.mul(tasks, thread), threads)
            end = b.sdiv(b.mul(tasks, b.add(thread, ir.Constant(_I64, 1))), threads)
            b.call(phase, (begin, end, thread, turn, *addresses))
    restore()
    b.ret_void()
    return region


@contextmanager
def _rounds(b: ir.IRBuilder, count: ir.Value | None) -> Iterator[ir.Value]:
    """Repeat the body ``count`` times, or write it once if that is None; gives which round it is."""
    if count is None:
        yield ir.Constant(_I64, 0)
        return
    before = b.block
    body, after = b.append_basic_block("round"), b.append_basic_block("done")
    b.branch(body)
    b.position_at_end(body)
    turn = b.phi(_I64)
    turn.add_incoming(ir.Constant(_I64, 0), before)
    yield turn
    following = b.add(turn, ir.Constant(_I64, 1))
    turn.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, after)
    b.position_at_end(after)


def _add_member(module: ir.Module, name: str, region: ir.Function) -> ir.Function:
    """What every OpenMP thread of the region calls: finds out which one it is."""
    member = ir.Function(module, ir.FunctionType(_VOID, [_POINTER]), f"{name}_member")
    member.linkage = "internal"
    b = ir.IRBuilder(member.append_basic_block("entry"))
    number = ir.FunctionType(_I32, [])
    which = ir.Function(module, number, "omp_get_thread_num")
    # Fewer threads than asked for may come, so the runtime is asked.
    count = ir.Function(module, number, "omp_get_num_threads")
    b.call(region, (member.args[0], b.sext(b.call(which, ()), _I64), b.sext(b.call(count, ()), _I64)))
    b.ret_void()
    return member


def _flush_denormals(module: ir.Module, b: ir.IRBuilder) -> Callable[[], object]:
    """Switch denormals off, and return what switches them back to how the caller had them."""
    if module.triple.startswith("x86_64"):
        kind = ir.FunctionType(_VOID, [_POINTER])
        save = ir.Function(module, kind, "llvm.x86.sse.stmxcsr")
        load = ir.Function(module, kind, "llvm.x86.sse.ldmxcsr")
        before, inside = b.alloca(_I32), b.alloca(_I32)
        b.call(save, (before,))
        b.store(b.or_(b.load(before, typ=_I32), ir.Constant(_I32, _FLUSH_X86)), inside)
        b.call(load, (inside,))
        return lambda: b.call(load, (before,))
    if module.triple.startswith("aarch64"):
        read = ir.Function(module, ir.FunctionType(_I64, []), "llvm.aarch64.get.fpcr")
        write = ir.Function(module, ir.FunctionType(_VOID, [_I64]), "llvm.aarch64.set.fpcr")
        state = b.call(read, ())
        b.call(write, (b.or_(state, ir.Constant(_I64, _FLUSH_ARM)),))
        return lambda: b.call(write, (state,))
    return lambda: None


_SERIAL = """
define void @GOMP_parallel(ptr %member, ptr %frame, i32 %threads, i32 %flags) {
  call void %member(ptr %frame)
  ret void
}
define void @GOMP_barrier() {
  ret void
}
define i32 @omp_get_thread_num() {
  ret i32 0
}
define i32 @omp_get_num_threads() {
  ret i32 1
}
"""
_FUNCTIONS = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")


@cache
def runtime() -> str:
    """Bind the OpenMP functions that kernels call; say which runtime they come from.

    Returns the path of PyTorch's libgomp, or ``"serial"`` where there is none and kernels run on the calling thread.
    """
    library = _torch_libgomp()
    if library is None:
        engine = _serial_runtime()
        addresses = {name: engine.get_function_address(name) for name in _FUNCTIONS}
    else:
        gomp = ctypes.CDLL(str(library))
        addresses = {name: ctypes.cast(getattr(gomp, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS}
    for name, address in addresses.items():
        llvm.add_symbol(name, address)
    return "serial" if library is None else str(library)


def threads() -> int:
    """How many threads a region gets by default, as ``torch.set_num_threads`` says; 1 without PyTorch's runtime."""
    path = runtime()
    return 1 if path == "serial" else int(_library(path).omp_get_max_threads())


@cache
def _library(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


@cache
def _serial_runtime() -> llvm.ExecutionEngine:
    """The same functions for one thread; cached, because kernels call into its memory for ever."""
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_SERIAL), machine)
    engine.finalize_object()
    return engine


def _torch_libgomp() -> Path | None:
    # The compiler knows no torch; but where torch is loaded, its runtime is the one to share.
    torch = sys.modules.get("torch")
    if torch is None or not torch.__file__:
        return None
    return next(iter(sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))), None)
