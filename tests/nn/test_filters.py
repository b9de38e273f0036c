"""Named filters: the published values, their sums, and what the layer does with them."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from striate.errors import GeometryError
from striate.nn import FixedFilter, filter_kernel, list_filters

GAUSSIAN_5 = [[1, 4, 6, 4, 1], [4, 16, 24, 16, 4], [6, 24, 36, 24, 6], [4, 16, 24, 16, 4], [1, 4, 6, 4, 1]]
UNSHARP_5 = [[1, 4, 6, 4, 1], [4, 16, 24, 16, 4], [6, 24, -476, 24, 6], [4, 16, 24, 16, 4], [1, 4, 6, 4, 1]]

PUBLISHED_2D = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "edge_1": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
    "edge_2": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "edge_3": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box_blur": np.ones((3, 3)) / 9,
    "gaussian_3": np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16,
    "gaussian_5": np.array(GAUSSIAN_5) / 256,
    "unsharp_mask": np.array(UNSHARP_5) / -256,
    "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel_y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt_x": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "prewitt_y": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "laplacian_8": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "vertical_line": [[-1, 2, -1], [-1, 2, -1], [-1, 2, -1]],
    "horizontal_line": [[-1, -1, -1], [2, 2, 2], [-1, -1, -1]],
    "diagonal_line": [[2, -1, -1], [-1, 2, -1], [-1, -1, 2]],
    "antidiagonal_line": [[-1, -1, 2], [-1, 2, -1], [2, -1, -1]],
}
PUBLISHED_1D = {
    "identity": [0, 1, 0],
    "bump_detector": [0, 1, 0],
    "moving_average": [1 / 3, 1 / 3, 1 / 3],
    "box_blur": [1 / 3, 1 / 3, 1 / 3],
    "gaussian_3": [1 / 4, 2 / 4, 1 / 4],
    "gaussian_5": [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16],
    "sobel_x": [-1, 0, 1],
    "prewitt_x": [-1, 0, 1],
    "laplacian": [1, -2, 1],
}
SUM_TO_ONE = {
    "identity", "sharpen", "box_blur", "gaussian_3", "gaussian_5", "unsharp_mask", "emboss", "moving_average",
    "bump_detector",
}  # fmt: skip

EVERY = [(entry.name, rank) for entry in list_filters() for rank in entry.spatial_dims]


def test_values_are_the_published_ones_and_none_is_untested():
    for published, rank in ((PUBLISHED_1D, 1), (PUBLISHED_2D, 2)):
        assert sorted(published) == [entry.name for entry in list_filters(rank)]
        for name, values in published.items():
            np.testing.assert_array_equal(filter_kernel(name, rank), values)


@pytest.mark.parametrize(("name", "rank"), EVERY)
def test_sums_say_what_becomes_of_flat_areas(name, rank):
    assert filter_kernel(name, rank).sum() == pytest.approx(1 if name in SUM_TO_ONE else 0, abs=1e-12)


def test_volumes_have_the_separable_ones():
    names = [entry.name for entry in list_filters(3)]
    assert names == [
        "box_blur", "gaussian_3", "gaussian_5", "identity", "laplacian", "prewitt_x", "prewitt_y", "prewitt_z",
        "sobel_x", "sobel_y", "sobel_z",
    ]  # fmt: skip
    ramp = torch.arange(5.0)
    for axis, name in enumerate(("sobel_z", "sobel_y", "sobel_x")):
        volume = ramp.view([5 if other == axis else 1 for other in range(3)]).expand(5, 5, 5)
        inner = FixedFilter(name, 3, padding=0)(volume[None, None])
        assert torch.equal(inner, torch.full((1, 1, 3, 3, 3), 32.0))  # a slope of 1, twice, times 4 times 4
    bowl = sum(ramp.view([5 if other == axis else 1 for other in range(3)]) ** 2 for axis in range(3))
    inner = FixedFilter("laplacian", 3, padding=0)(bowl[None, None])
    assert torch.equal(inner, torch.full((1, 1, 3, 3, 3), 6.0))


def test_every_filter_is_described_and_the_list_is_sorted():
    entries = list_filters()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert all(entry.description for entry in entries)
    assert len({entry.description for entry in entries}) == len(entries)


def test_a_kernel_that_was_changed_leaves_the_filter_as_it_was():
    filter_kernel("sobel_x")[:] = 7
    assert filter_kernel("sobel_x")[0, 0] == -1


@pytest.mark.parametrize(("name", "rank"), EVERY)
def test_layer_treats_every_channel_alike_and_keeps_the_size(name, rank):
    layer = FixedFilter(name, rank)
    image = torch.randn(2, 3, *(6,) * rank)
    filtered = layer(image)
    assert filtered.shape == image.shape
    kernel = torch.tensor(filter_kernel(name, rank), dtype=torch.float32)[None, None]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    for channel in range(3):
        expected = convolve(image[:, channel : channel + 1], kernel, padding="same")
        torch.testing.assert_close(filtered[:, channel : channel + 1], expected)


def test_line_detectors_answer_to_their_line_only():
    lines = {
        "vertical_line": torch.zeros(5, 5).index_fill(1, torch.tensor([2]), 1),
        "horizontal_line": torch.zeros(5, 5).index_fill(0, torch.tensor([2]), 1),
        "diagonal_line": torch.eye(5),
        "antidiagonal_line": torch.eye(5).flip(1),
    }
    for detector in lines:
        answers = {name: FixedFilter(detector)(line[None, None])[0, 0, 2, 2].item() for name, line in lines.items()}
        assert answers.pop(detector) == 6
        assert max(answers.values()) <= 0


def test_layer_takes_values_strides_and_padding_modes():
    layer = FixedFilter([[0.0, 1.0], [1.0, 0.0]], stride=2, padding=0)
    assert layer(torch.arange(16.0).view(1, 1, 4, 4)).tolist() == [[[[5.0, 9.0], [21.0, 25.0]]]]
    assert layer.pads((4, 4)) == ((0, 0), (0, 0))
    blur = FixedFilter("box_blur", padding_mode="replicate")
    torch.testing.assert_close(blur(torch.ones(1, 2, 4, 4)), torch.ones(1, 2, 4, 4))
    framed = FixedFilter("box_blur")(torch.ones(1, 1, 4, 4))
    assert framed[0, 0, 0, 0].item() == pytest.approx(4 / 9)
    assert FixedFilter(torch.ones(3)).spatial_dims == 1


def test_layer_learns_nothing_saves_nothing_and_travels():
    layer = FixedFilter("sobel_x")
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    image = torch.randn(1, 2, 6, 6)
    assert torch.equal(copy.deepcopy(layer)(image), layer(image))
    assert layer.double()(image.double()).dtype == torch.float64
    assert torch.equal(torch.export.export(layer, (image.double(),)).module()(image.double()), layer(image.double()))
    assert repr(layer) == "FixedFilter('sobel_x', spatial_dims=2, stride=(1, 1), padding='same')"
    assert repr(FixedFilter([1, 2])) == "FixedFilter(kernel_size=(2,), spatial_dims=1, stride=(1,), padding='same')"


def unknown_rank():
    return (
        "Expected sharpen in 2-D, where it exists; received spatial_dims=1. Filters in 1-D: box_blur, bump_detector, "
        "gaussian_3, gaussian_5, identity, laplacian, moving_average, prewitt_x, sobel_x."
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: filter_kernel("sobel"),
            "Expected the name of a filter; received filter 'sobel'. Did you mean 'sobel_z' or 'sobel_y'?",
        ),
        (lambda: filter_kernel("sharpen", 1), unknown_rank()),
        (lambda: FixedFilter("sharpen", 1), unknown_rank()),
        (
            lambda: FixedFilter([[1, 2], [3]]),
            (
                "Expected a kernel of numbers with rows of equal length; received [[1, 2], [3]]. "
                "Give nested lists, an array or a tensor."
            ),
        ),
        (
            lambda: FixedFilter([1.0, float("nan")]),
            (
                "Expected a kernel with at least one value, all of them finite; received a kernel of shape (2,): "
                "[1.0, nan]. Give nested lists, an array or a tensor of numbers."
            ),
        ),
        (
            lambda: FixedFilter([1, 2, 3], spatial_dims=2),
            (
                "Expected a kernel with 2 axes, as spatial_dims=2 says; received a kernel of shape (3,). "
                "Leave spatial_dims out, or reshape the kernel."
            ),
        ),
        (
            lambda: FixedFilter("sobel_x")(torch.zeros(1, 1, 6, 6, dtype=torch.uint8)),
            (
                "Expected values with a fraction, as filters give; received an input of torch.uint8. "
                "Convert it first, as with input.float()."
            ),
        ),
        (
            lambda: FixedFilter("sobel_x")(torch.zeros(6, 6)),
            (
                "Expected a batch (N, C, size, size) for a 2-D filter; received an input of shape (6, 6). "
                "Reshape it to 4 axes."
            ),
        ),
    ],
)
def test_errors_are_named(make, message):
    with pytest.raises(GeometryError) as error:
        make()
    assert str(error.value) == message
