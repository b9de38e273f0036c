"""Parallel regions: the tasks of a kernel, split over PyTorch's own threads.

A kernel computes tasks ``begin`` up to ``end``. This file adds the function that Python calls, which opens a region of
the OpenMP runtime that PyTorch ships and computes with, and gives each thread its share. A pool of our own would fight
with PyTorch's threads, which spin for a while after each of their regions. On a system without that runtime the kernel
runs on the calling thread.

Denormal numbers, which can make arithmetic a hundred times slower, count as zero inside a region; the caller's
floating-point state is put back at its end.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm
from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable

_VOID, _I32, _I64, _POINTER = ir.VoidType(), ir.IntType(32), ir.IntType(64), ir.PointerType()
_FLUSH_X86 = 0x8040  # MXCSR: flush to zero and denormals are zero
_FLUSH_ARM = 1 << 24  # FPCR: flush to zero


def add_entry(module: ir.Module, body: ir.Function) -> str:
    """Add the function Python calls for ``void body(begin, end, thread, parameters...)``; return its name.

    Its signature is ``void entry(parameters..., tasks, threads)``.
    """
    kinds = [argument.type for argument in body.args[3:]]
    region = _add_region(module, body, kinds)
    entry = ir.Function(module, ir.FunctionType(_VOID, [*kinds, _I64, _I64]), f"{body.name}_entry")
    *parameters, tasks, threads = entry.args
    b = ir.IRBuilder(entry.append_basic_block("entry"))
    packed = b.alloca(_frame(kinds))
    for position, value in enumerate([*parameters, tasks]):
        b.store(value, _slot(b, kinds, packed, position))
    alone = b.icmp_signed("<", threads, ir.Constant(_I64, 2))
    with b.if_else(alone) as (then, otherwise):
        with then:
            b.call(region, (packed, ir.Constant(_I64, 0), ir.Constant(_I64, 1)))
        with otherwise:
            gomp = ir.Function(module, ir.FunctionType(_VOID, [_POINTER, _POINTER, _I32, _I32]), "GOMP_parallel")
            member = _add_member(module, body.name, region)
            b.call(gomp, (member, packed, b.trunc(threads, _I32), ir.Constant(_I32, 0)))
    b.ret_void()
    return str(entry.name)


def _frame(kinds: list[ir.Type]) -> ir.LiteralStructType:
    return ir.LiteralStructType([*kinds, _I64])


def _slot(b: ir.IRBuilder, kinds: list[ir.Type], packed: ir.Value, position: int) -> ir.Value:
    where = (ir.Constant(_I32, 0), ir.Constant(_I32, position))
    # llvmlite gives stack slots a typed pointer and arguments an opaque one.
    return b.gep(packed, where, inbounds=True, source_etype=_frame(kinds) if packed.type.is_opaque else None)


def _add_region(module: ir.Module, body: ir.Function, kinds: list[ir.Type]) -> ir.Function:
    """``region(packed, thread, threads)``: one thread's share of the tasks, with denormals flushed."""
    region = ir.Function(module, ir.FunctionType(_VOID, [_POINTER, _I64, _I64]), f"{body.name}_region")
    region.linkage = "internal"
    packed, thread, threads = region.args
    b = ir.IRBuilder(region.append_basic_block("entry"))
    *parameters, tasks = [
        b.load(_slot(b, kinds, packed, position), typ=kind) for position, kind in enumerate([*kinds, _I64])
    ]
    begin = b.sdiv(b.mul(tasks, thread), threads)
    end = b.sdiv(b.mul(tasks, b.add(thread, ir.Constant(_I64, 1))), threads)
    restore = _flush_denormals(module, b)
    b.call(body, (begin, end, thread, *parameters))
    restore()
    b.ret_void()
    return region


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


@cache
def runtime() -> str:
    """Bind the OpenMP functions that kernels call; say which runtime they come from.

    Returns the path of PyTorch's libgomp, or ``"none"`` where there is none and kernels run on the calling thread.
    """
    library = _torch_libgomp()
    if library is None:
        return "none"
    gomp = ctypes.CDLL(str(library))
    for name in ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(name, ctypes.cast(getattr(gomp, name), ctypes.c_void_p).value)
    return str(library)


def _torch_libgomp() -> Path | None:
    # The compiler knows no torch; but where torch is loaded, its runtime is the one to share.
    torch = sys.modules.get("torch")
    if torch is None or not torch.__file__:
        return None
    return next(iter(sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))), None)
