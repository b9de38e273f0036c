"""Training with several real processes, gloo between them, against one process with the same batches."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from striate.data import TensorSamples, load_data
from striate.errors import ConfigError
from striate.models.registry import unregister
from striate.nn.synchronised import summed, synchronise
from striate.train import Quiet, RunConfig, fit
from striate.train.checkpoint import read_checkpoint
from striate.train.feed import Turn, piece_of
from striate.train.progress import Sums
from striate.train.sharding import check_sharding
from striate.train.spool import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SCRIPT = Path(__file__).with_name("together.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def together() -> Iterator[ModuleType]:
    """The script, as a module, with its networks registered."""
    spec = util.spec_from_file_location("together", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.register_networks()
    yield module
    unregister("net")
    unregister("masks")


def environment() -> dict[str, str]:
    strange = ("LOCAL_", "MASTER_", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def run(*words: object, code: int = 0, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment() | more, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Pairs:
    """Runs tasks of the script in two processes at a time, in the place of ``torchrun``, whose store it keeps."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, SCRIPT], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._new_store()

    def _new_store(self) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def run(self, task: str, folder: Path, *codes: int, restarts: int = 0) -> str:
        """Return what the two print, once they have ended with such codes: by default 0."""
        if not restarts:
            self._new_store()
        told = {"LOCAL_WORLD_SIZE": 2, "WORLD_SIZE": 2, "GROUP_RANK": 0, "TORCHELASTIC_USE_AGENT_STORE": True}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._store.port}
        told |= {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": restarts}
        asked = {"task": task, "folder": str(folder), "environment": {name: str(told[name]) for name in told}}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        ended = json.loads(self._server.stdout.readline())
        output = "".join((folder / f"output-{rank}").read_text() for rank in range(2))
        assert ended == list(codes or (0, 0)), output
        return output

    def close(self) -> None:
        with self._server:
            self._server.kill()


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    pairs = Pairs()
    yield pairs
    pairs.close()


# The same as one process ---------------------------------------------------------------------------------------------


def test_two_processes_do_what_one_does(together: ModuleType, tmp_path: Path, pairs: Pairs) -> None:
    """Uneven and empty pieces, accumulation, batch norm, mixing, averages, freezing, and losses that are no means."""
    (tmp_path / "two").mkdir()
    pairs.run("same", tmp_path / "two")
    for name, changes in together.SAME.items():
        config = together.config(**changes | {"devices": 1})
        alone = fit(config, tmp_path / "one" / name, dataset=together.data_of(name), reporter=Quiet())
        check_weights(tmp_path / "two" / name, tmp_path / "one" / name)
        table = (tmp_path / "two" / name / "metrics.csv").read_text().splitlines()
        assert len(table) == 3
        for row, line in zip(alone.metrics, table[1:], strict=True):
            told = dict(zip(table[0].split(","), line.split(","), strict=True))
            # How validation is cut into batches matters to losses that are no means over samples.
            for column in row:
                if not (name.startswith("masks") and column == "val_loss"):
                    assert float(told[column]) == pytest.approx(row[column], rel=2e-4), (name, column)
    assert tomllib.loads((tmp_path / "two" / "plain" / "config.toml").read_text())["devices"] == 2


def check_weights(theirs: Path, mine: Path) -> None:
    for file in ("last.safetensors", "best.safetensors"):
        found, truth = load_file(theirs / file), load_file(mine / file)
        assert found.keys() == truth.keys()
        for key in truth:
            torch.testing.assert_close(found[key], truth[key], rtol=2e-4, atol=2e-6, msg=f"{theirs.name}: {key}")


def test_weights_spread_over_two_processes(together: ModuleType, tmp_path: Path, pairs: Pairs) -> None:
    two = tmp_path / "two"
    two.mkdir()
    pairs.run("sharded_interrupted", two, 3, 1)
    shutil.copytree(two / "cut", two / "copy")
    pairs.run("sharded", two)
    for name, changes in together.SHARDED.items():
        config = together.config(**changes | {"devices": 1})
        fit(config, tmp_path / "one" / name, dataset=together.data_of(name), reporter=Quiet())
        check_weights(two / name, tmp_path / "one" / name)
    for file in RESULTS:
        assert (two / "whole" / file).read_bytes() == (two / "cut" / file).read_bytes(), file
    alone = together.config(**together.HARD | {"averaging": "none", "devices": 1})
    assert fit(alone, two / "copy", dataset=together.dataset(), resume=True, reporter=Quiet()).finished


def test_batch_norm_over_two_processes(tmp_path: Path, pairs: Pairs) -> None:
    pairs.run("normalised", tmp_path)
    stored = torch.load(tmp_path / "normalised.pt")
    for found in stored["found"].values():
        layer = nn.BatchNorm1d(3).double()
        torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(1))
        whole = stored["whole"].clone().requires_grad_()
        output = layer(whole)
        output.pow(3).sum().backward()
        truth = {"output": output, "input": whole.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
        for name, value in truth.items():
            torch.testing.assert_close(found[name], value.detach(), rtol=1e-9, atol=1e-9, msg=name)
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(found["state"][name], value, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_batch_norm_of_one_process_is_pytorchs(kind: Any, affine: bool, momentum: float | None) -> None:
    shape = {nn.BatchNorm1d: (6, 3), nn.BatchNorm2d: (4, 3, 5, 2), nn.BatchNorm3d: (2, 3, 2, 3, 2)}[kind]
    ours, truth = (kind(3, affine=affine, momentum=momentum).double() for _ in range(2))
    synchronise(ours)
    for step in range(3):
        inputs = [
            torch.randn(shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64).add_(5)
            for _ in range(2)
        ]
        outputs = [layer(given.requires_grad_()) for layer, given in zip((ours, truth), inputs, strict=True)]
        for output in outputs:
            output.pow(3).sum().backward()
        torch.testing.assert_close(outputs[0], outputs[1])
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for mine, theirs in zip(ours.parameters(), truth.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(ours.state_dict(), truth.state_dict())
    ours.eval(), truth.eval()
    torch.testing.assert_close(ours(inputs[0]), truth(inputs[0]))


def test_batch_norm_keeps_the_type_of_its_input_and_its_checks() -> None:
    layer = nn.BatchNorm2d(2)
    synchronise(layer)
    assert layer(torch.randn(3, 2, 4, 4).bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="expected 4D input"):
        layer(torch.randn(3, 2))


def test_only_layers_with_pytorchs_pass_are_synchronised() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input

    class Named(nn.BatchNorm2d):
        pass

    model = nn.Sequential(Own(2), Named(2), nn.SyncBatchNorm(2), nn.GroupNorm(1, 2))
    assert synchronise(model) == 1
    assert type(model[1]).__name__ == "SynchronisedNamed"
    assert synchronise(model) == 0


def test_the_sum_of_one_process_is_its_own() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert summed(values) is values


# Cutting -------------------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 70), count=st.integers(1, 9), share=st.sampled_from([1.0, 0.25]), keyed=st.booleans())
def test_pieces_are_the_batch(size: int, count: int, share: float, keyed: bool) -> None:
    turn = Turn("train", torch.arange(size) + 100, torch.arange(size) if keyed else None, 3, share, last=False)
    pieces = [piece_of(turn, place, count) for place in range(count)]
    real = [piece for piece in pieces if piece.share]
    assert torch.equal(torch.cat([piece.indices for piece in real]), turn.indices)
    if keyed:
        assert torch.equal(torch.cat([piece.keys for piece in real if piece.keys is not None]), turn.indices - 100)
    assert sum(piece.share for piece in pieces) == pytest.approx(share)
    lengths = [len(piece.indices) if piece.share else 0 for piece in pieces]
    assert all(length % 2 == 0 for length in lengths if length) or sum(length % 2 for length in lengths) == size % 2
    starts = [int(piece.indices[0]) - 100 for piece in real]
    assert all(start % 2 == 0 for start in starts)
    assert max(lengths) - min(lengths) <= 3
    assert all(len(piece.indices) == 1 for piece in pieces if not piece.share)
    assert {(piece.part, piece.epoch, piece.last) for piece in pieces} == {("train", 3, False)}


def test_sums_merge() -> None:
    sums = Sums(loss_sum=1.0, count=2, above=1, below=2)
    sums.merge(Sums(loss_sum=0.5, count=1, above=1, below=1))
    assert (sums.loss, sums.score) == (0.5, 2 / 3)


# Data ----------------------------------------------------------------------------------------------------------------


def test_data_is_packed_once_and_mapped(tmp_path: Path) -> None:
    dataset = load_data("digits28")
    content = packed(dataset, tmp_path)
    assert content is not None
    assert len(content) < 200_000
    assert len(list(tmp_path.iterdir())) == 3
    again = unpacked(content)
    for path in tmp_path.iterdir():
        path.unlink()
    for part, samples in dataset.parts.items():
        other = again.parts[part]
        assert torch.equal(other.labels, samples.labels)
        for one, two in zip(samples.fetch([0, 5, 3]), other.fetch([0, 5, 3]), strict=True):
            assert torch.equal(one, two)
        assert [other.name(index) for index in range(9)] == [samples.name(index) for index in range(9)]
    assert (again.classes, again.stored_sizes) == (dataset.classes, dataset.stored_sizes)


def test_what_cannot_be_sent_is_not_packed(tmp_path: Path, together: ModuleType) -> None:
    class Own(TensorSamples):
        pass

    train = Own(torch.zeros(3, 1, 4, 4), torch.arange(3), lambda index: f"{index}")
    assert packed(together.dataset(train=train), tmp_path) is None


def test_data_that_finds_no_room(tmp_path: Path) -> None:
    from striate.errors import RunError

    with pytest.raises(RunError, match=r"cannot be written for the other processes .* TMPDIR"):
        packed(load_data("digits28"), tmp_path / "away")


# Stopping, failing, going on -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """A folder with a run that was stopped in its second process, a copy of it, and the same resumed and whole."""
    folder = tmp_path_factory.mktemp("hard")
    pairs.run("interrupted", folder, 3, 1)
    shutil.copytree(folder / "cut", folder / "copy")
    pairs.run("whole", folder)
    return folder


RESULTS = ("best.safetensors", "last.safetensors", "metrics.csv")


def test_stopped_in_the_second_process_and_resumed(hard: Path) -> None:
    """With dropout, batch norm, augmentation, an average and, once resumed, workers: to the bits of a whole run."""
    told = (hard / "told").read_text()
    place = r"step (8|9|10) \(epoch 2 of 3, batch [123] of 7\)"
    assert re.match(rf"StoppedError: Stopped by SIGTERM after {place}", told)
    assert len(read_checkpoint(hard / "copy" / "checkpoint.pt")["rng"]) == 2
    for file in RESULTS:
        assert (hard / "whole" / file).read_bytes() == (hard / "cut" / file).read_bytes(), file


def test_another_number_of_processes_goes_on_and_is_told(hard: Path, together: ModuleType) -> None:
    reporter = Told()
    config = together.config(**together.HARD | {"devices": 1})
    again = fit(config, hard / "copy", dataset=together.dataset(), resume=True, reporter=reporter)
    assert reporter.said_all[0] == "Resumed with other processes: the last bits of the result may differ."
    assert again.finished == "all 3 epochs"


class Told(Quiet):
    def __init__(self) -> None:
        self.said_all: list[str] = []

    def said(self, message: str) -> None:
        self.said_all.append(message)


def test_an_error_in_one_process_ends_all(tmp_path: Path, pairs: Pairs) -> None:
    assert "Traceback" not in pairs.run("broken", tmp_path, 2, 2)
    assert (tmp_path / "told").read_text() == TORN


TORN = "DataError: Expected a whole file; received item 7, which is torn. Mend it."


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_that_a_script_has_started(tmp_path: Path) -> None:
    assert "Traceback" not in run(SCRIPT, "broken", tmp_path, code=2)
    assert (tmp_path / "told").read_text() == TORN


def test_processes_with_other_data_are_refused(tmp_path: Path, pairs: Pairs) -> None:
    pairs.run("other_data", tmp_path, 2, 2)
    assert (tmp_path / "told").read_text() == (
        "DataError: Expected the same data in all processes; received samples, labels or classes that differ between "
        "them. Copy the data to every machine, or put it where all of them find it."
    )


def test_a_killed_process_ends_the_other_and_a_restart_goes_on(tmp_path: Path, hard: Path, pairs: Pairs) -> None:
    pairs.run("killed", tmp_path, 1, -signal.SIGKILL)
    assert (tmp_path / "told").read_text() == (
        "RunError: Another process of this run has died; often memory ran out. The checkpoint is whole: go on with "
        "`striate train --resume`."
    )
    pairs.run("killed", tmp_path, restarts=1)
    went_on(tmp_path / "killed", hard / "whole")


TORCHRUN = ("-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again(tmp_path: Path, hard: Path) -> None:
    run(*TORCHRUN, "--max-restarts", 3, SCRIPT, "killed", tmp_path)
    went_on(tmp_path / "killed", hard / "whole")


def went_on(folder: Path, whole: Path) -> None:
    assert read_checkpoint(folder / "checkpoint.pt")["progress"]["finished"] == "all 3 epochs"
    assert (folder / "environment.json").read_text().count('"started"') == 2
    for file in RESULTS:
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file


def test_the_command_with_devices_tells_once(tmp_path: Path) -> None:
    words = ("--batch-size", 256, "--epochs", 1, "--device", "cpu", "--devices", 2, "--no-report", "--out")
    (tmp_path / "temporary").mkdir()
    words = ("-m", "striate", "train", "lenet", "--data", "digits28", *words, tmp_path / "run")
    told = run(*words, TMPDIR=str(tmp_path / "temporary"))
    assert told.count("epoch 1/1") == 1
    assert told.count("The run is in") == 1
    assert told.count("Finished after all 1 epochs") == 1
    assert list((tmp_path / "temporary").iterdir()) == []


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_notebook_is_told_what_to_do(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    config = RunConfig(model="lenet", data="digits28", devices=2, device="cpu")
    with pytest.raises(ConfigError) as error:
        fit(config, tmp_path / "run")
    assert str(error.value) == (
        "Expected a command or a script, which 2 processes can run; received 2 processes from a notebook or an "
        "interactive session. Put the call into a file and run that, or train with devices=1."
    )


def test_more_gpus_than_there_are(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = RunConfig(model="lenet", data="digits28", devices=2, device="cuda")
    with pytest.raises(ConfigError, match="Expected at most 1 devices, the GPUs of this machine; received devices=2"):
        fit(config, tmp_path / "run")


def test_apples_gpus_are_one_device(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    config = RunConfig(model="lenet", data="digits28", devices=2, device="mps")
    with pytest.raises(ConfigError) as error:
        fit(config, tmp_path / "run")
    assert str(error.value) == (
        "Expected one device on Apple's GPUs; received devices=2. Use devices=1, or device='cpu'."
    )


def test_runs_of_one_script_have_the_same_number_of_processes(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError) as error:
        fit(RunConfig(model="lenet", data="digits28", device="cpu"), tmp_path / "run")
    assert str(error.value) == (
        "Expected 2 processes, as in the runs before it in this script; received a run with 1. Train it in a script of "
        "its own."
    )


@pytest.mark.parametrize(
    "changes", [{"averaging": "ema"}, {"precision": "64-true"}, {"fine_tuning": {"unfreeze_after": 1}}]
)
def test_what_fsdp_cannot_do(changes: dict[str, Any]) -> None:
    config = RunConfig(model="lenet", data="digits28", devices=2, strategy="fsdp", **changes)
    with pytest.raises(ConfigError, match="with strategy='fsdp'"):
        check_sharding(config)


def test_campaigns_are_of_single_processes(tmp_path: Path) -> None:
    from striate.train.campaigns import cross_validate

    config = RunConfig(model="lenet", data="digits28", devices=2)
    with pytest.raises(ConfigError, match="Expected runs of one process in a campaign; received devices=2 and nodes=1"):
        cross_validate(config, tmp_path / "folds")


def test_errors_can_be_told_to_other_processes() -> None:
    error = ConfigError("a", "b", "c")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - made here
