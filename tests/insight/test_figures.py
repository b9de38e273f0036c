"""Figures draw what they are given, in every rank, without a warning, and are written whole or not at all."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import nn

from striate.errors import InputError
from striate.insight import feature_maps
from striate.insight.figures import (
    confusion_figure,
    curves_figure,
    feature_map_figure,
    filter_figure,
    mistakes_figure,
    prediction_figure,
    save,
)


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes if axes.get_images()]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, tick labels included."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    drawn = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in drawn]
    return [
        (a, b)
        for i, (a, one) in enumerate(boxes)
        for b, two in boxes[i + 1 :]
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ]


@pytest.mark.parametrize(
    ("shape", "tiles"),
    [
        ((6, 1, 5, 5), 6),
        ((70, 1, 3, 3), 64),
        ((5, 3, 7, 7), 5),
        ((4, 20, 3, 3), 4 * 16),
        ((3, 2, 3, 3, 3), 3 * 2 * 3),
        ((2, 1, 2, 3, 3), 2 * 2),
    ],
)
def test_filters_in_two_and_three_dimensions(shape, tiles):
    weight = torch.randn(shape)
    figure = filter_figure(weight, "conv1")
    shown = [image for image in images(figure) if image.shape[:2] == shape[-2:]]
    assert len(shown) == tiles
    if shape[1] != 3:
        first = weight.reshape(-1, *shape[-2:])[0]
        np.testing.assert_allclose(shown[0], first, rtol=1e-6)
        limits = figure.axes[0].get_images()[0].get_clim()
        assert limits[1] == -limits[0] == pytest.approx(float(weight.abs().max()))
    else:
        np.testing.assert_allclose(shown[0], 0.5 + weight[0].permute(1, 2, 0) / (2 * weight.abs().max()), rtol=1e-5)
    assert overlapping(figure) == []


@pytest.mark.parametrize(("shape", "kind"), [((4, 1, 9), "bars"), ((4, 2, 40), "lines")])
def test_filters_of_signals(shape, kind):
    weight = torch.randn(shape)
    figure = filter_figure(weight)
    assert len(figure.axes) == shape[0] * shape[1]
    axes = figure.axes[0]
    drawn = [bar.get_height() for bar in axes.patches] if kind == "bars" else axes.lines[1].get_ydata()
    np.testing.assert_allclose(drawn, weight[0, 0], rtol=1e-6)
    assert overlapping(figure) == []


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv1d(1, 3, 5), nn.ReLU(), nn.MaxPool1d(2)), (1, 1, 64)),
        ((nn.Conv2d(1, 10, 5), nn.ReLU(), nn.MaxPool2d(2)), (1, 1, 28, 28)),
        ((nn.Conv2d(3, 20, 3), nn.Tanh()), (1, 3, 12, 20)),
        ((nn.Conv3d(1, 4, 3),), (1, 1, 6, 8, 10)),
    ],
)
def test_maps_stand_under_one_another(layers, shape):
    x = torch.rand(shape)
    stage = feature_maps(nn.Sequential(*layers), x)["0"]
    figure = feature_map_figure(stage, x)
    channels = min(stage.convolution.shape[1], 16)
    scale = 0 if len(shape) == 3 else 1
    assert len(figure.axes) == 1 + channels * len(stage.steps) + scale
    words = texts(figure)
    for step in stage.steps.values():
        assert " x ".join(map(str, step.shape[2:])) in words
    assert f"input {' x '.join(map(str, shape[1:]))}" in words
    assert overlapping(figure) == []
    if len(shape) == 4:
        np.testing.assert_allclose(images(figure)[1], stage.convolution[0, 0], rtol=1e-6)
        np.testing.assert_allclose(images(figure)[2], stage.activation[0, 0], rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 10, 30])
def test_small_confusion_matrices_have_every_count(number):
    counts = torch.randint(0, 4000, (number, number))
    names = [f"class {index}" for index in range(number)]
    figure = confusion_figure(counts, names)
    axes = figure.axes[0]
    written = sorted(int(text.get_text()) for text in axes.texts)
    assert written == sorted(value for value in counts.flatten().tolist() if value)
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    np.testing.assert_allclose(images(figure)[0], counts / counts.sum(1, keepdim=True).clamp(min=1), rtol=1e-6)
    assert overlapping(figure) == []


def test_a_large_confusion_matrix_lists_the_most_frequent_confusions():
    counts = np.eye(80, dtype=int) * 50
    counts[3, 7] = 9
    figure = confusion_figure(counts, [f"c{index}" for index in range(80)])
    assert list(figure.axes[0].texts) == []
    assert "c3 \u2192 c7" in texts(figure)
    assert len(figure.axes[0].get_yticklabels()) < 80
    assert overlapping(figure) == []


def test_classes_without_samples_and_names_of_any_kind():
    names = ["cost $1 $2", "\u732b", "tab\there", "a rather long name that will not fit in", ""]
    figure = confusion_figure(np.zeros((5, 5), dtype=int), names)
    save_to_nowhere(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [r"cost \$1 \$2", "\ufffd", "tab\ufffdhere", "a rather long nam\u2026", ""]


def save_to_nowhere(figure: Figure) -> None:
    figure.draw(figure.canvas.get_renderer())


def test_mistakes():
    x = torch.rand(25, 3, 8, 12)
    names = [f"true class number {index}" for index in range(25)]
    figure = mistakes_figure(x, names, ["cat $\u732b$"] * 25, [0.9996] * 25)
    assert len(figure.axes) == 20
    assert "the 20 surest of 25" in texts(figure)
    assert "said cat \\$\ufffd\\$  >99.9 %" in texts(figure)
    assert overlapping(figure) == []
    assert "None: every sample was classified correctly." in texts(mistakes_figure(x[:0], [], [], []))


@pytest.mark.parametrize("shape", [(1, 30), (1, 9, 9), (2, 4, 8, 8)])
def test_predictions(shape):
    figure = prediction_figure(torch.rand(shape), ["cat", "dog", "cow"], [0.25, 0.7, 0.05], true="cat", top=2)
    axes = figure.axes[1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog", "cat"]
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.25]
    assert texts(figure) == ["dog, 70.0 %", "true class: cat"]
    assert overlapping(figure) == []


def test_curves():
    nan = float("nan")
    figure = curves_figure(range(1, 4), {"train": [9.0, 1.0, 0.1], "val": [8, 1.2, nan]}, {"val": [0.5, 0.75, nan]})
    loss, accuracy = figure.axes
    assert list(loss.lines[0].get_ydata()) == [9.0, 1.0, 0.1]
    assert loss.get_yscale() == "log"
    assert accuracy.get_title(loc="right") == "best val 75.00 % at epoch 2"
    assert overlapping(figure) == []
    save_to_nowhere(curves_figure([1], {"train": [nan]}, {"train": [nan]}))


def test_the_best_epoch_is_the_first_highest_or_the_one_given():
    loss, accuracy = {"val": [3.0, 2.0, 1.0, 0.5]}, {"val": [0.5, 0.75, 0.75, float("nan")]}

    def marked(best_epoch: int | None) -> tuple[str, list[list[float]]]:
        axes = curves_figure([1, 2, 3, 4], loss, accuracy, best_epoch=best_epoch).axes[1]
        return axes.get_title(loc="right"), [list(line.get_xdata()) for line in axes.lines[1:]]

    assert marked(None) == ("best val 75.00 % at epoch 2", [[2]])
    assert marked(3) == ("best val 75.00 % at epoch 3", [[3]])
    assert marked(4) == ("", [])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: confusion_figure([[1, 2]], ["a", "b"]),
            (
                "Expected a confusion matrix of 2 x 2, one row and column per class; received shape (1, 2). "
                "Count every class, also those without samples."
            ),
        ),
        (
            lambda: mistakes_figure(torch.zeros(2, 1, 4), ["a"], ["b", "c"], [1.0, 1.0]),
            (
                "Expected as many inputs as true classes, predicted classes and probabilities; received 2, 1, 2, 2. "
                "Give one of each per mistake."
            ),
        ),
        (
            lambda: curves_figure([1, 2], {"val": [1.0]}),
            "Expected one loss per epoch, 2; received 1 for 'val'. Fill gaps with NaN.",
        ),
        (
            lambda: curves_figure([1, 2], {"val": [1.0, 0.5]}, best_epoch=0),
            "Expected best_epoch to be one of the epochs, 1 to 2; received best_epoch=0. Leave it out if unknown.",
        ),
        (
            lambda: prediction_figure(torch.zeros(1, 4), ["a", "b"], [1.0]),
            "Expected one probability per class, 2; received 1. Give the whole softmax output.",
        ),
        (
            lambda: save(Figure(), "figure.bmp"),
            "Expected a file name ending in .png, .pdf, .svg; received 'figure.bmp'. Use .png for pictures.",
        ),
    ],
)
def test_messages(draw, message):
    with pytest.raises(InputError) as caught:
        draw()
    assert str(caught.value) == message


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_saving(tmp_path, suffix):
    path = save(curves_figure([1, 2], {"train": [2.0, 1.0]}), tmp_path / "new" / f"curves.{suffix}")
    assert [entry.name for entry in path.parent.iterdir()] == [f"curves.{suffix}"]
    if suffix == "png":
        with Image.open(path) as picture:
            assert picture.getpixel((0, 0))[:3] == (255, 255, 255)
        first = path.read_bytes()
        assert save(curves_figure([1, 2], {"train": [2.0, 1.0]}), path).read_bytes() == first


def test_a_failed_save_leaves_the_old_file_and_nothing_beside(tmp_path, monkeypatch):
    path = save(filter_figure(torch.ones(1, 1, 2, 2)), tmp_path / "f.png")
    old = path.read_bytes()
    figure = filter_figure(torch.ones(1, 1, 3, 3))

    def fail(target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.png"]


def test_no_global_state():
    settings = dict(mpl.rcParams)
    filter_figure(torch.full((2, 1, 3, 3), float("nan")))
    assert dict(mpl.rcParams) == settings
    assert _pylab_helpers.Gcf.figs == {}
