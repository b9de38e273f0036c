"""What the operators say to wrong arguments, word for word."""

import pytest
import torch

from striate import ops
from striate.errors import GeometryError

CONV = [
    (
        ((1, 2, 8), (3, 2), None),
        {},
        (
            "Expected a weight (out_channels, in_channels // groups, *kernel_size) with 1, 2 or 3 spatial axes; "
            "received a weight of shape (3, 2). "
            "Use the form of this operation for the weight's rank, or reshape the weight."
        ),
    ),
    (
        ((1, 2, 8), (3, 2, 3), None),
        {"spatial_dims": 2},
        (
            "Expected a weight (out_channels, in_channels // groups, *kernel_size) with 2 spatial axes; "
            "received a weight of shape (3, 2, 3). "
            "Use the form of this operation for the weight's rank, or reshape the weight."
        ),
    ),
    (
        ((1, 1, 2, 8), (3, 2, 3), None),
        {},
        (
            "Expected an input with 1 spatial axes, (N, C, size) or unbatched (C, size); "
            "received an input of shape (1, 1, 2, 8). "
            "Use the form of this operation for the input's rank, or reshape the input."
        ),
    ),
    (
        ((1, 2, 0), (3, 2, 3), None),
        {},
        (
            "Expected an input with at least one channel and one position on every spatial axis; "
            "received an input of shape (1, 2, 0). Only the batch may be empty."
        ),
    ),
    (
        ((1, 4, 8), (3, 2, 3), None),
        {},
        (
            "Expected a weight (out_channels, in_channels // groups, *kernel_size) for 4 input channels and groups=1; "
            "received a weight of shape (3, 2, 3) for an input of shape (1, 4, 8). Its second axis must be 4."
        ),
    ),
    (
        ((1, 4, 8), (3, 2, 3), None),
        {"groups": 3},
        (
            "Expected in_channels divisible by groups; received in_channels=4, groups=3. "
            "For 4 channels groups can be 1, 2, 4."
        ),
    ),
    (
        ((1, 4, 8), (3, 2, 3), None),
        {"groups": 2},
        (
            "Expected out_channels divisible by groups; received out_channels=3, groups=2. "
            "For 3 channels groups can be 1, 3."
        ),
    ),
    (
        ((1, 4, 8), (4, 4, 3), None),
        {"groups": 0},
        "Expected groups to be a positive integer; received groups=0. Use 1 or more.",
    ),
    (
        ((1, 2, 8), (3, 2, 3), (2,)),
        {},
        (
            "Expected a bias of shape (3,), one value per output channel; received a bias of shape (2,). "
            "Give one value per output channel, or None."
        ),
    ),
    (
        ((1, 2, 8), (3, 2, 9), None),
        {},
        (
            "Expected a padded input of at least 9 on axis 0, the extent of the kernel; "
            "received input size 8 with padding (0, 0). "
            "Enlarge the input, pad more, or use a smaller kernel_size or dilation."
        ),
    ),
    (
        ((1, 2, 8), (3, 2, 0), None),
        {},
        "Expected kernel_size of at least 1 on every axis; received kernel_size=(0,). Raise it to 1 or more.",
    ),
    (
        ((1, 2, 4), (3, 2, 3), None),
        {"padding": 4, "padding_mode": "reflect"},
        (
            "Expected reflect padding of at most 3 on axis 0, whose size is 4; received padding (4, 4). "
            "Pad less, enlarge the input, or use replicate or zeros."
        ),
    ),
    (
        ((1, 2, 4), (3, 2, 3), None),
        {"padding_mode": "mirror"},
        (
            "Expected padding_mode to be one of zeros, reflect, replicate, circular, constant; "
            "received padding_mode='mirror'. Pick one."
        ),
    ),
    (
        ((1, 2, 4), (3, 2, 3), None),
        {"padding_value": 1.5},
        (
            "Expected padding_value only with padding_mode='constant'; "
            "received padding_value=1.5 with padding_mode='zeros'. "
            "Set padding_mode='constant', or leave padding_value at 0."
        ),
    ),
]
CONV_TRANSPOSE = [
    (
        ((1, 4, 8), (2, 3, 3), None),
        {},
        (
            "Expected a weight (in_channels, out_channels // groups, *kernel_size) for 4 input channels and groups=1; "
            "received a weight of shape (2, 3, 3) for an input of shape (1, 4, 8). Its first axis must be 4."
        ),
    ),
    (
        ((1, 4, 8), (4, 3, 3), (3,)),
        {"groups": 2},
        (
            "Expected a bias of shape (6,), one value per output channel; received a bias of shape (3,). "
            "Give one value per output channel, or None."
        ),
    ),
    (
        ((1, 4, 8), (4, 0, 3), None),
        {},
        "Expected out_channels to be a positive integer; received out_channels=0. Use 1 or more.",
    ),
    (
        ((1, 4, 8), (4, 3, 3), None),
        {"groups": 3},
        (
            "Expected in_channels divisible by groups; received in_channels=4, groups=3. "
            "For 4 channels groups can be 1, 2, 4."
        ),
    ),
    (
        ((1, 4, 8), (4, 3), None),
        {},
        (
            "Expected a weight (in_channels, out_channels // groups, *kernel_size) with 1, 2 or 3 spatial axes; "
            "received a weight of shape (4, 3). "
            "Use the form of this operation for the weight's rank, or reshape the weight."
        ),
    ),
    (
        ((1, 1, 8), (1, 1, 3), None),
        {"stride": 2, "output_padding": 1, "output_size": 18},
        (
            "Expected either output_padding or output_size; received output_padding=1 and output_size=18. "
            "output_size already decides the output padding: leave output_padding at 0."
        ),
    ),
    (
        ((1, 1, 8), (1, 1, 3), None),
        {"stride": 2, "output_size": 19},
        (
            "Expected output_size between (17,) and (18,) for an input of (8,); received output_size=(19,). "
            "Choose a size in that range, or change stride or padding."
        ),
    ),
    (
        ((1, 1, 2), (1, 1, 5), None),
        {"padding_mode": "reflect"},
        (
            "Expected reflect padding of at most 1 on axis 0, whose size is 2; received padding (4, 4). "
            "Pad less, enlarge the input, or use replicate or zeros."
        ),
    ),
]


