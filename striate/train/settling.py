"""What a configuration leaves to the data: the usual loss of the task, balanced weights, the metrics to watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from striate.data.source import absolute_source
from striate.errors import ConfigError, did_you_mean
from striate.train.best import LAST
from striate.train.config import as_in_toml_each
from striate.train.loss import LOSSES, Auto, Loss
from striate.train.schedule import Plateau
from striate.train.tasks import TRAINING

if TYPE_CHECKING:
    from torch import Tensor

    from striate.data import Dataset
    from striate.train.config import RunConfig
    from striate.train.loss import LossSettings
    from striate.train.tasks import TaskTraining

_CHUNK = 64


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Make the paths in a configuration absolute, so that the run can be repeated and evaluated from any folder.

    >>> from striate.train import RunConfig
    >>> with_absolute_paths(RunConfig(model="lenet", data="digits28")).data.source
    'digits28'
    """
    from pathlib import Path

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path else path

    tuning, teaching = config.fine_tuning, config.distillation
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"source": absolute_source(config.data.source)}),
            "fine_tuning": tuning.model_copy(update={"weights": absolute(tuning.weights)}),
            "distillation": teaching.model_copy(update={"teacher": absolute(teaching.teacher)}),
        }
    )


def settled(config: RunConfig, dataset: Dataset) -> RunConfig:
    """Decide what is left open, and check what can be checked once the data is known. Raises `ConfigError`.

    >>> from striate.data import load_data
    >>> from striate.train import RunConfig
    >>> config = settled(RunConfig(model="lenet", data="digits"), load_data("digits"))
    >>> config.loss.name, config.best.metric, config.early_stopping.metric
    ('cross_entropy', 'val_accuracy', 'val_loss')
    """
    training, has_val = TRAINING[dataset.task], dataset.val is not None
    if config.sampling == "balanced" and dataset.task not in ("classification", "verification"):
        raise ConfigError(
            "sampling='shuffled' where samples are not of one class each",
            f"sampling='balanced' with data for {dataset.task}",
            "Weigh the classes instead: loss.class_weights='balanced'."
            if dataset.task != "regression"
            else "Leave it.",
        )
    best, stopping = config.best.metric, config.early_stopping.metric
    if best == "auto":
        best = training.best if has_val else LAST
    if stopping == "auto":
        stopping = "val_loss" if training.has_val_loss else training.best
    if best != LAST:
        _check_metric("best.metric", best, training, has_val)
    if isinstance(config.schedule, Plateau):
        _check_metric("schedule.metric", config.schedule.metric, training, has_val)
    if config.early_stopping.patience:
        _check_metric("early_stopping.metric", stopping, training, has_val)
    return config.model_copy(
        update={
            "augmentation": _settled_augmentation(config.augmentation, dataset),
            "loss": settled_loss(config.loss, dataset),
            "best": config.best.model_copy(update={"metric": best}),
            "early_stopping": config.early_stopping.model_copy(update={"metric": stopping}),
        }
    )


def _settled_augmentation(augmentation: list[dict[str, Any]], dataset: Dataset) -> list[dict[str, Any]]:
    """Transforms with all their parameters, in place of presets and of what is left out."""
    if not augmentation:
        return augmentation
    from striate.data.augmentation import Facts, expand

    return as_in_toml_each(expand(augmentation, Facts.of(dataset)), "augmentation")


def _check_metric(setting: str, metric: str, training: TaskTraining, has_val: bool) -> None:
    every = training.columns(has_val=True)
    if metric not in every:
        choices = [*every, LAST] if setting == "best.metric" else every
        raise ConfigError(
            f"{setting} to be a metric of {training.task}", f"{setting}={metric!r}", did_you_mean(metric, choices)
        )
    if metric not in training.columns(has_val=has_val):
        raise ConfigError(
            f"{setting} to be measured during the run",
            f"{setting}={metric!r} without validation samples",
            "Raise data.val_fraction, or watch train_loss.",
        )


def settled_loss(loss: LossSettings, dataset: Dataset) -> Loss:
    """The loss for a data set, with the weights of its classes as numbers, and its void label.

    Raises `ConfigError` for a loss of another task and for weights that are not one per class.
    """
    if isinstance(loss, Auto):
        given = loss.model_dump(exclude_none=True, exclude={"name"})
        loss = LOSSES[TRAINING[dataset.task].loss](**given)
    if dataset.task not in loss.tasks:
        fitting = [name for name, kind in LOSSES.items() if dataset.task in kind.tasks]
        raise ConfigError(
            f"a loss for {dataset.task}", f"loss.name={loss.name!r}", f"Choose one of: {', '.join(fitting)}."
        )
    update: dict[str, Any] = {}
    if "void" in type(loss).model_fields and dataset.void is not None:
        update["void"] = dataset.void
    weights = getattr(loss, "class_weights", None)
    if weights == "balanced":
        update["class_weights"] = _balanced(dataset)
    elif isinstance(weights, list) and len(weights) != dataset.outputs:
        raise ConfigError(
            f"loss.class_weights of {dataset.outputs} numbers, one for each of the classes",
            f"{len(weights)} numbers",
            "Give as many, or 'balanced'.",
        )
    return loss.model_copy(update=update)


def _balanced(dataset: Dataset) -> list[float]:
    """Weights that make up for how often each class occurs in training; 0 for one that does not."""
    labels = dataset.train.labels
    if dataset.task == "multi-label":
        positive = labels.double().sum(dim=0)
        weights = torch.where(positive > 0, (len(labels) - positive) / positive.clamp_min(1), 1.0)
    else:
        counts = _position_counts(dataset) if dataset.task == "segmentation" else _counts(labels, dataset.outputs)
        occurring = int((counts > 0).sum())
        weights = torch.where(counts > 0, counts.sum() / (occurring * counts.clamp_min(1)), 0.0)
    return [float(weight) for weight in weights]


def _counts(labels: Tensor, classes: int) -> Tensor:
    return torch.bincount(labels.flatten(), minlength=classes).double()


def _position_counts(dataset: Dataset) -> Tensor:
    counts = torch.zeros(dataset.outputs, dtype=torch.float64)
    for start in range(0, len(dataset.train), _CHUNK):
        masks = dataset.train.fetch(range(start, min(start + _CHUNK, len(dataset.train))))[1]
        counts += _counts(masks if dataset.void is None else masks[masks != dataset.void], dataset.outputs)
    return counts
