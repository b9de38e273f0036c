"""Test metrics of every recipe in bench/recipes on real data, in one table with what others reached.

    python bench/accuracy.py --data ../shared/data
    python bench/accuracy.py --data ../shared/data --only polarity questions --seeds 1
    python bench/accuracy.py --data ../shared/data --only 'history/*'

Without ``--data`` only the embedded digits are learned.

Every run has its folder, runs/accuracy/NAME-SEED: what is finished is not repeated, what was interrupted goes on where
it stopped, and the table is written anew after every run from all that are there. No settings were chosen by a test
part, but for the digits and MNIST.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import own_learning
import torch
from machine import about, result_file, write_results
from own_learning import OWN_LEARNERS, learn_and_test
from recipe import HISTORY, Recipe, in_one_line, label_of, list_recipes

from striate import evaluate, fit
from striate.errors import StriateError
from striate.files import replacing
from striate.insight import summary
from striate.models import model_entry
from striate.train import Evaluation, PlainLines, Run
from striate.train.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = Path(__file__).parents[1] / "runs" / "accuracy"
ROW = "accuracy.json"
MARGIN = 0.015
HEADINGS = (
    *("recipe", "year", "network", "data", "run", "seed", "settings", "parameters", "macs"),
    *("epochs", "seconds_per_epoch", "samples", "metric", "value", "low", "high", "more"),
    *("reference", "source", "within_1.5_points", "about"),
)


def folder_of(recipe: Recipe, value: Any, seed: int) -> Path:
    """The folder of one run."""
    parts = [recipe.name, label_of(value), str(seed)]
    return RUNS / re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower())


def measured(run: Run, metric: str) -> dict[str, Any]:
    """What the test part says of a trained run, as columns of the table."""
    evaluation = evaluate(run)
    metric = metric or next(iter(evaluation.metrics))
    entry = model_entry(run.network.name)
    network = run.network.build()
    example = torch.zeros(1, *run.item_shape, dtype=torch.int64 if entry.input_kind == "tokens" else torch.float32)
    interval = evaluation.intervals.get(metric) or (None, None)
    return {
        "year": entry.year,
        "network": entry.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "macs": summary(network, example).macs,
        "epochs": len(run.metrics),
        "seconds_per_epoch": round(run.seconds / max(len(run.metrics), 1), 2),
        "samples": evaluation.count,
        "metric": metric,
        "value": evaluation.metrics[metric],
        "low": interval[0],
        "high": interval[1],
        "more": more(evaluation, metric),
    }


def more(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """The other metrics that a reader asks for, and the recall or Dice of each class where there are few."""
    wanted = ("accuracy", "balanced_accuracy", "auroc", "mean_dice", "mean_iou", "tar_at_far_1e-2")
    found = {name: evaluation.metrics.get(name) for name in wanted if name != metric}
    if len(evaluation.classes) <= 6:
        found |= {f"recall of {score.name}": score.recall for score in evaluation.classes}
    found |= {f"Dice of {score.name}": score.sample_dice for score in evaluation.regions}
    return {name: value for name, value in found.items() if value is not None}


def one_run(recipe: Recipe, data: Path, value: Any, seed: int) -> None:
    """Train and test once, as far as that is not done yet, and leave the row in the run's folder."""
    folder = folder_of(recipe, value, seed)
    run = fit(recipe.config(data, seed, value), folder, resume=True, reporter=PlainLines())
    asked = {"data": recipe.written().data.source, "settings": settings_of(recipe, value), "machine": about()}
    keep(folder, asked | measured(run, recipe.metric))


def settings_of(recipe: Recipe, value: Any) -> str:
    """The settings of a run in one line, as the recipe asks for them."""
    if recipe.name in OWN_LEARNERS:
        return own_learning.settings_of(OWN_LEARNERS[recipe.name])
    return in_one_line(recipe.config(Path(), 0, value))


def finished_row(recipe: Recipe, value: Any, seed: int) -> dict[str, Any] | None:
    """The row of a finished run; None for one that is not there, or that was made by other settings."""
    path = folder_of(recipe, value, seed) / ROW
    if not path.exists():
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if row["settings"] != settings_of(recipe, value):
        print(f"{path.parent} was made by other settings than {recipe.name} has now: remove it to run that anew")
        return None
    return row


def keep(folder: Path, row: dict[str, Any]) -> None:
    """Write a row beside its run, whole or not at all."""
    with replacing(folder / ROW) as partial:
        partial.write_text(json.dumps(row, indent=2), encoding="utf-8")


