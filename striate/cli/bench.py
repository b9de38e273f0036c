"""``striate bench``: how fast a network runs with the compiled kernels, and with PyTorch's."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.numbers import parse_shape
from striate.cli.printing import print_facts, print_json, print_table, say
from striate.errors import InputError, ModelError
from striate.memory import peak_bytes
from striate.units import readable_bytes, readable_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from striate.nn.side_by_side import Comparison

_TITLES = {
    "pytorch": "PyTorch",
    "channels-last": "PyTorch channels-last",
    "torch.compile": "torch.compile",
    "striate": "Striate",
}


@command(
    """
    striate bench lenet --input 64x1x28x28 --train
    striate bench runs/first --threads 1
    striate bench torchvision.models:resnet50 --input 8x3x224x224 --layers
    """
)
def bench_command(
    model: Annotated[
        str,
        typer.Argument(help="A run's folder, the name of a network, or PACKAGE.MODULE:FUNCTION that makes a model."),
    ],
    input: Annotated[
        str | None,
        typer.Option(
            help="Shape of a batch, such as 8x3x224x224 (default: 8 inputs of the usual size). "
            "Of tokens, such as words, the number of different ones stands second: 8x256x1024."
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Time training steps instead of inference.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Time torch.compile too, which takes long to start.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Number of threads (default: PyTorch's).")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds in which the sides take turns.")] = 7,
    layers: Annotated[bool, typer.Option("--layers", help="Show every convolution.")] = False,
    memory: Annotated[bool, typer.Option(help="Measure peak memory, each side in a process of its own.")] = True,
    only: Annotated[
        list[str] | None, typer.Option(help="Sides to time: pytorch, channels-last, torch.compile, striate.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Time a network side by side: PyTorch, PyTorch channels-last, and the compiled kernels, in one run."""
    import torch

    from striate.nn.side_by_side import SIDES, compare

    sides = only or [side for side in SIDES if side != "torch.compile" or compiled]
    if unknown := [side for side in sides if side not in SIDES]:
        raise InputError(f"sides of {', '.join(SIDES)}", f"--only {unknown[0]}", "Leave it out to time the usual ones.")
    made, shape, draw = _open(model, parse_shape(input) if input is not None else None)
    with _threads(threads):
        batch = draw(shape, generator=torch.Generator().manual_seed(0))
        alone = memory is False and len(sides) == 1  # the process that memory is measured in does no more than it must
        _try(made, batch, model)
        found = compare(made, batch, train=train, sides=sides, rounds=repeats, measure_layers=not alone)
        used = torch.get_num_threads()
    peaks: dict[str, int | None] = {}
    for side in found.sides:
        peaks[side.name] = peak_bytes() if alone else _peak_of(model, shape, train, side.name, used) if memory else None
    if as_json:
        print_json(_as_dict(model, shape, used, found, peaks))
        return
    _print(found, shape, used, peaks, layers)


def _try(model: nn.Module, batch: Tensor, name: str) -> None:
    """Run the model once, so that an input that does not fit is told as such."""
    import torch

    try:
        with torch.inference_mode():
            model(batch)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        size = f"--input {readable_size(batch.shape)}"
        raise ModelError(
            f"an input that {name} accepts", f"{size}: {error}", "Give --input with the batch in front."
        ) from error


def _open(name: str, shape: tuple[int, ...] | None) -> tuple[nn.Module, tuple[int, ...], Callable[..., Tensor]]:
    """The model, with weights, the shape of a batch, and what draws a batch of a shape."""
    import torch

    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name):
        if shape is None:
            raise InputError("--input with the shape of a batch", "nothing", "Give it, such as --input 8x3x224x224.")
        return _imported(name), shape, torch.randn
    from striate.cli.target import open_target
    from striate.models import create_model

    target = open_target(name, shape[1:] if shape is not None else None, None)
    shape = shape or (8, *target.item_shape)
    if target.run is not None:
        return target.model, shape, target.entry.example
    _, channels, *size = shape
    entry = target.entry
    options: dict[str, Any] = {"input_size": tuple(size)} if "input_size" in entry.options else {}
    made = create_model(name, spatial_dims=len(size), in_channels=channels, num_classes=entry.num_classes, **options)
    return made, shape, entry.example


def _imported(name: str) -> nn.Module:
    from torch import nn

    where, _, what = name.partition(":")
    expected = "PACKAGE.MODULE:FUNCTION, where the function makes a torch.nn.Module"
    sys.path.insert(0, "")  # as `python -m` does: what lies in this folder can be imported
    try:
        found: Any = importlib.import_module(where)
        for part in what.split("."):
            found = getattr(found, part)
        made = found if isinstance(found, nn.Module) else found()
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelError(expected, f"{name}: {error}", "Check the name; the function gets no arguments.") from error
    finally:
        sys.path.remove("")
    if not isinstance(made, nn.Module):
        raise ModelError(expected, f"{name}, which gives {type(made).__name__}", "Return the model.")
    return made


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _peak_of(model: str, shape: tuple[int, ...], train: bool, side: str, threads: int) -> int | None:
    """The peak memory of a fresh process that runs nothing but one side; None if that fails."""
    words = [sys.executable, "-m", "striate", "bench", model, "--input", readable_size(shape), "--only", side, "--json"]
    words += ["--no-memory", "--repeats", "1", "--threads", str(threads), *(["--train"] if train else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    peak = json.loads(done.stdout)["sides"][0]["peak_bytes"]
    return None if peak is None else int(peak)


def _as_dict(
    model: str, shape: tuple[int, ...], threads: int, found: Comparison, peaks: dict[str, int | None]
) -> dict[str, Any]:
    return {
        "model": model,
        "input_shape": list(shape),
        "train": found.train,
        "threads": threads,
        "sides": [
            {**side.to_dict(), "ratio": found.ratio(side), "peak_bytes": peaks[side.name]} for side in found.sides
        ],
        "acceleration": None if found.acceleration is None else found.acceleration.to_dict(),
    }


def _print(found: Comparison, shape: tuple[int, ...], threads: int, peaks: dict[str, int | None], layers: bool) -> None:
    what = "training steps" if found.train else "inference"
    say(f"{what} on {readable_size(shape)}, {threads} thread{'s' if threads > 1 else ''}: medians, and their quartiles")
    headings = ["", "ms", "quartiles", "ratio", "start s", "a step adds", "peak memory"]
    rows = []
    for side in found.sides:
        times, peak = side.times, peaks[side.name]
        rows.append(
            [
                _TITLES[side.name],
                f"{times.median_ms:.3g}",
                f"{times.lower * 1e3:.3g}-{times.upper * 1e3:.3g}",
                f"{found.ratio(side):.2f}x",
                f"{side.start_seconds:.2f}",
                "" if side.step_bytes is None else readable_bytes(max(side.step_bytes, 0)),
                "" if peak is None else readable_bytes(peak),
            ]
        )
    print_table(headings, rows, right=headings[1:])
    report = found.acceleration
    if report is None:
        return
    say("")
    if layers:
        from striate.nn.acceleration import HEADINGS, RIGHT

        print_table(HEADINGS, [row.cells() for row in report.layers], right=RIGHT)
        say("")
    print_facts(report.totals())
    for note in report.notes:
        say(f"Note: {note}")
