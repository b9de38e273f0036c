"""``striate train``: from data to a run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli.app import command
from striate.cli.configuration import Flags, with_flags
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train import Run, RunConfig

_FINDERS = "Finding settings, without training"
_MAY_CHANGE = ("devices", "nodes", "strategy")


@command(
    """
    striate train lenet --data digits28 --out runs/first
    striate train lenet --data mnist/ --lr 0.001 --set optimizer.beta1=0.95
    striate train resnet18 --data flowers/ --augment standard --workers 4 --averaging ema
    striate train resnet18 --data flowers/ --from weights.pth --freeze "all but head" --unfreeze-after 2
    striate train lenet --data digits28 --find-lr
    striate train --config runs/first/config.toml --out runs/again
    striate train resnet18 --data flowers/ --devices 2
    striate train --resume runs/first
    """
)
@with_flags
def train_command(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder (default: a new one in runs/).")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was stopped or killed.")] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html at the end.")] = False,
    flags: Flags,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", rich_help_panel=_FINDERS, help="Try growing learning rates and draw the loss.")
    ] = False,
    find_batch_size: Annotated[
        bool,
        typer.Option("--find-batch-size", rich_help_panel=_FINDERS, help="Time growing batches and draw the speed."),
    ] = False,
) -> None:
    """Train a network on real data. Everything needed to repeat, resume, evaluate and use it ends up in one folder."""
    if resume is not None:
        changes = {key: value for key, value in flags.given if key in _MAY_CHANGE}
        others = len(flags.given) > len(changes) or flags.file is not None or out is not None
        if others or find_lr or find_batch_size:
            raise InputError(
                "--resume alone, or with --devices, --nodes and --strategy: a run keeps its own settings",
                "--resume with other arguments",
                "Leave them out, or start a new run with --out.",
            )
        from striate.train import resume as resume_run

        _end(resume_run(resume, changes=changes), report=not no_report)
        return
    check_output_folder(out)
    if out is None and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise InputError(
            "--out, by which a restart finds the run", "torchrun --max-restarts without it", "Name the run's folder."
        )
    chosen = flags.config("train", "--resume")
    if find_lr or find_batch_size:
        if find_lr:
            _find_learning_rate(chosen, out or Path())
        if find_batch_size:
            _find_batch_size(chosen, out or Path())
        return
    from striate.train import fit, new_folder

    _end(fit(chosen, out if out is not None else new_folder(chosen)), report=not no_report)


def _end(run: Run, *, report: bool) -> None:
    from striate.train.processes import follows

    if follows():
        return
    name = shlex.quote(str(run.folder))
    say(f"\nThe run is in {run.folder}. Next: striate evaluate {name}")
    if report and not (run.folder / "report.html").exists():
        from striate.train import report_run

        say(f"The page about it: {report_run(run)}")


# Finding settings ----------------------------------------------------------------------------------------------------


def _find_learning_rate(config: RunConfig, folder: Path) -> None:
    from striate.insight import figures
    from striate.train.finders import find_learning_rate, rate_figure

    trial = find_learning_rate(config)
    every = max(len(trial.rates) // 12, 1)
    rows = [
        (f"{trial.rates[place]:.2e}", f"{trial.losses[place]:.4f}", f"{trial.smoothed[place]:.4f}")
        for place in range(0, len(trial.rates), every)
    ]
    columns = ("learning rate", "loss", "smoothed")
    print_table(columns, rows, right=columns)
    path = figures.save(rate_figure(trial), folder / "lr-finder.png")
    if trial.suggestion is None:
        say(f"\nThe loss never fell: look at the data and the network. Drawn in {path}")
    else:
        say(f"\nThe loss falls fastest at --lr {trial.suggestion:.2g}. Drawn in {path}")


def _find_batch_size(config: RunConfig, folder: Path) -> None:
    from striate.insight import figures
    from striate.train.finders import find_batch_size, size_figure
    from striate.units import readable_bytes

    trials, suggestion = find_batch_size(config)
    rows = [
        (
            f"{trial.batch_size:,}",
            "no memory" if trial.samples_per_second is None else f"{trial.samples_per_second:,.0f}",
            "" if trial.peak_bytes is None else readable_bytes(trial.peak_bytes),
        )
        for trial in trials
    ]
    columns = ("batch size", "samples/s", "peak memory")
    print_table(columns, rows, right=columns)
    path = figures.save(size_figure(trials, suggestion), folder / "batch-finder.png")
    say(f"\nSuggested: --batch-size {suggestion}, with a learning rate to match (--find-lr). Drawn in {path}")
