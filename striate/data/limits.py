"""How much memory a data set may take, checked before anything is inflated or decoded."""

from __future__ import annotations

import os
from pathlib import Path

from striate.errors import DataError
from striate.units import readable_bytes

MEMORY_FRACTION = 0.5
"""The part of the free memory that a data set may fill when no ``memory_limit`` is given."""

_UNKNOWN_MEMORY = 4 * 2**30


def free_memory() -> int:
    """The bytes of memory that can still be used: of the machine or of its control group, whichever is less.

    On systems that tell neither, physical memory, or 4 GiB where that is unknown too.

    >>> free_memory() > 0
    True
    """
    found = [amount for amount in (_machine_memory(), _group_memory()) if amount is not None]
    return max(min(found, default=_UNKNOWN_MEMORY), 1)


def _machine_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group_memory() -> int | None:
    # A container sees the memory of the whole machine in /proc; what it may use stands here.
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not (limit.exists() and used.exists()):
        return None
    text = limit.read_text().strip()
    return None if text == "max" else int(text) - int(used.read_text())


class Budget:
    """Bytes that reading a data set may still take; every reader asks before it inflates.

    >>> budget = Budget(100)
    >>> budget.take(60, "a.idx")
    >>> budget.left
    40
    """

    def __init__(self, total: int | None = None) -> None:
        if total is not None and (not hasattr(total, "__index__") or isinstance(total, bool) or total < 1):
            raise DataError(
                "memory_limit to be a positive number of bytes",
                f"memory_limit={total!r}",
                "Leave it out for half of the free memory.",
            )
        self.total = int(free_memory() * MEMORY_FRACTION) if total is None else int(total)
        self.left = self.total

    def take(self, count: int, name: str) -> None:
        """Set ``count`` bytes aside for ``name``. Raises `DataError` if that is more than is left."""
        if count > self.left:
            raise DataError(
                f"at most {readable_bytes(self.left)} of decoded data",
                f"{name}, which needs {readable_bytes(count)}",
                "Check that the file is what it should be, then raise memory_limit.",
            )
        self.left -= count
