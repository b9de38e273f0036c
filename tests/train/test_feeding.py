"""Batches: turns, accumulated gradients, augmentation, worker processes, and what waiting for them costs."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.data import TensorSamples
from striate.data.samples import RelabelledSamples
from striate.errors import DataError, RunError
from striate.models.registry import register, unregister
from striate.train import PlainLines, Quiet, fit
from striate.train.clock import Clock
from striate.train.feed import Feed, Turn, batch_bounds, in_order, step_turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def plain_model() -> Iterator[None]:
    @register(summary="", paper="", year=2000, input_size=4, min_input_size=4, spatial_dims=(2,))
    def plain(spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16 * in_channels, 12), nn.Tanh(), nn.Linear(12, num_classes))

    yield
    unregister("plain")


def samples(count: int = 50) -> TensorSamples:
    generator = torch.Generator().manual_seed(0)
    return TensorSamples(torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % 3)


class Shift:
    """Adds what index and epoch say, and mixes neighbours, as a stand-in for augmentation."""

    def __call__(self, inputs: Any, targets: Any, indices: Any, epoch: int) -> Any:
        moved = inputs + indices.view(-1, 1, 1, 1) + 1000 * epoch
        soft = nn.functional.one_hot(targets, 3).float()
        return moved, (soft + soft.roll(1, 0)) / 2


def turns(count: int, epoch: int = 0, **changes: Any) -> list[Turn]:
    order = torch.arange(count).flip(0)
    return list(step_turns(order, order, epoch, **({"batch_size": 8} | changes)))


def collected(batches: Any) -> list[Any]:
    return [(turn.indices.tolist(), inputs.clone(), targets.clone()) for turn, inputs, targets in batches]


# Turns ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(size=st.integers(1, 100), batch_size=st.integers(1, 12), accumulate=st.integers(1, 5), first=st.integers(0, 3))
def test_steps_are_those_of_the_large_batch(size: int, batch_size: int, accumulate: int, first: int) -> None:
    large = batch_bounds(size, batch_size * accumulate)[first:]
    steps: list[list[Turn]] = [[]]
    order = torch.arange(size)
    for turn in step_turns(order, None, 0, batch_size=batch_size, accumulate=accumulate, first=first):
        steps[-1].append(turn)
        if turn.last:
            steps.append([])
    assert steps.pop() == []
    assert [torch.cat([turn.indices for turn in step]).tolist() for step in steps] == [
        list(range(start, end)) for start, end in large
    ]
    for step in steps:
        assert sum(turn.share for turn in step) == pytest.approx(1)
        assert all(len(turn.indices) <= batch_size + 1 for turn in step)
        assert len({round(turn.share / len(turn.indices), 9) for turn in step}) == 1


def test_accumulated_gradients_are_those_of_the_large_batch(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    settings = {
        "model": "plain", "epochs": 3, "precision": "64-true", "gradient_clip": 0.5,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "l2": 1e-3},
    }  # fmt: skip
    large = fit(make_config(**settings, batch_size=24), tmp_path / "large", dataset=dataset, reporter=Quiet())
    small = fit(
        make_config(**settings, batch_size=8, accumulate=3), tmp_path / "small", dataset=dataset, reporter=Quiet()
    )
    for name, tensor in large.model("last").state_dict().items():
        torch.testing.assert_close(small.model("last").state_dict()[name], tensor, rtol=1e-12, atol=1e-12)
    for one, other in zip(large.metrics, small.metrics, strict=True):
        assert one.step == other.step
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)


# Workers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_batches_of_one_process(workers: int) -> None:
    parts = {"train": samples(), "val": samples(20)}
    torch.manual_seed(3)
    with Feed(parts, Shift(), 0) as alone, Feed(parts, Shift(), workers) as together:
        state = torch.get_rng_state()
        for epoch in range(2):
            for wanted in (turns(50, epoch), list(in_order("val", 20, 8)), turns(50, epoch, first=4), []):
                one, other = collected(alone(wanted)), collected(together(wanted))
                assert len(one) == len(wanted)
                for (indices, inputs, targets), (theirs, moved, soft) in zip(one, other, strict=True):
                    assert indices == theirs
                    assert torch.equal(inputs, moved)
                    assert torch.equal(targets, soft)
        assert torch.equal(torch.get_rng_state(), state), "workers draw from the generator of training"


class Broken(TensorSamples):
    """Raises for one sample."""

    error: Exception = DataError("a whole file", "half of 13.png", "Restore it.")

    def fetch(self, indices: Any) -> Any:
        if 13 in list(indices):
            raise self.error
        return super().fetch(indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_out_as_they_are(workers: int) -> None:
    part = Broken(samples().inputs, samples().labels)
    with Feed({"train": part}, None, workers) as feed, pytest.raises(DataError) as error:
        collected(feed(turns(50)))
    assert str(error.value) == "Expected a whole file; received half of 13.png. Restore it."


def test_defects_in_workers_are_not_hidden() -> None:
    part = Broken(samples().inputs, samples().labels)
    part.error = ZeroDivisionError("a defect")
    with Feed({"train": part}, None, 1) as feed, pytest.raises(ZeroDivisionError, match="a defect"):
        collected(feed(turns(50)))


class Deadly(TensorSamples):
    """Kills the process that fetches one sample, as the system does when memory runs out."""

    def fetch(self, indices: Any) -> Any:
        if 13 in list(indices) and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fetch(indices)


def test_killed_workers_are_noticed_and_the_run_goes_on_without(
    make_config: Any, dataset: Any, made: Any, folder: Path
) -> None:
    train = Deadly(dataset.train.inputs, dataset.train.labels, dataset.train.name)
    config = make_config(data={"source": "rows", "workers": 2})
    with pytest.raises(RunError) as error:
        fit(config, folder, dataset=made(train=train), reporter=Quiet())
    assert str(error.value).startswith("A process that prepares batches has died (DataLoader worker (pid")
    assert str(error.value).endswith(
        "; often memory ran out. Lower data.workers, and resume the run: its checkpoint is whole."
    )
    fit(make_config(), folder, dataset=dataset, resume=True, reporter=Quiet())
    fit(make_config(), folder.with_name("whole"), dataset=dataset, reporter=Quiet())
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (folder / name).read_bytes() == (folder.with_name("whole") / name).read_bytes()


def test_workers_end_with_the_run(make_config: Any, dataset: Any, folder: Path) -> None:
    import multiprocessing

    fit(make_config(data={"source": "rows", "workers": 2}), folder, dataset=dataset, reporter=Quiet())
    assert multiprocessing.active_children() == []


# Augmentation --------------------------------------------------------------------------------------------------------


def test_augmentation_is_written_out_and_changes_training_alone(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    plain = fit(make_config(epochs=1), tmp_path / "plain", dataset=dataset, reporter=Quiet())
    config = make_config(epochs=1, augmentation=[{"name": "flip", "p": 1.0, "axes": [-1]}, {"name": "mixup"}])
    run = fit(config, tmp_path / "run", dataset=dataset, reporter=Quiet())
    assert [entry["name"] for entry in run.config.augmentation] == ["flip", "mixup"]
    assert "alpha" in run.config.augmentation[1]
    assert run.metrics[0]["train_loss"] != plain.metrics[0]["train_loss"]
    again = fit(run.config, tmp_path / "again", dataset=dataset, reporter=Quiet())
    assert again.metrics == run.metrics
    assert again.config.augmentation == run.config.augmentation
    fit(config, tmp_path / "run", dataset=dataset, resume=True, reporter=Quiet())


def test_presets(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(epochs=1, augmentation=[{"name": "light"}])
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert all(entry["name"] != "light" for entry in run.config.augmentation)
    fit(config, folder, dataset=dataset, resume=True, reporter=Quiet())


# Waiting -------------------------------------------------------------------------------------------------------------


class Slow(TensorSamples):
    """Takes its time."""

    def fetch(self, indices: Any) -> Any:
        time.sleep(0.02)
        return super().fetch(indices)


def test_waiting_is_measured_told_and_warned_about(
    make_config: Any, dataset: Any, made: Any, folder: Path, monkeypatch: Any
) -> None:
    import io

    monkeypatch.setattr("striate.train.clock._SHORTEST", 0.0)
    slow = Slow(dataset.train.inputs, dataset.train.labels, dataset.train.name)
    stream = io.StringIO()
    fit(make_config(), folder, dataset=made(train=slow), reporter=PlainLines(stream))
    lines = stream.getvalue().splitlines()
    assert sum(line.startswith("Reading starves the network: ") for line in lines) == 1
    assert "Raise data.workers (now 0) towards the number of processors" in stream.getvalue()
    assert any(line.startswith("epoch 1/2") and "% waiting for data, " in line for line in lines)


@pytest.mark.parametrize("in_memory", [True, False])
def test_only_what_is_not_in_memory_is_fetched_ahead_on_a_thread(in_memory: bool) -> None:
    class Told(TensorSamples):
        threads: ClassVar[set[threading.Thread]] = set()

        def fetch(self, indices: Any) -> Any:
            self.threads.add(threading.current_thread())
            return super().fetch(indices)

    Told.in_memory = in_memory
    whole = samples()
    given = {"train": RelabelledSamples(Told(whole.inputs, whole.labels), torch.arange(3))}
    with Feed(given) as feed:
        found = collected(feed(turns(50)))
    with Feed({"train": whole}) as feed:
        expected = collected(feed(turns(50)))
    assert all(torch.equal(mine[1], theirs[1]) for mine, theirs in zip(found, expected, strict=True))
    assert (Told.threads == {threading.current_thread()}) == in_memory


def test_no_warning_without_need(make_config: Any) -> None:
    class Told(Quiet):
        share, said_anything = -1.0, False

        def fed(self, waited: float) -> None:
            self.share = waited

        def said(self, message: str) -> None:
            self.said_anything = True

    reporter, clock = Told(), Clock(0.0)
    with Feed({"train": samples()}) as feed:
        clock.epoch_began(feed)
        collected(feed(turns(50)))
        time.sleep(0.05)
        clock.epoch_trained(feed, reporter, 0)
    assert 0 <= reporter.share < 0.5
    assert not reporter.said_anything
