"""The loops of a kernel's machine code: which one does the work, and what it does in one round.

A good inner loop has fused multiply-adds, about as many loads or fewer, and a few additions that move its pointers. Any
use of the stack there means that the tile asks for more registers than there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = re.compile(r"^(\.?L\w+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\s.*?(\.?L\w+)\s*$")
_FMA = re.compile(r"vfn?m(?:add|sub)\w*[ps][sd]|fml[as]|fn?m(?:add|sub)")
_MULTIPLY = re.compile(r"v?mulp[sd]|fmul")
_STACK = re.compile(r"\(%rsp|\[sp[,\]]")
_MEMORY = re.compile(r"\(%\w+|\(,%\w+|\[(?:x\d+|sp)")
_STORE = re.compile(r"v?mov\w*\s[^(]*,\s*[-\w]*\(|st[rpu]\w*\s")


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of machine code that has no loop inside."""

    instructions: tuple[str, ...]

    @property
    def multiply_adds(self) -> int:
        """Fused multiply-adds; plain multiplications where the machine has nothing better."""
        return self._count(_FMA) or self._count(_MULTIPLY)

    @property
    def loads(self) -> int:
        """Instructions that read memory, be it as part of a multiply-add."""
        return self._count(_MEMORY) - self.stores

    @property
    def stores(self) -> int:
        """Instructions that write memory."""
        return sum(1 for line in self.instructions if _STORE.match(line) and _MEMORY.search(line))

    @property
    def spills(self) -> int:
        """Uses of the stack: values for which no register was left."""
        return self._count(_STACK)

    @property
    def others(self) -> int:
        """Instructions that neither multiply nor use memory."""
        return sum(1 for line in self.instructions if not (_FMA.search(line) or _MEMORY.search(line)))

    @property
    def density(self) -> float:
        """Multiply-adds for each other instruction."""
        return self.multiply_adds / max(1, len(self.instructions) - self.multiply_adds)

    def _count(self, pattern: re.Pattern[str]) -> int:
        return sum(1 for line in self.instructions if pattern.search(line))


def innermost(assembly: str) -> list[Loop]:
    """The loops without a loop inside, of `striate.compiler.jit.assembly`, that which computes most first.

    Of the loops with at least eight multiply-adds, which are more than any remainder has, that is the one with the most
    for each other instruction: transformations and staging have many of either.

    >>> text = chr(10).join(("outer:", ".L1:", " vfmadd231ps %zmm1, %zmm2, %zmm3", " jne .L1", " ret"))
    >>> [loop.multiply_adds for loop in innermost(text)]
    [1]
    """
    # Comments begin with "# " on x86; on AArch64 with "//", and "#" without a space begins a number.
    lines = [re.split(r"#+ |//", line)[0].rstrip() for line in assembly.splitlines()]
    lines = [line for line in lines if line and not line.lstrip().startswith((".p2align", ".cfi", ".loc"))]
    labels: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for place, line in enumerate(lines):
        label, jump = _LABEL.match(line), _JUMP.match(line)
        if label:
            labels[label[1]] = place
        elif jump and jump[1] in labels:
            spans.append((labels[jump[1]], place))
    inner = [
        (begin, end)
        for begin, end in spans
        if not any((b, e) != (begin, end) and begin <= b and e <= end for b, e in spans)
    ]
    found = [
        Loop(tuple(line.strip().expandtabs(1) for line in lines[begin : end + 1] if not _LABEL.match(line)))
        for begin, end in inner
    ]
    return sorted(found, key=lambda loop: (-min(loop.multiply_adds, 8), -loop.density))
