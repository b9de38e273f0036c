"""Ten thousand random problems, each by every algorithm that can compute it, against the definition.

    python -m pytest -m slow tests/compiler/test_ten_thousand.py
    python tests/compiler/test_ten_thousand.py --problems 10000 --seed 0

One kernel serves every batch, size and padding, so a kind of layer is drawn now and then, and many problems of it: the
time goes into running kernels, not into compiling them. Memory is guarded and numbers are small and whole, as in
test_algorithms.py. A mismatch names the problem; a crash leaves its kind in the last line, and ``--first`` goes there.
"""

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from run_kernel import expected, run, whole_numbers

from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.cache import DiskCache
from striate.compiler.choose import able
from striate.compiler.jit import Jit
from striate.compiler.problem import LAYOUTS, PASSES, ConvProblem
from striate.compiler.target import host

OF_A_KIND = 25
FAMILIES = ("any", "dense", "winograd", "pointwise", "depthwise", "grouped", "few channels")


def kind(draw):
    """What a kernel is specialised on. Families are equally likely, or special algorithms would hardly get any."""
    rank, family = draw.randint(1, 3), draw.choice(FAMILIES)
    most = {1: 9, 2: 5, 3: 3}[rank]
    groups, ins, outs = 1, draw.randint(1, 40), draw.randint(1, 70)
    kernel, stride, dilation = (
        tuple(draw.choice(values) for _ in range(rank)) for values in (range(1, most + 1), (1, 1, 2, 3), (1, 1, 2, 3))
    )
    if family == "winograd":
        kernel, stride, dilation = (3,) * rank, (1,) * rank, (1,) * rank
    elif family == "pointwise":
        kernel = (1,) * rank
    elif family == "depthwise":
        groups, ins, outs = draw.randint(2, 40), 1, draw.choice((1, 1, 2, 3))
    elif family == "grouped":
        groups, ins, outs = draw.randint(2, 5), draw.randint(1, 17), draw.randint(1, 20)
    elif family == "few channels":
        ins, outs = draw.sample((draw.randint(1, 6), draw.randint(1, 40)), 2)
    elif family == "any":
        groups, ins, outs = draw.randint(1, 3), draw.randint(1, 9), draw.randint(1, 20)
    pass_, bias = draw.choice(PASSES), draw.random() < 0.5
    return {
        "spatial_dims": rank,
        "in_channels": groups * ins,
        "out_channels": groups * outs,
        "kernel_size": kernel,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "dtype": draw.choice(("float32", "float32", "float64")),
        "pass_": pass_,
        "bias": bias,
        "scale": bias and pass_ == "forward" and draw.random() < 0.5,
        "activation": draw.choice((None, None, "relu", "relu6")) if pass_ != "grad_weight" else None,
        "layout": draw.choice(LAYOUTS),
    }


def of_kind(draw, values):
    """A problem of a kind: any batch, any padding, sizes from one pixel to a few tiles."""
    rank = values["spatial_dims"]
    extents = [d * (k - 1) + 1 for k, d in zip(values["kernel_size"], values["dilation"], strict=True)]
    pads = tuple(
        (draw.randint(0, extent), draw.randint(0, extent)) if draw.random() < 0.5 else (extent // 2, extent // 2)
        for extent in extents
    )
    most = {1: 70, 2: 15, 3: 7}[rank]
    size = tuple(
        max(draw.randint(1, most), extent - before - after)
        for extent, (before, after) in zip(extents, pads, strict=True)
    )
    return ConvProblem.of(**values, batch=draw.choice((0, 1, 1, 2, 3)), input_size=size, padding=pads)


def mismatch(algorithm, problem, arrays, wanted, jit, **how):
    """What is wrong with a result, if anything."""
    result, grad_bias = run(algorithm, problem, *arrays, jit=jit, **how)
    allowed = algorithm.tolerance(problem) * (3 if problem.spec.scale else 1)  # scales are numbers up to 3
    for name, got, right in (("result", result, wanted[0]), ("grad_bias", grad_bias, wanted[1])):
        if right is None:
            continue
        # Written so that a NaN is a mismatch.
        limit = allowed if name == "result" and not algorithm.exact else 0
        if got.shape != right.shape or not np.all(np.abs(got - right) <= limit):
            return f"{algorithm.name} | {problem} | {how} | {name} differs by {np.abs(got - right).max()}"
    return None


def check(problems, seed, jit, *, first=0, tell=lambda line: None):
    """Check so many problems; return the mismatches and how often each algorithm was run."""
    wrong, runs = [], {algorithm.name: 0 for algorithm in ALGORITHMS}
    began = time.monotonic()
    for number in range(first, -(-problems // OF_A_KIND)):
        # Each kind has its own numbers, so that it can be drawn again without those before it.
        draw = random.Random(f"{seed} {number}")
        values = kind(draw)
        algorithms = None
        for _ in range(min(OF_A_KIND, problems - number * OF_A_KIND)):
            problem = of_kind(draw, values)
            if algorithms is None:
                algorithms = able(problem.spec, host())
                names = " ".join(algorithm.name for algorithm in algorithms)
                tell(f"{number * OF_A_KIND} problems, {time.monotonic() - began:.0f} s; {problem.spec}: {names}")
            arrays = whole_numbers(problem, draw.randrange(1000))
            wanted = expected(problem, *arrays)
            how = {
                "threads": draw.randint(1, 3), "weight_last": draw.random() < 0.5, "at_start": draw.random() < 0.5
            }  # fmt: skip
            for algorithm in algorithms:
                runs[algorithm.name] += 1
                found = mismatch(algorithm, problem, arrays, wanted, jit, **how)
                if found:
                    wrong.append(found)
                    tell(f"MISMATCH {found}")
    return wrong, runs


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_problems(jit):
    wrong, runs = check(10_000, seed=0, jit=jit)
    assert wrong == []
    assert min(runs.values()) > 100, runs


def test_what_is_drawn_can_be_drawn_again():
    texts = [
        [str(of_kind(draw, values)) for _ in range(5)]
        for draw in (random.Random("0 7"), random.Random("0 7"))
        for values in (kind(draw),)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the kind to begin with")
    arguments = parser.parse_args()
    faulthandler.enable()

    def tell(*lines):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        jit = Jit(DiskCache(Path(os.environ.get("STRIATE_CACHE_DIR") or folder)))
        wrong, runs = check(arguments.problems, arguments.seed, jit, first=arguments.first, tell=tell)
    tell(f"{sum(runs.values())} runs: {runs}; {len(wrong)} mismatches", *wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
