"""The sections of a run's page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from striate.data import describe
from striate.errors import DataError
from striate.insight import summary
from striate.train.drawings import learning_curves
from striate.train.folder import ENVIRONMENT, RESULT, read_json
from striate.train.metrics import METRICS
from striate.train.page.content import Section, Table, picture
from striate.train.report import duration
from striate.units import readable_bytes, readable_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from striate.data import Dataset
    from striate.train.drawings import Drawing
    from striate.train.evaluation import Evaluation
    from striate.train.run import Run
    from striate.train.scores import Trust

MOST_SURVEYED = 512 * 2**20
"""Data sets with more bytes are not read once more to be looked through for duplicates."""

MOST_ROWS = 200
"""Rows of a table of classes; the lowest of more are shown."""

_OF_RESULTS = ("confusion", "recall", "dice", "roc", "precision-recall", "regression")
_OF_MISTAKES = ("mistakes", "segmentation", "pairs")


def summary_section(run: Run, evaluation: Evaluation) -> Section:
    """What was trained on what, how it ended, and every metric with its interval."""
    place = f"epoch {run.best.epoch} of {len(run.metrics)}" if run.best else "no epoch has ended"
    best = f"best, by {run.config.best.metric} ({place})"
    facts = [
        ("Task", evaluation.task),
        ("Network", run.network.name),
        ("Data", run.config.data.source),
        ("Measured on", f"{evaluation.count:,} samples of {evaluation.source} ({evaluation.split} part)"),
        ("Weights", best if evaluation.weights == "best" else evaluation.weights),
        ("Training", f"{run.finished or 'not finished'}, {duration(run.seconds)}"),
    ]
    if evaluation.loss is not None:
        facts.append(("Loss", f"{evaluation.loss:.4f} ({run.config.loss.name})"))
    if evaluation.views > 1:
        facts.append(("Views", f"the mean of {evaluation.views} views of each sample"))
    rows = []
    for name, value in evaluation.metrics.items():
        interval = evaluation.intervals.get(name)
        told = f"{_number(interval[0])} to {_number(interval[1])}" if interval else "\u2013"
        better = "" if METRICS[name].direction == "max" else "; less is better"
        rows.append((name.replace("_", " "), _number(value), told, METRICS[name].meaning + better))
    headings = ("metric", "value", "95 % interval", "meaning")
    return Section(
        "summary",
        "Summary",
        facts=facts,
        tables=[Table("Metrics", headings, rows, right=("value", "95 % interval"))],
    )


def curves_section(run: Run) -> Section:
    """Loss and score over the epochs."""
    drawing = learning_curves(run)
    if drawing is None:
        return Section("curves", "Learning curves", ["No epoch has ended yet."])
    columns = list(dict.fromkeys(name for row in run.metrics for name in row))
    last, best = run.metrics[-1], run.best
    rows = [
        (name.replace("_", " "), _number(last.get(name)), _number(best.get(name) if best else None)) for name in columns
    ]
    headings = ("metric", f"last (epoch {last.epoch})", f"best (epoch {best.epoch})" if best else "best")
    table = Table("Epochs", headings, rows, right=headings[1:])
    return Section("curves", "Learning curves", pictures=[picture(drawing)], tables=[table])


def results_section(evaluation: Evaluation, drawn: Sequence[Drawing]) -> Section:
    """The confusion matrix or what the task has in its place, and the scores of every class."""
    title = "Confusion matrix and classes" if evaluation.confusion else "Results"
    pictures = [picture(drawing) for drawing in drawn if drawing.name in _OF_RESULTS]
    tables = []
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if evaluation.classes:
        headings = ("class", "precision", "recall", "F1", "samples")
        lowest = sorted(evaluation.classes, key=lambda score: score.f1)[:MOST_ROWS]
        kept = [score for score in evaluation.classes if score in lowest]
        rows = [
            (each.name, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}", f"{each.support:,}")
            for each in kept
        ]
        tables.append(Table(_caption("Classes", kept, evaluation.classes), headings, rows, right=headings[1:]))
    if evaluation.regions:
        headings = ("class", "Dice", "IoU", "Dice per sample", "precision", "recall", "positions")
        rows = [
            (
                each.name,
                *map(_number, (each.dice, each.iou, each.sample_dice, each.precision, each.recall)),
                f"{each.support:,}",
            )
            for each in evaluation.regions[:MOST_ROWS]
        ]
        tables.append(Table("Classes of positions", headings, rows, right=headings[1:]))
    if evaluation.numbers:
        headings = ("number", "mean absolute error", "root mean squared error", "R\u00b2", "correlation")
        rows = [
            (each.name, *map(_number, (each.mae, each.rmse, each.r2, each.pearson)))
            for each in evaluation.numbers[:MOST_ROWS]
        ]
        tables.append(Table("Numbers", headings, rows, right=headings[1:]))
    sentences = []
    if evaluation.threshold is not None and evaluation.evidence.compared is not None:
        compared = evaluation.evidence.compared
        sentences.append(
            f"{len(compared.same):,} of {compared.possible:,} pairs compared, {int(compared.same.sum()):,} of them of "
            f"one identity. At a cosine similarity of {evaluation.threshold:.4f} as many are wrongly accepted as "
            "wrongly rejected."
        )
    return Section("results", title, sentences, tables=tables, pictures=pictures)


def mistakes_section(evaluation: Evaluation, drawn: Sequence[Drawing]) -> Section:
    """The samples that fare worst."""
    title = "Worst mistakes"
    pictures = [picture(drawing) for drawing in drawn if drawing.name in _OF_MISTAKES]
    if evaluation.mistakes:
        rows = [(each.name, each.true, each.predicted, f"{each.probability:.3f}") for each in evaluation.mistakes]
        headings: tuple[str, ...] = ("sample", "is", "taken for", "probability")
    elif evaluation.worst:
        rows = [(each.name, each.true, each.predicted, _number(each.error)) for each in evaluation.worst]
        headings = ("sample", "is", "said", "error")
    elif evaluation.pairs:
        rows = [
            (
                " and ".join(each.names),
                " and ".join(each.identities),
                "two" if each.same else "the same",
                _number(each.similarity),
            )
            for each in evaluation.pairs
        ]
        headings = ("samples", "are", "taken for", "similarity")
    else:
        return Section("mistakes", title, ["None."])
    return Section("mistakes", title, tables=[Table(title, headings, rows, right=headings[3:])], pictures=pictures)


def calibration_section(evaluation: Evaluation, drawn: Sequence[Drawing]) -> Section:
    """How far probabilities hold, before and after a temperature."""
    if evaluation.calibration is None:
        words = f"Probabilities of one class per sample are calibrated; this is {evaluation.task}."
        return Section("calibration", "Calibration", [words])
    plain, scaled, fitted = (
        evaluation.calibration.plain,
        evaluation.calibration.scaled,
        evaluation.calibration.fitted,
    )
    sentences = ["A calibrated network is right in 80 % of the cases in which it is 80 % sure."]
    if fitted:
        sentences.append(
            f"Temperature {fitted.temperature:.4f}, fitted to {fitted.count:,} validation samples, whose log loss went "
            f"from {fitted.log_loss_before:.4f} to {fitted.log_loss_after:.4f} and whose calibration error from "
            f"{fitted.ece_before:.4f} to {fitted.ece_after:.4f}."
        )
    else:
        sentences.append("No temperature was fitted: striate evaluate --calibrate does.")

    def cells(trust: Trust | None) -> list[str]:
        told = (trust.ece, trust.adaptive_ece, trust.brier, trust.log_loss) if trust else (None,) * 4
        return [_number(value) for value in told]

    names = ("expected calibration error", "the same over bins of equal counts", "Brier score", "log loss")
    columns = [names, cells(plain), *([cells(scaled)] if scaled else [])]
    headings = ("score", "as trained", *(["at the temperature"] if scaled else []))
    return Section(
        "calibration",
        "Calibration",
        sentences,
        tables=[Table("How far probabilities hold", headings, list(zip(*columns, strict=True)), right=headings[1:])],
        pictures=[picture(drawing) for drawing in drawn if drawing.name.startswith("calibration")],
    )


def data_section(dataset: Dataset | DataError) -> Section:
    """The data sheet: parts, classes, sizes, and what is wrong with it; or why it cannot be read."""
    if isinstance(dataset, DataError):
        return Section("data", "Data sheet", ["The data of this run cannot be read.", str(dataset)])
    parts = dataset.parts
    size = sum(len(part) * math.prod(part.item_shape) * part.dtype.itemsize for part in parts.values())
    facts = [
        ("Source", dataset.source),
        ("Kind", f"{dataset.kind}: {dataset.reason}"),
        ("Parts", ", ".join(f"{name} {len(part):,}" for name, part in parts.items())),
        ("Given by the source", ", ".join(dataset.official) or "no part: all were split off"),
        ("Inputs", _inputs(dataset)),
        ("Decoded", f"{readable_bytes(size)}, {'in memory' if dataset.in_memory else 'read when asked for'}"),
    ]
    if dataset.stored_sizes:
        sizes = sorted(dataset.stored_sizes.items(), key=lambda pair: (-pair[1], pair[0]))
        shown = ", ".join(f"{readable_size(stored)} ({count:,})" for stored, count in sizes[:5])
        facts.append(("Sizes as stored", shown + (f" and {len(sizes) - 5} more" if len(sizes) > 5 else "")))
    facts += [(f"Left out: {len(dataset.skipped):,} files", dataset.skipped[0].reason)] if dataset.skipped else []
    sentences: Sequence[str] = ()
    counts: Mapping[str, Mapping[str, int]] = _counts(dataset)
    if size <= MOST_SURVEYED:
        found = describe(dataset)
        sentences = found.warnings or ("Nothing to warn of.",)
        counts = found.counts
        if dataset.input_kind == "values":
            means = ", ".join(f"{mean:.4g}" for mean in found.mean[:6])
            facts.append(("Values", f"{found.value_range[0]:g} to {found.value_range[1]:g}, mean {means}"))
    tables = [_ranges(dataset)] if dataset.task == "regression" else _class_tables(dataset, counts)
    return Section("data", "Data sheet", sentences, facts, tables=tables)


def configuration_section(run: Run) -> Section:
    """The whole configuration."""
    words = "This file repeats the run bit for bit on the same machine with the same number of threads."
    return Section("configuration", "Configuration", [words], listing=run.config.to_toml())


def cost_section(run: Run) -> Section:
    """Parameters, multiplications, time and memory."""
    kind = torch.int64 if run.network.input_kind == "tokens" else torch.float32
    network = run.network.build()
    found = summary(network, torch.zeros((1, *run.item_shape), dtype=kind))
    batch = summary(network, torch.zeros((run.config.batch_size, *run.item_shape), dtype=kind))
    epochs = len(run.metrics)
    held = readable_bytes(found.parameter_bytes)
    facts = [
        ("Parameters", f"{found.parameters:,}, {found.trainable:,} of them trained ({held})"),
        ("Multiply-accumulates", f"{found.macs:,} for one input of {readable_size(run.item_shape)}"),
        ("Training time", f"{duration(run.seconds)}" + (f", {run.seconds / epochs:.2f} s per epoch" if epochs else "")),
        ("Memory of one step", f"about {readable_bytes(batch.training_bytes)}, counting tensors"),
    ]
    result = read_json(run.folder / RESULT) if (run.folder / RESULT).exists() else {}
    peak = result.get("peak_bytes")
    told = readable_bytes(peak) if isinstance(peak, int) and peak > 0 else "not recorded"
    facts.append(("Peak memory of the process", told))
    return Section("cost", "Cost", facts=facts)


def environment_section(run: Run) -> Section:
    """Versions, machine and command of the first session, and how many there were."""
    sessions = read_json(run.folder / ENVIRONMENT).get("sessions", [])
    rows = [(name, _plain(value)) for name, value in run.environment.items()]
    table = Table("First session", ("what", "value"), rows)
    return Section("environment", "Environment", [f"Sessions: {len(sessions)}."], tables=[table])


def files_section(run: Run) -> Section:
    """The files of the run's folder."""
    found = sorted(path for path in run.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    rows = [
        (path.relative_to(run.folder).as_posix(), readable_bytes(path.stat().st_size)) for path in found[:MOST_ROWS]
    ]
    words = [f"In {run.folder.resolve()}."] + (
        [f"The first {MOST_ROWS} of {len(found):,}."] if len(found) > MOST_ROWS else []
    )
    return Section("files", "Files", words, tables=[Table("Files", ("file", "size"), rows, right=("size",))])


def _inputs(dataset: Dataset) -> str:
    if dataset.input_kind == "tokens":
        return f"{dataset.input_size[0]:,} tokens of a vocabulary of {len(dataset.vocabulary):,}"
    channels = f"{dataset.in_channels} channel{'s' if dataset.in_channels != 1 else ''}"
    dtype = str(dataset.train.dtype).removeprefix("torch.")
    return f"{channels} of size {readable_size(dataset.input_size)}, {dtype}, full white {dataset.value_scale:g}"


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Samples per part and class, where labels are at hand."""
    if dataset.task not in ("classification", "multi-label"):
        return {}
    counts: dict[str, dict[str, int]] = {}
    for name, part in dataset.parts.items():
        if dataset.task == "classification":
            told = torch.bincount(part.labels, minlength=len(dataset.classes))
        else:
            told = part.labels.round().long().sum(dim=0)
        counts[name] = dict(zip(dataset.classes, told.tolist(), strict=True))
    return counts


def _class_tables(dataset: Dataset, counts: Mapping[str, Mapping[str, int]]) -> list[Table]:
    if not counts:
        return []
    named = {"multi-label": "with each label", "segmentation": "with each class in them"}
    shown = dataset.classes[:MOST_ROWS]
    # A part need not have every class: for verification no identity is in two.
    rows = [(name, *(f"{part.get(name, 0):,}" for part in counts.values())) for name in shown]
    headings = ("class", *counts)
    caption = _caption(f"Samples {named.get(dataset.task, 'of each class')}", rows, dataset.classes)
    return [Table(caption, headings, rows, right=headings[1:])]


def _ranges(dataset: Dataset) -> Table:
    parts = dataset.parts
    headings = ("number", *(f"{name}: mean, range" for name in parts))
    rows = [
        (
            name,
            *(
                f"{float(part.labels[:, place].mean()):.4g}, "
                f"{float(part.labels[:, place].min()):.4g} to {float(part.labels[:, place].max()):.4g}"
                for part in parts.values()
            ),
        )
        for place, name in enumerate(dataset.classes[:MOST_ROWS])
    ]
    return Table("Numbers to predict", headings, rows, right=headings[1:])


def _caption(caption: str, shown: Sequence[object], every: Sequence[object]) -> str:
    return caption if len(shown) == len(every) else f"{caption} ({len(shown)} of {len(every):,})"


def _number(value: float | None) -> str:
    return "\u2013" if value is None or math.isnan(value) else f"{value:.4f}" if abs(value) < 100 else f"{value:,.2f}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value)


def every_section(
    run: Run, evaluation: Evaluation, dataset: Dataset | DataError, drawn: Sequence[Drawing]
) -> Iterable[Section]:
    """All sections, in their order on the page."""
    yield summary_section(run, evaluation)
    yield curves_section(run)
    yield results_section(evaluation, drawn)
    yield mistakes_section(evaluation, drawn)
    yield calibration_section(evaluation, drawn)
    yield data_section(dataset)
    yield configuration_section(run)
    yield cost_section(run)
    yield environment_section(run)
    yield files_section(run)
