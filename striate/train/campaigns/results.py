"""What is known of a run on the test part: read from the evaluation in its folder, or measured and put there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from striate.errors import CheckpointError
from striate.train.evaluation import evaluate
from striate.train.folder import read_json
from striate.train.loggers.reporting import log_results
from striate.train.pictures import save_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from striate.data import Dataset
    from striate.train.run import Run

EVALUATION = "evaluation/evaluation.json"


def read_test(folder: Path) -> dict[str, float]:
    """The metrics of a run's best weights on its own test part, empty if that has not been evaluated.

    Raises `CheckpointError` for a file that is not an evaluation.

    >>> import pathlib
    >>> read_test(pathlib.Path("nowhere"))
    {}
    """
    path = folder / EVALUATION
    if not path.is_file():
        return {}
    content = read_json(path)
    if (content.get("split"), content.get("weights")) != ("test", "best"):
        return {}
    metrics = content.get("metrics")
    if not isinstance(metrics, dict):
        raise CheckpointError("an evaluation with its metrics", f"{path} without any", "Evaluate the run again.")
    found: dict[str, Any] = {"loss": content.get("loss")} | metrics
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def evaluated(run: Run, dataset: Dataset, say: Callable[[str], None]) -> dict[str, float]:
    """Evaluate a run's best weights on the test part, once: what is in its folder already is read.

    The trackers of the run are told, too; ``say`` is told what goes wrong with that.
    """
    known = read_test(run.folder)
    if not known:
        save_evaluation(evaluate(run, "test", dataset=dataset), run)
        known = read_test(run.folder)
        log_results(run, run.config.loggers, {f"test_{name}": value for name, value in known.items()}, say)
    return known


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
