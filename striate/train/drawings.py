"""The figures of an evaluation: which there are depends on its task and on what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from striate.train.metrics import METRICS
from striate.train.scores import wilson_interval
from striate.train.tasks import TRAINING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure
    from torch import Tensor

    from striate.train.evaluation import Evaluation
    from striate.train.run import Run
    from striate.train.scores import Trust

MOST_POINTS = 400
"""A drawn curve has no more points."""

MOST_CURVES = 100

ON_SHEET = 20


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with its name, and what it shows in words for those who cannot see it.

    ``lines`` says that it is drawn with lines and texts, which stay sharp in any size; the others hold pictures or
    thousands of points.
    """

    name: str
    figure: Figure
    words: str
    lines: bool = True


def drawings(evaluation: Evaluation, run: Run) -> Iterator[Drawing]:
    """Draw what there is to see of an evaluation, one figure after the other.

    ::

        for drawing in drawings(evaluate(run), run):
            drawing.figure.savefig(f"{drawing.name}.png")
    """
    yield from _matrix(evaluation, run)
    yield from _scores(evaluation)
    yield from _curves(evaluation, run)
    yield from _calibration(evaluation)
    yield from _regression(evaluation, run)
    yield from _worst(evaluation, run)


def learning_curves(run: Run) -> Drawing | None:
    """Draw loss and running score per epoch, and what decides about the best one; None before the first epoch."""
    from striate.insight import figures

    if not run.metrics:
        return None
    rows = run.metrics
    score = TRAINING[run.network.task].score
    if f"val_{score}" not in rows[-1] and run.config.best.metric.startswith("val_"):
        score = run.config.best.metric.removeprefix("val_")
    panels: dict[str, dict[str, list[float]]] = {}
    for name in ("loss", score):
        parts = (part for part in ("train", "val") if any(f"{part}_{name}" in row for row in rows))
        panels[name] = {part: [row.get(f"{part}_{name}", math.nan) for row in rows] for part in parts}
    figure = figures.curves_figure(
        [row.epoch for row in rows],
        panels["loss"],
        panels[score],
        best_epoch=run.best.epoch if run.best else None,
        metric=score,
        percent=_is_share(score),
        lower_is_better=METRICS[score].direction == "min",
    )
    last = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in rows[-1].items())
    return Drawing("curves", figure, f"Loss and {score.replace('_', ' ')} over {len(rows)} epochs; at the end: {last}.")


def _is_share(metric: str) -> bool:
    return metric not in ("mae", "rmse", "r2", "pearson", "log_loss")


def _matrix(evaluation: Evaluation, run: Run) -> Iterator[Drawing]:
    from striate.insight import figures

    if not evaluation.confusion:
        return
    unit = "positions" if evaluation.task == "segmentation" else "samples"
    names, matrix, void = run.classes, evaluation.confusion, evaluation.evidence.void
    if void is not None and void < len(names):
        kept = [place for place in range(len(names)) if place != void]
        names = tuple(names[place] for place in kept)
        matrix = tuple(tuple(matrix[row][column] for column in kept) for row in kept)
    right, total = sum(matrix[place][place] for place in range(len(names))), sum(map(sum, matrix))
    figure = figures.confusion_figure(matrix, names, unit=unit)
    yield Drawing(
        "confusion",
        figure,
        f"Confusion matrix of {len(names)} classes: {right:,} of {total:,} {unit} are on its diagonal.",
        lines=len(names) <= 30,
    )


def _scores(evaluation: Evaluation) -> Iterator[Drawing]:
    from striate.insight import figures

    if evaluation.classes:
        kind = "class" if evaluation.task == "classification" else "label"
        # The hits are whole numbers again.
        told = [(score, round(score.recall * score.support)) for score in evaluation.classes]
        figure = figures.bars_figure(
            [score.name for score, _ in told],
            [score.recall if score.support else None for score, _ in told],
            [wilson_interval(hits, score.support) if score.support else None for score, hits in told],
            f"Recall of each {kind}",
            "share that is found, with its 95 % interval",
        )
        yield Drawing("recall", figure, f"Bars of the recall of each {kind}; the table has the same numbers.")
    if evaluation.regions:
        figure = figures.bars_figure(
            [region.name for region in evaluation.regions],
            [region.dice for region in evaluation.regions],
            [None] * len(evaluation.regions),
            "Dice of each class",
            "over all positions",
        )
        yield Drawing("dice", figure, "Bars of the Dice score of each class; the table has the same numbers.")


