"""Classic textbook numbers, to the last digit: what anyone can check with pencil and paper."""

import math

import pytest
import torch

from striate import nn
from striate.geometry import output_size
from striate.models import create_model
from striate.nn import half_squared_error
from striate.ops import conv, true_convolution

SIGNAL = [1, 2, 3, 4, 5, 6]
TENS = [10, 20, 30, 40, 50, 60]


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def convolved(layer, kernel, *channels):
    """Run a layer whose filters are all given, without bias, over one sample; the result as lists."""
    with torch.no_grad():
        layer.weight.copy_(tensor(kernel).view_as(layer.weight))
    return layer(torch.stack([tensor(channel) for channel in channels])[None])[0].tolist()


@pytest.mark.parametrize(
    ("kernel", "settings", "expected"),
    [
        ([2], {}, [2, 4, 6, 8, 10, 12]),
        ([2, 2], {}, [6, 10, 14, 18, 22]),
        ([2, 2, 2], {}, [12, 18, 24, 30]),
        ([2, 2, 2], {"padding": 1}, [6, 12, 18, 24, 30, 22]),
        ([2, 2, 2, 2, 2], {"padding": 2}, [12, 20, 30, 40, 36, 30]),
        ([2, 2, 2], {"stride": 3}, [12, 30]),
        ([2, 2, 2], {"dilation": 2}, [18, 24]),
    ],
)
def test_one_dimension(kernel, settings, expected):
    assert convolved(nn.Conv1d(1, 1, len(kernel), bias=False, **settings), kernel, SIGNAL) == [expected]


def test_two_channels_in_two_groups():
    layer = nn.GroupedConv1d(2, 2, 1, groups=2, bias=False)
    assert convolved(layer, [2, 4], SIGNAL, TENS) == [[2, 4, 6, 8, 10, 12], [40, 80, 120, 160, 200, 240]]


def test_four_filters_in_two_groups():
    assert convolved(nn.DepthwiseConv1d(2, 1, multiplier=2, bias=False), [2, 4, 6, 8], SIGNAL, TENS) == [
        [2, 4, 6, 8, 10, 12],
        [4, 8, 12, 16, 20, 24],
        [60, 120, 180, 240, 300, 360],
        [80, 160, 240, 320, 400, 480],
    ]


def test_bump_detector():
    bump = tensor([[[0, 0, 0, 1, 1, 0, 0, 0]]])
    assert nn.FixedFilter("bump_detector", 1, padding="valid")(bump).tolist() == [[[0, 0, 1, 1, 0, 0]]]


def test_channels_last_same():
    series = torch.arange(12.0).view(2, 6, 1)
    kernel = torch.arange(20.0).view(5, 1, 4)  # position, input channel, filter
    layer = nn.Conv1d(1, 4, 5, padding="same", bias=False)
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(2, 1, 0))
    result = layer(series.permute(0, 2, 1)).permute(0, 2, 1)
    assert result.shape == (2, 6, 4)
    for sample in range(2):
        for place in range(6):
            for filter_ in range(4):
                seen = [(tap, place + tap - 2) for tap in range(5) if 0 <= place + tap - 2 < 6]
                expected = sum(series[sample, where, 0] * kernel[tap, 0, filter_] for tap, where in seen)
                assert result[sample, place, filter_] == expected


SIX = [
    [4, 9, 2, 5, 8, 3],
    [5, 6, 2, 4, 0, 3],
    [2, 4, 5, 4, 5, 2],
    [5, 6, 5, 4, 7, 8],
    [5, 7, 7, 9, 2, 1],
    [5, 8, 5, 3, 8, 4],
]
FALLING = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]


def test_vertical_edges_of_six_by_six():
    kernel = [[1, 0, -1]] * 3
    assert convolved(nn.Conv2d(1, 1, 3, bias=False), kernel, SIX)[0][0][:2] == [2, 6]
    assert convolved(nn.Conv2d(1, 1, 3, stride=2, bias=False), kernel, SIX)[0][0][:2] == [2, -4]
    assert convolved(nn.Conv2d(1, 1, 3, padding=1, bias=False), kernel, SIX)[0][0][0] == -15


def test_two_filters_stack_to_two_maps():
    image = [
        [1, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 0, 1, 0],
    ]
    falling = [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]]
    assert convolved(nn.Conv2d(1, 1, 3, bias=False), FALLING, image) == [falling]
    assert convolved(nn.Conv2d(1, 1, 3, stride=2, bias=False), FALLING, image)[0][0] == [3, -3]
    upright = [[-1, 1, -1]] * 3
    maps = convolved(nn.Conv2d(1, 2, 3, bias=False), [FALLING, upright], image)
    assert maps[0] == falling
    assert [len(maps), len(maps[1]), len(maps[1][0])] == [2, 4, 4]
    assert maps[1][0] == [-1, -1, -1, -1]


