"""A run that is refused leaves nothing behind: neither its folder nor those above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from striate.errors import CheckpointError, ConfigError, DataError, InputError, StriateError
from striate.train import Quiet, RunConfig, fit
from striate.train.folder import claimed

if TYPE_CHECKING:
    from pathlib import Path

REFUSED: dict[str, tuple[type[StriateError], dict[str, Any]]] = {
    "unknown network": (InputError, {"model": {"name": "tony"}}),
    "unknown option": (InputError, {"model": {"name": "tiny", "options": {"levels": 3}}}),
    "network of another rank": (InputError, {"model": {"name": "tcn"}}),
    "network of another task": (InputError, {"model": {"name": "unet"}}),
    "weights that do not exist": (StriateError, {"fine_tuning": {"weights": "nowhere.safetensors"}}),
    "nothing that can be frozen": (StriateError, {"fine_tuning": {"freeze": ["no_such_layer"]}}),
    "teacher that does not exist": (CheckpointError, {"distillation": {"teacher": "nowhere"}}),
    "loss of another task": (ConfigError, {"loss": {"name": "squared_error"}}),
    "weights of other classes": (ConfigError, {"loss": {"class_weights": [1.0, 2.0]}}),
    "metric of another task": (ConfigError, {"best": {"metric": "val_mae"}}),
    "augmentation of another kind": (ConfigError, {"augmentation": [{"name": "word_swap"}]}),
    "no such augmentation": (ConfigError, {"augmentation": [{"name": "flop"}]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, make_config: Any, dataset: Any, tmp_path: Path) -> None:
    error, settings = REFUSED[case]
    with pytest.raises(error):
        fit(make_config(**settings), tmp_path / "runs" / "a" / "b", dataset=dataset, reporter=Quiet())
    assert list(tmp_path.iterdir()) == []


def test_unreadable_data(tmp_path: Path) -> None:
    config = RunConfig.from_dict({"model": "lenet", "data": str(tmp_path / "nowhere")})
    with pytest.raises(DataError):
        fit(config, tmp_path / "runs" / "a", reporter=Quiet())
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_made_goes_again(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    wrong = make_config(model={"name": "tiny", "options": {"levels": 3}})
    for folder in (tmp_path / "runs" / "a" / "b", tmp_path / "runs"):
        with pytest.raises(InputError):
            fit(wrong, folder, dataset=dataset, reporter=Quiet())
        assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]
    assert fit(make_config(epochs=1), tmp_path / "runs", dataset=dataset, reporter=Quiet()).finished
    held = sorted((tmp_path / "runs").iterdir())
    with pytest.raises(CheckpointError):
        fit(make_config(), tmp_path / "runs", dataset=dataset, reporter=Quiet())
    assert sorted((tmp_path / "runs").iterdir()) == held


def test_a_folder_in_use_stays(make_config: Any, tmp_path: Path) -> None:
    config, folder = make_config(), tmp_path / "run"
    with claimed(folder, config, resume=False):
        with pytest.raises(CheckpointError, match="in use"), claimed(folder, config, resume=False):
            pass
        assert folder.is_dir()
        (folder / "config.toml").write_text(config.to_toml())
    assert (folder / "config.toml").exists()