def rows_of(recipe: Recipe, seeds: int | None) -> Iterator[list[object]]:
    """The rows of a recipe's finished runs, and where there are several the row that sums them up."""
    found = []
    for value in recipe.values:
        for seed in range(seeds or recipe.seeds):
            row = finished_row(recipe, value, seed)
            if row is not None:
                found.append({"run": label_of(value), "seed": seed} | row)
    missing = len(recipe.values) - len({row["run"] for row in found})
    some = f"{missing} of {len(recipe.values)} folds are not run yet" if missing else ""
    compared = {"reference": recipe.reference, "source": recipe.source}
    compared |= {"about": "; ".join(filter(None, (some, recipe.about)))}
    for row in found:
        yield in_order(recipe, row | (compared | {"within_1.5_points": within(recipe, row)} if len(found) == 1 else {}))
    if len(found) > 1:
        yield in_order(recipe, summed_up(recipe, found) | compared)


def summed_up(recipe: Recipe, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for several runs: the median, from least to most; seconds are means."""
    values = [row["value"] for row in rows]
    row = rows[0] | {
        "run": f"median of {len(rows)}",
        "seed": "",
        "samples": sum(row["samples"] for row in rows),
        "seconds_per_epoch": round(statistics.mean(row["seconds_per_epoch"] for row in rows), 2),
        "value": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "more": {"mean": statistics.mean(values), "deviation": statistics.stdev(values)}
        | {
            name: statistics.median(each["more"][name] for each in rows)
            for name in rows[0]["more"]
            if all(name in each["more"] for each in rows)
        },
    }
    return row | {"within_1.5_points": within(recipe, row)}


def within(recipe: Recipe, row: dict[str, Any]) -> str:
    """Whether a metric is as good as the reference, or worse by no more than 1.5 points."""
    if recipe.reference is None:
        return ""
    sign = 1 if METRICS[row["metric"]].direction == "max" else -1
    return "yes" if sign * (row["value"] - recipe.reference) >= -MARGIN else "no"


def in_order(recipe: Recipe, row: dict[str, Any]) -> list[object]:
    """The cells of a row, by the headings."""
    row = {"recipe": recipe.name} | row | {"more": told(row["more"])}
    return [f"{cell:.4f}" if isinstance(cell := row.get(name), float) else cell for name in HEADINGS]


def told(more: dict[str, float]) -> str:
    """Metrics in one cell."""
    return "; ".join(f"{name} {value:.4f}" for name, value in more.items())


def write_table(threads: int, seeds: int | None) -> None:
    """Write the table of all finished runs."""
    notes = [
        "settings: those that are not the usual ones of RunConfig, optimiser, schedule and loss by name",
        "run, seed: of several runs the last row tells the median, and in low and high the least and the most;",
        "else low and high are a 95 % interval: Wilson's for accuracies, or a bootstrap of samples, subjects or people",
        "seconds_per_epoch: with validation, while other work was done on the same machine",
    ]
    rows = [row for recipe in every_recipe() for row in rows_of(recipe, seeds)]
    write_results(result_file("accuracy", threads), notes, HEADINGS, rows)


def every_recipe() -> list[Recipe]:
    """Recipes as listed, then the history by year, with the networks that have a way of learning of their own."""
    listed = [*list_recipes(), *(Recipe(name, about=HISTORY) for name in OWN_LEARNERS)]
    return sorted(listed, key=lambda recipe: recipe.name if recipe.name.startswith("history/") else "")


def main() -> None:
    """Train, test, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="the folder that holds the data sets")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="recipes, or patterns of their names")
    parser.add_argument("--seeds", type=int, default=None, help="runs of each recipe, with other seeds")
    parser.add_argument("--folds", type=int, default=None, help="no more than so many folds, or people, of each recipe")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="name the recipes and do nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.data is None and not arguments.list:
        arguments.only, arguments.data = ["digits"], Path()
    chosen = [each for each in every_recipe() if any(fnmatch.fnmatch(each.name, name) for name in arguments.only)]
    if not chosen:
        parser.error(f"no recipe is called {' or '.join(arguments.only)}; --list names them")
    if arguments.list:
        print(*(recipe.name for recipe in chosen), sep="\n")
        return
    for recipe in chosen:
        for value in recipe.values[: arguments.folds]:
            for seed in range(arguments.seeds or recipe.seeds):
                folder = folder_of(recipe, value, seed)
                if finished_row(recipe, value, seed) is not None:
                    continue
                print(f"{folder.name}:", flush=True)
                try:
                    if recipe.name in OWN_LEARNERS:
                        keep(folder, learn_and_test(recipe.name, arguments.data, seed, folder))
                    else:
                        one_run(recipe, arguments.data, value, seed)
                except StriateError as error:
                    sys.exit(str(error))
                row = json.loads((folder / ROW).read_text(encoding="utf-8"))
                print(f"{folder.name}: {row['metric']} {row['value']:.4f}; {told(row['more'])}", flush=True)
        write_table(arguments.threads, arguments.seeds)


if __name__ == "__main__":
    main()
