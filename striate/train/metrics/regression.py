"""The metrics of regression, of each output and their means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmetrics.functional.regression import (
    mean_absolute_error,
    mean_squared_error,
    pearson_corrcoef,
    r2_score,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class OutputScore:
    """How one number is predicted, in its own unit; None where a constant leaves nothing to explain."""

    name: str
    mae: float
    rmse: float
    r2: float | None
    pearson: float | None


def output_scores(outputs: Tensor, targets: Tensor, names: Sequence[str]) -> tuple[OutputScore, ...]:
    """Measure each of the outputs ``(n, outputs)`` against its targets, on the CPU.

    R2 needs two different targets, and Pearson's correlation two different outputs as well.

    >>> import torch
    >>> output_scores(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [2.0], [3.0]]), ["age"])
    (OutputScore(name='age', mae=0.333..., rmse=0.577..., r2=0.5, pearson=0.981...),)
    """
    scores = []
    for place, name in enumerate(names):
        # float64, for the differences of sums of squares.
        given, true = outputs[:, place].double().contiguous(), targets[:, place].double().contiguous()
        varied = len(true) > 1 and bool((true != true[0]).any())
        correlated = varied and bool((given != given[0]).any())
        scores.append(
            OutputScore(
                name=name,
                mae=float(mean_absolute_error(given, true)),
                rmse=float(mean_squared_error(given, true, squared=False)),
                r2=float(r2_score(given, true)) if varied else None,
                # Standardised first: torchmetrics warns of variances below its own idea of precision.
                pearson=float(pearson_corrcoef(_standard(given), _standard(true))) if correlated else None,
            )
        )
    return tuple(scores)


def regression_metrics(outputs: Tensor, targets: Tensor) -> dict[str, float | None]:
    """Measure outputs ``(n, outputs)`` against targets of that shape, on the CPU: means over the outputs.

    Outputs without an R2 or a correlation are left out of its mean, which is None where none has one.

    >>> import torch
    >>> told = regression_metrics(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
    >>> {name: round(value, 3) for name, value in told.items()}
    {'mae': 0.333, 'rmse': 0.577, 'r2': 0.5, 'pearson': 0.982}
    """
    scores = output_scores(outputs, targets, [""] * targets.shape[1])
    return {
        "mae": _mean([score.mae for score in scores]),
        "rmse": _mean([score.rmse for score in scores]),
        "r2": _mean([score.r2 for score in scores]),
        "pearson": _mean([score.pearson for score in scores]),
    }


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
