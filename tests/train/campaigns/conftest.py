"""A small data set on disk, configurations of runs on it, and evaluations without pictures, which take most time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from striate.train import RunConfig
from striate.train.folder import write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 4 x 4 in three classes: the class is the bright row."""
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 90, (60, 4, 4))
    images[np.arange(60), labels] += 120
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, x=images.astype(np.uint8), y=labels)
    return path


@pytest.fixture
def config_of(rows: Path) -> Callable[..., RunConfig]:
    def make(**changes: Any) -> RunConfig:
        settings: dict[str, Any] = {
            "model": {"name": "tiny"},
            "data": {"source": str(rows)},
            "epochs": 2,
            "batch_size": 16,
            "device": "cpu",
            "optimizer": {"learning_rate": 0.01},
        }
        return RunConfig.from_dict(settings | changes)

    return make


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(evaluation: Any, run: Any) -> None:
        (run.folder / "evaluation").mkdir()
        write_json(evaluation.to_dict(), run.folder / "evaluation" / "evaluation.json")

    monkeypatch.setattr("striate.train.campaigns.results.save_evaluation", save)


class Told(list[str]):
    """A reporter that keeps what is said, and can act when an epoch ends."""

    def __init__(self, at_epoch: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self._at_epoch = at_epoch

    def started(self, **_: Any) -> None: ...

    def stepped(self, step: int, sums: Any) -> None: ...

    def fed(self, waited: float) -> None: ...

    def epoch_ended(self, metrics: Any, *, best: bool) -> None:
        self.epochs.append(metrics.epoch)
        if self._at_epoch is not None:
            self._at_epoch(len(self.epochs))

    def said(self, message: str) -> None:
        self.append(message)

    def stopped(self) -> None: ...


@pytest.fixture
def told() -> type[Told]:
    return Told
