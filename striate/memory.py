"""How much memory this process has had."""

from __future__ import annotations

import sys
from pathlib import Path

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
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