def _curves(evaluation: Evaluation, run: Run) -> Iterator[Drawing]:
    from striate.insight import figures

    compared, outputs, targets = (getattr(evaluation.evidence, name) for name in ("compared", "outputs", "targets"))
    if compared is not None:
        area = evaluation.metrics["auroc"] or 0.0
        points = _thinned(compared.false_accepts, compared.true_accepts)
        figure = figures.roc_figure(
            {"pairs": points}, {"pairs": area}, "Verification", equal_error=compared.eer, logarithmic=True
        )
        yield Drawing(
            "roc",
            figure,
            f"True over false positive rates of {len(compared.same):,} pairs: area {area:.4f}, equal error rate "
            f"{compared.eer:.2%}.",
        )
        return
    if evaluation.task not in ("classification", "multi-label"):
        return
    truth = targets >= 0.5 if targets.ndim == 2 else targets[:, None] == torch.arange(len(run.classes))
    told = [
        place for place in range(len(run.classes)) if bool(truth[:, place].any()) and not bool(truth[:, place].all())
    ]
    if not told or len(told) > MOST_CURVES:
        return
    if evaluation.task == "classification" and len(run.classes) == 2:
        told = [1]  # the other class's curve is its mirror image
    rates, precisions, areas, average = {}, {}, {}, {}
    for place in told:
        name, scores, there = run.classes[place], outputs[:, place], truth[:, place].long()
        false, true, _ = binary_roc(scores, there, validate_args=False)
        rates[name], areas[name] = _thinned(false, true), float(torch.trapezoid(true.double(), false.double()))
        precision, recall, _ = binary_precision_recall_curve(scores, there, validate_args=False)
        precisions[name] = _thinned(recall.flip(0), precision.flip(0))
        average[name] = float(-(recall.double().diff() * precision[:-1].double()).sum())
    mean = sum(areas.values()) / len(areas)
    words = f"curves of {', '.join(list(areas)[:10])}" + (f" and {len(areas) - 10} more" if len(areas) > 10 else "")
    yield Drawing("roc", figures.roc_figure(rates, areas), f"ROC {words}: mean area {mean:.4f}.")
    mean = sum(average.values()) / len(average)
    yield Drawing(
        "precision-recall",
        figures.precision_recall_figure(precisions, average),
        f"Precision over recall, {words}: mean average precision {mean:.4f}.",
    )


def _calibration(evaluation: Evaluation) -> Iterator[Drawing]:
    from striate.insight import figures

    if evaluation.calibration is None:
        return
    told: list[tuple[str, str, Trust]] = [("calibration", "Calibration", evaluation.calibration.plain)]
    if evaluation.calibration.scaled and evaluation.calibration.fitted:
        title = f"Calibration at temperature {evaluation.calibration.fitted.temperature:.3f}"
        told.append(("calibration-scaled", title, evaluation.calibration.scaled))
    for name, title, trust in told:
        diagram = trust.reliability
        figure = figures.reliability_figure(
            diagram.edges,
            diagram.counts,
            diagram.accuracy,
            diagram.confidence,
            title,
            subtitle=f"expected calibration error {trust.ece:.4f}",
        )
        yield Drawing(
            name,
            figure,
            f"Reliability diagram: accuracy over confidence in {len(diagram.counts)} bins, expected calibration error "
            f"{trust.ece:.4f}.",
        )


def _regression(evaluation: Evaluation, run: Run) -> Iterator[Drawing]:
    from striate.insight import figures

    evidence = evaluation.evidence
    if evaluation.task != "regression" or evidence.outputs is None:
        return
    figure = figures.regression_figure(evidence.targets, evidence.outputs, run.classes, seed=run.config.seed)
    words = f"Predicted over true values, and residuals, of {', '.join(run.classes[:8])}."
    yield Drawing("regression", figure, words, lines=False)


