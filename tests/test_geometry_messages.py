"""What the geometry says to wrong arguments, word for word. Those of whole operators are in ops/test_messages.py."""

import pytest

from striate import geometry
from striate.errors import GeometryError
from striate.geometry import TransposedWindow, Window

MESSAGES = {
    "not an integer": (
        lambda: geometry.per_axis("stride", 1.5, 2),
        "Expected stride to be an integer or one integer per axis; received stride=1.5. Give an int, or a tuple of 2.",
    ),
    "not integers": (
        lambda: geometry.per_axis("stride", (1, 2.0), 2),
        (
            "Expected stride to be an integer or one integer per axis; received stride=(1, 2.0). "
            "Give an int, or a tuple of 2."
        ),
    ),
    "a bool": (
        lambda: geometry.per_axis("stride", True, 1),
        "Expected stride to be an integer or one integer per axis; received stride=True. Give an int, or a tuple of 1.",
    ),
    "a word": (
        lambda: geometry.per_axis("stride", "2", 1),
        "Expected stride to be an integer or one integer per axis; received stride='2'. Give an int, or a tuple of 1.",
    ),
    "wrong number of axes": (
        lambda: geometry.per_axis("kernel_size", (3, 3), 3),
        (
            "Expected kernel_size to have 3 entries, one per spatial axis; received kernel_size=(3, 3) with 2. "
            "Give one per axis, or one number for all of them."
        ),
    ),
    "zero": (
        lambda: Window.of(2, 3, stride=0),
        "Expected stride of at least 1 on every axis; received stride=0. Raise it to 1 or more.",
    ),
    "negative": (
        lambda: Window.of(2, 3, dilation=(1, -1)),
        "Expected dilation of at least 1 on every axis; received dilation=(1, -1). Raise it to 1 or more.",
    ),
    "no kernel": (
        lambda: Window.of(1, 0),
        "Expected kernel_size of at least 1 on every axis; received kernel_size=0. Raise it to 1 or more.",
    ),
    "negative padding": (
        lambda: Window.of(1, 3, padding=-1),
        "Expected padding of at least 0 on every axis; received padding=-1. Raise it to 0 or more.",
    ),
    "negative pair": (
        lambda: Window.of(1, 3, padding=[(0, -1)]),
        "Expected padding of at least 0 on every axis; received padding=(0, -1). Raise it to 0 or more.",
    ),
    "not a pair": (
        lambda: Window.of(1, 3, padding=[(0, 1, 2)]),
        (
            "Expected padding to have 2 entries, one per spatial axis; received padding=(0, 1, 2) with 3. "
            "Give one per axis, or one number for all of them."
        ),
    ),
    "too few pairs": (
        lambda: Window.of(2, 3, padding=[(0, 1)]),
        (
            "Expected padding to have 2 (before, after) pairs, one per spatial axis; received padding=[(0, 1)]. "
            "Give one pair per axis."
        ),
    ),
    "pairs and numbers": (
        lambda: Window.of(2, 3, padding=[(0, 1), 2]),
        (
            "Expected padding to have 2 (before, after) pairs, one per spatial axis; received padding=[(0, 1), 2]. "
            "Give one pair per axis."
        ),
    ),
    "unknown word": (
        lambda: Window.of(2, 3, padding="SAME"),
        (
            "Expected padding to be a number, pairs, or one of valid, same, same_lower, causal; "
            "received padding='SAME'. Words are lower case."
        ),
    ),
    "unknown rank": (
        lambda: Window.of(4, 3),
        (
            "Expected spatial_dims of 1, 2 or 3; received spatial_dims=4. "
            "Use 1 for signals, 2 for images, 3 for volumes and video."
        ),
    ),
    "no channels": (
        lambda: geometry.check_groups(0, 4, 1),
        "Expected in_channels to be a positive integer; received in_channels=0. Use 1 or more.",
    ),
    "no outputs": (
        lambda: geometry.check_groups(4, -4, 1),
        "Expected out_channels to be a positive integer; received out_channels=-4. Use 1 or more.",
    ),
    "groups of a float": (
        lambda: geometry.check_groups(4, 4, 2.0),
        "Expected groups to be a positive integer; received groups=2.0. Use 1 or more.",
    ),
    "groups of in_channels": (
        lambda: geometry.conv_parameters(6, 8, (3,), 4),
        (
            "Expected in_channels divisible by groups; received in_channels=6, groups=4. "
            "For 6 channels groups can be 1, 2, 3, 6."
        ),
    ),
    "groups of out_channels": (
        lambda: geometry.conv_macs(8, 6, (3,), (5,), 4),
        (
            "Expected out_channels divisible by groups; received out_channels=6, groups=4. "
            "For 6 channels groups can be 1, 2, 3, 6."
        ),
    ),
    "mode": (
        lambda: geometry.check_padding_mode("symmetric", ((0, 0),), (4,)),
        (
            "Expected padding_mode to be one of zeros, reflect, replicate, circular, constant; "
            "received padding_mode='symmetric'. Pick one."
        ),
    ),
    "reflect": (
        lambda: geometry.check_padding_mode("reflect", ((0, 0), (0, 4)), (9, 4)),
        (
            "Expected reflect padding of at most 3 on axis 1, whose size is 4; received padding (0, 4). "
            "Pad less, enlarge the input, or use replicate or zeros."
        ),
    ),
    "circular": (
        lambda: geometry.check_padding_mode("circular", ((5, 0),), (4,)),
        (
            "Expected circular padding of at most 4 on axis 0, whose size is 4; received padding (5, 0). "
            "Pad less, enlarge the input, or use replicate or zeros."
        ),
    ),
    "rank of the input": (
        lambda: Window.of(2, 3).output_size((8,)),
        (
            "Expected an input with 2 spatial axes, (N, C, size, size); received 1 spatial axes of size (8,). "
            "Use the 1-D form of this operation or reshape the input."
        ),
    ),
    "rank of the input, padding": (
        lambda: Window.of(1, 3, padding="same").pads((8, 8)),
        (
            "Expected an input with 1 spatial axes, (N, C, size); received 2 spatial axes of size (8, 8). "
            "Use the 2-D form of this operation or reshape the input."
        ),
    ),
    "kernel beyond the input": (
        lambda: geometry.output_size((9, 4), 3, padding=((0, 0), (0, 1)), dilation=3),
        (
            "Expected a padded input of at least 7 on axis 1, the extent of the kernel; "
            "received input size 4 with padding (0, 1). "
            "Enlarge the input, pad more, or use a smaller kernel_size or dilation."
        ),
    ),
    "no input": (
        lambda: Window.of(1, 1, padding=1).output_size((0,)),
        (
            "Expected a padded input of at least 1 on axis 0, the extent of the kernel; "
            "received input size 0 with padding (1, 1). "
            "Enlarge the input, pad more, or use a smaller kernel_size or dilation."
        ),
    ),
    "input size": (
        lambda: geometry.output_size((0,), 1),
        "Expected input_size of at least 1 on every axis; received input_size=(0,). Raise it to 1 or more.",
    ),
    "pool padding": (
        lambda: geometry.check_pool(Window.of(2, 2, padding=((1, 1), (0, 2))), (4, 4)),
        (
            "Expected pool padding smaller than the kernel's extent 2 on axis 1; received padding (0, 2). "
            "Some windows would see only padding: pad less or use a larger kernel_size."
        ),
    ),
    "output_padding with a word": (
        lambda: TransposedWindow.of(1, 3, 2, "same", output_padding=1),
        (
            "Expected no output_padding with padding='same', which already fixes the output size; "
            "received output_padding=1. Leave output_padding at 0, or give the padding as numbers."
        ),
    ),
    "output_padding": (
        lambda: TransposedWindow.of(2, 3, (3, 2), output_padding=2),
        (
            "Expected output_padding below 2 on axis 1, the larger of stride and dilation; received output_padding=2. "
            "A larger one would add outputs that no input reaches."
        ),
    ),
    "negative output_padding": (
        lambda: TransposedWindow.of(1, 3, output_padding=-1),
        "Expected output_padding of at least 0 on every axis; received output_padding=-1. Raise it to 0 or more.",
    ),
    "cropped away": (
        lambda: geometry.transposed_output_size((1, 4), 3, padding=2),
        (
            "Expected a transposed convolution with a positive output size; "
            "received input size (1, 4), which gives (-1, 2). Use less padding or a larger input."
        ),
    ),
    "rank of the transposed": (
        lambda: TransposedWindow.of(2, 3).output_size((8,)),
        (
            "Expected an input with 2 spatial axes, (N, C, size, size); received 1 spatial axes of size (8,). "
            "Use the 1-D form of this operation or reshape the input."
        ),
    ),
    "a padding value that is no number": (
        lambda: geometry.check_conv((1, 1, 4), (1, 1, 3), padding=1, padding_mode="constant", padding_value="1"),
        "Expected padding_value to be a number; received padding_value='1'. Use 0 for zeros.",
    ),
    "parameters without a rank": (
        lambda: geometry.conv_parameters(1, 1, 3),
        (
            "Expected kernel_size to have one integer per spatial axis; received kernel_size=3. "
            "Give a tuple, such as (3, 3)."
        ),
    ),
    "parameters of nothing": (
        lambda: geometry.conv_parameters(1, 1, (0, 3)),
        "Expected kernel_size of at least 1 on every axis; received kernel_size=(0, 3). Raise it to 1 or more.",
    ),
    "macs of two ranks": (
        lambda: geometry.conv_macs(1, 1, (3, 3), (5,)),
        (
            "Expected kernel_size to have 1 entries, one per spatial axis; received kernel_size=(3, 3) with 2. "
            "Give one per axis, or one number for all of them."
        ),
    ),
    "macs of a negative size": (
        lambda: geometry.conv_macs(1, 1, (3,), (-1,)),
        "Expected output_size of at least 1 on every axis; received output_size=(-1,). Raise it to 1 or more.",
    ),
    "out of reach": (
        lambda: TransposedWindow.of(1, 3, 2, 1).reaching((5,), 11),
        (
            "Expected output_size between (9,) and (10,) for an input of (5,); received output_size=(11,). "
            "Choose a size in that range, or change stride or padding."
        ),
    ),
}


@pytest.mark.parametrize("name", list(MESSAGES))
def test_message(name):
    function, message = MESSAGES[name]
    with pytest.raises(GeometryError) as raised:
        function()
    assert str(raised.value) == message


def test_a_narrow_input_is_accepted_where_every_window_has_a_tap_in_it():
    geometry.check_pool(Window.of(1, 2, padding=[(2, 0)], dilation=3), (2,))
    with pytest.raises(GeometryError, match="falls between the taps"):
        geometry.check_pool(Window.of(1, 2, padding=1, dilation=3), (2,))