def said(function, *arguments, **options):
    with pytest.raises(GeometryError) as raised:
        function(*arguments, **options)
    return str(raised.value)


def tensors(shapes):
    return [None if shape is None else torch.zeros(shape) for shape in shapes]


@pytest.mark.parametrize(("shapes", "options", "message"), CONV)
def test_conv(shapes, options, message):
    assert said(ops.conv, *tensors(shapes), **options) == message
    assert said(ops.true_convolution, *tensors(shapes), **options) == message


@pytest.mark.parametrize(("shapes", "options", "message"), CONV_TRANSPOSE)
def test_conv_transpose(shapes, options, message):
    assert said(ops.conv_transpose, *tensors(shapes), **options) == message


RANKLESS = (
    "Expected an input of shape (N, C, *spatial) with 1, 2 or 3 spatial axes; received an input of shape (3, 8). "
    "Reshape the input, or give spatial_dims for an unbatched one."
)


def test_pools_without_a_rank():
    x = torch.zeros(3, 8)
    for operator, arguments in (
        (ops.max_pool, (2,)),
        (ops.avg_pool, (2,)),
        (ops.sum_pool, (2,)),
        (ops.lp_pool, (2, 2)),
        (ops.adaptive_avg_pool, (2,)),
        (ops.adaptive_max_pool, (2,)),
        (ops.global_avg_pool, ()),
        (ops.global_max_pool, ()),
        (ops.global_sum_pool, ()),
        (ops.max_unpool, (torch.zeros(3, 8, dtype=torch.int64), 2)),
        (ops.resize, (4,)),
    ):
        assert said(operator, x, *arguments) == RANKLESS


def test_pools_with_a_wrong_rank():
    wrong = (
        "Expected an input with 2 spatial axes, (N, C, size, size) or unbatched (C, size, size); "
        "received an input of shape (3, 8). "
        "Use the form of this operation for the input's rank, or reshape the input."
    )
    x = torch.zeros(3, 8)
    assert said(ops.max_pool2d, x, 2) == wrong
    assert said(ops.global_max_pool, x, spatial_dims=2) == wrong
    assert said(ops.resize, x, (4, 4)) == wrong
    assert said(ops.max_pool, x, 2, spatial_dims=4) == (
        "Expected spatial_dims of 1, 2 or 3; received spatial_dims=4. "
        "Use 1 for signals, 2 for images, 3 for volumes and video."
    )


