"""What every result file says of the machine it was measured on."""

from __future__ import annotations

import csv
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The processor's name as the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def about() -> str:
    """One line on processor, system and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("striate", "torch", "lightning-fabric", "numpy"))
    return f"{processor()}, {os.cpu_count()} cpus, {platform.system()}, Python {platform.python_version()}, {packages}"


def result_file(what: str, threads: int, dtype: str = "float32") -> Path:
    """The file in bench/results for this machine, such as ``accuracy-amd-epyc-2-float32.csv``."""
    machine = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return RESULTS / f"{what}-{machine}-{threads}-{dtype}.csv"


def write_results(path: Path, notes: Iterable[str], headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with the machine and ``notes`` in comment lines above it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        for line in (about(), f"{torch.get_num_threads()} threads", *notes):
            stream.write(f"# {line}\n")
        writer = csv.writer(stream)
        writer.writerow(headings)
        writer.writerows(rows)
    print(f"written to {path}")


def read_results(path: Path) -> list[list[str]]:
    """The rows of a table that this machine wrote with these versions; none if it did not."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[0] != f"# {about()}":
        return []
    return list(csv.reader(line for line in lines if not line.startswith("#")))[1:]


def renewed(path: Path, rows: Iterable[Sequence[object]], names: Iterable[str]) -> list[Sequence[object]]:
    """Rows that were measured now, and of what was not those that `read_results` gives, in the order of ``names``.

    The first column has the names.
    """
    order = list(names)
    fresh = list(rows)
    measured = {str(row[0]) for row in fresh}
    earlier = [row for row in read_results(path) if row[0] in order and row[0] not in measured]
    return sorted([*fresh, *earlier], key=lambda row: order.index(str(row[0])))
