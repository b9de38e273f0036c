from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from striate.errors import CheckpointError
from striate.train import Quiet, fit, resume
from striate.train.checkpoint import load_weights, read_checkpoint, save_weights, weights_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def trained(make_config: Any, dataset: Any, folder: Path) -> Path:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    return folder


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_checkpoints(trained: Path, dataset: Any, share: float) -> None:
    path = trained / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError) as error:
        resume(trained, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a whole checkpoint; received {path}: File is not a zip file. "
        "Restore it from a copy, or start again in another folder."
    )


def test_a_flipped_bit_in_the_weights(trained: Path) -> None:
    path = trained / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda member: member.file_size)
        content = archive.read(member)
    whole = path.read_bytes()
    place = whole.index(content) + len(content) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"Expected a whole checkpoint; received {path}: ")
    assert "CRC" in str(error.value) or "has changed" in str(error.value)


class Attack:
    ran = False

    def __reduce__(self) -> Any:
        return (exec, ("import builtins; builtins.striate_was_attacked = True",))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    import builtins

    for name, write in (
        ("torch", torch.save),
        ("pickle", lambda content, path: path.write_bytes(pickle.dumps(content))),
    ):
        path = tmp_path / name
        write({"format": 1, "model": Attack()}, path)
        with pytest.raises(CheckpointError, match="a whole checkpoint"):
            read_checkpoint(path)
    assert not hasattr(builtins, "striate_was_attacked")


def test_compressed_members_are_refused(trained: Path) -> None:
    path = trained / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/zeros", bytes(10**6))
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(error.value) == (
        f"Expected a whole checkpoint; received {path}: it holds compressed members. "
        "Restore it from a copy, or start again in another folder."
    )


def test_another_format(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for content, what in (({"format": 1}, "of format 1"), ([], "something else")):
        torch.save(content, path)
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path)
        assert str(error.value) == (
            f"Expected a checkpoint of format 2; received {path}, which is {what}. Use the version that wrote it."
        )


@pytest.mark.parametrize("part", ["model", "optimizer", "progress", "rng", "patience"])
def test_parts_that_do_not_fit(trained: Path, dataset: Any, part: str) -> None:
    path = trained / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state[part] = {"strange": torch.zeros(1)}
    torch.save(state, path)
    with pytest.raises(CheckpointError) as error:
        resume(trained, dataset=dataset, reporter=Quiet())
    assert str(error.value).startswith(f"Expected a checkpoint of this run; received {path}, which does not fit: ")
    assert str(error.value).endswith(" Start again in another folder.")


# Weights -------------------------------------------------------------------------------------------------------------


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    model, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    model(torch.rand(4, 3, 2, 2))
    save_weights(weights_of(model), tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(weights_of(model), tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")


def test_weights_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError) as missing:
        load_weights(nn.Linear(2, 1), path)
    assert str(missing.value) == (
        f"Expected a file of weights; received {path}, which does not exist. Train first, or resume the run."
    )
    save_weights(weights_of(nn.Linear(3, 1)), path)
    with pytest.raises(CheckpointError) as shape:
        load_weights(nn.Linear(2, 1), path)
    assert str(shape.value) == (
        f"Expected weight of shape (1, 2); received weight of shape (1, 3) in {path}. "
        "Use the weights that belong to this run."
    )
    with pytest.raises(CheckpointError) as absent:
        load_weights(nn.LayerNorm(3, bias=False), path)
    assert str(absent.value) == (
        f"Expected only the weights of the network; received bias of shape (1,) in {path}. "
        "Use the weights that belong to this run."
    )
    with pytest.raises(CheckpointError) as extra:
        load_weights(nn.PReLU(), path.with_name("w.safetensors"))
    assert "received bias of shape (1,)" in str(extra.value)
    save_weights({"weight": torch.zeros(1, 2)}, path)
    with pytest.raises(CheckpointError) as bias:
        load_weights(nn.Linear(2, 1), path)
    assert str(bias.value) == (
        f"Expected bias of shape (1,); received no bias in {path}. Use the weights that belong to this run."
    )
    path.write_bytes(b"\x10" + bytes(20))
    with pytest.raises(CheckpointError) as damaged:
        load_weights(nn.Linear(2, 1), path)
    assert str(damaged.value).startswith(f"Expected a whole file of weights; received {path}: ")
    assert str(damaged.value).endswith(". Restore it from a copy, or resume the run.")
