"""Interrupted runs end with the bits of runs that were never stopped."""

from __future__ import annotations

import random
import signal
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from striate.data import TensorSamples
from striate.errors import StoppedError
from striate.train import Quiet, fit, resume
from striate.train.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "momentum": 0.0},
    {"name": "sgd", "momentum": 0.9, "nesterov": True, "l1": 1e-3, "l2": 1e-3},
    {"name": "adam", "l2": 1e-3},
    {"name": "adamw"},
    {"name": "rmsprop", "momentum": 0.5},
]
SCHEDULES: list[dict[str, Any]] = [
    {"name": "constant"},
    {"name": "step", "every_epochs": 1},
    {"name": "cosine", "warmup_epochs": 0.5},
    {"name": "warm_restarts", "cycle_epochs": 1},
    {"name": "one_cycle"},
    {"name": "plateau", "patience": 0, "min_delta": 10.0},
]
STEPS = 3 * 7


@pytest.fixture(autouse=True)
def dense_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.train.loop.DRAW_EVERY", 4)


class StopAt(Quiet):
    """Does something at one step, as a user or the system would."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action = step, action

    def stepped(self, step: int, sums: Any) -> None:
        if step == self.step:
            self.action()


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash


def interrupt() -> None:
    signal.raise_signal(signal.SIGTERM)


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's records: a length, its check sum, an event, its check sum."""
    drawn: dict[str, list[tuple[int, float]]] = {}
    files = list(folder.iterdir())
    assert len(files) == 1
    content, place = files[0].read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            drawn.setdefault(value.tag, []).append((event.step, value.simple_value))
    return drawn


def everything(folder: Path) -> dict[str, Any]:
    """All of a finished run that must be the same, times left out."""
    state = read_checkpoint(folder / "checkpoint.pt")
    progress = state["progress"]
    for timed in ("seconds", "times"):
        del progress[timed]
    progress["losses"] = [entry[:3] for entry in progress["losses"]]
    files = {name: (folder / name).read_bytes() for name in ("best.safetensors", "last.safetensors", "metrics.csv")}
    return {"state": state, "files": files, "curves": read_scalars(folder / "tensorboard")}


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    else:
        assert one == other


def three_epochs(make_config: Any, **changes: Any) -> Any:
    return make_config(**({"epochs": 3, "gradient_clip": 1.0} | changes))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda settings: settings["name"])
def test_every_optimizer_resumes_exactly(make_config: Any, dataset: Any, tmp_path: Path, optimizer: Any) -> None:
    check(
        three_epochs(make_config, optimizer=optimizer | {"learning_rate": 0.01}), dataset, tmp_path, [4, 12], interrupt
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda settings: settings["name"])
def test_every_schedule_resumes_exactly(make_config: Any, dataset: Any, tmp_path: Path, schedule: Any) -> None:
    check(three_epochs(make_config, schedule=schedule), dataset, tmp_path, [10, 17], interrupt)


EVERYTHING: dict[str, Any] = {
    "data": {"source": "rows", "workers": 2},
    "batch_size": 4,
    "accumulate": 2,
    "sampling": "balanced",
    "loss": {"name": "focal", "class_weights": "balanced"},
    "augmentation": [{"name": "flip"}, {"name": "crop", "padding": 1}, {"name": "mixup"}],
    "fine_tuning": {"freeze": ["0"], "unfreeze_after": 2},
}


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_everything_together_resumes_exactly(make_config: Any, dataset: Any, tmp_path: Path, averaging: str) -> None:
    config = three_epochs(make_config, averaging={"name": averaging}, checkpoint_seconds=0.0, **EVERYTHING)
    (tmp_path / "crashed").mkdir()
    check(config, dataset, tmp_path, [3, 8, 16], interrupt)
    whole = everything(tmp_path / "whole")
    check(config, dataset, tmp_path / "crashed", [3, 8, 16], crash, whole)
    # Other workers, or none, give the same bits.
    alone = three_epochs(make_config, averaging={"name": averaging}, **(EVERYTHING | {"data": {"source": "rows"}}))
    fit(alone, tmp_path / "alone", dataset=dataset, reporter=Quiet())
    assert_same(whole, everything(tmp_path / "alone"))


def check(
    config: Any, dataset: Any, folder: Path, stops: list[int], action: Any, whole: dict[str, Any] | None = None
) -> None:
    if whole is None:
        fit(config, folder / "whole", dataset=dataset, reporter=Quiet())
        whole = everything(folder / "whole")
    for number, step in enumerate(stops):
        with pytest.raises((StoppedError, Crash)):
            fit(config, folder / "cut", dataset=dataset, resume=number > 0, reporter=StopAt(step, action))
    fit(config, folder / "cut", dataset=dataset, resume=True, reporter=Quiet())
    assert_same(whole, everything(folder / "cut"))


@pytest.fixture
def wholes() -> dict[float, dict[str, Any]]:
    """The runs that were never stopped, by the seconds between checkpoints: the same for all examples of a test."""
    return {}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stops=st.lists(st.integers(1, STEPS), min_size=1, max_size=4, unique=True).map(sorted),
    action=st.sampled_from([interrupt, crash]),
    interval=st.sampled_from([0.0, 60.0]),
)
def test_any_step_resumes_exactly(
    make_config: Any,
    dataset: Any,
    tmp_path_factory: Any,
    wholes: dict[float, dict[str, Any]],
    stops: list[int],
    action: Any,
    interval: float,
) -> None:
    """A crash loses the steps since the last checkpoint, an interruption none; both end alike."""
    folder = tmp_path_factory.mktemp("any")
    config = three_epochs(make_config, checkpoint_seconds=interval)
    check(config, dataset, folder, stops, action, wholes.get(interval))
    if interval not in wholes:
        wholes[interval] = everything(folder / "whole")


