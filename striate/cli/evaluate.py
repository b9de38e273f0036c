"""``striate evaluate``: how good a run is, how far it can be trusted, and where it errs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train import Evaluation


@command(
    """
    striate evaluate runs/first
    striate evaluate runs/first --split val --json
    striate evaluate runs/first --data other-images/
    striate evaluate runs/first --calibrate --tta
    """
)
def evaluate_command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    data: Annotated[str | None, typer.Option("--data", "-d", help="Other data with the same classes.")] = None,
    split: Annotated[Literal["train", "val", "test", "all"], typer.Option(help="Which part of the data.")] = "test",
    weights: Annotated[Literal["best", "last"], typer.Option(help="Which weights of the run.")] = "best",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="How many resamples confidence intervals are taken from; 0 for none.")
    ] = 1000,
    tta: Annotated[bool, typer.Option("--tta", help="Average over flips and small shifts of every sample.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit a temperature to the validation part, keep it and use it.")
    ] = False,
    calibrated: Annotated[bool, typer.Option("--calibrated", help="Use the temperature fitted before.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for pictures, JSON and page (default: evaluation/ in the run)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Test a run: metrics with confidence intervals, scores of classes, calibration, worst mistakes, and a page of it.

    The page is report.html in the run's folder, or in the one that --out names.
    """
    if calibrate and calibrated:
        raise InputError("--calibrate or --calibrated", "both", "Leave one out: --calibrate also uses what it fits.")
    check_output_folder(out)
    from striate.train import Run, evaluate, save_evaluation, write_report
    from striate.train.loggers.reporting import log_results
    from striate.train.loop import load

    opened = Run.open(run)
    own = load(opened.config) if data is None else None
    result = evaluate(
        opened,
        split,
        weights=weights,
        source=data,
        dataset=own,
        bootstrap=bootstrap,
        tta=tta,
        calibration="fit" if calibrate else "saved" if calibrated else "none",
    )
    saved = save_evaluation(result, opened, out)
    page = write_report(opened, result, own, folder=out)
    if split == "test" and data is None:
        measured = {f"test_{name}": value for name, value in result.metrics.items() if value is not None}
        log_results(opened, opened.config.loggers, measured, say)
    if as_json:
        print_json(result.to_dict())
        return
    _print(result)
    say(f"\nThe page about this run: {page}")
    say(f"Wrote {', '.join(path.name for path in saved)} in {saved[0].parent}")


def _print(result: Evaluation) -> None:
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    if result.task == "classification":
        low, high = result.interval
        say(
            f"{result.accuracy:.2%} correct: {result.correct:,} of {result.count:,} {result.split} samples "
            f"(95 % confidence interval {low:.2%} to {high:.2%}){loss}\n"
        )
    else:
        say(f"{result.count:,} {result.split} samples{loss}\n")
    _print_metrics(result)
    _print_scores(result)
    _print_calibration(result)
    _print_worst(result)


def _print_metrics(result: Evaluation) -> None:
    rows = []
    for name, value in result.metrics.items():
        interval = result.intervals.get(name)
        told = "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
        rows.append((name.replace("_", " "), "" if value is None else f"{value:.4f}", told))
    print_table(("metric", "value", "95 % interval"), rows, right=("value", "95 % interval"))


def _print_scores(result: Evaluation) -> None:
    rows: list[tuple[str, ...]]
    if result.classes:
        numbers: tuple[str, ...] = ("precision", "recall", "F1", "samples")
        rows = [
            (score.name, f"{score.precision:.3f}", f"{score.recall:.3f}", f"{score.f1:.3f}", f"{score.support:,}")
            for score in result.classes
        ]
    elif result.regions:
        numbers = ("Dice", "IoU", "precision", "recall", "positions")
        rows = [
            (each.name, *map(_number, (each.dice, each.iou, each.precision, each.recall)), f"{each.support:,}")
            for each in result.regions
        ]
    elif result.numbers:
        numbers = ("MAE", "RMSE", "R2", "correlation")
        rows = [(each.name, *map(_number, (each.mae, each.rmse, each.r2, each.pearson))) for each in result.numbers]
    else:
        return
    say("")
    print_table(("number" if result.numbers else "class", *numbers), rows, right=numbers)


def _print_calibration(result: Evaluation) -> None:
    if result.calibration is None or result.calibration.scaled is None or result.calibration.fitted is None:
        return
    before, after = result.calibration.plain, result.calibration.scaled
    say(
        f"\nTemperature {result.calibration.fitted.temperature:.4f}, fitted to "
        f"{result.calibration.fitted.count:,} validation samples: calibration error {before.ece:.4f} before, "
        f"{after.ece:.4f} after; log loss {before.log_loss:.4f} before, {after.log_loss:.4f} after"
    )


def _print_worst(result: Evaluation) -> None:
    if result.mistakes:
        headings: tuple[str, ...] = ("surest mistakes", "is", "taken for", "probability")
        rows = [(each.name, each.true, each.predicted, f"{each.probability:.3f}") for each in result.mistakes[:5]]
    elif result.worst:
        headings = ("worst samples", "is", "said", "error")
        rows = [(each.name, each.true, each.predicted, f"{each.error:.3f}") for each in result.worst[:5]]
    elif result.pairs:
        headings = ("worst pairs", "are", "taken for", "similarity")
        rows = [
            (
                " and ".join(each.names),
                " and ".join(each.identities),
                "two" if each.same else "one",
                f"{each.similarity:.3f}",
            )
            for each in result.pairs[:5]
        ]
    else:
        return
    say("")
    print_table(headings, rows, right=headings[3:])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
