"""Whole networks: `striate.accelerate` beside PyTorch eager, channels-last and torch.compile.

    python bench/networks.py --threads 2 --compile --peers
    python bench/networks.py --only lenet --quick

The networks of bench/reference_networks.py, in inference and in training (a step of SGD on the cross-entropy). The
sides take turns; figures are medians and quartiles, ratios are times of the best other side over ours. ``--peers`` adds
ONNX Runtime and OpenVINO to inference where they can be imported (``pip install onnxruntime onnx onnxscript
openvino``). Start-up is what it takes to prepare a side and run its first step: for ours a second time in a process of
its own, once with an empty cache of kernels and once with a full one. Memory is what a later step adds at most, and the
peak of a process that runs one side from its start. ``--only`` renews the results of these networks and leaves the
others; ``--quick`` (a batch of 1, few rounds) writes none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from machine import renewed, result_file, write_results
from reference_networks import NETWORKS

from striate.memory import peak_bytes
from striate.nn.side_by_side import SIDES, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from striate.nn.side_by_side import Comparison

HEADINGS = (
    "network", "mode", "side", "median_ms", "lower_ms", "upper_ms", "ratio_to_best_other", "start_seconds",
    "step_mib", "peak_mib", "compiled_layers",
)  # fmt: skip
TARGETS = {
    "inference": "mean 1.3x against the compilers, none below 1x",
    "training": "mean 2x, none below 1x",
}


def onnx_runtime(model: nn.Module, x: Tensor, threads: int) -> Callable[[], object]:
    """The model in ONNX Runtime, as a function that runs it."""
    import onnxruntime  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(model, (x,), path, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)


def openvino(model: nn.Module, x: Tensor, threads: int) -> Callable[[], object]:
    """The model in OpenVINO, as a function that runs it."""
    import openvino as ov  # type: ignore[import-not-found, unused-ignore]

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(ov.convert_model(model, example_input=x), "CPU", settings).create_infer_request()
    given = x.numpy()
    return lambda: request.infer([given])


PEERS = {"onnxruntime": onnx_runtime, "openvino": openvino}


def build(name: str, quick: bool) -> tuple[nn.Module, Tensor]:
    """A network and a batch for it, always the same."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    shape = (1, *network.input_shape[1:]) if quick else network.input_shape
    return network.build(), torch.randn(shape, generator=torch.Generator().manual_seed(0))


def peers(model: nn.Module, x: Tensor, threads: int) -> dict[str, Callable[[], Callable[[], object]]]:
    """The other programs that can be imported and that take this model."""
    found: dict[str, Callable[[], Callable[[], object]]] = {}
    for name, prepare in PEERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed and left out")
            continue
        try:
            prepare(model.eval(), x, threads)()
        except Exception as error:
            print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        else:
            found[name] = lambda prepare=prepare: prepare(model.eval(), x, threads)  # type: ignore[misc]
    return found


def alone(name: str, side: str, train: bool, arguments: argparse.Namespace, cache: str) -> dict[str, float]:
    """Start-up and peak memory of one side, in a fresh process."""
    words = [sys.executable, __file__, "--only", name, "--alone", side, "--threads", str(arguments.threads)]
    words += ["--train"] if train else []
    words += ["--quick"] if arguments.quick else []
    environment = {**os.environ, "STRIATE_CACHE_DIR": cache}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_alone(name: str, side: str, train: bool, quick: bool) -> None:
    """Run one side for a few steps, and print what `alone` wants to know."""
    model, x = build(name, quick)
    found = compare(model, x, train=train, sides=[side], rounds=2, measure_layers=False)
    print(json.dumps({"start_seconds": found.sides[0].start_seconds, "peak_mib": peak_bytes() / 2**20}))


