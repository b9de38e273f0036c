"""The metrics of classification, from probabilities.

torchmetrics computes them; what it does unlike the field's habit is put right here: a class that no sample has counts
neither for the balanced accuracy nor, by zero, for areas under curves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torchmetrics.functional.classification import (
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_f1_score,
    multiclass_recall,
)

from striate.train.metrics.calibration import calibration_error

if TYPE_CHECKING:
    from torch import Tensor


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Measure probabilities ``(n, classes)`` against labels ``(n,)``, on the CPU.

    None stands for what cannot be said: areas under curves where a class has no samples, or all of them. Equal
    probabilities count for the class that comes first.

    >>> probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    >>> told = classification_metrics(probabilities, torch.tensor([0, 0, 1, 1]))
    >>> {name: round(value, 4) for name, value in told.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'accuracy': 0.75, 'balanced_accuracy': 0.75, 'macro_f1': 0.7333, 'auroc': 0.75, 'average_precision': 0.8333,
     'log_loss': 0.5108, 'ece': 0.35}
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(dim=1)
    support = torch.bincount(labels, minlength=classes)
    settings: dict[str, Any] = {"num_classes": classes, "validate_args": False}
    recall = multiclass_recall(predicted, labels, average=None, **settings)
    ranked = bool((support > 0).all()) and classes > 1
    return {
        "accuracy": float((predicted == labels).double().mean()),
        "balanced_accuracy": float(recall[support > 0].double().mean()),
        "macro_f1": float(multiclass_f1_score(predicted, labels, average="macro", **settings)),
        "auroc": float(multiclass_auroc(probabilities, labels, average="macro", **settings)) if ranked else None,
        "average_precision": float(multiclass_average_precision(probabilities, labels, average="macro", **settings))
        if ranked
        else None,
        "log_loss": float(log_losses(probabilities, labels).mean()),
        "ece": calibration_error(probabilities, labels),
    }


def log_losses(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return -log of the probability of each true class, float64; a probability of 0 counts as the smallest float.

    >>> log_losses(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0])).round(decimals=2).tolist()
    [0.69, 87.34]
    """
    smallest = torch.finfo(torch.float32).tiny
    return -probabilities.gather(1, labels[:, None])[:, 0].double().clamp_min(smallest).log()
