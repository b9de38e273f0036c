"""The temperature of a run's network, kept beside it in ``calibration.json``."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from striate.errors import CheckpointError
from striate.train.folder import read_json, write_json
from striate.train.metrics import Calibration

if TYPE_CHECKING:
    from striate.train.run import Run

CALIBRATION = "calibration.json"


def save_calibration(calibration: Calibration, run: Run, weights: str) -> None:
    """Write what `calibrate` found for some weights of a run, in place of what was there."""
    write_json({"weights": weights, **calibration.to_dict()}, run.folder / CALIBRATION)


def load_calibration(run: Run, weights: str) -> Calibration:
    """Read the calibration of a run. Raises `CheckpointError` for one that is missing, damaged or of other weights."""
    path = run.folder / CALIBRATION
    remedy = "Fit one: striate evaluate --calibrate."
    if not path.is_file():
        raise CheckpointError(f"a run with {CALIBRATION}", f"{run.folder} without it", remedy)
    content = read_json(path)
    if content.get("weights") != weights:
        raise CheckpointError(
            f"the calibration of the {weights} weights", f"{path} of {content.get('weights')!r}", remedy
        )
    values: dict[str, Any] = {entry.name: content.get(entry.name) for entry in fields(Calibration)}
    wrong = [name for name, value in values.items() if not _is_number(value)]
    if wrong or not 1e-3 < values["temperature"] < 1e3:
        raise CheckpointError(
            "a calibration with numbers", f"{path} with another {(wrong or ['temperature'])[0]}", remedy
        )
    return Calibration(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
