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
    """What is trained on what, how, and with which seeds."""

    name: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    target: float


def tasks(mnist: str | None) -> list[Task]:
    """The tasks of this script, with the accuracies that are to be reached."""
    usual = {"optimizer": {"learning_rate": 3e-3}, "loss": {"label_smoothing": 0.1}}
    found = [
        Task("lenet on digits28", {"model": "lenet", "data": "digits28", "epochs": 40, **usual}, (0, 1, 2, 3, 4), 0.985)
    ]
    if mnist is not None:
        data = {"source": mnist, "val_fraction": 0.0}
        faster = usual | {"batch_size": 128}
        gentle = {"model": {"name": "lenet5", "options": {"scale": 0.1}}, "optimizer": {"learning_rate": 3e-3}}
        found += [
            Task("lenet on MNIST", {"model": "lenet", "data": data, "epochs": 5, **faster}, (0, 1, 2), 0.99),
            Task("lenet5 on MNIST", {**gentle, "data": data, "epochs": 20}, (0, 1), 0.989),
        ]
    return found


def main() -> None:
    """Train, test, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default=None, help="folder with MNIST's four IDX files")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[list[object]] = []
    for task in tasks(arguments.mnist):
        reached = []
        for seed in task.seeds:
            config = RunConfig.from_dict({**task.settings, "seed": seed, "device": "cpu"})
            with tempfile.TemporaryDirectory() as folder:
                run = fit(config, Path(folder) / "run", reporter=Quiet())
                result = evaluate(run)
            low, high = result.interval
            reached.append(result.accuracy)
            parameters = sum(p.numel() for p in run.network.build().parameters() if p.requires_grad)
            rows.append(
                [
                    task.name,
                    parameters,
                    config.epochs,
                    seed,
                    result.count,
                    f"{result.accuracy:.4f}",
                    f"{low:.4f}",
                    f"{high:.4f}",
                    f"{run.seconds:.1f}",
                    task.target,
                ]
            )
            print(f"{task.name}, seed {seed}: {result.accuracy:.2%} in {run.seconds:.1f} s", flush=True)
        print(
            f"{task.name}: median {statistics.median(reached):.2%}, least {min(reached):.2%}, target {task.target:.1%}"
        )
    notes = [f"{task.name}: {task.settings}" for task in tasks("MNIST" if arguments.mnist else None)]
    headings = ["task", "parameters", "epochs", "seed", "test_samples", "test_accuracy"]
    write_results(
        result_file("accuracy", arguments.threads),
        notes,
        [*headings, "interval_low", "interval_high", "train_seconds", "target"],
        rows,
    )


if __name__ == "__main__":
    main()
