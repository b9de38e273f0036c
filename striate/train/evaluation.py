"""Measuring a trained network: how good it is, how sure that is, how far it can be trusted, and where it is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from striate.data.segmentation.tiles import Tiling
from striate.data.segmentation.wholes import WholeSamples
from striate.errors import DataError, InputError
from striate.train.assessment import (
    Evidence,
    Part,
    assess_classification,
    assess_multi_label,
    assess_regression,
    assess_segmentation,
    assess_verification,
)
from striate.train.inference import OVERLAP, Inference, check_overlap
from striate.train.loop import load
from striate.train.metrics import Calibration, OutputScore, RegionScore, calibrate
from striate.train.scores import ClassScore, Mistake, Trusted, WorstPair, WorstSample, wilson_interval
from striate.train.temperature import load_calibration, save_calibration
from striate.train.views import View, default_views

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from striate.data import Dataset
    from striate.data.dataset import Task
    from striate.train.run import Run

__all__ = ["ClassScore", "Evaluation", "Mistake", "evaluate", "wilson_interval"]


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one evaluation.

    ``metrics`` are those of the task by name (`striate.train.metrics.METRICS`), None where one cannot be said;
    ``intervals`` are their 95 % confidence intervals. ``loss`` is the mean of the run's own loss, None where it cannot
    be measured. ``views`` is how many views of each sample were averaged.

    By task there are ``classes``, the scores of each class or label; ``regions``, those of the classes of segmentation;
    ``numbers``, those of each output of regression. ``confusion`` counts samples (positions for segmentation), rows by
    true class, columns by predicted one. ``calibration`` tells how far the probabilities of classes hold. ``mistakes``
    begins with the one that the network was surest of; ``worst`` and ``pairs`` are what other tasks have instead.
    ``threshold`` is the cosine similarity at which verification errs equally either way.
    """

    source: str
    split: str
    weights: str
    task: Task
    count: int
    loss: float | None
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    views: int = 1
    classes: tuple[ClassScore, ...] = ()
    regions: tuple[RegionScore, ...] = ()
    numbers: tuple[OutputScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Trusted | None = None
    threshold: float | None = None
    mistakes: tuple[Mistake, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    pairs: tuple[WorstPair, ...] = ()
    evidence: Evidence = field(default_factory=Evidence, repr=False, compare=False)

    @property
    def correct(self) -> int:
        """How many samples were classified correctly. Raises `InputError` for other tasks."""
        self._check_classes()
        return sum(row[place] for place, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of samples classified correctly. Raises `InputError` for other tasks."""
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval of the accuracy. Raises `InputError` for other tasks."""
        return wilson_interval(self.correct, self.count)

    def _check_classes(self) -> None:
        if self.task != "classification":
            raise InputError(
                "an evaluation of classification, which has an accuracy",
                f"one of {self.task}",
                f"Its metrics are {', '.join(self.metrics)}: see evaluation.metrics.",
            )

    def to_dict(self) -> dict[str, Any]:
        """The numbers in the plain types of JSON; what a task does not have is left out."""
        plain: dict[str, Any] = {
            "source": self.source,
            "split": self.split,
            "weights": self.weights,
            "task": self.task,
            "count": self.count,
        }
        if self.task == "classification":
            plain |= {"correct": self.correct, "accuracy": self.accuracy, "interval": list(self.interval)}
        plain |= {
            "loss": self.loss,
            "views": self.views,
            "metrics": dict(self.metrics),
            "intervals": {name: None if told is None else list(told) for name, told in self.intervals.items()},
        }
        scores: dict[str, tuple[Any, ...]] = {"classes": self.classes, "regions": self.regions, "numbers": self.numbers}
        plain |= {name: [asdict(score) for score in told] for name, told in scores.items() if told}
        if self.confusion:
            plain["confusion"] = [list(row) for row in self.confusion]
        if self.calibration is not None:
            plain["calibration"] = self.calibration.to_dict()
        if self.threshold is not None:
            plain["threshold"] = self.threshold
        listed = "mistakes" if self.task == "classification" else "pairs" if self.task == "verification" else "worst"
        plain[listed] = [entry.to_dict() for entry in getattr(self, listed)]
        return plain


def evaluate(
    run: Run,
    split: Literal["train", "val", "test", "all"] = "test",
    *,
    weights: Literal["best", "last"] = "best",
    source: str | PathLike[str] | None = None,
    dataset: Dataset | None = None,
    mistakes: int = 25,
    bootstrap: int = 1000,
    tta: bool | Iterable[View] = False,
    calibration: Literal["none", "fit", "saved"] = "none",
    overlap: float = OVERLAP,
) -> Evaluation:
    """Measure a run's network on a part of its data, or of another source with the same classes.

    ``source`` is read with the run's data settings and brought to its size and channels. A source without parts of its
    own is split as in training; ``"all"`` takes everything in it. ``dataset`` is for data that is loaded already.
    Classes of another source are matched by name; for classification it may lack some. At most ``mistakes`` mistakes
    are listed.

    ``bootstrap`` is from how many resamples intervals are taken, 0 for none; they are drawn by the run's seed, and
    whole subjects at a time where the data tells them. ``tta`` averages over views of each sample: `default_views`, or
    those given. ``calibration`` "fit" fits a temperature to the validation part of the run's data, keeps it beside the
    run and uses it, "saved" uses the one that is kept; the loss stays that of the network as it is.

    A run of segmentation that was trained on tiles (the data's option ``patch``) is measured on whole images: each is
    cut into tiles that share ``overlap`` of their length at least, and what is said of them is blended (see
    `striate.data.segmentation.tiles.Blend`).

    Raises `DataError` for a split that does not exist, data that does not fit the network or a wrong number, and
    `CheckpointError` for weights or a calibration that are missing or damaged.

    ::

        evaluation = evaluate(Run.open("runs/digits"))
        print(f"{evaluation.accuracy:.2%}", evaluation.intervals["balanced_accuracy"])
    """
    if mistakes < 0:
        raise DataError("mistakes of 0 or more, how many to list", f"mistakes={mistakes}", "Use 0 for none.")
    if bootstrap < 0 or bootstrap == 1:
        raise DataError(
            "a bootstrap of 2 resamples or more, or 0", f"bootstrap={bootstrap}", "Use 1000, or 0 for none."
        )
    check_overlap(overlap)
    own = dataset
    if dataset is None:
        dataset, own = _load(run, source)
    _check_fit(run, dataset)
    names = list(dataset.parts) if split == "all" else [split]
    missing = [name for name in names if name not in dataset.parts]
    if missing:
        raise DataError(
            "a part of the data that exists",
            f"split={split!r}; {dataset.source} has {', '.join(dataset.parts)}",
            f"Use one of: {', '.join(dataset.parts)}, all.",
        )
    task = dataset.task
    if calibration != "none" and task != "classification":
        raise DataError(
            "a run of classification, whose probabilities a temperature calibrates",
            f"one of {task}",
            "Leave the calibration out.",
        )
    views: Iterable[View] | None = None
    if tta is not False:
        if dataset.input_kind == "tokens" and tta is True:
            raise DataError("inputs with views, as images have", "texts", "Leave tta out, or give views of your own.")
        views = default_views(task, dataset.input_size) if tta is True else tta
    tiles = Tiling(run.preprocessing.size, overlap) if dataset.reading.get("patch") is not None else None
    inference = Inference(run, weights, task=task, views=views, tiles=tiles)
    fitted: Calibration | None = None
    if calibration == "fit":
        fitted = _fitted(run, own if own is not None else load(run.config), weights)
    elif calibration == "saved":
        fitted = load_calibration(run, weights)
    samples = [dataset.parts[name] if tiles is None else WholeSamples(dataset.parts[name]) for name in names]
    part = Part(run, dataset, samples, inference, mistakes=mistakes, bootstrap=bootstrap)
    if task == "classification":
        told = assess_classification(part, fitted)
    elif task == "multi-label":
        told = assess_multi_label(part)
    elif task == "regression":
        told = assess_regression(part)
    elif task == "segmentation":
        told = assess_segmentation(part)
    else:
        told = assess_verification(part)
    return Evaluation(
        source=dataset.source,
        split=split,
        weights=weights,
        task=task,
        count=part.count,
        views=len(inference.views),
        **told,
    )


def _load(run: Run, source: str | PathLike[str] | None) -> tuple[Dataset, Dataset | None]:
    """The data to measure on; and the run's own data, if that is the same."""
    config = run.config
    if source is None:
        own = load(config)
        return own, own
    size, channels, reading = list(run.preprocessing.size), run.preprocessing.channels, run.preprocessing.reading
    other: dict[str, Any] = {"source": str(source)}
    if run.network.input_kind != "tokens":
        other["channels"] = channels if channels in (1, 3) else None
        if reading.get("patch") is None:
            other["image_size"] = size
    return load(config.model_copy(update={"data": config.data.model_copy(update=other)}), reading), None


def _fitted(run: Run, dataset: Dataset, weights: Literal["best", "last"]) -> Calibration:
    if dataset.val is None:
        raise DataError(
            "a validation part to fit the temperature to",
            f"{dataset.source} without one",
            "Train with a data.val_fraction above 0.",
        )
    # Through the plain inputs: views are averaged after the temperature.
    plain = Inference(run, weights, task="classification")
    outputs = [(batch.views[0], batch.targets) for batch in plain(dataset.val)]
    places = torch.tensor([run.classes.index(name) for name in dataset.classes])
    fitted = calibrate(torch.cat([each for each, _ in outputs]), places[torch.cat([each for _, each in outputs])])
    save_calibration(fitted, run, weights)
    return fitted


def _check_fit(run: Run, dataset: Dataset) -> None:
    if dataset.task != run.network.task:
        raise DataError(
            f"data for {run.network.task}, as in training",
            f"data for {dataset.task} in {dataset.source}",
            "Give data of the same kind.",
        )
    if dataset.task != "verification":
        unknown = [name for name in dataset.classes if name not in run.classes]
        if unknown:
            raise DataError(
                f"the classes of the run: {', '.join(run.classes)}",
                f"{unknown[0]!r} in {dataset.source}",
                "Rename or leave out the other classes.",
            )
        lacking = [name for name in run.classes if name not in dataset.classes]
        if lacking and dataset.task != "classification":
            raise DataError(
                f"all of the run's {_NAMED[dataset.task]}: {', '.join(run.classes)}",
                f"{dataset.source} without {lacking[0]!r}",
                "Give data that tells each of them.",
            )
        if dataset.task == "segmentation" and tuple(dataset.classes) != tuple(run.classes):
            raise DataError(
                f"classes numbered as in the run: {', '.join(run.classes)}",
                f"{', '.join(dataset.classes)} in {dataset.source}",
                "Number them alike.",
            )
    if (dataset.in_channels, dataset.input_size) != (run.preprocessing.channels, run.preprocessing.size):
        raise DataError(
            f"samples with {run.preprocessing.channels} channels of size {run.preprocessing.size}, as in training",
            f"{dataset.in_channels} channels of size {dataset.input_size} in {dataset.source}",
            "Load them with the image_size and channels of the run.",
        )
    if dataset.value_scale != run.preprocessing.value_scale:
        raise DataError(
            f"values of the scale that the run was trained on, {run.preprocessing.value_scale:g} for full white",
            f"{dataset.value_scale:g} in {dataset.source}",
            "Convert the samples to the same scale first.",
        )


_NAMED = {"multi-label": "labels", "regression": "numbers", "segmentation": "classes"}
