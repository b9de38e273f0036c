"""Options of readers and files: filled in, checked, and refused where nobody knows them."""

import pytest

from striate.data import load_data
from striate.data.file_kinds import FileKind, register_file_kind
from striate.data.options import Option, number, numbers, one_of, resolve, texts, whole_number, yes_or_no
from striate.errors import DataError

WINDOW = Option("window", None, "samples in a window", *whole_number(1))


def test_what_is_not_given_has_its_default():
    assert resolve({}, [WINDOW, Option("step", 5, "samples between windows", *whole_number(1))], "a table") == {
        "window": None,
        "step": 5,
    }


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (whole_number(2, 4), [2, 4], [1, 5, 2.0, True, "2", None]),
        (number(0, 1), [0, 1, 0.5], [-0.1, 1.1, float("nan"), float("inf"), False, "0"]),
        (one_of("a", "b"), ["a"], ["c", 1, ["a"]]),
        (texts(), ["a", ["a", "b"], ("a",)], [[], "", [1], 3]),
        (numbers(), [1, 0.5, [1, 2.5]], [0, [], [0], [1, "a"], True, float("inf")]),
        (yes_or_no(), [True, False], [0, "yes"]),
    ],
)
def test_checks(check, good, bad):
    _, accepts = check
    assert all(accepts(value) for value in good)
    assert not any(accepts(value) for value in bad)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"window": 0},
            "Expected window to be a whole number of at least 1; received window=0. It means: samples in a window.",
        ),
        ({"windows": 3}, "Expected options of a table: window; received windows=3. Did you mean 'window'?"),
    ],
)
def test_messages(given, text):
    with pytest.raises(DataError) as caught:
        resolve(given, [WINDOW], "a table")
    assert str(caught.value) == text


def test_a_source_without_options_says_so():
    with pytest.raises(DataError) as caught:
        load_data("digits", options={"window": 3})
    assert str(caught.value) == "Expected options of digits: none; received window=3. Leave it out."


@pytest.mark.parametrize("kind", [FileKind("image", (".new",), None), FileKind("new", (".x", ".png"), None)])
def test_a_kind_of_file_twice(kind):
    with pytest.raises(DataError) as caught:
        register_file_kind(kind)
    what = "'image'" if kind.name == "image" else "with .png"
    assert str(caught.value) == (
        f"Expected kinds of files with names and extensions of their own; received a second kind {what}. "
        "Name it differently."
    )
