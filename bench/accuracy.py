"""Test accuracy of the first networks, trained by `striate.fit` as the README says.

    python bench/accuracy.py --mnist PATH_TO_MNIST

Each row is one training run with one seed, which decides the split of the digits, the first weights and the order of
the samples. MNIST keeps its official test part and all of its training part is trained on (no validation part, so that
the last weights are the ones tested). Without ``--mnist`` only the embedded digits are trained on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import result_file, write_results

from striate import RunConfig, evaluate, fit
from striate.train import Quiet


@dataclass(frozen=True)
class Task:
    """What is trained on what, how, with which seeds, and the accuracy to be reached."""

    name: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    target: float


def tasks(mnist: str | None) -> list[Task]:
    """The tasks of this script; the first is what ``make demo`` trains."""
    usual = {"optimizer": {"learning_rate": 3e-3}, "loss": {"label_smoothing": 0.1}}
    dropout = {"name": "lenet", "options": {"dropout": 0.3}}
    found = [
        Task("lenet-digits28", {"model": dropout, "data": "digits28", "epochs": 40, **usual}, (0, 1, 2, 3, 4), 0.985)
    ]
    if mnist is not None:
        data = {"source": mnist, "val_fraction": 0.0}
        gentle = {"model": {"name": "lenet5", "options": {"scale": 0.1}}, "optimizer": {"learning_rate": 3e-3}}
        found += [
            Task(
                "lenet-mnist",
                {"model": "lenet", "data": data, "epochs": 5, "batch_size": 128, **usual},
                (0, 1, 2),
                0.99,
            ),
            Task("lenet5-mnist", {**gentle, "data": data, "epochs": 20}, (0, 1), 0.989),
        ]
    return found


def measure(task: Task, seed: int) -> tuple[object, ...]:
    """Train and test once; one row of the table."""
    config = RunConfig.from_dict({**task.settings, "seed": seed, "device": "cpu"})
    with tempfile.TemporaryDirectory() as folder:
        run = fit(config, Path(folder) / "run", reporter=Quiet())
        result = evaluate(run)
    parameters = sum(p.numel() for p in run.network.build().parameters() if p.requires_grad)
    interval = [f"{bound:.4f}" for bound in result.interval]
    print(f"{task.name}, seed {seed}: {result.accuracy:.2%} in {run.seconds:.1f} s", flush=True)
    return seed, parameters, result.count, f"{result.accuracy:.4f}", *interval, f"{run.seconds:.1f}"


def main() -> None:
    """Train, test, print, and write a table for every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default=None, help="folder with MNIST's four IDX files")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    headings = "seed", "parameters", "test_samples", "test_accuracy", "interval_low", "interval_high", "train_seconds"
    for task in tasks(arguments.mnist):
        rows = [measure(task, seed) for seed in task.seeds]
        reached = [float(str(row[3])) for row in rows]
        found = f"median {statistics.median(reached):.2%}, least {min(reached):.2%}, target {task.target:.1%}"
        print(f"{task.name}: {found}")
        # The path is this machine's business.
        settings = str(task.settings).replace(repr(arguments.mnist), "'MNIST'")
        write_results(result_file(f"accuracy-{task.name}", arguments.threads), [settings, found], headings, rows)


if __name__ == "__main__":
    main()
