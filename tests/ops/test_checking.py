import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from striate import ops
from striate.errors import GeometryError
from striate.ops.checking import remembered


def counted():
    calls = []

    @remembered
    def check(shape, stride, padding):
        """Say yes."""
        calls.append((shape, stride, padding))
        if padding == "wrong":
            raise GeometryError("a word", "padding='wrong'", "Say another.")
        return (shape, stride, padding)

    return check, calls


@pytest.mark.parametrize(
    "arguments",
    [(torch.Size([1, 2]), 2, "same"), (torch.Size([1]), (1, 2), ((0, 1), (2, 3))), ((1, 2), None, 0.5)],
)
def test_plain_arguments_are_checked_once(arguments):
    check, calls = counted()
    assert check(*arguments) == check(*arguments) == arguments
    assert len(calls) == 1
    assert check.__doc__ == "Say yes."


@pytest.mark.parametrize(
    ("right", "wrong"),
    [((2, 2), (2.0, 2.0)), ((1, 1), (True, True)), (1, True), (2, 2.0), (((1, 0),), ((True, False),)), ((1,), [1])],
)
def test_what_is_equal_but_not_the_same_is_checked_again(right, wrong):
    check, calls = counted()
    check(torch.Size([1]), right, 0)
    check(torch.Size([1]), wrong, 0)
    assert len(calls) == 2
    assert calls[1][1] is wrong


def test_errors_are_raised_every_time():
    check, calls = counted()
    for _ in range(2):
        with pytest.raises(GeometryError):
            check(torch.Size([1]), 1, "wrong")
    assert len(calls) == 2


def test_symbolic_sizes_are_checked_without_being_remembered():
    x, w = torch.randn(2, 1, 8, 8), torch.randn(1, 1, 3, 3)
    graph = make_fx(lambda x, w: ops.conv(x, w, padding=1, stride=2), tracing_mode="symbolic")(x, w)
    other = torch.randn(3, 1, 10, 12)
    torch.testing.assert_close(graph(other, w), ops.conv(other, w, padding=1, stride=2))
