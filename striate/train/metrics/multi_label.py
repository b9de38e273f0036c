"""The metrics of samples with several labels each, from the probability of every label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics.functional.classification import (
    multilabel_auroc,
    multilabel_average_precision,
    multilabel_exact_match,
    multilabel_f1_score,
    multilabel_hamming_distance,
)

if TYPE_CHECKING:
    from torch import Tensor

DECIDED = 0.5
"""A label is said to be there from this probability on."""


def multi_label_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float | None]:
    """Measure probabilities ``(n, labels)`` against targets ``(n, labels)`` of 0 and 1, on the CPU.

    A label is decided at a probability of 0.5. Labels that no sample has, or every one, have no areas under curves;
    those are averaged over the others, and None where there are none.

    >>> import torch
    >>> probabilities = torch.tensor([[0.9, 0.2], [0.4, 0.7], [0.6, 0.1], [0.3, 0.8]])
    >>> told = multi_label_metrics(probabilities, torch.tensor([[1.0, 0], [1, 1], [0, 0], [0, 1]]))
    >>> {name: round(value, 4) for name, value in told.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'mean_average_precision': 0.9167, 'macro_f1': 0.75, 'micro_f1': 0.75, 'auroc': 0.875, 'subset_accuracy': 0.5,
     'hamming': 0.25}
    """
    truth = targets.round().long()
    labels = truth.shape[1]
    # torchmetrics decides above the threshold, and the field from it on.
    decided = (probabilities >= DECIDED).long()
    settings: dict[str, Any] = {"num_labels": labels, "validate_args": False}
    told = ((truth.sum(dim=0) > 0) & (truth.sum(dim=0) < len(truth))).nonzero()[:, 0]
    average_precision = auroc = None
    if len(told):
        chosen = (probabilities[:, told], truth[:, told])
        curves: dict[str, Any] = {"num_labels": len(told), "validate_args": False, "average": "macro"}
        average_precision = float(multilabel_average_precision(*chosen, **curves))
        auroc = float(multilabel_auroc(*chosen, **curves))
    return {
        "mean_average_precision": average_precision,
        "macro_f1": float(multilabel_f1_score(decided, truth, average="macro", **settings)),
        "micro_f1": float(multilabel_f1_score(decided, truth, average="micro", **settings)),
        "auroc": auroc,
        "subset_accuracy": float(multilabel_exact_match(decided, truth, **settings)),
        "hamming": float(multilabel_hamming_distance(decided, truth, average="micro", **settings)),
    }
