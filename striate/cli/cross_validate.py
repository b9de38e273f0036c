"""``striate cross-validate`` and ``striate repeat``: how much of a result is chance."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.configuration import Flags, with_flags
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train import Reporter
    from striate.train.campaigns import Campaign

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The folder of all runs; where the same was begun before, it goes on."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@command(
    """
    striate cross-validate lenet --data digits28 --folds 5
    striate cross-validate lenet --data digits28 --folds 10 --repeats 3 --epochs 5
    striate cross-validate inception_time --data recordings/ --folds subjects --lr 0.001
    """
)
@with_flags
def cross_validate_command(
    *,
    folds: Annotated[str, typer.Option(help="How many folds, or subjects: leave one subject out at a time.")] = "5",
    repeats: Annotated[int, typer.Option(help="Do it so often, with other seeds and other folds.")] = 1,
    out: Out = None,
    as_json: Json = False,
    flags: Flags,
) -> None:
    """Train and test a network once per fold: mean, deviation and 95 % interval of every metric.

    Folds keep the shares of the classes, and subjects whole where the data tells them. Every fold is a complete run in
    a folder of its own. Stopped or killed, the same command goes on.
    """
    check_output_folder(out)
    number = _folds(folds)
    chosen = flags.config("cross-validate")
    from striate.train.campaigns import campaign_folder, cross_validate
    from striate.train.campaigns.cross_validation import asked_for

    folder = out if out is not None else campaign_folder(chosen, asked_for(number, repeats))
    _tell(cross_validate(chosen, folder, folds=number, repeats=repeats, reporter=_reporter(as_json)), as_json)


@command(
    """
    striate repeat lenet --data digits28 --repeats 5
    striate repeat --config runs/first/config.toml --repeats 10
    """
)
@with_flags
def repeat_command(
    *,
    repeats: Annotated[int, typer.Option(help="How many seeds, from the first one on.")] = 5,
    out: Out = None,
    as_json: Json = False,
    flags: Flags,
) -> None:
    """Train and test a network with several seeds: mean, deviation and 95 % interval of every metric.

    Every seed is a complete run in a folder of its own. Stopped or killed, the same command goes on.
    """
    check_output_folder(out)
    chosen = flags.config("repeat")
    from striate.train.campaigns import campaign_folder, repeat
    from striate.train.campaigns.repetition import asked_for

    folder = out if out is not None else campaign_folder(chosen, asked_for(repeats))
    _tell(repeat(chosen, folder, repeats=repeats, reporter=_reporter(as_json)), as_json)


def _folds(text: str) -> int | Literal["subjects"]:
    if text == "subjects":
        return "subjects"
    if not text.isdecimal():
        raise InputError("a number of folds, or subjects, for --folds", repr(text), "Use 5 or 10.")
    return int(text)


def _reporter(as_json: bool) -> Reporter | None:
    """Nothing is told where JSON is asked for, so that it can be read by a program."""
    if not as_json:
        return None
    from striate.train import Quiet

    return Quiet()


def _tell(campaign: Campaign, as_json: bool) -> None:
    if as_json:
        print_json(campaign.to_dict())
        return
    say("")
    names = [name for name in campaign.metrics if name != "loss"]
    rows = [(result.folder.name, *(f"{result.metrics[name]:.4f}" for name in names[:4])) for result in campaign.results]
    headings = tuple(f"test {name.replace('_', ' ')}" for name in names[:4])
    print_table(("run", *headings), rows, right=headings)
    say("")
    numbers = ("mean", "deviation", "95 % interval")
    summary = []
    for name, measured in campaign.metrics.items():
        bounds = "" if measured.interval is None else " to ".join(f"{bound:.4f}" for bound in measured.interval)
        deviation = "" if measured.deviation is None else f"{measured.deviation:.4f}"
        summary.append((name.replace("_", " "), f"{measured.mean:.4f}", deviation, bounds))
    print_table((f"over {len(campaign.results)} runs", *numbers), summary, right=numbers)
    say(f"\nEverything is in {campaign.folder}. Next: striate runs {shlex.quote(str(campaign.folder))}")