def _worst(evaluation: Evaluation, run: Run) -> Iterator[Drawing]:
    from striate.insight import figures

    if evaluation.mistakes:
        shown = evaluation.mistakes
        said = [f"{each.name}: {each.true} taken for {each.predicted}" for each in shown[:ON_SHEET]]
        figure = figures.mistakes_figure(
            _readable([each.input for each in shown], evaluation),
            [each.true for each in shown],
            [each.predicted for each in shown],
            [each.probability for each in shown],
            limit=ON_SHEET,
        )
        yield Drawing("mistakes", figure, f"The surest mistakes: {'; '.join(said)}.", lines=False)
    if evaluation.worst and evaluation.task == "segmentation":
        worst = [each for each in evaluation.worst if each.truth is not None and each.said is not None]
        captions = [f"{each.name}: Dice {1 - each.error:.3f}" for each in worst]
        figure = figures.overlay_figure(
            [each.input.float() / evaluation.evidence.value_scale for each in worst],
            [each.truth for each in worst if each.truth is not None],
            [each.said for each in worst if each.said is not None],
            run.classes,
            captions,
            "Samples with the lowest Dice",
            void=evaluation.evidence.void,
        )
        words = f"Input, truth, prediction and errors of the worst samples: {'; '.join(captions)}."
        yield Drawing("segmentation", figure, words, lines=False)
    elif evaluation.worst:
        yield _tiles(evaluation)
    if evaluation.pairs:
        above = [f"{_cut(one)}, {_cut(two)}" for one, two in (pair.identities for pair in evaluation.pairs)]
        below = [
            f"in truth {'one' if pair.same else 'two'}, similarity {pair.similarity:.3f}" for pair in evaluation.pairs
        ]
        scale = evaluation.evidence.value_scale
        figure = figures.pairs_figure(
            [pair.inputs[0].float() / scale for pair in evaluation.pairs[:ON_SHEET]],
            [pair.inputs[1].float() / scale for pair in evaluation.pairs[:ON_SHEET]],
            above[:ON_SHEET],
            below[:ON_SHEET],
            "Pairs taken for what they are not",
            f"accepted from a similarity of {evaluation.threshold or 0:.3f} on",
        )
        said = [f"{one} ({two})" for one, two in zip(above[:ON_SHEET], below, strict=False)]
        yield Drawing("pairs", figure, f"Pairs that are wrongly accepted or rejected: {'; '.join(said)}.", lines=False)


def _tiles(evaluation: Evaluation) -> Drawing:
    from striate.insight import figures

    shown = evaluation.worst[:ON_SHEET]
    true, said = [f"true {_cut(each.true)}" for each in shown], [f"said {_cut(each.predicted)}" for each in shown]
    inputs = _readable([each.input for each in shown], evaluation)
    count = f"{len(shown)} of {evaluation.count:,} samples"
    if isinstance(inputs, torch.Tensor):
        figure = figures.tiles_figure(inputs, true, said, "Worst samples", count)
    else:
        figure = figures.texts_figure(inputs, true, said, "Worst samples", count)
    words = "; ".join(f"{each.name}: {each.true}, said {each.predicted}" for each in shown)
    return Drawing("mistakes", figure, f"The samples that fare worst: {words}.", lines=False)


def _readable(inputs: list[Tensor], evaluation: Evaluation) -> Tensor | list[str]:
    """Samples as they are drawn: values between 0 and full white, tokens as their words."""
    vocabulary = evaluation.evidence.vocabulary
    if vocabulary:
        return [_text(tokens, vocabulary) for tokens in inputs]
    return torch.stack(inputs).float() / evaluation.evidence.value_scale


def _text(tokens: Tensor, vocabulary: tuple[str, ...]) -> str:
    words = [vocabulary[token] for token in tokens.tolist() if token]
    # Characters, as a language or DNA is spelled in, are written without spaces between them.
    return ("" if max(map(len, vocabulary[2:]), default=2) == 1 else " ").join(words)


def _thinned(across: Tensor, up: Tensor) -> tuple[list[float], list[float]]:
    if len(across) > MOST_POINTS:
        # Evenly along the curve's own length, so that its corners stay.
        length = (across.double().diff().abs() + up.double().diff().abs()).cumsum(0)
        wanted = torch.linspace(0, float(length[-1]), MOST_POINTS, dtype=torch.float64)
        places = torch.cat((torch.zeros(1, dtype=torch.int64), torch.searchsorted(length, wanted[1:-1]) + 1))
        places = torch.unique(torch.cat((places, torch.tensor([len(across) - 1]))))
        across, up = across[places], up[places]
    return across.tolist(), up.tolist()


def _cut(text: str, longest: int = 18) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
