"""What a training loop costs beyond forward, backward and step: Striate's, a tutorial's and Keras's, in one run.

    python bench/training_loop.py --data PATH_TO_MNIST --threads 2 --keras-python /path/to/python

All train LeNet with AdamW on batches of 64. The variants take turns, a round of ``--steps`` steps each, and the figures
are medians and quartiles over the rounds of the time per step:

- bare: forward, backward and step on batches that lie ready, with the fused optimiser that Striate uses
- striate: `striate.train.fit`, all of it: batches, preprocessing, metrics, schedule, reporting, event files
- plain: the loop of a PyTorch tutorial with Dataset, DataLoader (no workers), transform per image and plain AdamW
- keras: ``model.fit`` on arrays, for each backend found in ``--keras-python`` (its own process, which takes turns too)
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import result_file, write_results

from striate.data import Dataset, Preprocessing, TensorSamples, load_data
from striate.models import create_model
from striate.train import Quiet, RunConfig, fit

BATCH = 64

KERAS = """
import os, sys, time
os.environ["KERAS_BACKEND"] = sys.argv[1]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
threads, steps, path = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
import numpy as np
if sys.argv[1] == "tensorflow":
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(threads)
elif sys.argv[1] == "torch":
    import torch
    torch.set_num_threads(threads)
