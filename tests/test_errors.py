import pickle

import pytest

from striate import errors
from striate.errors import did_you_mean

INPUT_ERRORS = [
    errors.InputError,
    errors.GeometryError,
    errors.ModelError,
    errors.DataError,
    errors.ConfigError,
    errors.CheckpointError,
]


@pytest.mark.parametrize("error", INPUT_ERRORS)
def test_an_input_error_says_what_was_expected_what_came_and_what_to_do(error):
    raised = error("a positive stride", "stride=0", "Use 1 to visit every position.")
    assert str(raised) == "Expected a positive stride; received stride=0. Use 1 to visit every position."
    assert (raised.expected, raised.received, raised.remedy) == (
        "a positive stride",
        "stride=0",
        "Use 1 to visit every position.",
    )
    assert isinstance(raised, errors.InputError)
    assert isinstance(raised, errors.StriateError)
    assert isinstance(raised, ValueError)


@pytest.mark.parametrize("error", INPUT_ERRORS)
def test_an_input_error_crosses_processes(error):
    raised = error("a", "b", "C.")
    copy = pickle.loads(pickle.dumps(raised))  # noqa: S301  # of an object made here
    assert type(copy) is error
    assert str(copy) == str(raised)
    assert copy.remedy == "C."


def test_a_failed_run_is_no_input_error():
    diverged = errors.DivergedError("loss is nan at step 3")
    assert str(diverged) == "loss is nan at step 3"
    assert isinstance(diverged, errors.RunError)
    assert isinstance(diverged, errors.StriateError)
    assert isinstance(diverged, RuntimeError)
    assert not isinstance(diverged, errors.InputError)


def test_every_error_is_in_the_drawing():
    classes = {name: c for name, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    assert len(classes) == 10
    for name, error in classes.items():
        assert name in errors.__doc__
        assert issubclass(error, errors.StriateError)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("lenett", "Did you mean 'lenet' or 'lenet5'?"),
        ("unet3d", "Did you mean 'unet'?"),
        ("xyz", "Choose one of: lenet, lenet5, unet."),
        ("", "Choose one of: lenet, lenet5, unet."),
    ],
)
def test_did_you_mean_names_the_nearest_or_all(word, answer):
    assert did_you_mean(word, ["unet", "lenet5", "lenet"]) == answer
