"""Machine code as a function of Python's own: a call costs a tenth of a microsecond, where ctypes takes half of one.

CPython calls its built-in functions with an array of objects (``METH_FASTCALL``). A few lines of machine code, the same
for all kernels of one number of arguments, turn the objects into addresses, let other Python threads run, and jump to
the kernel, whose own address is what the function is bound to.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, cast

import llvmlite.binding as llvm

if TYPE_CHECKING:
    from collections.abc import Callable

_FAST_CALL = 0x80
_PYTHON = (
    "PyLong_AsVoidPtr", "PyErr_Occurred", "PyErr_BadArgument", "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef"
)  # fmt: skip


class _Definition(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)
    )  # fmt: skip


def builtin(address: int, arguments: int) -> Callable[..., None]:
    """The function ``void f(...)`` at ``address``, of so many addresses or 64-bit integers, for Python to call.

    Raises `TypeError` or `SystemError` if it is called with something else. Other threads run meanwhile.
    """
    definition, _ = _definition(arguments)
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.restype = ctypes.py_object
    create.argtypes = (ctypes.POINTER(_Definition), ctypes.py_object, ctypes.c_void_p)
    return cast("Callable[..., None]", create(ctypes.byref(definition), address, None))


@cache
def _definition(arguments: int) -> tuple[_Definition, llvm.ExecutionEngine]:
    """What CPython has to be told, and the code that it calls; both live as long as the process."""
    for name in _PYTHON:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_text(arguments)), machine)
    engine.finalize_object()
    return _Definition(b"kernel", engine.get_function_address("enter"), _FAST_CALL, None), engine


def _text(arguments: int) -> str:
    taken = "".join(
        f"""
  %place{i} = getelementptr ptr, ptr %objects, i64 {i}
  %object{i} = load ptr, ptr %place{i}
  %value{i} = call ptr @PyLong_AsVoidPtr(ptr %object{i})"""
        for i in range(arguments)
    )
    none = f"inttoptr (i64 {id(None)} to ptr)"
    return f"""
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyErr_Occurred()
declare i32 @PyErr_BadArgument()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)

define ptr @enter(ptr %self, ptr %objects, i64 %count) {{
  %right = icmp eq i64 %count, {arguments}
  br i1 %right, label %take, label %refuse
refuse:
  call i32 @PyErr_BadArgument()
  ret ptr null
take:
  %kernel = call ptr @PyLong_AsVoidPtr(ptr %self){taken}
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %run, label %fail
fail:
  ret ptr null
run:
  %state = call ptr @PyEval_SaveThread()
  call void %kernel({", ".join(f"ptr %value{i}" for i in range(arguments))})
  call void @PyEval_RestoreThread(ptr %state)
  call void @Py_IncRef(ptr {none})
  ret ptr {none}
}}
"""
