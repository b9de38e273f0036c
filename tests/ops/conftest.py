"""Independent definitions of the operators, and the one comparison that all tests of them use.

The definitions are float64 arithmetic on single taps and windows; no convolution or pool of torch is in them, and they
share no code with the package. autograd differentiates their indexing, so gradients have a second opinion too.
"""

import itertools
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# torch sets this at the first trace of a process; set here, it is no leak of the test that happens to trace first.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "torchinductor_striate_tests"))


def compare(operator, definition, *inputs, gradcheck=False):
    """Compare values and gradients of two functions of float64 tensors; None stands for an absent one."""
    results = []
    for function in (operator, definition):
        leaves = [None if x is None else x.detach().clone().requires_grad_() for x in inputs]
        output = function(*leaves)
        weights = torch.linspace(-1, 2, max(output.numel(), 1), dtype=output.dtype)[: output.numel()].view(output.shape)
        present = [leaf for leaf in leaves if leaf is not None]
        results.append([output, *torch.autograd.grad((output * weights).sum(), present)])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
    if gradcheck:
        leaves = [x.detach().clone().requires_grad_() for x in inputs if x is not None]
        absent = [x is None for x in inputs]

        def with_absent(*given):
            supply = iter(given)
            return operator(*(None if gone else next(supply) for gone in absent))

        assert torch.autograd.gradcheck(with_absent, leaves)


def continue_axis(x, axis, before, after, mode, value=0.0):
    """Extend one axis; every position outside is looked up where the mode says it is, as far out as asked."""
    size = x.shape[axis]
    columns = []
    for position in range(-before, size + after):
        inside = position
        if mode == "replicate":
            inside = min(max(position, 0), size - 1)
        elif mode == "circular":
            inside = position % size
        elif mode == "reflect":
            period = max(2 * (size - 1), 1)
            inside = position % period
            inside = period - inside if inside >= size else inside
        if 0 <= inside < size:
            columns.append(x.select(axis, inside))
        else:
            columns.append(torch.full_like(x.select(axis, 0), value))
    return torch.stack(columns, axis)


def extend(x, pads, mode, value=0.0):
    for axis, (before, after) in enumerate(pads, x.dim() - len(pads)):
        x = continue_axis(x, axis, before, after, mode, value)
    return x


def mix(x, tap, groups):
    """Sum over input channels: ``x`` (N, C, ...) with one tap (O, C / groups) of the kernel."""
    parts = zip(x.chunk(groups, 1), tap.chunk(groups, 0), strict=True)
    return torch.cat([torch.einsum("nc...,oc->no...", part, weights) for part, weights in parts], 1)


def conv(x, weight, bias, stride, pads, dilation, groups, mode="zeros", value=0.0):
    x = extend(x, pads, mode, value)
    total = 0
    extents = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    for tap in itertools.product(*map(range, weight.shape[2:])):
        window = tuple(
            slice(k * d, size - extent + k * d + 1, s)
            for k, d, s, size, extent in zip(tap, dilation, stride, x.shape[2:], extents, strict=True)
        )
        total = total + mix(x[(..., *window)], weight[(..., *tap)], groups)
    return total if bias is None else total + bias.view(-1, *[1] * len(stride))


def conv_transpose(x, weight, bias, stride, pads, extra, dilation, groups, mode="zeros", value=0.0):
    """The input is continued much further than any output sees, and the output cropped to where it belongs."""
    rank = len(stride)
    far = 0 if mode == "zeros" else max(d * k for d, k in zip(dilation, weight.shape[2:], strict=True))
    sizes = [
        (size - 1) * s + d * (k - 1) + 1 - before - after + e
        for size, s, d, k, (before, after), e in zip(
            x.shape[2:], stride, dilation, weight.shape[2:], pads, extra, strict=True
        )
    ]
    x = extend(x, [(far, far)] * rank, mode, value)
    room = [
        (size - 1) * s + d * (k - 1) + 1 + e
        for size, s, d, k, e in zip(x.shape[2:], stride, dilation, weight.shape[2:], extra, strict=True)
    ]
    full = x.new_zeros(x.shape[0], weight.shape[1] * groups, *room)
    for tap in itertools.product(*map(range, weight.shape[2:])):
        places = tuple(
            slice(k * d, k * d + (size - 1) * s + 1, s)
            for k, d, s, size in zip(tap, dilation, stride, x.shape[2:], strict=True)
        )
        parts = zip(x.chunk(groups, 1), weight[(..., *tap)].chunk(groups, 0), strict=True)
        part = torch.cat([torch.einsum("nc...,co->no...", a, b) for a, b in parts], 1)
        placed = torch.zeros_like(full)
        placed[(..., *places)] = part
        full = full + placed
    crop = tuple(
        slice(before + far * s, before + far * s + size)
        for (before, _), s, size in zip(pads, stride, sizes, strict=True)
    )
    full = full[(..., *crop)]
    return full if bias is None else full + bias.view(-1, *[1] * rank)


def window_starts(size, kernel, stride, before, after, dilation=1, ceil_mode=False):
    extent, starts = dilation * (kernel - 1) + 1, []
    for start in range(-before, size, stride):
        whole = start + extent <= size + after
        # With ceil_mode a window that hangs over counts if one a stride earlier leaves something of the padded input.
        hangs = ceil_mode and start - stride + extent < size + after
        if whole or hangs:
            starts.append(start)
    return starts


def pool(x, reduce, kernel, stride, pads, dilation=None, ceil_mode=False):
    """Apply ``reduce(values, flat_indices, padded_count)`` to what each window holds of the input itself."""
    rank = len(kernel)
    size = x.shape[-rank:]
    dilation = dilation or (1,) * rank
    starts = [
        window_starts(n, k, s, before, after, d, ceil_mode)
        for n, k, s, (before, after), d in zip(size, kernel, stride, pads, dilation, strict=True)
    ]
    flat, outputs = x.flatten(-rank), []
    for corner in itertools.product(*starts):
        taps = [[a + i * d for i in range(k)] for a, k, d in zip(corner, kernel, dilation, strict=True)]
        counted = 1
        for axis, (before, after) in enumerate(pads):
            counted *= sum(-before <= t < size[axis] + after for t in taps[axis])
        inside = [
            point for point in itertools.product(*taps) if all(0 <= p < n for p, n in zip(point, size, strict=True))
        ]
        indices = []
        for point in inside:
            index = 0
            for p, n in zip(point, size, strict=True):
                index = index * n + p
            indices.append(index)
        outputs.append(reduce(flat[..., indices], indices, counted))
    return torch.stack(outputs, -1).unflatten(-1, [len(s) for s in starts])


@pytest.fixture(scope="session")
def check():
    return compare


@pytest.fixture(scope="session")
def define():
    return SimpleNamespace(extend=extend, conv=conv, conv_transpose=conv_transpose, pool=pool)
