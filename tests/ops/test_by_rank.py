"""The names of torch.nn.functional: called alike, they give the same."""

import inspect

import pytest
import torch
from torch.nn import functional as F

from striate import ops

FAMILIES = (
    "conv",
    "conv_transpose",
    "max_pool",
    "avg_pool",
    "lp_pool",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "max_unpool",
)
ALL = [(family, rank) for family in FAMILIES for rank in (1, 2, 3)]


def arguments(family, rank):
    """Every argument torch takes, by position and none at its default."""
    x = torch.rand(2, 4, *(6,) * rank) + 0.1
    pooled, indices = getattr(F, f"max_pool{rank}d")(x, 3, 2, 1, return_indices=True)
    return {
        "conv": (x, torch.randn(6, 2, *(3,) * rank), torch.randn(6), 2, 1, 2, 2),
        "conv_transpose": (x, torch.randn(4, 3, *(3,) * rank), torch.randn(6), 2, 1, 1, 2, 3),
        "max_pool": (x, 2, 1, 1, 2, True, True),
        "avg_pool": (x, 3, 2, 1, True, False, *([5] if rank > 1 else [])),
        "lp_pool": (x, 3, 3, 2, True),
        "adaptive_avg_pool": (x, 4),
        "adaptive_max_pool": (x, 4, True),
        "max_unpool": (pooled, indices, 3, 2, 1, (6,) * rank),
    }[family]


@pytest.mark.parametrize(("family", "rank"), ALL)
def test_they_take_torchs_place(family, rank):
    given = arguments(family, rank)
    own, theirs = getattr(ops, f"{family}{rank}d")(*given), getattr(F, f"{family}{rank}d")(*given)
    for a, b in zip(own, theirs, strict=True) if isinstance(own, tuple) else [(own, theirs)]:
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "rank"), ALL)
def test_they_take_torchs_place_unbatched_and_with_defaults(family, rank):
    given = [a[0] if i == 0 else a for i, a in enumerate(arguments(family, rank))]
    if family == "max_unpool":
        given[1] = given[1][0]
    if family == "conv":
        given[1] = given[1].repeat_interleave(2, 1)  # one group
    needed = 3 if family in ("lp_pool", "max_unpool") else 2
    own, theirs = getattr(ops, f"{family}{rank}d")(*given[:needed]), getattr(F, f"{family}{rank}d")(*given[:needed])
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "rank"), ALL)
def test_the_arguments_have_torchs_names(family, rank):
    own = list(inspect.signature(getattr(ops, f"{family}{rank}d")).parameters)
    function = getattr(F, f"{family}{rank}d")
    try:
        theirs = list(inspect.signature(function).parameters)
    except ValueError:  # written in C++: the signature opens the docstring
        text = function.__doc__.strip().split("(", 1)[1].split(")", 1)[0]
        theirs = [part.split("=")[0].strip() for part in text.split(",") if part.strip() != "*"]
    if theirs == ["args", "kwargs"]:  # torch chooses between two functions of the same arguments
        theirs = list(inspect.signature(getattr(F, f"_{family}{rank}d")).parameters)
    assert own == theirs
