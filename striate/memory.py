"""How much memory this process has had, and whether it keeps what it frees."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

_TRIM_THRESHOLD, _MMAP_MAX, _MOST = -1, -4, 2**31 - 1
"""Of glibc's ``malloc.h``: what to tell ``mallopt`` by number, and the largest number it takes."""


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
    _give_back()
    before = _status("VmRSS")
    peak_bytes(anew=True)
    function()
    return peak_bytes() - before


def keep_memory(keep: bool = True) -> bool:
    """Let the process keep the memory that it frees, for the next time it asks for as much; False hands it back again.

    A network asks for the same large tensors in every step. The usual allocator of Linux gets each from the system and
    gives it back, and every page of it is found, cleared and mapped anew: MobileNet v2 spends a third of its inference
    on that. What is kept is never more than the process had at its peak. This holds for the whole process, whatever
    asks for memory. Returns False, and does nothing, where the allocator (not glibc's) takes no such wish.

    >>> keep_memory() == keep_memory(False)
    True
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Nothing is mapped for one request alone, and the top of the heap is not cut off; or what glibc comes to by itself.
    wishes = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MOST} if keep else {_MMAP_MAX: 1 << 16, _TRIM_THRESHOLD: 64 << 20}
    done = all(tell(wish, value) for wish, value in wishes.items())
    if not keep:
        _give_back()
    return done


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(entry: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024
