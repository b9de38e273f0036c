"""Convolution layers: the compiled kernels beside PyTorch's operators, in time, memory and start-up.

    python bench/convolutions.py --threads 2
    python bench/convolutions.py --only resnet --only signal --no-memory
    python bench/convolutions.py --quick

Every layer of bench/shapes.txt is run forward, and forward and backward (the gradients of input and weight, as a
training step needs them), through `striate.ops` in both layouts and through PyTorch contiguous and, where it has that,
channels-last. The sides take turns; figures are medians and quartiles. Ratios are times of PyTorch's better layout over
ours, so that 2 means twice as fast.

Peak memory is that of forward and backward in a fresh process per side, less what the process had before. With
``--only`` the results of other layers stay as they are; ``--quick`` (a batch of 1, few rounds) writes none.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from machine import renewed, result_file, write_results
from torch import Tensor

from striate import ops
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.cache import DiskCache
from striate.compiler.choose import choose, compiled
from striate.compiler.jit import Jit
from striate.compiler.problem import PASSES
from striate.compiler.target import host
from striate.memory import peak_bytes
from striate.nn.changed import channels_last
from striate.nn.layer_problem import LayerProblem
from striate.nn.timing import Times, interleaved
from striate.ops import native
from striate.ops.compiled import route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from striate.compiler.algorithm import Algorithm
    from striate.compiler.problem import ConvProblem

SHAPES = Path(__file__).parent / "shapes.txt"
LISTED = 24  # the first layers of the file, which the targets of PERFORMANCE.md are about
TINY = "2d n1 c8 o8 i8 k3 s1 p0"
FEW = 6  # channels, on either side
MODES = ("forward", "forward+backward")
HEADINGS = (
    "layer", "problem", "mode", "side", "median_ms", "lower_ms", "upper_ms", "gflops", "ratio", "error", "algorithms",
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A named line of shapes.txt."""

    name: str
    problem: LayerProblem

    @property
    def families(self) -> tuple[str, ...]:
        """The groups that have targets of their own; a layer can be in several."""
        spec = self.problem.convolution.spec
        few = spec.groups == 1 and min(spec.in_channels, spec.out_channels) <= FEW
        dense = spec.groups == 1 and not few and not self.problem.transposed
        square = set(spec.stride) == set(spec.dilation) == {1}
        members = {
            "depthwise": 1 < spec.groups == spec.in_channels,
            "grouped": 1 < spec.groups < spec.in_channels,
            "few channels": few,
            "1-D": spec.spatial_dims == 1,
            "dense 3x3": dense and square and spec.kernel_size == (3, 3),
            "1x1": dense and set(spec.kernel_size) == {1},
            "transposed": self.problem.transposed,
            "3-D": spec.spatial_dims == 3,
        }
        return tuple(family for family, belongs in members.items() if belongs)


def layers(only: list[str], quick: bool) -> list[Layer]:
    """The layers whose names begin with one of ``only``, all without it; with a batch of 1 if ``quick``."""
    found = []
    for line in SHAPES.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, text = (part.strip() for part in line.partition("|"))
        if only and not any(name.startswith(word) for word in only):
            continue
        problem = LayerProblem.parse(text)
        if quick:
            problem = replace(problem, convolution=replace(problem.convolution, batch=1))
        found.append(Layer(name, problem))
    return found


