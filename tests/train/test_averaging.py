"""Averages of weights against sums written out, and in whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from striate.data import Preprocessing
from striate.errors import ConfigError
from striate.train import Quiet, fit
from striate.train.averaging import EMA, SWA, Average, NoAveraging

if TYPE_CHECKING:
    from pathlib import Path


def test_ema_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    average, expected = Average(layer, EMA(decay=0.3), epochs=1), 1.0
    assert average.module is layer
    for step, weight in enumerate((2.0, 5.0, -1.0, 0.5)):
        layer.weight.data.fill_(weight)
        average.stepped()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        assert average.module is not layer
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert layer.weight.item() == 0.5


def test_buffers_are_averaged_and_counters_copied() -> None:
    norm = nn.BatchNorm1d(2)
    average = Average(norm, EMA(decay=0.0), epochs=1)
    norm(torch.randn(8, 2))
    average.stepped()
    for name, tensor in norm.state_dict().items():
        torch.testing.assert_close(average.module.state_dict()[name], tensor)


def test_swa_is_the_mean_of_epochs_and_takes_each_once() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, SWA(start=0.5), epochs=4)
    values = {0: 9.0, 1: 9.0, 2: 1.0, 3: 4.0}
    for epoch, value in values.items():
        layer.weight.data.fill_(value)
        for _ in range(2):  # as when a validation is interrupted and begins again
            assert not average.epoch_ended(epoch)
        assert (average.module is layer) == (epoch < 2)
    assert average.module.weight.item() == pytest.approx(2.5)
    assert average.count == 2


def test_swa_holds_the_rate() -> None:
    def scheduled(step: int) -> float:
        return 1.0 - step / 100

    held = Average(nn.Linear(1, 1), SWA(start=0.5), epochs=4).rates(scheduled, 10)
    assert [held(step) for step in (0, 19, 20, 39)] == [1.0, 0.81, 0.8, 0.8]
    named = Average(nn.Linear(1, 1), SWA(start=0.5, learning_rate=0.3), epochs=4).rates(scheduled, 10)
    assert [named(step) for step in (19, 20, 39)] == [0.81, 0.3, 0.3]
    without = Average(nn.Linear(1, 1), NoAveraging(), epochs=4)
    assert without.rates(scheduled, 10) is scheduled
    assert without.state_dict() is None


def test_a_run_with_ema_keeps_and_validates_the_average(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(averaging={"name": "ema", "decay": 0.9}, epochs=2)
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    plain = fit(make_config(epochs=2), folder.with_name("plain"), dataset=dataset, reporter=Quiet())
    # The steps are those of a run without.
    assert [row["train_loss"] for row in run.metrics] == [row["train_loss"] for row in plain.metrics]
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    last, theirs = load_file(folder / "last.safetensors"), load_file(plain.folder / "last.safetensors")
    for name, tensor in last.items():
        assert torch.equal(tensor, checkpoint["average"]["weights"][name])
        assert torch.equal(theirs[name], checkpoint["model"][name])
        assert name.endswith("num_batches_tracked") or not torch.equal(tensor, theirs[name])
    with torch.inference_mode():
        logits = run.model("last")(run.preprocessing(dataset.val.inputs))
    assert run.metrics[-1]["val_loss"] == pytest.approx(
        nn.functional.cross_entropy(logits, dataset.val.labels).item(), rel=1e-5
    )


def test_a_run_with_swa_learns_batch_norms_anew(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(
        averaging={"name": "swa", "start": 0.5, "learning_rate": 0.02}, epochs=4, model={"name": "tiny", "options": {}}
    )
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert [row.learning_rate for row in run.metrics[2:]] == [0.02, 0.02]
    assert run.metrics[1].learning_rate != 0.02
    model = run.model("last")
    inputs = Preprocessing.fit(dataset)(dataset.train.inputs)
    with torch.no_grad():
        maps = model[0](inputs)
    # The mean of batch means is that of all samples but for the sizes of the batches.
    torch.testing.assert_close(model[1].running_mean, maps.mean((0, 2, 3)), rtol=0.05, atol=0.02)
    torch.testing.assert_close(model[1].running_var, maps.var((0, 2, 3)), rtol=0.1, atol=0.02)
    assert model[1].num_batches_tracked.item() == 7


def test_unknown_kinds(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"averaging\.name to be one of none, ema, swa"):
        make_config(averaging="lookahead")