def test_windows_of_pools():
    x = torch.zeros(1, 1, 4)
    assert said(ops.max_pool, x, 2, padding=2) == (
        "Expected pool padding smaller than the kernel's extent 2 on axis 0; received padding (2, 2). "
        "Some windows would see only padding: pad less or use a larger kernel_size."
    )
    assert said(ops.avg_pool, x, 5) == (
        "Expected a padded input of at least 5 on axis 0, the extent of the kernel; "
        "received input size 4 with padding (0, 0). "
        "Enlarge the input, pad more, or use a smaller kernel_size or dilation."
    )
    assert said(ops.max_pool, torch.zeros(1, 1, 1), 2, 1, 2, 3) == (
        "Expected pool windows that each see some of the input of size 1 on axis 0; "
        "received dilation 3 with padding (2, 2). "
        "The input falls between the taps of a window: use a smaller dilation or less padding."
    )
    assert said(ops.avg_pool, x, 2, divisor_override=0) == (
        "Expected divisor_override to be an integer other than 0; received divisor_override=0. "
        "Leave it at None to divide by the window's size."
    )
    assert said(ops.max_pool, torch.zeros(1, 0, 4), 2) == (
        "Expected an input with at least one channel and one position on every spatial axis; "
        "received an input of shape (1, 0, 4). Only the batch may be empty."
    )
    for norm_type in (0, float("nan"), "2", None):
        assert said(ops.lp_pool, x, norm_type, 2) == (
            f"Expected norm_type to be a number other than 0; received norm_type={norm_type!r}. "
            "Use 1 for sums, 2 for the usual norm."
        )


def test_adaptive_sizes():
    x = torch.zeros(1, 1, 4, 4)
    assert said(ops.adaptive_avg_pool2d, x, (1, 2, 3)) == (
        "Expected output_size to have 2 entries, one per spatial axis; received output_size=(1, 2, 3) with 3. "
        "Give one per axis, or one number for all of them."
    )
    assert said(ops.adaptive_max_pool, x, (0, None)) == (
        "Expected output_size of at least 1 on every axis; received output_size=(0, 4). Raise it to 1 or more."
    )


def test_unpooling():
    x = torch.zeros(1, 1, 3)
    assert said(ops.max_unpool, x, torch.zeros(1, 1, 4, dtype=torch.int64), 2) == (
        "Expected indices of the input's shape, as max_pool with return_indices gives them; "
        "received indices of shape (1, 1, 4) for an input of shape (1, 1, 3). "
        "Pass the two results of max_pool on together."
    )
    for size in (4, 8):
        assert said(ops.max_unpool, x, torch.zeros(1, 1, 3, dtype=torch.int64), 2, output_size=size) == (
            f"Expected output_size between (5,) and (7,) for an input of (3,); received output_size=({size},). "
            "Give the size of what was pooled."
        )


def test_resizing():
    x = torch.zeros(1, 1, 4)
    assert said(ops.resize, x, 2, mode="bilinear") == (
        "Expected mode to be one of nearest, nearest-exact, linear, cubic; received mode='bilinear'. "
        "Words are the same in every rank."
    )
    assert said(ops.resize, x, 2, align_corners=True) == (
        "Expected align_corners and antialias only with mode 'linear' or 'cubic'; "
        "received align_corners=True, antialias=False with mode='nearest'. "
        "Leave both at False, or change the mode."
    )
    for size, scale_factor in ((None, None), (2, 2.0)):
        assert said(ops.resize, x, size, scale_factor) == (
            f"Expected either size or scale_factor; received size={size!r} and scale_factor={scale_factor!r}. "
            "Give exactly one of them."
        )
    for scale_factor in (0, -1.0, "2", [2.0, -2.0], float("inf"), float("nan")):
        planes = torch.zeros(1, 1, 4, 4)
        assert said(ops.resize, planes, scale_factor=scale_factor) == (
            "Expected scale_factor to be a positive number, or 2 of them, one per spatial axis; "
            f"received scale_factor={scale_factor!r}. Use 2 to double every axis."
        )
    assert said(ops.resize, x, scale_factor=0.2) == (
        "Expected scale_factor to leave at least one position on every axis; "
        "received scale_factor=0.2 for an input of size (4,). Scale by more, or give the size."
    )
    assert said(ops.resize, x, 0) == (
        "Expected size of at least 1 on every axis; received size=0. Raise it to 1 or more."
    )
