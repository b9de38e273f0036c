"""Kills a training run with SIGKILL at random moments, resumes it, and compares its weights with a whole run's.

    python bench/kill_and_resume.py --kills 10 --epochs 60 --workers 2 --processes 2

The run that is killed must end with the very bytes of the run that was not: best and last weights and metrics.csv.
It has dropout, augmentation, accumulated gradients, an average of its weights, and processes that prepare batches.
Where several processes train together, any one of them is killed, and the others have to end by themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import result_file, write_results

TRAIN = """
import os, pathlib, sys, torch
from striate.train import Quiet, RunConfig, fit
class Begin(Quiet):
    def started(self, **place):
        print("step", place["step"], flush=True)
pathlib.Path(sys.argv[4], "pid-" + os.environ.get("LOCAL_RANK", "0")).write_text(str(os.getpid()))
torch.set_num_threads(int(sys.argv[3]))
fit(RunConfig.from_toml(sys.argv[1]), sys.argv[2], resume=True, reporter=Begin())
"""

CONFIG = """
epochs = {epochs}
checkpoint_seconds = {interval}
batch_size = 32
accumulate = 2
device = "cpu"
devices = {processes}
[model]
name = "lenet"
dropout = 0.2
[data]
source = "digits28"
workers = {workers}
[averaging]
name = "ema"
[[augmentation]]
name = "crop"
padding = 2
[[augmentation]]
name = "mixup"
"""

COMPARED = ("best.safetensors", "last.safetensors", "metrics.csv")


def start(config: Path, folder: Path, threads: int) -> subprocess.Popen[str]:
    work = config.parent
    for left in work.glob("pid-*"):
        left.unlink()
    command = [sys.executable, str(work / "train.py"), str(config), str(folder), str(threads), str(work)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_one(process: subprocess.Popen[str], work: Path, draw: random.Random) -> str:
    """Kill one of the processes that train, wait until the others have ended, and say which it was."""
    known = {path.name: int(path.read_text() or 0) for path in sorted(work.glob("pid-*"))}
    name, number = draw.choice(sorted(known.items())) if known else ("pid-0", process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(number or process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=60)  # returns when none of them holds the pipe any more
    except subprocess.TimeoutExpired:
        raise SystemExit("The other processes wait for the one that was killed.") from None
    return name.replace("pid-", "process ")


def finish(config: Path, folder: Path, threads: int) -> None:
    """Let a run end, and stop if it fails."""
    process = start(config, folder, threads)
    _, told = process.communicate()
    if process.returncode:
        raise SystemExit(f"The run in {folder} failed with exit code {process.returncode}: {told}")


def prove(
    kills: int, epochs: int, interval: float, threads: int, workers: int, seed: int, work: Path, processes: int = 1
) -> bool:
    """Return whether a run killed ``kills`` times ends with the bytes of one that was not."""
    draw = random.Random(seed)
    config, whole, cut = work / "config.toml", work / "whole", work / "cut"
    config.write_text(CONFIG.format(epochs=epochs, interval=interval, workers=workers, processes=processes))
    (work / "train.py").write_text(TRAIN)
    finish(config, whole, threads)
    trains = json.loads((whole / "result.json").read_text())["seconds"]
    print(f"whole run: {trains:.2f} s of training")
    done = 0
    while done < kills:
        process = start(config, cut, threads)
        if process.stdout is None:
            raise SystemExit("The run has no standard output.")
        # One kill in five comes while the process still loads; the others anywhere in about twice the run's share of
        # the kills, so that the run moves on between them and most of them hit it under way.
        if draw.random() < 0.2:
            delay, begun = 3 * draw.random(), "loading"
        else:
            begun = process.stdout.readline().strip() or "ended"
            delay = 2 * trains / kills * draw.random()
        try:
            code = process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            which = kill_one(process, work, draw)
            done += 1
            found = "a checkpoint" if (cut / "checkpoint.pt").exists() else "no checkpoint"
            print(f"kill {done}: {which}, {delay:.3f} s after {begun}, leaving {found}")
            continue
        _, told = process.communicate()
        if code:
            raise SystemExit(f"A resumed run failed with exit code {code}: {told}")
        print("the run ended before its kill: compared, and another one begun")
        if not same(whole, cut):
            return False
        cut = work / f"cut-{done}-{draw.randrange(10**6)}"
    finish(config, cut, threads)
    return same(whole, cut)


def same(whole: Path, cut: Path) -> bool:
    for name in COMPARED:
        equal = (whole / name).read_bytes() == (cut / name).read_bytes()
        print(f"{name}: {'identical' if equal else 'DIFFERENT'}")
        if not equal:
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**32)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as work:
        settings = (arguments.kills, arguments.epochs, arguments.interval, arguments.threads, arguments.workers)
        if not prove(*settings, seed, Path(work), arguments.processes):
            raise SystemExit("The killed run ended differently.")
    print(f"{arguments.kills} kills: the same bytes as the run that was not killed")
    write_results(
        result_file("kill_and_resume", arguments.threads),
        [
            "lenet on digits28 with dropout, crops, mixup, EMA and steps of two batches",
            f"{arguments.processes} processes with {arguments.workers} workers each",
            f"{arguments.epochs} epochs, SIGKILL at random moments, seed {seed}",
        ],
        ["kills", "compared", "identical"],
        [[arguments.kills, " ".join(COMPARED), True]],
    )


if __name__ == "__main__":
    main()