def test_a_run_without_validation_resumes_exactly(make_config: Any, made: Any, tmp_path: Path) -> None:
    check(three_epochs(make_config), made(val=None), tmp_path, [7, 8], interrupt)


class SignalAtFetch(TensorSamples):
    """Validation samples during whose second batch the user presses Ctrl-C, once."""

    fetches = 0

    def fetch(self, indices: Any) -> Any:
        self.fetches += 1
        if self.fetches == 2:
            signal.raise_signal(signal.SIGINT)
        return super().fetch(indices)


def test_interrupted_during_validation(make_config: Any, dataset: Any, made: Any, tmp_path: Path) -> None:
    """Validation starts again; the epoch's training does not."""
    config = make_config()
    fit(config, tmp_path / "whole", dataset=dataset, reporter=Quiet())
    val = SignalAtFetch(dataset.val.inputs, dataset.val.labels, dataset.val.name)
    with pytest.raises(StoppedError) as stopped:
        fit(config, tmp_path / "cut", dataset=made(val=val), reporter=Quiet())
    assert str(stopped.value) == (
        "Stopped by SIGINT after step 7 (epoch 1 of 2, batch 7 of 7). The checkpoint is written; go on with "
        f"`striate train --resume {tmp_path / 'cut'}`."
    )
    resume(tmp_path / "cut", dataset=dataset, reporter=Quiet())
    assert_same(everything(tmp_path / "whole"), everything(tmp_path / "cut"))


class SignalInNorms(TensorSamples):
    """Training samples that are interrupted while the average learns its batch norms: after three epochs of 7 steps."""

    fetches = 0

    def fetch(self, indices: Any) -> Any:
        self.fetches += isinstance(indices, torch.Tensor)
        if self.fetches == 3 * 7 + 3:
            self.fetches += 1
            signal.raise_signal(signal.SIGINT)
        return super().fetch(indices)


def test_interrupted_while_batch_norms_are_learned_anew(
    make_config: Any, dataset: Any, made: Any, tmp_path: Path
) -> None:
    config = make_config(averaging={"name": "swa", "start": 0.5}, epochs=3)
    fit(config, tmp_path / "whole", dataset=dataset, reporter=Quiet())
    train = SignalInNorms(dataset.train.inputs, dataset.train.labels, dataset.train.name)
    with pytest.raises(StoppedError, match=r"after step 21 \(epoch 3 of 3, batch 7 of 7\)"):
        fit(config, tmp_path / "cut", dataset=made(train=train), reporter=Quiet())
    resume(tmp_path / "cut", dataset=dataset, reporter=Quiet())
    assert_same(everything(tmp_path / "whole"), everything(tmp_path / "cut"))


def test_early_stopping_counts_across_a_resume(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    config = make_config(epochs=6, early_stopping={"patience": 2, "min_delta": 100.0}, schedule={"name": "constant"})
    check(config, dataset, tmp_path, [9, 15], interrupt)
    run = resume(tmp_path / "cut", dataset=dataset, reporter=Quiet())
    assert run.finished == "no better val_loss for 2 epochs"
    assert len(run.metrics) == 3


def test_the_same_configuration_gives_the_same_bits(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fit(make_config(), tmp_path / name, dataset=dataset, reporter=Quiet())
        torch.rand(3), np.random.rand(), random.random()  # whatever else the process draws must not matter
    assert_same(everything(tmp_path / "one"), everything(tmp_path / "two"))


def test_another_seed_gives_another_run(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        fit(make_config(seed=seed), tmp_path / str(seed), dataset=dataset, reporter=Quiet())
    first, second = ((tmp_path / str(seed) / "last.safetensors").read_bytes() for seed in (0, 1))
    assert first != second


def test_killed_before_the_first_checkpoint_starts_over(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    check(three_epochs(make_config), dataset, tmp_path, [3], crash)
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "config.toml.partial").write_text("epo")
    (tmp_path / "early" / ".lock").touch()
    fit(three_epochs(make_config), tmp_path / "early", dataset=dataset, resume=True, reporter=Quiet())
    assert_same(everything(tmp_path / "whole"), everything(tmp_path / "early"))


def test_files_lost_after_the_last_checkpoint_are_written_again(
    make_config: Any, dataset: Any, folder: Path, capsys: Any
) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    before = everything(folder)
    for name in ("best.safetensors", "last.safetensors", "metrics.csv", "result.json", "network.json"):
        (folder / name).unlink()
    run = resume(folder, dataset=dataset)
    assert_same(everything(folder), before)
    assert run.finished == "all 2 epochs"
    assert capsys.readouterr().out == (f"The run in {folder} is finished (all 2 epochs): there is nothing to resume.\n")


def test_curves_and_metrics_ahead_of_the_checkpoint_are_rewound(make_config: Any, dataset: Any, folder: Path) -> None:
    """Two epochs are in the table and the curves when the run dies, none in a checkpoint."""
    with pytest.raises(Crash):
        fit(make_config(epochs=3), folder, dataset=dataset, reporter=StopAt(15, crash))
    assert (folder / "metrics.csv").read_text().count("\n") == 3
    run = resume(folder, dataset=dataset, reporter=Quiet())
    assert [row.epoch for row in run.metrics] == [1, 2, 3]
    drawn = read_scalars(folder / "tensorboard")
    assert [step for step, _ in drawn["train/loss"]] == [7, 14, 21]
    assert [step for step, _ in drawn["step/loss"]] == [4, 8, 12, 16, 20]
    assert [value for _, value in drawn["val/accuracy"]] == pytest.approx([row["val_accuracy"] for row in run.metrics])
