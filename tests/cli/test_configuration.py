"""The options of training, declared once, in all commands that train."""

import inspect

import pytest
from typer.utils import get_params_from_function

from striate.cli.app import app
from striate.cli.configuration import _FLAGS, Flags
from striate.errors import InputError
from striate.train import RunConfig

COMMANDS = {
    "train": {"out", "resume", "no_report", "find_lr", "find_batch_size"},
    "cross-validate": {"folds", "repeats", "out", "as_json"},
    "repeat": {"repeats", "out", "as_json"},
    "search": {"tune", "space", "trials", "metric", "pruner", "storage", "study", "out", "as_json"},
}
VALUES = {str: "x", int: 3, float: 0.25, bool: True, list[str]: ["x"]}


def function_of(name):
    return next(each.callback for each in app.registered_commands if each.name == name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_all_options_and_its_own(name):
    parameters = list(get_params_from_function(function_of(name)))
    assert set(parameters) == {*_FLAGS, *COMMANDS[name]}
    assert parameters[:2] == ["model", "data"]
    assert inspect.getdoc(function_of(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_shows_them_in_their_groups(striate, name):
    told = striate(name, "--help").stdout
    for group in ("Data", "Network", "Optimiser and schedule", "Averaging", "Machine"):
        assert f"─ {group} ─" in told, group
    for flag in ("--lr", "--augment", "--from", "--set", "--data-option"):
        assert flag in told, flag


def given(**values):
    return Flags(dict.fromkeys(_FLAGS) | values)


@pytest.mark.parametrize("name", [name for name, flag in _FLAGS.items() if flag.setting])
def test_each_is_a_setting_that_exists(name):
    flag = _FLAGS[name]
    (kind,) = [each for each in VALUES if flag.kind == each | None]
    value = "balanced" if name == "class_weights" else VALUES[kind]
    settings = dict(given(**{name: value}).given)
    assert flag.setting in settings
    section, _, setting = flag.setting.rpartition(".")
    config = RunConfig.from_dict({"model": "lenet", "data": "digits28"})
    if section in ("", "model", "data", "fine_tuning", "distillation", "best", "early_stopping", "loggers"):
        assert hasattr(getattr(config, section) if section else config, setting)


def test_nothing_given_is_nothing_set():
    assert given().given == []
    assert given(option=[], logger=[], freeze=[], skip_corrupt=False).given == []
    assert given(dropout=0.0, epochs=0).given == [("model.dropout", 0.0), ("epochs", 0)]


def test_missing_parts_are_named_by_the_command():
    with pytest.raises(InputError) as error:
        given(epochs=1).config("search")
    assert str(error.value) == (
        "Expected a network and --data, or --config; received neither. "
        "For example: striate search lenet --data digits28"
    )
    with pytest.raises(InputError) as error:
        given(epochs=1).config("train", "--resume")
    assert str(error.value) == (
        "Expected a network and --data, or --config, or --resume; received none of them. "
        "For example: striate train lenet --data digits28"
    )


def test_all_commands_come_to_one_configuration(striate, monkeypatch, tmp_path):
    seen = []

    class Enough(Exception):
        pass

    def record(config, folder, **options):
        seen.append(config)
        raise Enough

    for place in (
        "striate.train.fit",
        *(f"striate.train.campaigns.{name}" for name in ("cross_validate", "repeat", "search")),
    ):
        monkeypatch.setattr(place, record)
    words = [
        "lenet",
        "-d",
        "digits28",
        "--lr",
        0.5,
        "--optimizer",
        "sgd",
        "--augment",
        "flip",
        "--patience",
        3,
        "--freeze",
        1,
    ]
    for name in COMMANDS:
        striate(name, *words, "--out", tmp_path / name)
    assert len(seen) == 4
    assert all(config == seen[0] for config in seen)
    assert (seen[0].optimizer.learning_rate, seen[0].fine_tuning.freeze) == (0.5, 1)
