"""What makes a run another one: changed augmentation is noticed, down to a parameter, and spelling is not."""

from __future__ import annotations

from typing import Any

import pytest

from striate.errors import ConfigError
from striate.train import Quiet, RunConfig, fit
from striate.train.campaigns import repeat

LEAST: dict[str, Any] = {"model": "lenet", "data": "digits28"}


def differences(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    one, other = (RunConfig.from_dict(LEAST | {"augmentation": each}) for each in (mine, theirs))
    assert one.differences(other) == other.differences(one)
    return one.differences(other)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([{"name": "flip"}], [{"name": "flip", "p": 0.5}]),
        ([{"name": "flip", "p": 1}], [{"name": "flip", "p": 1.0}]),
        ([{"name": "crop", "padding": 2}, {"name": "light"}], [{"name": "crop", "padding": 9}]),
        ([{"name": "light"}], [{"name": "light"}]),
        ([{"name": "light"}], []),
    ],
)
def test_what_may_be_the_same_is_no_difference(mine: Any, theirs: Any) -> None:
    assert differences(mine, theirs) == []


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([{"name": "flip", "p": 0.5}], [{"name": "flip", "p": 0.6}]),
        ([{"name": "flip"}], [{"name": "flip", "p": 0.6}]),
        ([{"name": "flip"}, {"name": "crop"}], [{"name": "crop"}, {"name": "flip"}]),
        ([{"name": "flip"}], []),
        ([{"name": "light"}], [{"name": "standard"}]),
        ([{"name": "light"}, {"name": "flip", "p": 0.1}], [{"name": "light"}, {"name": "flip"}]),
    ],
)
def test_what_cannot_be_the_same_is_a_difference(mine: Any, theirs: Any) -> None:
    assert differences(mine, theirs) == ["augmentation"]


def test_a_run_does_not_go_on_with_other_augmentation(make_config: Any, dataset: Any, tmp_path: Any) -> None:
    folder = tmp_path / "run"
    fit(make_config(augmentation=[{"name": "light"}]), folder, dataset=dataset, reporter=Quiet())
    before = sorted(path.name for path in folder.iterdir())
    written = RunConfig.from_toml(folder / "config.toml").augmentation
    changed = [written[0] | {"p": written[0]["p"] / 2}, *written[1:]]
    # The preset is known for another one, and a parameter for another value, when the data is there.
    for other in ([{"name": "strong"}], changed, [], [{"name": written[0]["name"], "p": 0.125}]):
        with pytest.raises(ConfigError) as error:
            fit(make_config(augmentation=other), folder, dataset=dataset, resume=True, reporter=Quiet())
        assert str(error.value) == (
            f"Expected the settings that the run in {folder} was started with; received other values of augmentation. "
            "Resume with the same settings, or start a new run in another folder."
        )
        assert sorted(path.name for path in folder.iterdir()) == before
    for same in ([{"name": "light"}], written):
        assert fit(make_config(augmentation=same), folder, dataset=dataset, resume=True, reporter=Quiet()).finished


def test_a_campaign_does_not_go_on_with_another_preset(tmp_path: Any) -> None:
    config = RunConfig.from_dict(LEAST | {"augmentation": [{"name": "light"}], "epochs": 1})
    folder = tmp_path / "repeated"
    repeat(config, folder, repeats=2, reporter=Quiet())
    with pytest.raises(ConfigError, match="was begun with; received other values of augmentation"):
        repeat(config.model_copy(update={"augmentation": [{"name": "strong"}]}), folder, repeats=2, reporter=Quiet())
