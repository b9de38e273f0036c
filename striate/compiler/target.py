"""The machine that kernels are generated for: vector width, registers, caches.

`host` reads this machine. The made-up targets let tests generate (and, where the host has the instructions, run) what
other machines would get.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

BYTES = {"float32": 4, "float64": 8}
"""Bytes of one element, by dtype."""


@dataclass(frozen=True, slots=True)
class Target:
    """What code generation has to know of a processor."""

    name: str
    triple: str
    cpu: str
    features: str
    """LLVM's feature string, such as ``+avx2,+fma``."""
    vector_bytes: int
    vector_registers: int
    fma: bool
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    l3_bytes: int = 4 << 20

    def lanes(self, dtype: str) -> int:
        """Elements of one vector."""
        return self.vector_bytes // BYTES[dtype]

    def machine(self) -> llvm.TargetMachine:
        """A fresh LLVM target machine. Each engine takes ownership of its own, so it is never kept."""
        initialise()
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=self.features, opt=3, reloc="static", codemodel="jitdefault"
        )


@cache
def initialise() -> None:
    """Prepare LLVM for every architecture it was built with, once."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


_X86 = "x86_64-unknown-linux-gnu"
AVX512 = Target(
    "avx512",
    _X86,
    "x86-64-v4",
    "+avx512f,+avx512vl,+avx512bw,+avx512dq,+fma,-prefer-256-bit",
    64,
    32,
    fma=True,
    l2_bytes=1 << 20,
)
AVX2 = Target("avx2", _X86, "x86-64-v3", "+avx2,+fma", 32, 16, fma=True)
SSE = Target("sse", _X86, "x86-64-v2", "+sse4.2", 16, 16, fma=False)
NEON = Target("neon", "aarch64-unknown-linux-gnu", "neoverse-n1", "+neon", 16, 32, fma=True)
MADE_UP = (AVX512, AVX2, SSE, NEON)


@cache
def host() -> Target:
    """The machine this runs on, with its own caches; ``STRIATE_TARGET=avx2`` (or sse, avx512) forces a narrower one."""
    initialise()
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    kind = os.environ.get("STRIATE_TARGET") or _widest(triple, features)
    base = next((target for target in MADE_UP if target.name == kind), SSE)
    l1, l2, l3 = (
        _cache_bytes(level, default) for level, default in ((1, base.l1_bytes), (2, base.l2_bytes), (3, base.l3_bytes))
    )
    forced = kind != _widest(triple, features)
    return Target(
        f"host-{base.name}",
        triple,
        base.cpu if forced else llvm.get_host_cpu_name(),
        base.features if forced else features.flatten() + (",-prefer-256-bit" if base is AVX512 else ""),
        base.vector_bytes,
        base.vector_registers,
        base.fma,
        l1,
        l2,
        l3,
    )


def runs_here(target: Target) -> bool:
    """Whether code for ``target`` can be executed on this machine."""
    here = host()
    return target.triple.split("-")[0] == here.triple.split("-")[0] and target.vector_bytes <= here.vector_bytes


def _widest(triple: str, features: llvm.FeatureMap) -> str:
    if triple.startswith(("aarch64", "arm64")):
        return "neon"
    if features.get("avx512f") and features.get("avx512vl"):
        return "avx512"
    return "avx2" if features.get("avx2") and features.get("fma") else "sse"


def _cache_bytes(level: int, default: int) -> int:
    """The size of the first core's data cache at ``level``, from Linux's sysfs; ``default`` on other systems."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "level").read_text().strip() == str(level) and (
                index / "type"
            ).read_text().strip() != "Instruction":
                return int((index / "size").read_text().strip().removesuffix("K")) << 10
        except (OSError, ValueError):
            continue
    return default