def operator(problem: LayerProblem, ours: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The layer as a function of input and weight, ours or PyTorch's."""
    spec, pads = problem.convolution.spec, problem.convolution.pads
    equal: Any = tuple(before for before, _ in pads) if all(a == b for a, b in pads) else pads
    rank = spec.spatial_dims
    tail: tuple[Any, ...]
    if problem.transposed:
        name, tail = f"conv_transpose{rank}d", (problem.output_padding, spec.groups, spec.dilation)
    else:
        name, tail = f"conv{rank}d", (spec.dilation, spec.groups)
    if not ours and equal is pads:  # PyTorch needs a padded copy
        return lambda x, w: native.convolution(x, w, None, spec.stride, pads, spec.dilation, spec.groups)
    function = getattr(ops if ours else torch, name)
    return lambda x, w: function(x, w, None, spec.stride, equal, *tail)


def sides(problem: LayerProblem) -> dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]]:
    """Per side its operator, input and weight."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(problem.input_shape, generator=random)
    w = torch.randn(problem.weight_shape, generator=random)
    theirs, ours, x_last = operator(problem, ours=False), operator(problem, ours=True), channels_last(x)
    found = {"torch contiguous": (theirs, x, w)}
    memory_format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if memory_format is not None:
        found["torch channels-last"] = (theirs, x_last, w.contiguous(memory_format=memory_format))
    return {**found, "striate channels-last": (ours, x_last, w), "striate contiguous": (ours, x, w)}


def step(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor, backward: bool
) -> Callable[[], tuple[Tensor, ...]]:
    """Forward without gradients, or forward and backward, as a function without arguments."""
    with torch.no_grad():
        like = function(x, w)
    upstream = torch.randn(like.shape, generator=torch.Generator().manual_seed(1)).to(like.dtype)
    upstream = torch.empty_like(like).copy_(upstream)
    x, w = x.detach().requires_grad_(backward), w.detach().requires_grad_(backward)

    def run() -> tuple[Tensor, ...]:
        with torch.set_grad_enabled(backward):
            output = function(x, w)
            return (output, *torch.autograd.grad(output, (x, w), upstream)) if backward else (output,)

    return run


def error(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> float:
    """The largest difference relative to the largest value, over output and gradients."""
    pairs = zip(found, exact, strict=True)
    return max(((a.double() - b).abs().max() / b.abs().max().clamp_min(1e-300)).item() for a, b in pairs)


def algorithms(problem: LayerProblem, x: Tensor, w: Tensor) -> dict[str, Any]:
    """What computes each pass, as `striate.ops` sees it."""
    spec = problem.convolution.spec
    return {
        pass_: route(
            x, w, stride=spec.stride, pads=problem.convolution.pads, dilation=spec.dilation, groups=spec.groups,
            output_padding=problem.output_padding if problem.transposed else None, pass_=pass_,
        )
        for pass_ in PASSES
    }  # fmt: skip


def measure(layer: Layer, rounds: int, least_seconds: float) -> list[tuple[object, ...]]:
    """Rows of the table for a layer; their ratios are to PyTorch's better layout."""
    rows: list[tuple[object, ...]] = []
    told = []
    operands = sides(layer.problem)
    routes = {
        name: " ".join(found.algorithm or "PyTorch" for found in algorithms(layer.problem, x, w).values())
        for name, (_, x, w) in operands.items()
        if name.startswith("striate")
    }
    for mode in MODES:
        backward = mode != "forward"
        runs = {name: step(*operand, backward) for name, operand in operands.items()}
        function, x, w = operands["torch contiguous"]
        exact = step(function, x.double(), w.double(), backward)()
        errors = {name: error(run(), exact) for name, run in runs.items()}
        times = interleaved(runs, rounds=rounds, least_seconds=least_seconds)
        best = min(times[name].median for name in times if name.startswith("torch"))
        for name, found in times.items():
            speed = 2 * layer.problem.macs * (3 if backward else 1) / found.median / 1e9
            ratio = best / found.median
            rows.append(
                (layer.name, layer.problem, mode, name, *milliseconds(found), f"{speed:.1f}", f"{ratio:.3f}",
                 f"{errors[name]:.1e}", routes.get(name, "")),
            )  # fmt: skip
        ours = times["striate channels-last"]
        told.append(f"{mode} {best * 1e3:.3g} -> {ours.median_ms:.3g} ms {best / ours.median:.2f}x")
    print(f"{layer.name:22} {'  '.join(told)}  {routes['striate channels-last']}", flush=True)
    return rows


def milliseconds(times: Times) -> tuple[str, str, str]:
    """Median and quartiles as the tables write them."""
    return f"{times.median * 1e3:.4f}", f"{times.lower * 1e3:.4f}", f"{times.upper * 1e3:.4f}"


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return statistics.geometric_mean(values) if values else math.nan


def ratios_of(rows: Iterable[Sequence[object]]) -> dict[str, dict[str, float]]:
    """Of each layer, by its name, the ratios of our layouts in each mode."""
    found: dict[str, dict[str, float]] = {}
    for name, _, mode, side, *_, ratio, _, _ in rows:
        words = {"striate channels-last": mode, "striate contiguous": f"{mode}, contiguous"}
        if side in words:
            found.setdefault(str(name), {})[str(words[str(side)])] = float(str(ratio))
    return found


