import itertools

import pytest
import torch
from torch.nn import functional as F

from striate import ops

NAMES = {1: "linear", 2: "bilinear", 3: "trilinear"}
SIZES = {1: (7,), 2: (7, 3), 3: (7, 3, 5)}


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


def cubic_matrix(old, new, scale, align_corners):
    """Weights of cubic convolution (Keys 1981, a = -0.75, as torch and OpenCV) from ``old`` to ``new`` positions."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for o in range(new):
        at = o * (old - 1) / max(new - 1, 1) if align_corners else (o + 0.5) * scale - 0.5
        base = int(at // 1)
        for tap in range(base - 1, base + 3):
            t = abs(at - tap)
            near, far = 1.25 * t**3 - 2.25 * t**2 + 1, -0.75 * t**3 + 3.75 * t**2 - 6 * t + 3
            weight = near if t <= 1 else far
            matrix[o, min(max(tap, 0), old - 1)] += weight
    return matrix


def along_each_axis(x, matrices):
    for axis, matrix in enumerate(matrices, 2):
        x = torch.tensordot(x, matrix, ([axis], [1])).movedim(-1, axis)
    return x


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("align_corners", [False, True])
def test_cubic_is_cubic_convolution_in_every_rank(check, spatial_dims, align_corners):
    old, new = (4, 5, 3)[:spatial_dims], SIZES[spatial_dims]
    matrices = [cubic_matrix(o, n, o / n, align_corners) for o, n in zip(old, new, strict=True)]
    check(
        lambda x: ops.resize(x, new, mode="cubic", align_corners=align_corners),
        lambda x: along_each_axis(x, matrices),
        randn(2, 2, *old),
        gradcheck=True,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_cubic_by_a_factor(check, spatial_dims):
    factor = (1.7, 0.6, 2.0)[:spatial_dims]
    old = (4, 5, 3)[:spatial_dims]
    matrices = [cubic_matrix(o, int(o * f), 1 / f, False) for o, f in zip(old, factor, strict=True)]
    check(
        lambda x: ops.resize(x, scale_factor=factor, mode="cubic"),
        lambda x: along_each_axis(x, matrices),
        randn(1, 2, *old),
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("target", [{"size": 6}, {"scale_factor": 1.6}, {"scale_factor": 2}])
def test_nearest_and_linear_are_torchs(spatial_dims, target):
    x = torch.randn(2, 3, *(4,) * spatial_dims)
    for mode in ("nearest", "nearest-exact"):
        wanted = F.interpolate(x, **target, mode=mode)
        assert torch.equal(ops.resize(x, **target, mode=mode), wanted)
        assert torch.equal(ops.resize(x[0], **target, mode=mode, spatial_dims=spatial_dims), wanted[0])
    for align_corners in (False, True):
        wanted = F.interpolate(x, **target, mode=NAMES[spatial_dims], align_corners=align_corners)
        assert torch.equal(ops.resize(x, **target, mode="linear", align_corners=align_corners), wanted)


@pytest.mark.parametrize(("mode", "align_corners"), list(itertools.product(["linear", "cubic"], [False, True])))
def test_antialiasing_is_torchs_in_two_axes_and_separable_in_others(mode, align_corners):
    options = {"mode": mode, "antialias": True, "align_corners": align_corners}
    x = randn(1, 2, 9, 8)
    wanted = F.interpolate(x, (4, 3), mode=f"bi{mode}", align_corners=align_corners, antialias=True)
    assert torch.equal(ops.resize(x, (4, 3), **options), wanted)
    line, other = randn(1, 1, 9), randn(1, 1, 8)
    # Of a product of functions of one axis each, the resized is the product of the resized.
    plane = line[..., :, None] * other[..., None, :]
    volume = line[..., None, None] * plane[:, :, None]
    small, narrow = ops.resize(line, 4, **options), ops.resize(other, 3, **options)
    torch.testing.assert_close(ops.resize(plane, (4, 3), **options), small[..., :, None] * narrow[..., None, :])
    torch.testing.assert_close(
        ops.resize(volume, (4, 4, 3), **options),
        small[..., :, None, None] * small[..., None, :, None] * narrow[..., None, None, :],
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_gradients_and_the_unchanged_size(mode, spatial_dims):
    x = randn(1, 2, *(3,) * spatial_dims).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.resize(x, 5, mode=mode), x)
    assert torch.equal(ops.resize(x, 3, mode=mode), x)
    assert ops.resize(x[:0], 5, mode=mode).shape == (0, 2, *(5,) * spatial_dims)


def test_a_size_per_axis_tells_the_rank_of_an_unbatched_input():
    assert ops.resize(torch.randn(3, 4, 4), (8, 2)).shape == (3, 8, 2)
    assert ops.resize(torch.randn(3, 4, 4), scale_factor=(2.0, 0.5), mode="cubic").shape == (3, 8, 2)
