"""``striate filter``: the worked examples typed in, files, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

SIX = "4 9 2 5 8 3; 5 6 2 4 0 3; 2 4 5 4 5 2; 5 6 5 4 7 8; 5 7 7 9 2 1; 5 8 5 3 8 4"
LETTER = "1 0 0 0 0 1; 0 1 0 0 1 0; 0 0 1 1 0 0; 1 0 0 0 1 0; 0 1 0 0 1 0; 0 0 1 0 1 0"
LECTURE = "1 1 1 0 0; 0 1 1 1 0; 0 0 1 1 1; 0 0 1 1 0; 0 1 1 0 0"
NINE = "1 2 3; 4 5 6; 7 8 9"
EDGE = "1 0 -1; 1 0 -1; 1 0 -1"
FALLING = "1 -1 -1; -1 1 -1; -1 -1 1"
X = "\n".join(
    " ".join("1" if row in {column, 8 - column} and 0 < row < 8 else "-1" for column in range(9)) for row in range(9)
)


def rows(text):
    return [[float(word) for word in line.split()] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("signal", "kernel", "options", "expected"),
    [
        ("1 2 3 4 5 6", "2", [], "2 4 6 8 10 12"),
        ("1 2 3 4 5 6", "2 2", [], "6 10 14 18 22"),
        ("1 2 3 4 5 6", "2 2 2", [], "12 18 24 30"),
        ("1 2 3 4 5 6", "2 2 2", ["--padding", 1], "6 12 18 24 30 22"),
        ("1 2 3 4 5 6", "2 2 2 2 2", ["--padding", 2], "12 20 30 40 36 30"),
        ("1 2 3 4 5 6", "2 2 2", ["--stride", 3], "12 30"),
        ("1 2 3 4 5 6", "2 2 2", ["--dilation", 2], "18 24"),
        ("0 0 0 1 1 0 0 0", "0 1 0", [], "0 0 1 1 0 0"),
        ("0 0 0 1 1 0 0 0", "bump_detector", [], "0 0 1 1 0 0"),
        ("1 2 3 4 5 6", "2 2 2", ["--padding", "causal"], "2 6 12 18 24 30"),
        ("-1 -2.5 3", "-2", [], "2 5 -6"),
        (".5 1e3", "1", [], "0.5 1000"),
        ("1234567.25 2", "1", [], "1234567.25 2"),
    ],
)
def test_signals(striate, signal, kernel, options, expected):
    assert striate("filter", signal, "--kernel", kernel, *options).stdout == expected + "\n"


@pytest.mark.parametrize(
    ("image", "kernel", "options", "expected"),
    [
        (LETTER, FALLING, [], [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]]),
        (LECTURE, "1 0 1; 0 1 0; 1 0 1", [], [[4, 3, 4], [2, 4, 3], [2, 3, 4]]),
        ("; ".join(["0 0 0 1 1 0 0 0"] * 8), "0 1 0; 0 1 0; 0 1 0", [], [[0, 0, 3, 3, 0, 0]] * 6),
        (NINE, "1 0; 0 -1", [], [[-4, -4], [-4, -4]]),
        (NINE, "1 0; 0 -1", ["--flip"], [[4, 4], [4, 4]]),
    ],
)
def test_images(striate, image, kernel, options, expected):
    assert rows(striate("filter", image, "--kernel", kernel, *options).stdout) == expected


@pytest.mark.parametrize(
    ("image", "kernel", "options", "beginning"),
    [
        (SIX, EDGE, [], [2, 6]),
        (SIX, EDGE, ["--stride", 2], [2, -4]),
        (SIX, EDGE, ["--stride", "2x1"], [2, 6]),
        (SIX, EDGE, ["--padding", 1], [-15]),
        (LETTER, FALLING, ["--stride", 2], [3, -3]),
        (LETTER, "-1 1 -1; -1 1 -1; -1 1 -1", [], [-1, -1, -1, -1]),
    ],
)
def test_beginnings_of_images(striate, image, kernel, options, beginning):
    assert rows(striate("filter", image, "--kernel", kernel, *options).stdout)[0][: len(beginning)] == beginning


def test_x_is_matched_exactly_on_its_strokes(striate):
    match = rows(striate("filter", X, "--kernel", FALLING).stdout)
    assert [(r, c) for r in range(7) for c in range(7) if match[r][c] / 9 == 1] == [(1, 1), (2, 2), (4, 4), (5, 5)]


def test_columns_are_aligned_and_can_be_read_again(striate):
    first = striate("filter", "1 -20; 300 4", "--kernel", "1; 0", "--padding", "1x0").stdout
    assert first == "  0   0\n  1 -20\n300   4\n"
    assert striate("filter", first, "--kernel", "1;0", "--padding", "0").stdout == "0   0\n1 -20\n"


def test_a_volume_of_numbers(striate):
    ones, volume = "1 1; 1 1 | 1 1; 1 1", "1 2; 3 4 | 5 6; 7 8"
    assert striate("filter", volume, "--kernel", ones).stdout == "36\n"
    same = striate("filter", volume, "--kernel", "identity", "--padding", "same").stdout
    assert striate("filter", same, "--kernel", ones).stdout == "36\n"


def test_a_picture(striate, tmp_path):
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save("in [bold].png")
    done = striate("filter", "in [bold].png", "--kernel", "identity", "--out", "out [bold].npy")
    assert done.stdout == "Wrote out [bold].npy, of 1x5x6.\n"
    assert np.load("out [bold].npy").tolist() == [np.arange(30).reshape(5, 6).tolist()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in [bold].png", "out [bold].npy"]


def test_a_long_row_is_not_broken(striate):
    signal = " ".join(map(str, range(200)))
    assert striate("filter", signal, "--kernel", "1").stdout == signal + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1 2"], "Expected a source and a --kernel; received no --kernel. See `striate filter --help` for examples."),
        (
            ["", "-k", "1"],
            "Expected a source and a --kernel; received no source. See `striate filter --help` for examples.",
        ),
        (
            ["1 2 x", "-k", "1"],
            (
                "Expected numbers such as '1 2 3' or '1 0 -1; 1 0 -1'; received '1 2 x'. "
                "Separate entries by spaces, rows by ';'."
            ),
        ),
        (
            ["1 inf", "-k", "1"],
            (
                "Expected numbers such as '1 2 3' or '1 0 -1; 1 0 -1'; received '1 inf'. "
                "Separate entries by spaces, rows by ';'."
            ),
        ),
        (
            ["1 2; 3", "-k", "1"],
            "Expected rows of equal length; received '1 2; 3'. Give every row, and every plane, as many entries.",
        ),
        (
            ["1 2", "-k", "1 2; 3 4"],
            (
                "Expected a kernel of 1 dimensions, as the input has; received --kernel '1 2; 3 4' of 2. "
                "Separate rows by ';' and planes by '|'."
            ),
        ),
        (
            ["1 2", "-k", "1", "--stride", ""],
            "Expected a whole number, or one per axis such as 2x1; received ''. Join the numbers by x.",
        ),
        (
            ["1 2", "-k", "1", "--padding", "-1"],
            "Expected a whole number, or one per axis such as 2x1; received '-1'. Join the numbers by x.",
        ),
        (
            ["1 2", "-k", "1", "-o", "nowhere/a.npy"],
            "Expected a file in a folder that exists; received nowhere/a.npy. Create nowhere first.",
        ),
        (["1 2", "-k", "1", "-o", "/"], "Expected a file to write; received the folder /. Add a file name."),
        (
            ["1 2", "-k", "1", "--padding-mode", "x"],
            (
                "Expected one of 'zeros', 'reflect', 'replicate', 'circular' for --padding-mode; received 'x'. "
                "See `striate filter --help`."
            ),
        ),
        (["[red]no.png", "-k", "1"], "Expected a file that exists; received [red]no.png. Check the path."),
    ],
)
def test_refused(refused, words, message):
    assert refused("filter", *words) == message


def test_a_large_picture_is_not_printed(refused):
    np.save("large.npy", np.zeros((1, 65, 64)))
    assert refused("filter", "large.npy", "-k", "identity") == (
        "Expected --out for a large result; received one of 1x65x64. Add --out edges.png."
    )


def test_every_named_filter_is_listed(striate):
    from striate.nn import list_filters

    listed = striate("filter", "--list").stdout
    for entry in list_filters():
        assert entry.name in listed
        assert entry.description in listed