import keras
from keras import layers
arrays = np.load(path)
inputs, labels = arrays["inputs"], arrays["labels"]
model = keras.Sequential([
    keras.Input(inputs.shape[1:]), layers.ZeroPadding2D(2), layers.Conv2D(6, 5, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(120, "relu"),
    layers.Dense(84, "relu"), layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(2e-3), loss, metrics=["accuracy"])
model.fit(inputs[:640], labels[:640], batch_size=64, verbose=0)
print("ready", keras.__version__, flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    model.fit(inputs, labels, batch_size=64, verbose=0)
    print(time.perf_counter() - began, flush=True)
"""


def first(samples: Any, count: int) -> TensorSamples:
    """``count`` samples in memory, repeated if there are fewer."""
    inputs, labels = samples.fetch(torch.arange(count) % len(samples))
    return TensorSamples(inputs, labels)


class Bare:
    """Forward, backward and step on ready batches."""

    def __init__(self, part: TensorSamples, preprocessing: Preprocessing) -> None:
        self.inputs = torch.split(preprocessing(part.inputs), BATCH)
        self.labels = torch.split(part.labels, BATCH)
        self.model = create_model("lenet", in_channels=part.item_shape[0], input_size=part.item_shape[1:])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3, fused=True)

    def round(self) -> float:
        """Seconds that a round takes."""
        self.model.train()
        began = time.perf_counter()
        for inputs, labels in zip(self.inputs, self.labels, strict=True):
            loss = F.cross_entropy(self.model(inputs), labels)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
        return time.perf_counter() - began


class Clock(Quiet):
    """Notes when the first and the last step of a run are done."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Note the time."""
        self.began = time.perf_counter()

    def epoch_ended(self, metrics: Any, *, best: bool) -> None:
        """Note the time."""
        self.ended = time.perf_counter()


class Striate:
    """One epoch of a run, from the first batch to the epoch's row in the table; making the model is not counted."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.config = RunConfig.from_dict(
            {
                "model": {"name": "lenet"},
                "data": {"source": "memory"},
                "epochs": 1,
                "batch_size": BATCH,
                "device": "cpu",
            }
        )

    def round(self) -> float:
        """Seconds that a round takes."""
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            fit(self.config, folder, dataset=self.dataset, reporter=clock)
        return clock.ended - clock.began


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """What tutorials write: one image at a time, scaled and normalised."""

    def __init__(self, part: TensorSamples, mean: float, std: float) -> None:
        self.part, self.mean, self.std = part, mean, std

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.part.inputs[index].float() / 255
        return (image - self.mean) / self.std, int(self.part.labels[index])


class Plain:
    """The loop of a tutorial, with running loss and accuracy."""

    def __init__(self, part: TensorSamples, preprocessing: Preprocessing) -> None:
        images = Images(part, preprocessing.mean[0], preprocessing.std[0])
        self.loader = torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True)
        self.model = create_model("lenet", in_channels=part.item_shape[0], input_size=part.item_shape[1:])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)

    def round(self) -> float:
        """Seconds that a round takes."""
        self.model.train()
        began = time.perf_counter()
        running, right = 0.0, 0
        for inputs, labels in self.loader:
            self.optimizer.zero_grad()
            logits = self.model(inputs)
            loss = F.cross_entropy(logits, labels)
            torch.autograd.backward(loss)
            self.optimizer.step()
            running += loss.item()
            right += int((logits.argmax(1) == labels).sum())
        return time.perf_counter() - began


class Keras:
    """Keras in a process of its own, told by a line when it is its turn."""

    def __init__(self, python: str, backend: str, threads: int, steps: int, arrays: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        if backend == "jax":
            environment["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        self.process = subprocess.Popen(
            [python, "-c", KERAS, backend, str(threads), str(steps), str(arrays)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        ready = self._answer().split()
        self.works = ready[:1] == ["ready"]
        self.version = ready[1] if self.works else ""

    def _answer(self) -> str:
        return self.process.stdout.readline() if self.process.stdout is not None else ""

    def round(self) -> float:
        """Seconds that a round takes."""
        if self.process.stdin is None:
            raise SystemExit("Keras has no standard input.")
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> str:
        """End the process and return the last line of its complaints."""
        lines = self.process.communicate()[1].strip().splitlines()
        return lines[-1] if lines else ""


def find_keras(python: str, threads: int, steps: int, arrays: Path) -> dict[str, Keras]:
    found = {}
    for backend in ("torch", "tensorflow", "jax"):
        keras = Keras(python, backend, threads, steps, arrays)
        if keras.works:
            found[f"keras-{backend}"] = keras
        else:
            print(f"no keras with {backend}: {keras.close() or 'no message'}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits28")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=938, help="steps per round; 938 is one epoch of MNIST")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keras-python", default=sys.executable, help="an interpreter that has Keras")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    whole = load_data(arguments.data)
    part = first(whole.train, arguments.steps * BATCH)
    dataset = Dataset(
        source="memory",
        kind=whole.kind,
        reason=whole.reason,
        classes=whole.classes,
        train=part,
        val=None,
        test=None,
        value_scale=whole.value_scale,
        official=(),
        stored_sizes=whole.stored_sizes,
    )
    preprocessing = Preprocessing.fit(dataset)
    with tempfile.TemporaryDirectory() as work:
        arrays = Path(work) / "arrays.npz"
        import numpy as np

        np.savez(arrays, inputs=preprocessing(part.inputs).movedim(1, -1).numpy(), labels=part.labels.numpy())
        keras = find_keras(arguments.keras_python, arguments.threads, arguments.steps, arrays)
        variants: dict[str, Any] = {
            "bare": Bare(part, preprocessing),
            "striate": Striate(dataset),
            "plain": Plain(part, preprocessing),
            **keras,
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        for turn in range(arguments.rounds + 1):
            for name, variant in variants.items():
                seconds = variant.round()
                if turn:  # the first round warms up
                    times[name].append(1000 * seconds / arguments.steps)
        for variant in keras.values():
            variant.close()

    versions = {name: f"keras {variant.version}" for name, variant in keras.items()}
    rows = []
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        # The ratio of each round, so that what slows the machine for a while slows both.
        ratios = [value / base for value, base in zip(values, times["bare"], strict=True)]
        over = 100 * (statistics.median(ratios) - 1)
        rows.append([name, f"{middle:.4f}", f"{low:.4f}", f"{high:.4f}", f"{over:.1f}"])
        print(f"{name:18} {middle:8.3f} ms per step  ({low:.3f} to {high:.3f})  {over:+7.1f} % over bare")
    notes = [
        str(versions),
        f"data {Path(arguments.data).name}, LeNet, batch {BATCH}, AdamW, float32",
        f"{arguments.rounds} rounds of {arguments.steps} steps",
    ]
    out = arguments.out or result_file("training_loop", arguments.threads)
    write_results(out, notes, ["loop", "step_ms_median", "step_ms_q1", "step_ms_q3", "percent_over_bare"], rows)


if __name__ == "__main__":
    main()
