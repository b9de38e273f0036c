"""Networks drawn in text."""

import pytest
from torch import nn

from striate.cli.diagram import diagram, shortened
from striate.insight import Part, outline

PARTS = [
    Part("stem", "Conv2d, ReLU", (1, 4, 4, 4), 112, 1728, (), "3", "2"),
    Part("left", "2 Conv2d, ReLU", (1, 8, 4, 4), 880, 13824, (), "11", "2"),
    Part("add, mean, norm", "", (1, 8), 16, 0, (), "all", ""),
    Part("top.head", "Linear", None, 18, 16, (), "?", "?"),
]


def test_a_drawing():
    assert diagram(PARTS, (1, 3, 9, 9), head="top.head") == [
        "                              output  parameters    macs  field  stride",
        "           input               3x9x9",
        "              │",
        "┌─────────────▼────────────┐",
        "│ stem  Conv2d, ReLU       │   4x4x4         112  1.73 K      3       2",
        "└─────────────┬────────────┘",
        "┌─────────────▼────────────┐",
        "│ left  2 Conv2d, ReLU     │   8x4x4         880  13.8 K     11       2",
        "└─────────────┬────────────┘",
        "┌─────────────▼────────────┐",
        "│ add, mean, norm          │       8          16            all",
        "└─────────────┬────────────┘",
        "┌─────────────▼────────────┐",
        "│ top.head  Linear  (head) │                  18      16      ?       ?",
        "└──────────────────────────┘",
    ]


@pytest.mark.parametrize(("width", "widest"), [(80, 71), (66, 66), (20, 59)])
def test_labels_give_way_on_narrow_terminals(width, widest):
    lines = diagram(PARTS, (1, 3, 9, 9), head="top.head", width=width)
    assert max(map(len, lines)) == widest
    assert ("…" in "".join(lines)) == (width < 71)
    assert (
        len({line.index("▼") for line in lines if "▼" in line} | {line.index("┬") for line in lines if "┬" in line})
        == 1
    )


def test_long_networks_are_shortened():
    chain = nn.Sequential(*(nn.Conv1d(1, 1, 3) for _ in range(30)))
    parts, total = outline(chain, (1, 1, 100), [str(place) for place in range(30)])
    short = shortened(parts, most=8)
    assert [part.name for part in short] == ["0", "1", "2", "3", "... 23 more ...", "27", "28", "29"]
    assert sum(part.macs for part in short) == total.macs
    assert short[4].output_shape == parts[26].output_shape
    assert shortened(parts, most=30) == list(parts)
