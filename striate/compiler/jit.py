"""From the text of a kernel to a function that Python can call: verify, optimise, load, remember.

Object code is kept on disk (`striate.compiler.cache`), loaded kernels in memory, bounded by their number and size. A
kernel that leaves the memory cache stays alive as long as somebody holds its `Function`.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm

from striate.compiler import cache, parallel
from striate.compiler.builtin import builtin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from striate.compiler.emit import Program
    from striate.compiler.target import Target


_PASSES = ("sroa", "instruction_combine", "simplify_cfg", "loop_rotate", "new_gvn", "simplify_cfg")
"""What a kernel needs of LLVM: variables become registers, tests move to the ends of loops, sums are computed once.

Kernels place their vectors and unroll their loops themselves. LLVM's own levels do the same and much more in six times
the time, and their vectorisers would reshape the register tiles; invariants of loops are moved out in code generation.
"""

_emitting = threading.Lock()


def _renew_lock() -> None:
    global _emitting
    _emitting = threading.Lock()


# A child made by fork may inherit it locked, by a thread that it does not have.
os.register_at_fork(after_in_child=_renew_lock)

WRITES_NO_CODE = frozenset(
    f"{name}.py"
    for name in (
        "bounds", "choose", "explain", "loops", "plan", "reference", "report", "stopwatch", "tuning", "workers",
    )
)  # fmt: skip
"""Files of this package that the code of no kernel depends on: none of the others imports one of them.

Whatever is not listed counts, so that a new file cannot be forgotten.
"""


def optimise(text: str, target: Target) -> llvm.ModuleRef:
    """Verify and optimise a module."""
    machine = target.machine()
    module = llvm.parse_assembly(text)
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    for name in _PASSES:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return module


def compile_object(text: str, target: Target) -> bytes:
    """Compile a module's text to object code for ``target``."""
    module = optimise(text, target)
    with _addresses_as_written():
        return bytes(target.machine().emit_object(module))


def assembly(text: str, target: Target) -> str:
    """The machine code of a module, as text."""
    module = optimise(text, target)
    with _addresses_as_written():
        return str(target.machine().emit_assembly(module))


@contextmanager
def _addresses_as_written() -> Iterator[None]:
    """Keep LLVM's loop strength reduction away from the kernels, and from nobody else's code.

    It looks for the cheapest way to step through addresses, takes as long as all the rest of code generation, and finds
    nothing: inner loops step through theirs as they are written. LLVM has but one such switch for a whole process.
    """
    with _emitting:
        llvm.set_option("striate", "-disable-lsr")
        try:
            yield
        finally:
            llvm.set_option("striate", "-disable-lsr=false")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold Python's cycle collector back: the thousands of objects of a kernel set it off, in vain, on all the others.

    Of threads that overlap, only the first finds it enabled, and enables it again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    return Function(builtin(engine.get_function_address(parallel.ENTRY), pointers + 2), len(code), engine)


class Jit:
    """Kernels by key: from memory, else from disk, else compiled. Safe to use from many threads.

    Two threads that want the same new kernel compile it once; different kernels do not wait for each other's caches.
    """

    def __init__(self, disk: cache.DiskCache, most_kernels: int = 512, most_bytes: int = 64 << 20) -> None:
        self.disk = disk
        """Where object code is kept."""
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
        identity = _identity(name, target)
        with self._lock:
            known = self._loaded.get(identity)
            if known is not None:
                self._loaded.move_to_end(identity)
                return known
            turn = self._under_way.setdefault(identity, threading.Lock())
        with turn:
            with self._lock:
                known = self._loaded.get(identity)
            try:
                if known is None:
                    known = load(self._object(identity, build, target), pointers, target)
                    self._remember(identity, known)
            finally:
                with self._lock:
                    self._under_way.pop(identity, None)
            return known

    @property
    def kernels(self) -> int:
        """How many kernels are in memory."""
        return len(self._loaded)

    @property
    def size_bytes(self) -> int:
        """Object code of the kernels in memory."""
        return self._bytes

    def has(self, name: str, target: Target) -> bool:
        """Whether the kernel called ``name`` is in memory or on disk."""
        identity = _identity(name, target)
        with self._lock:
            loaded = identity in self._loaded
        return loaded or self.disk.has(identity)

    def store(self, name: str, build: Callable[[], Program], target: Target) -> None:
        """Compile the kernel called ``name`` to disk, for other processes or for later, unless it is there."""
        identity = _identity(name, target)
        if not self.disk.has(identity):
            self._object(identity, build, target)

    def _object(self, identity: str, build: Callable[[], Program], target: Target) -> bytes:
        code = self.disk.read(identity)
        if code is None:
            with _uncollected():
                text = build().text
            code = compile_object(text, target)
            self.compiled += 1
            self.disk.write(identity, code)
        return code

    def _remember(self, identity: str, function: Function) -> None:
        with self._lock:
            self._loaded[identity] = function
            self._bytes += function.size_bytes
            while len(self._loaded) > 1 and (len(self._loaded) > self._most_kernels or self._bytes > self._most_bytes):
                _, oldest = self._loaded.popitem(last=False)
                self._bytes -= oldest.size_bytes


def _identity(name: str, target: Target) -> str:
    return cache.key(name, str(target), versions())


@functools.cache
def versions() -> str:
    """What compiled code depends on besides its name: the code that writes kernels, and LLVM."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        if str(path.relative_to(package)) not in WRITES_NO_CODE:
            digest.update(path.read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {llvm.llvm_version_info}"
