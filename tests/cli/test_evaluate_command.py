"""``striate evaluate`` with intervals, views, calibration and the page of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """The shared run, where a calibration may be left."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


def test_a_temperature_is_fitted_and_used_again(striate: Any, copied: Path, digit: Path) -> None:
    done = striate("evaluate", copied, "--calibrate", "--bootstrap", 20)
    assert done.exit_code == 0, done.output
    line = next(line for line in done.stdout.splitlines() if line.startswith("Temperature "))
    kept = json.loads((copied / "calibration.json").read_text(encoding="utf-8"))
    assert f"Temperature {kept['temperature']:.4f}, fitted to 180 validation samples" in line
    assert f"The page about this run: {copied}/report.html" in done.stdout
    assert f"Temperature {kept['temperature']:.4f}" in (copied / "report.html").read_text(encoding="utf-8")

    told = json.loads(striate("evaluate", copied, "--calibrated", "--bootstrap", 0, "--json", "-o", "here").stdout)
    assert told["calibration"]["fitted"]["temperature"] == kept["temperature"]
    assert told["calibration"]["scaled"]["log_loss"] == pytest.approx(told["metrics"]["log_loss"])
    assert told["intervals"]["balanced_accuracy"] is None
    assert Path("here/report.html").exists()

    plain, scaled = (
        json.loads(striate("predict", copied, digit, "--json", *words).stdout)[0]["answers"][0]
        for words in ([], ["--calibrated"])
    )
    assert plain["label"] == scaled["label"]
    assert plain["probability"] != scaled["probability"]


def test_views_are_averaged(striate: Any, run: Path) -> None:
    told = json.loads(striate("evaluate", run, "--tta", "--bootstrap", 0, "--json", "-o", "here").stdout)
    assert told["views"] == 6


def test_what_is_refused(refused: Any, copied: Path) -> None:
    assert refused("evaluate", copied, "--calibrate", "--calibrated") == (
        "Expected --calibrate or --calibrated; received both. Leave one out: --calibrate also uses what it fits."
    )
    assert refused("evaluate", copied, "--calibrated") == (
        f"Expected a run with calibration.json; received {copied} without it. Fit one: striate evaluate --calibrate."
    )
    assert refused("evaluate", copied, "--bootstrap", 1) == (
        "Expected a bootstrap of 2 resamples or more, or 0; received bootstrap=1. Use 1000, or 0 for none."
    )
