"""What a search tries: reading it, its bounds and choices, and the usual space of a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data import load_data
from striate.errors import ConfigError
from striate.train import RunConfig
from striate.train.campaigns.space import Choice, Range, Space, default_space, parse_tried


@pytest.mark.parametrize(
    ("text", "tried", "whole"),
    [
        ("0.1:0.5", Range(0.1, 0.5), False),
        ("log:1e-4:1e-1", Range(1e-4, 1e-1, log=True), False),
        ("1:8", Range(1, 8), True),
        ("log:1:64", Range(1, 64, log=True), True),
        ("5:20:5", Range(5, 20, 5), True),
        ("0:0.5:0.1", Range(0, 0.5, 0.1), False),
    ],
)
def test_ranges(text, tried, whole):
    assert parse_tried("a", text) == tried
    assert tried.whole is whole
    assert parse_tried("a", str(tried)) == tried


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("16,32", (16, 32)),
        ("sgd,adamw", ("sgd", "adamw")),
        ("true,false", (True, False)),
        ("0.1, 0.25", (0.1, 0.25)),
        ([16, 32], (16, 32)),
        ([[1, 2], [3]], ([1, 2], [3])),
    ],
)
def test_choices(given, values):
    assert parse_tried("a", given) == Choice(values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5", "what to try of a, as LOW:HIGH, LOW:HIGH:STEP, log:LOW:HIGH, or choices A,B,C; received '5'"),
        ("a:b", "received 'a:b'"),
        (3, "received 3"),
        ("log:1,2", "received 'log:1,2'"),
        ("2:1", "a range from a lower number to a higher one; received 2:1"),
        ("nan:1", "a range from a lower number to a higher one"),
        ("log:0:1", "a range above 0 where logarithms are drawn; received log:0:1"),
        ("0:1:2", "a step above 0, within the range, without log; received 0:1:2"),
        ("log:1:8:2", "a step above 0, within the range, without log"),
        ("16,16", "two different values or more to choose from; received 16,16"),
        ([7], "two different values or more to choose from; received 7"),
    ],
)
def test_what_cannot_be_tried(given, message):
    with pytest.raises(ConfigError) as raised:
        parse_tried("a", given)
    assert message in str(raised.value)


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.booleans())
def test_a_range_is_written_so_that_reading_gives_the_same(low, factor, log):
    tried = Range(low, low * factor, log=log)
    assert parse_tried("a", str(tried)) == tried


def test_a_file_has_the_sections_of_a_configuration(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        'batch_size = [16, 32]\n[optimizer]\nlearning_rate = "log:1e-4:1e-1"\n[model.options]\npool = "max,avg"'
    )
    assert Space.from_toml(path).tried == {
        "batch_size": Choice((16, 32)),
        "optimizer.learning_rate": Range(1e-4, 1e-1, log=True),
        "model.options.pool": Choice(("max", "avg")),
    }
    with pytest.raises(ConfigError, match="a file with a space"):
        Space.from_toml(tmp_path / "none.toml")
    path.write_text("a = [")
    with pytest.raises(ConfigError, match="a space in TOML"):
        Space.from_toml(path)
    with pytest.raises(ConfigError, match="a space of one setting or more"):
        Space.parse({})


def test_fractional_settings_get_fractional_ranges():
    config = RunConfig(model="lenet", data="digits")
    space = Space.parse({"loss.label_smoothing": "0:0.5", "gradient_clip": "1:4", "epochs": "1:4"})
    fitted = space.fitted(config.model_copy(update={"loss": RunConfig(model="a", data="b", loss="cross_entropy").loss}))
    assert not fitted.tried["gradient_clip"].whole
    assert fitted.tried["epochs"].whole


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"optimizer.learning_rat": "log:1e-4:1e-1"}, "Did you mean 'learning_rate'?"),
        ({"loss.label_smoothing": "0:2"}, "loss.label_smoothing less than 1"),
        ({"optimizer.name": "sgd,adan"}, "optimizer.name to be one of"),
        ({"epochs.more": "1:2"}, "nothing below epochs, a setting itself"),
    ],
)
def test_a_space_that_no_run_could_use_is_refused_before_the_search(space, message):
    with pytest.raises(ConfigError) as raised:
        Space.parse(space).fitted(RunConfig(model="lenet", data="digits", loss="cross_entropy"))
    assert message in str(raised.value)


def test_what_is_tried_together_may_need_each_other():
    space = Space.parse({"optimizer.name": ["sgd", "rmsprop"], "optimizer.momentum": "0.5:0.9"})
    assert space.fitted(RunConfig(model="lenet", data="digits")) == space


def test_the_usual_space_has_what_the_network_has():
    digits = load_data("digits")
    usual = default_space(RunConfig(model="lenet", data="digits"), digits).tried
    assert usual["optimizer.learning_rate"] == Range(1e-4, 4e-2, log=True)
    assert usual["batch_size"] == Choice((16, 32, 64, 128))
    other = RunConfig(model="lenet5", data="digits", optimizer="sgd", loss="half_squared_error")
    assert list(default_space(other, digits).tried) == ["optimizer.learning_rate", "optimizer.l2", "batch_size"]
    few = load_data("digits", test_fraction=0.9, val_fraction=0.0)  # 180 samples to train on
    assert default_space(other, few).tried["batch_size"] == Choice((16, 32))
