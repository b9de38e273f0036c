"""``striate search``: good settings for a network and data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli.app import command
from striate.cli.configuration import Flags, with_flags
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train.campaigns import Search, Space

_SHOWN = 10


@command(
    """
    striate search lenet --data digits28 --trials 30 --epochs 5
    striate search lenet -d digits28 --tune optimizer.learning_rate=log:1e-4:1e-1 --tune batch_size=16,32,64
    striate search resnet18 -d flowers/ --space space.toml --metric val_macro_f1 --out runs/search
    striate search lenet -d digits28 --storage postgresql://me@host/studies --study digits
    """
)
@with_flags
def search_command(
    *,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=RANGE", help="What to try: LOW:HIGH, LOW:HIGH:STEP, log:LOW:HIGH or A,B,C; repeatable."
        ),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="A TOML file with what to try.")] = None,
    trials: Annotated[int, typer.Option(help="How many trials there are to be in all.")] = 30,
    metric: Annotated[str, typer.Option(help="The column of metrics.csv that decides (auto: the usual one).")] = "auto",
    pruner: Annotated[
        Literal["median", "halving", "none"], typer.Option(help="How trials that do badly are given up.")
    ] = "median",
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="A server's database in place of SQLite in the folder.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="The search's name in a server's database.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder of all trials; where the same was begun before, it goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    flags: Flags,
) -> None:
    """Search for good settings: trials that learn from each other and are given up when they do badly.

    Without --tune and --space, learning rate, weight decay, batch size, label smoothing and dropout are tried. Only the
    validation part decides; the test part is looked at once, for the best. Every trial is a run in a folder of its own.
    Stopped or killed, the same command goes on; started several times, the processes share the work.
    """
    check_output_folder(out)
    chosen = flags.config("search")
    from striate.train import Quiet
    from striate.train.campaigns import campaign_folder
    from striate.train.campaigns import search as run_search
    from striate.train.campaigns.tuning import asked_for

    tried = _space(tune, space)
    folder = out if out is not None else campaign_folder(chosen, asked_for(tried, metric, storage))
    found = run_search(
        chosen,
        folder,
        space=tried,
        trials=trials,
        metric=metric,
        pruner=pruner,
        storage=storage,
        study=study,
        reporter=Quiet() if as_json else None,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        _tell(found)


def _space(tune: list[str] | None, path: Path | None) -> Space | None:
    from striate.train.campaigns import Space

    if not tune:
        return Space.from_toml(path) if path is not None else None
    given: dict[str, Any] = Space.from_toml(path).to_dict() if path is not None else {}
    named: set[str] = set()
    for text in tune:
        name, equals, tried = (part.strip() for part in text.partition("="))
        if not equals or not name or not tried or name in named:
            raise InputError(
                "KEY=RANGE once per setting, for --tune", repr(text), "Write optimizer.learning_rate=log:1e-4:1e-1."
            )
        named.add(name)
        given[name] = tried
    return Space.parse(given)


def _tell(found: Search) -> None:
    say("")
    states = [trial.state for trial in found.trials]
    told = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    if found.best is None:
        say(f"No trial is complete yet ({told}).")
        return
    names = list(found.best.settings)
    complete = [trial for trial in found.trials if trial.state == "complete" and trial.value is not None]
    from striate.train.best import rises

    complete.sort(key=lambda trial: trial.value or 0.0, reverse=rises(found.metric))
    rows = [
        (str(trial.number), f"{trial.value:.4f}", *(_short(trial.settings.get(name)) for name in names))
        for trial in complete[:_SHOWN]
    ]
    headings = ("trial", found.metric, *names)
    print_table(headings, rows, right=headings)
    say(f"\n{told}")
    if found.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.importances.items())
        say(f"What made the difference: {shares}")
    if found.test:
        measured = ", ".join(f"{name} {value:.4f}" for name, value in list(found.test.items())[:4])
        say(f"Trial {found.best.number} on the test part: {measured}")
    best = shlex.quote(str(found.folder / "best.toml"))
    say(f"Everything is in {found.folder}. Next: striate train --config {best}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
