"""Figures of scores, numbers, masks and samples: what they draw, in every rank, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from striate.errors import InputError
from striate.insight.figures import (
    bars_figure,
    confusion_figure,
    curves_figure,
    mistakes_figure,
    overlay_figure,
    pairs_figure,
    precision_recall_figure,
    regression_figure,
    reliability_figure,
    roc_figure,
    texts_figure,
    tiles_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def drawn(figure: Figure) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its box; ticks beyond the ends of an axis exist, but are not."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    figure.draw(renderer)
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {id(t.label1) for t in ticks if not low - 1e-9 <= t.get_loc() <= high + 1e-9}
    found = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and id(t) not in hidden]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    boxes = drawn(figure)
    return [
        (a, b)
        for i, (a, one) in enumerate(boxes)
        for b, two in boxes[i + 1 :]
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ]


def outside(figure: Figure) -> list[str]:
    """Texts that reach over the edge of the sheet."""
    return [
        text
        for text, box in drawn(figure)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1
    ]


CURVE = ([0.0, 0.1, 1.0], [0.0, 0.8, 1.0])
LONG = "a class $ with a long name and é"


@pytest.mark.parametrize("number", [1, 3, 8, 30])
def test_curves_of_few_classes_have_names_and_of_many_a_mean(number: int) -> None:
    names = [f"{LONG} {place}" for place in range(number)]
    for draw in (roc_figure, precision_recall_figure):
        figure = draw(dict.fromkeys(names, CURVE), dict.fromkeys(names, 0.9))
        assert overlapping(figure) == []
        assert outside(figure) == []
        legend = figure.axes[0].get_legend()
        assert legend is not None
        told = [text.get_text() for text in legend.get_texts()]
        assert told == ["mean of 30"] if number == 30 else len(told) == number


def test_verification_marks_the_equal_error() -> None:
    figure = roc_figure({"pairs": CURVE}, {"pairs": 0.9}, equal_error=0.15, logarithmic=True)
    assert figure.axes[0].get_xscale() == "log"
    assert "circle: equal error rate 15.00 %" in texts(figure)
    assert overlapping(figure) == []


def test_reliability_draws_what_is_told() -> None:
    figure = reliability_figure([0, 0.25, 0.5, 1], [0, 5, 20], [None, 0.2, 0.9], [None, 0.4, 0.8], subtitle="told")
    above, below = figure.axes
    assert [round(bar.get_height(), 3) for bar in above.patches] == [0.2, 0.9]
    assert [bar.get_height() for bar in below.patches] == [0, 5, 20]
    assert overlapping(figure) == []


def test_bars_show_values_and_intervals() -> None:
    figure = bars_figure([LONG, "b", "c"], [0.5, None, 1.0], [(0.4, 0.6), None, None], "Recall", "told")
    assert [round(bar.get_width(), 3) for bar in figure.axes[0].patches] == [0.5, 1.0]
    assert {"0.500", "1.000"} <= set(texts(figure))
    assert len(figure.axes[0].lines) == 3  # an interval and its two ends
    assert overlapping(figure) == []
    assert outside(figure) == []
    many = bars_figure([str(n) for n in range(100)], [n / 100 for n in range(100)], [None] * 100, "Recall")
    assert "the lowest 60 of 100" in texts(many)
    assert len(many.axes[0].patches) == 60


def test_numbers_are_drawn_once_per_output() -> None:
    true = torch.randn(6000, 2)
    figure = regression_figure(true, true + 1, ["age", LONG])
    assert len(figure.axes) == 4
    assert len(figure.axes[0].collections[0].get_offsets()) == 5000
    assert figure.axes[1].get_title(loc="right") == "mean residual 1"
    assert overlapping(figure) == []
    assert outside(figure) == []
    wide = regression_figure(torch.randn(9, 12), torch.randn(9, 12), [str(n) for n in range(12)])
    assert len(wide.axes) == 16
    assert "9 samples; the first 8 of 12 outputs" in texts(wide)


@pytest.mark.parametrize("size", [(40,), (12, 16), (4, 12, 16)])
def test_masks_are_laid_over_inputs(size: tuple[int, ...]) -> None:
    truth = torch.zeros(2, *size, dtype=torch.long)
    said = truth.clone()
    truth[..., 2:6], said[..., 4:8] = 1, 1
    truth[..., -1], truth[..., -3:-1] = 3, 2
    said[..., -3:] = 1
    figure = overlay_figure(torch.rand(2, 1, *size), truth, said, ["ground", "cell", LONG, "void"], ["a", "b"], void=3)
    assert len(figure.axes) == 8
    assert overlapping(figure) == []
    assert outside(figure) == []
    errors = np.asarray(figure.axes[3].get_images()[-1].get_array()).reshape(-1, size[-1], 4)[0]
    wrong = errors[:, 3] > 0
    assert wrong.tolist() == [2 <= x < 4 or 6 <= x < 8 or x in (size[-1] - 3, size[-1] - 2) for x in range(size[-1])]
    missed, invented, confused = (tuple(errors[x, :3].round(2)) for x in (2, 6, size[-1] - 3))
    assert len({missed, invented, confused}) == 3


def test_masks_of_several_sizes_keep_their_proportions() -> None:
    sizes = [(12, 24), (30, 10), (16, 16)]
    masks = [torch.zeros(size, dtype=torch.long) for size in sizes]
    figure = overlay_figure([torch.rand(1, *size) for size in sizes], masks, masks, ["a", "b"], ["x", "y", "z"])
    for (height, width), axes in zip(sizes, figure.axes[::4], strict=True):
        place = axes.get_window_extent()
        assert place.height / place.width == pytest.approx(height / width, rel=0.02)
    assert overlapping(figure) == []
    assert outside(figure) == []


def test_texts_are_written_out() -> None:
    long = "many words " * 60
    figure = mistakes_figure(["a $ price", long, ""], ["good", "bad", "good"], ["bad", "good", "bad"], [0.9, 0.8, 0.7])
    written = texts(figure)
    assert r"a \$ price" in written
    assert any(line.endswith("\u2026") for line in written)
    assert "said bad  90.0 %" in written
    assert overlapping(figure) == []
    assert outside(figure) == []


@pytest.mark.parametrize("size", [(20,), (8, 8), (4, 8, 8)])
def test_samples_and_pairs_of_every_rank(size: tuple[int, ...]) -> None:
    inputs = torch.rand(4, 1, *size)
    words = [LONG] * 4
    for figure, axes in (
        (tiles_figure(inputs, words, words, "Worst"), 4),
        (pairs_figure(inputs, inputs, words, words, "Pairs", "told"), 8),
    ):
        assert len(figure.axes) == axes
        assert overlapping(figure) == []
        assert outside(figure) == []


def test_curves_of_another_metric() -> None:
    epochs, loss = [1, 2, 3], {"train": [3.0, 2.0, 1.0]}
    figure = curves_figure(
        epochs, loss, {"val": [5.0, 4.0, 6.0]}, metric="val_mae", percent=False, lower_is_better=True
    )
    assert figure.axes[1].get_title(loc="left") == "val mae"
    assert figure.axes[1].get_title(loc="right") == "best val 4 at epoch 2"
    positions = confusion_figure([[1, 0], [0, 2]], ["a", "b"], unit="positions")
    assert "3 positions, 100.00 % right; rows are the true classes" in texts(positions)


REFUSED: list[tuple[Any, str]] = [
    (
        lambda: roc_figure({"cat": ([0, 1], [1])}, {"cat": 1.0}),
        "Expected curves of points; received 'cat' with 2 and 1. Give pairs.",
    ),
    (
        lambda: reliability_figure([0, 1], [1, 2], [0.5], [0.5]),
        "Expected one more edge than bins; received lengths [1, 2]. Give one of each per bin.",
    ),
    (
        lambda: bars_figure(["a"], [0.5, 0.6], [None], "Recall"),
        "Expected as many names as values and intervals; received 1, 2 and 1. Give one of each per class.",
    ),
    (
        lambda: regression_figure(torch.zeros(3, 1), torch.zeros(3, 2), ["age"]),
        "Expected true and predicted values of shape (n, 1); received (3, 1) and (3, 2). Give one column per name.",
    ),
    (
        lambda: overlay_figure(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 5), ["a", "b"], ["x"]),
        "Expected labels of size (4, 4); received (4, 5). Give one label per position of the input.",
    ),
    (
        lambda: overlay_figure(torch.zeros(1, 1, 4), torch.zeros(2, 4), torch.zeros(1, 4), ["a", "b"], ["x"]),
        (
            "Expected as many truths, predictions and captions as inputs; received 1, 2, 1 and 1. "
            "Give one of each per sample."
        ),
    ),
    (
        lambda: tiles_figure(torch.zeros(0, 1, 4), [], [], "Worst"),
        (
            "Expected a sample or more, with two lines of text for each; received 0 samples, 0 and 0 lines. "
            "Give one of each per sample."
        ),
    ),
    (
        lambda: texts_figure(["a"], ["b"], [], "Worst"),
        (
            "Expected a sample or more, with two lines of text for each; received 1 samples, 1 and 0 lines. "
            "Give one of each per sample."
        ),
    ),
]


@pytest.mark.parametrize(("draw", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_drawn(draw: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        draw()
    assert str(error.value) == message
