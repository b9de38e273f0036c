"""Sizes, padding and cost, against torch's own operators on tensors without data."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate import geometry
from striate.errors import GeometryError
from striate.geometry import TransposedWindow, Window

# torch sets this when a process first counts operations; set here, it is no leak of the test that happens to count.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "torchinductor_striate_tests"))

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

axis_lists = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(
        *[st.lists(st.integers(low, high), min_size=rank, max_size=rank).map(tuple) for low, high in BOUNDS]
    )
)
BOUNDS = [(1, 12), (1, 5), (1, 4), (0, 4), (1, 3)]  # size, kernel, stride, padding, dilation


def meta(*shape):
    return torch.empty(shape, device="meta")


def same_answer(function, reference, *, refuses=False):
    """Both give a size, or both refuse, except where torch ``refuses`` what is well defined."""
    if refuses:
        return
    try:
        wanted = tuple(reference().shape[2:])
    except RuntimeError:
        wanted = None
    if wanted and 0 in wanted:  # torch lets some empty outputs pass on tensors without data
        wanted = None
    try:
        got = function()
    except GeometryError:
        got = None
    assert got == wanted


@settings(max_examples=100, deadline=None)
@given(axis_lists)
def test_output_size_is_that_of_torchs_convolution(problem):
    size, kernel, stride, padding, dilation = problem
    same_answer(
        lambda: geometry.output_size(size, kernel, stride, padding, dilation),
        lambda: CONV[len(size)](meta(1, 1, *size), meta(1, 1, *kernel), None, stride, padding, dilation),
    )


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.booleans())
def test_output_size_is_that_of_torchs_pools(problem, ceil_mode):
    size, kernel, stride, padding, dilation = problem
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    same_answer(
        lambda: geometry.output_size(size, kernel, stride, padding, dilation, ceil_mode=ceil_mode),
        lambda: MAX_POOL[len(size)](meta(1, 1, *size), kernel, stride, padding, dilation, ceil_mode),
    )
    same_answer(
        lambda: geometry.output_size(size, kernel, stride, padding, ceil_mode=ceil_mode),
        lambda: AVG_POOL[len(size)](meta(1, 1, *size), kernel, stride, padding, ceil_mode),
        refuses=len(size) == 3 and any(n < k for n, k in zip(size, kernel, strict=True)),
    )


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.integers(0, 3))
def test_output_size_is_that_of_torchs_transposed_convolution(problem, extra):
    size, kernel, stride, padding, dilation = problem
    extra = tuple(min(extra, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
    same_answer(
        lambda: geometry.transposed_output_size(size, kernel, stride, padding, dilation, extra),
        lambda: TRANSPOSE[len(size)](meta(1, 1, *size), meta(1, 1, *kernel), None, stride, padding, extra, 1, dilation),
    )


@settings(max_examples=100, deadline=None)
@given(axis_lists)
def test_output_padding_is_refused_where_torch_refuses_it(problem):
    _, kernel, stride, _, dilation = problem
    limit = tuple(max(s, d) for s, d in zip(stride, dilation, strict=True))
    with pytest.raises(GeometryError, match="output_padding below"):
        TransposedWindow.of(len(kernel), kernel, stride, 0, dilation, limit)
    with pytest.raises(RuntimeError, match="output padding must be smaller"):
        TRANSPOSE[len(kernel)](
            torch.zeros(1, 1, *kernel), torch.zeros(1, 1, *kernel), None, stride, 0, limit, 1, dilation
        )


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.sampled_from(["same", "same_lower"]))
def test_same_is_the_input_over_the_stride_rounded_up(problem, word):
    size, kernel, stride, _, dilation = problem
    window = Window.of(len(size), kernel, stride, word, dilation)
    assert window.output_size(size) == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    for (before, after), n, e, s in zip(window.pads(size), size, window.effective_kernel_size, stride, strict=True):
        odd = after - before if word == "same" else before - after
        assert odd in (0, 1)
        # Not one position more than is needed.
        assert before + after == 0 or (n + before + after - e) % s == 0


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@settings(max_examples=100, deadline=None)
@given(axis_lists)
def test_same_at_stride_one_pads_as_torch_does(problem):
    size, kernel, _, _, dilation = problem
    x, w = torch.randn(1, 1, *size), torch.randn(1, 1, *kernel)
    pads = Window.of(len(size), kernel, 1, "same", dilation).pads(size)
    padded = F.pad(x, [amount for pair in reversed(pads) for amount in pair])
    torch.testing.assert_close(
        CONV[len(size)](padded, w, None, 1, 0, dilation), CONV[len(size)](x, w, None, 1, "same", dilation)
    )


@settings(max_examples=100, deadline=None)
@given(axis_lists)
def test_causal_output_ends_at_its_position(problem):
    size, kernel, stride, _, dilation = problem
    window = Window.of(len(size), kernel, stride, "causal", dilation)
    for (before, after), extent in zip(window.pads(size), window.effective_kernel_size, strict=True):
        assert after == 0
        assert 0 - before + extent - 1 == 0  # the last tap of the first window is on the first position
    assert window.output_size(size) == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.sampled_from(["same", "same_lower", "causal"]))
def test_transposed_words_give_input_times_stride(problem, word):
    size, kernel, stride, _, dilation = problem
    wanted = tuple(n * s for n, s in zip(size, stride, strict=True))
    assert geometry.transposed_output_size(size, kernel, stride, word, dilation) == wanted


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.booleans())
def test_whole_windows_need_no_ceil_mode(problem, ceil_mode):
    size, kernel, stride, padding, dilation = problem
    window = Window.of(len(size), kernel, stride, [(p, q) for p, q in zip(padding, kernel, strict=True)], dilation)
    try:
        wanted = window.output_size(size, ceil_mode=ceil_mode)
    except GeometryError:
        return
    whole = window.whole(size, ceil_mode=ceil_mode)
    assert [before for before, _ in whole] == list(padding)
    assert Window.of(len(size), kernel, stride, whole, dilation).output_size(size) == wanted
    for (before, after), n, s, e, count in zip(whole, size, stride, window.effective_kernel_size, wanted, strict=True):
        assert (count - 1) * s + e <= n + before + after


@settings(max_examples=100, deadline=None)
@given(axis_lists, st.integers(0, 3))
def test_reaching_an_output_size(problem, extra):
    size, kernel, stride, padding, dilation = problem
    extra = tuple(min(extra, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
    padding = tuple(min(p, (k - 1) // 2) for p, k in zip(padding, kernel, strict=True))
    with_extra = TransposedWindow.of(len(size), kernel, stride, padding, dilation, extra)
    without = TransposedWindow.of(len(size), kernel, stride, padding, dilation)
    assert without.reaching(size, with_extra.output_size(size)) == with_extra


@settings(max_examples=80, deadline=None)
@given(axis_lists, st.integers(0, 3))
def test_reach_is_what_outputs_would_see_of_a_longer_input(problem, extra):
    """Lengthen the input far, and look which of the added positions the same outputs depend on."""
    size, kernel, stride, padding, dilation = (entries[0] for entries in problem)
    extra = min(extra, max(stride, dilation) - 1)
    window = TransposedWindow.of(1, kernel, stride, padding, dilation, extra)
    try:
        (outputs,) = window.output_size((size,))
    except GeometryError:
        return
    # Output o sees input i through tap k where o + padding = i * stride + k * dilation.
    seen = [
        (o + padding - k * dilation) // stride
        for o in range(outputs)
        for k in range(kernel)
        if (o + padding - k * dilation) % stride == 0
    ]
    ((before, after),) = window.reach()
    assert before >= max(-min(seen, default=0), 0)
    assert after >= max(max(seen, default=0) - size + 1, 0)
    if dilation == 1 and stride <= min(kernel, outputs):
        # Without gaps, and with an output in every phase, the outermost positions are seen: the reach is exact.
        assert before == max(-min(seen), 0)
        assert after == max(max(seen) - size + 1, 0)
    extended = window.extended(((before, after),))
    assert extended.output_size((size + before + after,)) == (outputs,)


@pytest.mark.parametrize(
    ("size", "kernel", "options", "output"),
    [
        ((128, 128), 3, {}, (126, 126)),
        ((120,), 5, {}, (116,)),
        ((128, 128, 128), 3, {}, (126, 126, 126)),
        ((32, 32), 3, {}, (30, 30)),
        ((30, 30), 2, {"stride": 2}, (15, 15)),
        ((6, 6), 3, {"stride": 2, "padding": 1}, (3, 3)),
        ((13, 13), 3, {}, (11, 11)),
        ((32, 32), 5, {}, (28, 28)),
        (224, 7, {"stride": 2, "padding": 3, "spatial_dims": 2}, (112, 112)),
        (112, 3, {"stride": 2, "padding": 1, "ceil_mode": True, "spatial_dims": 1}, (57,)),
        (7, 2, {"stride": 2, "padding": "same"}, (4,)),
    ],
)
def test_published_sizes(size, kernel, options, output):
    assert geometry.output_size(size, kernel, **options) == output


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "kernel", "groups", "bias", "count"),
    [
        (3, 1, (3, 3), 1, True, 28),
        (3, 1, (5,), 1, True, 16),
        (3, 1, (3, 3, 3), 1, True, 82),
        (3, 5, (3, 3), 1, True, 140),
        (1, 8, (3, 3), 1, True, 80),
        (8, 16, (3, 3), 1, True, 1168),
        (1, 6, (5, 5), 1, True, 156),
        (6, 16, (5, 5), 1, True, 2416),
        (16, 120, (5, 5), 1, True, 48120),
        (32, 32, (3, 3), 32, False, 288),
    ],
)
def test_published_parameter_counts(in_channels, out_channels, kernel, groups, bias, count):
    assert geometry.conv_parameters(in_channels, out_channels, kernel, groups, bias=bias) == count
    module = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[len(kernel)]
    made = module(in_channels, out_channels, kernel, groups=groups, bias=bias)
    assert sum(p.numel() for p in made.parameters()) == count


@settings(max_examples=50, deadline=None)
@given(axis_lists, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_macs_are_half_of_the_flops_torch_counts(problem, groups, per_group, out_per_group):
    from torch.utils.flop_counter import FlopCounterMode

    size, kernel, stride, padding, dilation = problem
    try:
        output = geometry.output_size(size, kernel, stride, padding, dilation)
    except GeometryError:
        return
    x, w = meta(1, groups * per_group, *size), meta(groups * out_per_group, per_group, *kernel)
    with FlopCounterMode(display=False) as counter:
        CONV[len(size)](x, w, None, stride, padding, dilation, groups)
    macs = geometry.conv_macs(groups * per_group, groups * out_per_group, kernel, output, groups)
    assert geometry.flops(macs) == 2 * macs == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        TRANSPOSE[len(size)](
            meta(1, groups * per_group, *size), meta(groups * per_group, out_per_group, *kernel), groups=groups
        )
    macs = geometry.conv_macs(groups * per_group, groups * out_per_group, kernel, size, groups)
    assert geometry.flops(macs) == counter.get_total_flops()


def test_published_macs_of_alexnet_and_lenet():
    assert geometry.conv_macs(3, 96, (11, 11), (55, 55)) == 105_415_200
    assert geometry.conv_macs(96, 256, (5, 5), (27, 27), groups=2) == 223_948_800
    assert geometry.conv_macs(1, 6, (5, 5), (28, 28)) == 117_600


def test_arguments_are_brought_to_one_form():
    assert geometry.per_axis("stride", 2, 3) == (2, 2, 2)
    assert geometry.per_axis("stride", [1, 2], 2) == (1, 2)
    assert geometry.per_axis("stride", np.int64(2), 1) == (2,)
    assert geometry.per_axis("padding", 0, 2, 0) == (0, 0)
    assert geometry.normalise_padding(1, 2) == ((1, 1), (1, 1))
    assert geometry.normalise_padding((1, 2), 2) == ((1, 1), (2, 2))
    assert geometry.normalise_padding([[0, 1], (2, 3)], 2) == ((0, 1), (2, 3))
    assert [geometry.normalise_padding(word, 2) for word in geometry.PADDING_WORDS] == list(geometry.PADDING_WORDS)
    assert [geometry.check_spatial_dims(rank) for rank in (1, 2, 3)] == [1, 2, 3]
    assert Window.of(2, 3, dilation=(1, 2)).effective_kernel_size == (3, 5)
    assert Window.of(2, 3).spatial_dims == 2


def test_modes_that_fit():
    geometry.check_padding_mode("reflect", ((3, 3),), (4,))
    geometry.check_padding_mode("circular", ((4, 4),), (4,))
    for mode in ("zeros", "replicate", "constant"):
        geometry.check_padding_mode(mode, ((9, 9),), (4,))
    geometry.check_groups(4, 8, 4)


def test_shapes_of_operators():
    assert geometry.spatial_size((8, 3, 5, 6), 2) == geometry.spatial_size((3, 5, 6), 2) == (5, 6)
    assert geometry.spatial_size((0, 3, 5), 1) == (5,)
    assert geometry.operator_rank((8, 3, 5, 6), None, 3, None) == 2
    assert geometry.operator_rank((3, 5, 6), None, 3, (1, 1)) == 2
    assert geometry.operator_rank((3, 5, 6), 2, 3) == 2
    assert geometry.check_adaptive((3, 5, 6), (None, 2)) == (5, 2)
    window, pads = geometry.check_conv((3, 7), (4, 3, 2), None, 2, "same")
    assert (window.kernel_size, pads) == ((2,), ((0, 1),))
    window, by = geometry.check_conv_transpose((1, 2, 5), (2, 3, 3), None, 2, 1, output_size=10)
    assert (window.pads, window.output_padding, by) == (((1, 1),), (1,), ((0, 0),))
    assert geometry.check_pooling((1, 1, 5), 2, [], ceil_mode=True)[1:] == (((0, 0),), (3,))
    assert geometry.check_unpool((1, 1, 3), (1, 1, 3), 2, output_size=(1, 1, 5)) == (5,)