def test_the_five_by_five_of_every_lecture():
    image = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    kernel = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert convolved(nn.Conv2d(1, 1, 3, bias=False), kernel, image) == [[[4, 3, 4], [2, 4, 3], [2, 3, 4]]]


def test_vertical_line():
    image = [[0, 0, 0, 1, 1, 0, 0, 0]] * 8
    result = convolved(nn.Conv2d(1, 1, 3, bias=False), [[0, 1, 0]] * 3, image)
    assert result == [[[0, 0, 3, 3, 0, 0]] * 6]


def test_cross_correlation_and_true_convolution():
    image, kernel = tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]), tensor([[[[1, 0], [0, -1]]]])
    assert conv(image, kernel).tolist() == [[[[-4, -4], [-4, -4]]]]
    assert true_convolution(image, kernel).tolist() == [[[[4, 4], [4, 4]]]]


X = """
.........
.#.....#.
..#...#..
...#.#...
....#....
...#.#...
..#...#..
.#.....#.
........."""
RING = """
.........
...###...
..#...#..
.#.....#.
.#.....#.
.#.....#.
..#...#..
...###...
........."""


@pytest.mark.parametrize(("drawing", "places"), [(X, [(1, 1), (2, 2), (4, 4), (5, 5)]), (RING, [(1, 5), (5, 1)])])
def test_x_and_o(drawing, places):
    image = tensor([[1 if mark == "#" else -1 for mark in row] for row in drawing.split()])
    kernel = tensor(FALLING)
    match = nn.FixedFilter(kernel / 9, padding="valid")(image[None, None])[0, 0]
    found = [(row, column) for row in range(7) for column in range(7) if round(match[row, column].item(), 6) == 1.00]
    assert found == places
    assert found == [
        (row, column)
        for row in range(7)
        for column in range(7)
        if torch.equal(image[row : row + 3, column : column + 3], kernel)
    ]


def parameters(layer):
    return sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("layers", "shape", "expected"),
    [
        ([nn.Conv2d(3, 1, 3)], (3, 128, 128), [((1, 126, 126), 28)]),
        ([nn.Conv1d(3, 1, 5)], (3, 120), [((1, 116), 16)]),
        ([nn.Conv3d(3, 1, 3)], (3, 128, 128, 128), [((1, 126, 126, 126), 82)]),
        ([nn.Conv2d(3, 5, 3), nn.MaxPool2d(2, 2)], (3, 32, 32), [((5, 30, 30), 140), ((5, 15, 15), 0)]),
        (
            [nn.Conv2d(1, 8, 3), nn.MaxPool2d(2, 2), nn.Conv2d(8, 16, 3)],
            (1, 28, 28),
            [((8, 26, 26), 80), ((8, 13, 13), 0), ((16, 11, 11), 1168)],
        ),
    ],
)
def test_sizes_and_parameters(layers, shape, expected):
    feature_map = torch.zeros(1, *shape, device="meta")
    for layer, (size, count) in zip(layers, expected, strict=True):
        feature_map = layer.to("meta")(feature_map)
        assert feature_map.shape[1:] == size
        assert parameters(layer) == count


def test_the_formula_for_sizes():
    assert output_size((6, 6), kernel_size=3, stride=2, padding=1) == (3, 3)
    assert math.floor((6 - 3 + 2) / 2) + 1 == 3


def test_the_drawn_digit_lenet():
    model = create_model("lenet_drawn")
    assert [parameters(layer) for layer in model if parameters(layer)] == [156, 2416, 48120, 12100, 1010]
    sizes = {}
    feature_map = torch.zeros(1, 1, 32, 32)
    for name, layer in model.named_children():
        feature_map = layer(feature_map)
        sizes[name] = feature_map.shape[-1]
    assert [sizes[name] for name in ("conv1", "pool1", "conv2", "pool2")] == [28, 14, 10, 5]
    assert [sizes[name] for name in ("fc1", "fc2", "fc3")] == [120, 100, 10]


@pytest.mark.parametrize(("output", "error"), [([0.2, 0.4, 0.1, 0.3], 0.55), ([0.1, 0.1, 0.7, 0.1], 0.06)])
def test_total_error(output, error):
    assert half_squared_error(tensor(output), tensor([0, 0, 1, 0])).item() == pytest.approx(error, abs=1e-7)
