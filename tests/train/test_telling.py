"""Reporters, feeding, signals and the small parts of a run."""

from __future__ import annotations

import io
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from striate.data import TensorSamples
from striate.errors import CheckpointError
from striate.files import replacing
from striate.train import LiveLine, PlainLines, fit
from striate.train.best import beats
from striate.train.feed import batch_bounds, batches
from striate.train.interruption import Interruption
from striate.train.progress import EpochMetrics, Progress, Sums, read_metrics, write_metrics
from striate.train.randomness import epoch_order

if TYPE_CHECKING:
    from pathlib import Path


def test_plain_lines(make_config: Any, dataset: Any, folder: Path) -> None:
    stream = io.StringIO()
    run = fit(make_config(), folder, dataset=dataset, reporter=PlainLines(stream))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    row = run.metrics[0]
    assert lines[0].startswith(
        f"epoch 1/2: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.2%}; "
        f"validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%} (best), "
    )
    assert lines[0].endswith(" left")
    assert " samples/s, " in lines[0]
    assert lines[2].startswith("Finished after all 2 epochs, in ")


def test_plain_lines_within_long_epochs(monkeypatch: Any) -> None:
    monkeypatch.setattr("striate.train.report._PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    reporter = PlainLines(stream)
    reporter.started(epochs=2, steps_per_epoch=10, step=13, seen=24)
    reporter.stepped(14, Sums(loss_sum=16.0, count=32, above=24, below=32))
    assert stream.getvalue().startswith("epoch 2/2, batch 4/10: loss 0.5000, accuracy 75.00%, ")
    assert reporter._speed._samples == 8  # not the 24 of an earlier process


def test_the_live_line(make_config: Any, dataset: Any, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("striate.train.report._REFRESH_SECONDS", 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    fit(make_config(), folder, dataset=dataset, reporter=LiveLine(console))
    text = console.file.getvalue()
    for expected in ("epoch 1/2 ", "epoch 2/2 ", " samples/s", "left", "(best)", "Finished after all 2 epochs"):
        assert expected in text
    assert text.rstrip().splitlines()[-1].startswith("\x1b[1A\x1b[2KFinished"), "the live line is wiped first"


def test_the_live_line_is_taken_away_after_a_failure(make_config: Any, dataset: Any, folder: Path) -> None:
    class Failing(LiveLine):
        def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
            raise OSError("no more disk")

    reporter = Failing(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(OSError, match="no more disk"):
        fit(make_config(), folder, dataset=dataset, reporter=reporter)
    assert not reporter._live.is_started


@settings(max_examples=100)
@given(size=st.integers(1, 200), batch_size=st.integers(1, 50))
def test_batches_cover_everything_once(size: int, batch_size: int) -> None:
    bounds = batch_bounds(size, batch_size)
    assert [index for start, end in bounds for index in range(start, end)] == list(range(size))
    lengths = [end - start for start, end in bounds]
    assert all(length == batch_size for length in lengths[:-1])
    assert lengths[-1] > 1 or batch_size == 1 or size == 1


class OnDisk:
    """Samples that are not in memory."""

    in_memory = False

    def __init__(self, inner: TensorSamples) -> None:
        self.inner, self.threads = inner, set()

    def __len__(self) -> int:
        return len(self.inner)

    def fetch(self, indices: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return self.inner.fetch(indices)


def test_fetching_ahead_gives_the_same_batches() -> None:
    samples = TensorSamples(torch.arange(23.0).reshape(23, 1, 1), torch.arange(23))
    disk = OnDisk(samples)
    order, bounds = epoch_order(23, 0, 0), batch_bounds(23, 4)
    near, far = list(batches(samples, order, bounds)), list(batches(disk, order, bounds))
    assert all(torch.equal(a, b) for one, other in zip(near, far, strict=True) for a, b in zip(one, other, strict=True))
    assert threading.main_thread().name not in disk.threads
    assert list(batches(disk, order, [])) == []


def test_orders_differ_by_epoch_and_seed_and_stay_what_they_are() -> None:
    orders = {tuple(epoch_order(20, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(20)) for order in orders)
    # A checkpoint written today must find this order tomorrow.
    assert epoch_order(8, seed=1, epoch=2).tolist() == KNOWN_ORDER


KNOWN_ORDER = [5, 6, 3, 2, 1, 0, 4, 7]


def test_signals_in_a_thread_are_not_touched() -> None:
    def enter() -> None:
        with Interruption():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[Any] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_second_sigterm_waits_and_a_second_ctrl_c_does_not() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_files_are_limited(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("striate.train.files.MAX_TEXT_BYTES", 3)
    (tmp_path / "m.csv").write_text("epoch")
    with pytest.raises(CheckpointError) as error:
        read_metrics(tmp_path / "m.csv")
    assert f"Expected a text file of at most 3 bytes; received {tmp_path / 'm.csv'} of 5 bytes." in str(error.value)


@settings(max_examples=50)
@given(values=st.lists(st.floats(0, 1e300), min_size=3, max_size=3), epochs=st.integers(0, 4))
def test_metrics_come_back_bit_for_bit(tmp_path_factory: Any, values: list[float], epochs: int) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    rate, loss, accuracy = values
    history = [
        EpochMetrics(n + 1, 7 * n, rate, {"train_loss": loss, **({"val_accuracy": accuracy} if n % 2 else {})})
        for n in range(epochs)
    ]
    write_metrics(history, ("train_loss", "val_accuracy"), path)
    assert read_metrics(path) == history


def test_the_rule_of_the_best() -> None:
    def row(epoch: int, accuracy: float, loss: float) -> EpochMetrics:
        return EpochMetrics(epoch, epoch, 0.1, {"val_loss": loss, "val_accuracy": accuracy, "val_rmse": accuracy})

    best = row(1, 0.5, 1.0)
    assert beats(best, None, "val_accuracy")
    assert beats(row(2, 0.6, 9.0), best, "val_accuracy")
    assert beats(row(2, 0.5, 0.9), best, "val_accuracy")
    assert not beats(row(2, 0.5, 1.0), best, "val_accuracy")
    assert not beats(row(2, 0.4, 0.1), best, "val_accuracy")
    assert beats(row(2, 0.4, 9.0), best, "val_rmse")
    assert not beats(row(2, 0.6, 0.1), best, "val_rmse")
    assert beats(row(2, 0.4, 9.0), best, "last")


def test_an_epoch_without_the_metric_loses_against_one_that_has_it() -> None:
    told, silent = EpochMetrics(1, 1, 0.1, {"val_auroc": 0.1}), EpochMetrics(2, 2, 0.1, {"val_eer": 0.1})
    broken = EpochMetrics(3, 3, 0.1, {"val_auroc": float("nan")})
    assert beats(told, silent, "val_auroc")
    assert not beats(silent, told, "val_auroc")
    assert not beats(broken, told, "val_auroc")
    assert not beats(silent, broken, "val_auroc")


def test_progress_survives_plain_types() -> None:
    row = EpochMetrics(1, 7, 0.1, {"train_loss": 0.5})
    progress = Progress(1, 2, 9, Sums("mae", 1.5, 3, 4.0, 5.0), [row], [(1.0, 2.0)], [(5, 0.1, 0.2, 3.0)])
    assert Progress.from_state_dict(progress.state_dict()) == progress