def summary(rows: Iterable[Sequence[object]]) -> list[str]:
    """Geometric means and lowest ratios, with the targets of PERFORMANCE.md beside them."""
    lines = []
    ratios = ratios_of(rows)
    every = layers([], quick=False)
    found = [layer for layer in every if layer.name in ratios]

    def tell(what: str, members: list[Layer], mode: str, target: str) -> None:
        if members:
            of = {layer.name: ratios[layer.name][mode] for layer in members}
            least = min(of, key=lambda name: of[name])
            worst = f"least {of[least]:.2f}x ({least})"
            lines.append(f"{what}, {mode}: mean {mean(list(of.values())):.2f}x of {len(of)}, {worst}; target {target}")

    known = [layer for layer in every[:LISTED] if layer in found]
    for what, members in ((f"the first {LISTED}", known), ("all layers", found)):
        tell(what, members, "forward", "mean 2x")
        tell(what, members, "forward+backward", "mean 3x, each 1x")
        tell(what, members, "forward, contiguous", "none")
        tell(what, members, "forward+backward, contiguous", "none")
    targets = {
        "depthwise": "each 3x", "grouped": "each 3x", "few channels": "each 3x", "1-D": "each 3x",
        "dense 3x3": "mean 1.5x", "1x1": "mean 1x", "transposed": "each 1x", "3-D": "each 1x",
    }  # fmt: skip
    for family, target in targets.items():
        tell(family, [layer for layer in found if family in layer.families], "forward+backward", target)
    return lines


def overhead(rounds: int) -> list[str]:
    """What a call costs where there is next to nothing to compute."""
    lines = []
    operands = sides(LayerProblem.parse(TINY))
    for mode in MODES:
        times = interleaved(
            {name: step(*operand, mode != "forward") for name, operand in operands.items()}, rounds=rounds
        )
        told = ", ".join(f"{name} {each.median * 1e6:.2f}" for name, each in times.items())
        lines.append(f"microseconds a call, {TINY}, {mode}: {told}; target: ours at most PyTorch's")
    return lines


def start_up(found: list[Layer]) -> list[tuple[object, ...]]:
    """How long every kernel takes to be compiled, to be loaded from disk, and to be told of a new batch size."""
    kernels = {}
    for layer in found:
        _, x, w = sides(layer.problem)["striate channels-last"]
        for each in algorithms(layer.problem, x, w).values():
            if each.algorithm is not None:
                kernels[f"{each.algorithm} {each.problem.spec}"] = (layer.name, each)
    rows: list[tuple[object, ...]] = []
    by_name = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    with tempfile.TemporaryDirectory() as folder:
        for text, (name, each) in kernels.items():
            seconds = []
            for _ in range(2):  # nothing is on disk the first time, nothing in memory the second
                jit = Jit(DiskCache(Path(folder)))
                began = time.perf_counter()
                compiled(by_name[each.algorithm], each.problem.spec, host(), jit)
                seconds.append((time.perf_counter() - began) * 1e3)
            seconds.append(new_size(by_name[each.algorithm], each.problem))
            rows.append((name, text, *(f"{value:.3f}" for value in seconds)))
    return rows


def start_up_summary(rows: Sequence[Sequence[object]]) -> list[str]:
    """The median and the most of what starting costs."""
    lines = []
    targets = (
        ("compile", "; target below 200"),
        ("load from disk", "; target below 5"),
        ("tell a new batch size to", ""),
    )
    for place, (what, target) in enumerate(targets):
        values = [float(str(row[2 + place])) for row in rows]
        if values:
            told = f"median {statistics.median(values):.2f}, most {max(values):.2f} of {len(values)}{target}"
            lines.append(f"ms to {what} a kernel: {told}")
    return lines


def new_size(algorithm: Algorithm, problem: ConvProblem, sizes: int = 9) -> float:
    """Milliseconds to choose an algorithm and cut the work for a new batch size: what a known layer pays."""
    spec = problem.spec
    strides = torch.empty(spec.out_channels, spec.group_in_channels, *spec.kernel_size, device="meta").stride()
    seconds = []
    for more in range(1, sizes + 1):
        other = replace(problem, batch=problem.batch + more)
        began = time.perf_counter()
        choose(other, host())
        algorithm.launch(other, host(), strides, torch.get_num_threads())
        seconds.append((time.perf_counter() - began) * 1e3)
    return statistics.median(seconds)


