"""How much memory this process has had."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_bytes(anew: bool = False) -> int:
    """The most bytes of main memory that this process has had at once; ``anew`` counts from this call on.

    Linux tells it of the running program alone, where the usual `resource.getrusage` begins with what the process that
    started it had. Elsewhere that is what there is, and ``anew`` does nothing.

    >>> peak_bytes() > 1 << 20
    True
    """
    if anew and _CLEAR.exists():
        _CLEAR.write_text("5")
    if _STATUS.exists():
        return _status("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def added_bytes(function: Callable[[], object]) -> int | None:
    """How much main memory a call adds at most to what the process holds; None where the system does not tell.

    What was freed before is given back first (glibc keeps it otherwise), so that the call cannot be served from it.

    >>> added = added_bytes(lambda: bytearray(b"1") * (64 << 20))
    >>> added is None or added > 60 << 20
    True
    """
    if not (_STATUS.exists() and _CLEAR.exists()):
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    before = _status("VmRSS")
    peak_bytes(anew=True)
    function()
    return peak_bytes() - before


def _status(entry: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024
