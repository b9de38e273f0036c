"""From the text of a kernel to a function that Python can call: verify, optimise, load, remember.

Object code is kept on disk (`striate.compiler.cache`), loaded kernels in memory, bounded by their number and size. A
kernel that leaves the memory cache stays alive as long as somebody holds its `Function`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm

from striate.compiler import cache, parallel

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.compiler.emit import Program
    from striate.compiler.target import Target


def optimise(text: str, target: Target) -> llvm.ModuleRef:
    """Verify and optimise a module.

    Kernels place their vectors themselves, so LLVM's vectorisers, which cost most of the compile time and would reshape
    the register tiles, stay off.
    """
    machine = target.machine()
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def compile_object(text: str, target: Target) -> bytes:
    """Compile a module's text to object code for ``target``."""
    return bytes(target.machine().emit_object(optimise(text, target)))


def assembly(text: str, target: Target) -> str:
    """The machine code of a module, as text."""
    return str(target.machine().emit_assembly(optimise(text, target)))


@dataclass(frozen=True, slots=True)
class Function:
    """A loaded kernel. Calling it runs machine code: arguments must be valid addresses and sizes."""

    call: Callable[..., None]
    size_bytes: int
    _engine: llvm.ExecutionEngine = field(repr=False)

    def __call__(self, *arguments: int) -> None:
        """Run the kernel: its pointers as integers, the address of its table, the number of threads."""
        self.call(*arguments)


def load(code: bytes, pointers: int, target: Target) -> Function:
    """Load a kernel's object code into this process; it takes ``pointers`` addresses, a table and threads."""
    parallel.runtime()
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, target.machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (pointers + 1), ctypes.c_int64)
    return Function(kind(engine.get_function_address(parallel.ENTRY)), len(code), engine)


class Jit:
    """Kernels by key: from memory, else from disk, else compiled. Safe to use from many threads.

    Two threads that want the same new kernel compile it once; different kernels do not wait for each other's caches.
    """

    def __init__(self, disk: cache.DiskCache, most_kernels: int = 512, most_bytes: int = 64 << 20) -> None:
        self._disk = disk
        self._most_kernels = most_kernels
        self._most_bytes = most_bytes
        self._loaded: OrderedDict[str, Function] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Lock] = {}
        self.compiled = 0
        """How many kernels were compiled, for tests and reports."""
        # A child made by fork inherits the loaded code, which stays valid, but perhaps a lock that a thread it does not
        # have was holding.
        os.register_at_fork(after_in_child=self._renew_locks)

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        self._under_way = {}

    def get(self, name: str, build: Callable[[], Program], pointers: int, target: Target) -> Function:
        """The kernel called ``name``, loaded; it is built only if neither memory nor disk has it.

        A name must say everything that ``build`` depends on besides the target and the code of this package.
        """
        identity = cache.key(name, target.triple, target.cpu, target.features, str(target), _versions())
        with self._lock:
            known = self._loaded.get(identity)
            if known is not None:
                self._loaded.move_to_end(identity)
                return known
            turn = self._under_way.setdefault(identity, threading.Lock())
        with turn:
            with self._lock:
                known = self._loaded.get(identity)
            if known is None:
                known = load(self._object(identity, build, target), pointers, target)
                self._remember(identity, known)
            return known

    def _object(self, identity: str, build: Callable[[], Program], target: Target) -> bytes:
        code = self._disk.read(identity)
        if code is None:
            code = compile_object(build().text, target)
            self.compiled += 1
            self._disk.write(identity, code)
        return code

    def _remember(self, identity: str, function: Function) -> None:
        with self._lock:
            self._under_way.pop(identity, None)
            self._loaded[identity] = function
            self._bytes += function.size_bytes
            while len(self._loaded) > 1 and (len(self._loaded) > self._most_kernels or self._bytes > self._most_bytes):
                _, oldest = self._loaded.popitem(last=False)
                self._bytes -= oldest.size_bytes


@functools.cache
def _versions() -> str:
    """What compiled code depends on besides its name: the code that writes kernels, and LLVM."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {llvm.llvm_version_info}"