def measure(
    name: str, train: bool, arguments: argparse.Namespace
) -> tuple[Comparison, dict[str, float], tuple[float, float]]:
    """Compare the sides; the peak memory of each in MiB; and our start-up with a cold and a warm cache."""
    model, x = build(name, arguments.quick)
    others = peers(model, x, arguments.threads) if arguments.peers and not train else {}
    sides = [side for side in SIDES if side != "torch.compile" or arguments.compile]
    rounds = 2 if arguments.quick else arguments.rounds
    found = compare(model, x, train=train, sides=sides, rounds=rounds, peers=others)
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        cold = alone(name, "striate", train, arguments, cache)["start_seconds"]
        for side in found.sides:
            if side.name in SIDES:
                told = alone(name, side.name, train, arguments, cache)
                peaks[side.name] = told["peak_mib"]
                warm = told["start_seconds"] if side.name == "striate" else math.nan
    return found, peaks, (cold, warm)


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=list(NETWORKS),
        help="these networks only; the others' results stay",
    )
    parser.add_argument("--quick", action="store_true", help="a batch of 1, two rounds, no results file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="torch.compile too: up to a minute for each network")
    parser.add_argument("--peers", action="store_true", help="ONNX Runtime and OpenVINO too, where installed")
    parser.add_argument("--layers", action="store_true", help="print the report of every layer")
    parser.add_argument("--alone", metavar="SIDE", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        run_alone(arguments.only[0], arguments.alone, arguments.train, arguments.quick)
        return
    rows: list[Sequence[Any]] = []
    for name in arguments.only or NETWORKS:
        for train in (False, True):
            found, peaks, (cold, warm) = measure(name, train, arguments)
            rows += table(name, found, peaks)
            ours = next(side for side in found.sides if side.name == "striate")
            mode = "training" if train else "inference"
            told = ", ".join(f"{side.name} {side.times.median_ms:.3g}" for side in found.sides)
            memory = ", ".join(
                f"{side.name} {(side.step_bytes or 0) / 2**20:.0f} of {peaks[side.name]:.0f}"
                for side in found.sides
                if side.name in peaks
            )
            print(
                f"{name} {mode}: {told} ms; {found.ratio(ours):.2f}x; first step {cold:.2f} s cold, {warm:.2f} s warm"
            )
            print(f"    MiB that a step adds, of the whole: {memory}", flush=True)
            rows.append((name, mode, "striate, first step, cold cache", *[""] * 4, f"{cold:.2f}", "", "", ""))
            rows.append((name, mode, "striate, first step, warm cache", *[""] * 4, f"{warm:.2f}", "", "", ""))
            if arguments.layers and found.acceleration is not None:
                print(found.acceleration)
    path = result_file("networks", arguments.threads)
    if not arguments.quick and arguments.only:
        # Every network is measured by itself, so those that were measured on this machine before stay.
        rows = renewed(path, rows, NETWORKS)
    notes = summary(rows)
    print("\n".join(["", *notes]))
    if not arguments.quick:
        write_results(path, notes, HEADINGS, rows)


def summary(rows: Sequence[Sequence[Any]]) -> list[str]:
    """The mean and the least ratio of each mode."""
    notes = []
    for mode, target in TARGETS.items():
        ratios = {str(row[0]): float(row[6]) for row in rows if tuple(row[1:3]) == (mode, "striate")}
        worst = min(ratios, key=lambda name: ratios[name])
        mean = statistics.geometric_mean(ratios.values())
        told = f"geometric mean {mean:.2f}x, least {ratios[worst]:.2f}x ({worst})"
        notes.append(f"{mode}, against the best other side: {told}; target: {target}")
    return notes


def table(name: str, found: Comparison, peaks: dict[str, float]) -> list[tuple[Any, ...]]:
    """The rows of one network."""
    report = found.acceleration
    layers = "" if report is None else f"{report.compiled} of {len({layer.name for layer in report.layers})}"
    rows: list[tuple[Any, ...]] = []
    for side in found.sides:
        times = (side.times.median, side.times.lower, side.times.upper)
        rows.append(
            (
                name,
                "training" if found.train else "inference",
                side.name,
                *(f"{value * 1e3:.3f}" for value in times),
                f"{found.ratio(side):.3f}",
                f"{side.start_seconds:.2f}",
                "" if side.step_bytes is None else f"{side.step_bytes / 2**20:.1f}",
                f"{peaks[side.name]:.0f}" if side.name in peaks else "",
                layers if side.name == "striate" else "",
            )
        )
    return rows


if __name__ == "__main__":
    main()