def peak(layer: Layer, side: str) -> None:
    """Run in a process of its own: print by how much the operands, outputs and steps make its memory grow."""
    # A batch of 1 first: what PyTorch and LLVM load and compile once is not the layer's.
    small = replace(layer.problem, convolution=replace(layer.problem.convolution, batch=1))
    step(*sides(small)[side], backward=True)()
    before = peak_bytes(anew=True)
    run = step(*sides(layer.problem)[side], backward=True)
    for _ in range(3):
        run()
    print(json.dumps({"grown": peak_bytes() - before}))


def memory(layer: Layer, threads: int, quick: bool) -> tuple[object, ...]:
    """Peak memory of forward and backward: PyTorch's better layout and ours, each in a fresh process."""
    grown = {}
    for side in sides(replace(layer.problem, convolution=replace(layer.problem.convolution, batch=1))):
        words = [sys.executable, __file__, "--only", layer.name, "--peak", side, "--threads", str(threads)]
        words += ["--quick"] if quick else []
        # glibc grows this threshold as it goes, and then gaps between blocks count more than the blocks.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        grown[side] = json.loads(done.stdout.splitlines()[-1])["grown"] / 2**20
    theirs = min(value for name, value in grown.items() if name.startswith("torch"))
    told = ", ".join(f"{name} {value:.1f}" for name, value in grown.items())
    print(f"{layer.name:22} MiB: {told}", flush=True)
    ratio = grown["striate channels-last"] / max(theirs, 0.1)
    return (layer.name, *(f"{grown.get(name, math.nan):.1f}" for name in _SIDES), f"{ratio:.3f}")


_SIDES = ("torch contiguous", "torch channels-last", "striate channels-last", "striate contiguous")


def main() -> None:
    """Measure, print, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="layers whose names begin so (repeatable)")
    parser.add_argument("--quick", action="store_true", help="a batch of 1, two rounds, no results file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-times", action="store_true", help="measure peak memory only, for which others may work")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--peak", metavar="SIDE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = layers(arguments.only, arguments.quick)
    if not found:
        parser.error(f"no layer of {SHAPES} begins with {' or '.join(arguments.only)}")
    if arguments.peak:
        peak(next(layer for layer in found if layer.name == arguments.only[0]), arguments.peak)
        return
    if not arguments.no_times:
        time_all(found, arguments)
    if not arguments.no_memory:
        memory_all(found, arguments)


def memory_all(found: list[Layer], arguments: argparse.Namespace) -> None:
    """Measure how much memory layers take."""
    rows = [memory(layer, arguments.threads, arguments.quick) for layer in found]
    if not arguments.quick:
        path = result_file("convolution-memory", arguments.threads)
        about = ["MiB that forward and backward add to a process; ratio: ours, channels-last, to PyTorch's lower one"]
        names = [name.replace(" ", "_").replace("-", "_") for name in _SIDES]
        write_results(path, about, ("layer", *names, "ratio"), renewed(path, rows, names_of_layers()))


def time_all(found: list[Layer], arguments: argparse.Namespace) -> None:
    """Measure how long layers take and how long it takes to make their kernels."""
    rounds, least = (2, 0.001) if arguments.quick else (arguments.rounds, 0.02)
    rows: list[Sequence[object]] = [row for layer in found for row in measure(layer, rounds, least)]
    kernels: list[Sequence[object]] = [*start_up(found)]
    times, starts = (result_file(what, arguments.threads) for what in ("convolutions", "convolution-start-up"))
    if not arguments.quick:
        rows, kernels = (renewed(*each, names_of_layers()) for each in ((times, rows), (starts, kernels)))
    started = start_up_summary(kernels)
    notes = [*summary(rows), *overhead(rounds), *started]
    print("\n".join(["", *notes]))
    if not arguments.quick:
        write_results(times, notes, HEADINGS, rows)
        write_results(starts, started, ("layer", "kernel", "compile_ms", "load_ms", "new_size_ms"), kernels)


def names_of_layers() -> list[str]:
    """All layers by name, as they are listed."""
    return [layer.name for layer in layers([], quick=False)]


if __name__ == "__main__":
    main()
