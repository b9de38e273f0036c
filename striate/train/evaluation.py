"""Measuring a trained network: how often it is right, how sure that is, and where it is wrong."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_fabric import Fabric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from striate.errors import DataError
from striate.train.feed import batch_bounds, batches
from striate.train.loop import load

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor, nn

    from striate.data import Dataset, Samples
    from striate.train.run import Run

_Z95 = 1.959963984540054  # the standard normal quantile of 0.975


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fares; 0 where a ratio has nothing below the line. ``support`` is how many samples it has."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """A sample that was taken for something else: its place in its part, and the probabilities of both answers.

    ``input`` is the sample as stored, (C, *spatial); it is no part of `Evaluation.to_dict`.
    """

    index: int
    name: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    input: Tensor = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The mistake in the plain types of JSON, without its input."""
        return {key.name: getattr(self, key.name) for key in fields(self) if key.name != "input"}


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one evaluation.

    ``interval`` is Wilson's 95 % confidence interval of the accuracy. ``loss`` is the mean of the run's own loss.
    ``confusion`` counts samples, rows by true class, columns by predicted one. ``mistakes`` begins with the one that
    the network was surest of.
    """

    source: str
    split: str
    weights: str
    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    loss: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers in the plain types of JSON."""
        return asdict(replace(self, mistakes=())) | {
            "interval": list(self.interval),
            "classes": [asdict(score) for score in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "mistakes": [mistake.to_dict() for mistake in self.mistakes],
        }


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, by Wilson's score method; it stays within 0 and 1.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    >>> [round(bound, 4) for bound in wilson_interval(90, 100)]
    [0.8256, 0.9448]
    """
    share, z2 = correct / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # At the ends the formula gives 0 and 1 exactly; floating point nearly does.
    return 0.0 if correct == 0 else max(centre - half, 0.0), 1.0 if correct == count else min(centre + half, 1.0)


def evaluate(
    run: Run,
    split: Literal["train", "val", "test", "all"] = "test",
    *,
    weights: Literal["best", "last"] = "best",
    source: str | PathLike[str] | None = None,
    dataset: Dataset | None = None,
    mistakes: int = 25,
) -> Evaluation:
    """Measure a run's network on a part of its data, or of another source with the same classes.

    ``source`` is read with the run's data settings and brought to its size and channels. A source without parts of its
    own is split as in training; ``"all"`` takes everything in it. ``dataset`` is for data that is loaded already.
    Classes of another source are matched by name; it may lack some. At most ``mistakes`` mistakes are listed.

    Raises `DataError` for a split that does not exist or data that does not fit the network, and `CheckpointError` for
    weights that are missing or damaged.

    ::

        evaluation = evaluate(Run.open("runs/digits"))
        print(f"{evaluation.accuracy:.2%}")
    """
    if mistakes < 0:
        raise DataError("mistakes of 0 or more, how many to list", f"mistakes={mistakes}", "Use 0 for none.")
    if dataset is None:
        config = run.config
        if source is not None:
            size, channels = run.preprocessing.size, run.preprocessing.channels
            convertible = channels if channels in (1, 3) else None
            other = {"source": str(source), "image_size": list(size), "channels": convertible}
            config = config.model_copy(update={"data": config.data.model_copy(update=other)})
        dataset = load(config)
    places = _places(run, dataset)
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
    names = list(dataset.parts) if split == "all" else [split]
    missing = [name for name in names if name not in dataset.parts]
    if missing:
        raise DataError(
            "a part of the data that exists",
            f"split={split!r}; {dataset.source} has {', '.join(dataset.parts)}",
            f"Use one of: {', '.join(dataset.parts)}, all.",
        )
    parts = [dataset.parts[name] for name in names]
    model = run.model(weights)
    logits = torch.cat([_logits(run, model, part) for part in parts])
    labels = places[torch.cat([part.labels for part in parts])]
    found = [(part, index) for part in parts for index in range(len(part))]

    probabilities = logits.softmax(dim=1)
    predicted = logits.argmax(dim=1)
    correct = int((predicted == labels).sum())
    chosen = probabilities.gather(1, predicted[:, None])[:, 0]
    wrong = torch.nonzero(predicted != labels)[:, 0]
    worst = wrong[chosen[wrong].argsort(descending=True, stable=True)][:mistakes]
    confusion: list[list[int]] = multiclass_confusion_matrix(predicted, labels, len(run.classes)).tolist()
    listed = [
        Mistake(
            index=found[place][1],
            name=found[place][0].name(found[place][1]),
            true=run.classes[int(labels[place])],
            predicted=run.classes[int(predicted[place])],
            probability=float(chosen[place]),
            true_probability=float(probabilities[place, labels[place]]),
            input=found[place][0].fetch([found[place][1]])[0][0],
        )
        for place in worst.tolist()
    ]
    return Evaluation(
        source=dataset.source,
        split=split,
        weights=weights,
        count=len(labels),
        correct=correct,
        accuracy=correct / len(labels),
        interval=wilson_interval(correct, len(labels)),
        loss=float(run.config.loss(logits, labels)),
        classes=_class_scores(run.classes, confusion),
        confusion=tuple(tuple(row) for row in confusion),
        mistakes=tuple(listed),
    )


def _places(run: Run, dataset: Dataset) -> Tensor:
    """The network's label of each of the data set's labels."""
    unknown = [name for name in dataset.classes if name not in run.classes]
    if unknown:
        raise DataError(
            f"the classes of the run: {', '.join(run.classes)}",
            f"{unknown[0]!r} in {dataset.source}",
            "Rename or leave out the other classes.",
        )
    return torch.tensor([run.classes.index(name) for name in dataset.classes])


def _logits(run: Run, model: nn.Module, samples: Samples) -> Tensor:
    fabric = Fabric(accelerator=run.config.device, devices=1, precision=run.config.precision)
    model = fabric.setup(model)
    bounds = batch_bounds(len(samples), run.config.batch_size)
    with torch.inference_mode():
        outputs = [
            model(run.preprocessing(fabric.to_device(inputs))).cpu()
            for _, inputs, _ in batches(samples, torch.arange(len(samples)), bounds)
        ]
    # Out of inference mode, so that whatever follows may use them.
    return torch.cat(outputs).clone()


def _class_scores(classes: tuple[str, ...], confusion: list[list[int]]) -> tuple[ClassScore, ...]:
    scores = []
    for place, name in enumerate(classes):
        hits, support = confusion[place][place], sum(confusion[place])
        named = sum(row[place] for row in confusion)
        scores.append(
            ClassScore(
                name=name,
                precision=hits / named if named else 0.0,
                recall=hits / support if support else 0.0,
                f1=2 * hits / (named + support) if named + support else 0.0,
                support=support,
            )
        )
    return tuple(scores)
