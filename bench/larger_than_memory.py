"""Trains on an array of 10 GB with `striate train`, and measures how much memory that takes.

    python bench/larger_than_memory.py
    python bench/larger_than_memory.py --gigabytes 0.2 --quick

A file x.npy of random pictures, 3 x 64 x 64 bytes each, is written beside y.npy and taken out of the cache of the
system. LeNet is trained on it for one epoch in a process of its own, which may keep a twentieth of it in memory
(``--limit``). The file is read from disk twice: for mean and deviation, and in random order for the epoch. Nothing of
it is mapped into memory, so that what the process holds beyond libraries is its own:

- peak: the most that was resident at once (``VmHWM`` of the process, and ``peak_bytes`` of its result.json)
- anonymous: the most that was resident at once and is no file, such as a library is (``RssAnon`` and ``RssShmem``)

The folder ``--folder`` needs room for the array, which is removed at the end. ``--quick`` writes no results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from machine import result_file, write_results

from striate.units import readable_bytes

SHAPE = (3, 64, 64)
ROOM = 2**30
"""Bytes that are to stay free on the disk."""

TARGET = 2 * 10**9
HEADINGS = (
    "array_bytes", "samples", "batch_size", "limit_bytes", "workers",
    "peak_bytes", "result_peak_bytes", "anonymous_bytes", "seconds", "samples_per_second", "waiting",
)  # fmt: skip


class Memory(NamedTuple):
    """The most bytes that a process had resident at once: in all, and without what are files."""

    peak: int
    anonymous: int


def write_array(folder: Path, nbytes: int, seed: int = 0) -> int:
    """Write x.npy of about ``nbytes`` and y.npy, past the cache of the system, and return the number of samples."""
    length = int(np.prod(SHAPE))
    count = nbytes // length
    random = np.random.default_rng(seed)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
    with (folder / "x.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        left = count * length
        while left:
            stream.write(random.bytes(min(left, 2**24)))
            left -= min(left, 2**24)
        stream.flush()
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    np.save(folder / "y.npy", np.arange(count) % 10)
    return count


def watched(words: list[str], threads: int) -> tuple[Memory, str, float]:
    """Run a program: its memory, what it printed, and the seconds it took. Ends the script if it fails."""
    began = time.perf_counter()
    peak = anonymous = 0
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(words, stdout=told, stderr=subprocess.STDOUT, text=True, env=environment)
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = (line.split() for line in status.read_text().splitlines())
            kilobytes = {name: int(rest[0]) for name, *rest in lines if rest[1:] == ["kB"]}
            peak = max(peak, 1024 * kilobytes.get("VmHWM:", 0))
            anonymous = max(anonymous, 1024 * (kilobytes.get("RssAnon:", 0) + kilobytes.get("RssShmem:", 0)))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        told.seek(0)
        printed = told.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed with exit code {process.returncode}:\n{printed}")
    return Memory(peak, anonymous), printed, seconds


def train(folder: Path, limit: int, batch_size: int, workers: int) -> list[str]:
    """The words of a command line that trains for one epoch on all but a hundredth."""
    settings = {
        "epochs": 1,
        "batch_size": batch_size,
        "device": "cpu",
        "data.memory_limit": limit,
        "data.workers": workers,
        "data.val_fraction": 0.01,
        "data.test_fraction": 0.0,
    }
    words = [sys.executable, "-m", "striate", "train", "lenet", "--data", str(folder / "x.npy")]
    words += ["--out", str(folder / "run"), "--no-report"]
    return words + [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def main() -> None:
    """Write, train, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--limit", type=int, help="bytes of the set that may be in memory (default: a twentieth)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches, not measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room")
    parser.add_argument("--quick", action="store_true", help="no results file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    nbytes = int(arguments.gigabytes * 10**9)
    limit = arguments.limit or nbytes // 20
    free = shutil.disk_usage(arguments.folder).free
    if free < nbytes + ROOM:
        needed = readable_bytes(nbytes + ROOM)
        parser.error(f"{arguments.folder} has {readable_bytes(free)} free, and {needed} are needed")
    if not Path("/proc/self/status").exists():
        parser.error("the memory of another process is measured on Linux alone")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        folder = Path(work)
        count = write_array(folder, nbytes)
        size = (folder / "x.npy").stat().st_size
        print(f"{count:,} samples, {readable_bytes(size)}", flush=True)
        words = train(folder, limit, arguments.batch_size, arguments.workers)
        memory, printed, seconds = watched(words, arguments.threads)
        result = json.loads((folder / "run" / "result.json").read_text())
    # The process sees its own end, which may come between two looks at it.
    memory = memory._replace(peak=max(memory.peak, result["peak_bytes"]))
    print(printed)
    speed = count / result["seconds"]
    waiting = re.search(r"(\d+)% waiting for data", printed)
    print(
        f"peak {readable_bytes(memory.peak)}, of which {readable_bytes(memory.anonymous)} are no files; "
        f"{seconds:.0f} s in all, {result['seconds']:.0f} s of training, {speed:,.0f} samples/s"
    )
    verdict = f"peak {'within' if memory.peak <= TARGET else 'ABOVE'} {readable_bytes(TARGET)}"
    notes = [f"LeNet, one epoch of `striate train` on an array of {readable_bytes(size)}; {verdict}"]
    row = [
        size, count, arguments.batch_size, limit, arguments.workers,
        memory.peak, result["peak_bytes"], memory.anonymous,
        f"{result['seconds']:.1f}", f"{speed:.0f}", f"{waiting[1]} %" if waiting else "",
    ]  # fmt: skip
    if not arguments.quick:
        write_results(result_file("larger-than-memory", arguments.threads), notes, HEADINGS, [row])


if __name__ == "__main__":
    main()
