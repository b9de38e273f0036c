"""What a call costs where there is next to nothing to compute: our operators and layers beside PyTorch's.

    python bench/overhead.py --threads 1
    python bench/overhead.py --quick

One small problem of each rank, as a function (``conv2d``) and as a layer (``Conv2d``), in both layouts: in inference
mode, forward with nothing to differentiate, forward with gradients wanted, and forward and backward. The sides take
turns; figures are medians and quartiles in microseconds. Ratios are PyTorch's time over ours in the same layout, so
that 1 or more means that our call costs no more than PyTorch's. ``--quick`` (two rounds) writes no results.
"""

from __future__ import annotations

import argparse
import statistics
from typing import TYPE_CHECKING

import torch
from machine import result_file, write_results
from torch.nn import functional as F

from striate import nn, ops
from striate.nn.changed import channels_last
from striate.nn.timing import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CHANNELS, KERNEL = 8, 3
SIZES = {1: 64, 2: 8, 3: 4}  # positions along each axis: 64 in every rank
MODES = ("inference", "forward", "forward, gradients wanted", "forward+backward")
HEADINGS = ("rank", "layout", "call", "mode", "side", "median_us", "lower_us", "upper_us", "ratio")


def calls(rank: int) -> dict[str, dict[str, Callable[[Tensor], Tensor]]]:
    """The function and the layer of a rank, ours and PyTorch's, with the same weight and bias."""
    theirs = getattr(torch.nn, f"Conv{rank}d")(CHANNELS, CHANNELS, KERNEL, padding=1)
    ours = nn.conv_class(rank)(CHANNELS, CHANNELS, KERNEL, padding=1)
    ours.load_state_dict(theirs.state_dict())
    w, b = theirs.weight, theirs.bias
    their_function, our_function = getattr(F, f"conv{rank}d"), getattr(ops, f"conv{rank}d")
    return {
        "function": {
            "striate": lambda x: our_function(x, w, b, 1, 1),
            "torch": lambda x: their_function(x, w, b, 1, 1),
        },
        "layer": {"striate": ours, "torch": theirs},
    }


def step(call: Callable[[Tensor], Tensor], x: Tensor, mode: str) -> Callable[[], object]:
    """One call in a mode, as a function without arguments. Gradients are of weight, bias and input."""
    if mode != "forward+backward":
        return lambda: call(x)
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    upstream = torch.ones_like(call(leaf))

    def train() -> None:
        leaf.grad = None
        call(leaf).backward(upstream)  # type: ignore[no-untyped-call]

    return train


def measure(rank: int, last: bool, rounds: int) -> list[tuple[object, ...]]:
    """The rows of one rank and layout."""
    x = torch.randn(1, CHANNELS, *(SIZES[rank],) * rank)
    x = channels_last(x) if last else x
    layout = "channels-last" if last else "contiguous"
    rows: list[tuple[object, ...]] = []
    for what, sides in calls(rank).items():
        for mode in MODES:
            # Modes are entered once around all repetitions, as programs do, not once a call.
            entered = {"inference": torch.inference_mode, "forward": torch.no_grad}.get(mode, torch.enable_grad)
            with entered():
                times = interleaved({name: step(call, x, mode) for name, call in sides.items()}, rounds=rounds)
            ratio = times["torch"].median / times["striate"].median
            print(
                f"{rank}d {layout:13} {what:8} {mode:25} torch {times['torch'].median * 1e6:7.2f} "
                f"striate {times['striate'].median * 1e6:7.2f} us  {ratio:.2f}x",
                flush=True,
            )
            for side, found in times.items():
                us = (f"{value * 1e6:.2f}" for value in (found.median, found.lower, found.upper))
                rows.append((rank, layout, what, mode, side, *us, f"{ratio:.3f}"))
    return rows


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="two rounds, no results file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for rank in SIZES:
        for last in (False, True):
            rows += measure(rank, last, 2 if arguments.quick else arguments.rounds)
    ratios = {mode: [float(str(row[-1])) for row in rows if row[3] == mode and row[4] == "striate"] for mode in MODES}
    notes = [
        f"{mode}: PyTorch's time over ours, mean {statistics.geometric_mean(values):.2f}x, least {min(values):.2f}x; "
        "target 1x"
        for mode, values in ratios.items()
    ]
    print("\n".join(["", *notes]))
    if not arguments.quick:
        write_results(result_file("overhead", arguments.threads), notes, HEADINGS, rows)


if __name__ == "__main__":
    main()
