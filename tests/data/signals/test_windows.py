"""Windows over long signals against NumPy's own, and the targets of spans against counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data.signals.windows import WindowSamples, span_classes, span_means, window_starts
from striate.errors import DataError


@given(
    channels=st.integers(1, 4),
    length=st.integers(1, 60),
    window=st.integers(1, 20),
    step=st.integers(1, 25),
    seed=st.integers(0, 99),
)
def test_windows_are_those_of_a_loop(channels, length, window, step, seed):
    random = np.random.default_rng(seed)
    signal = random.normal(size=(channels, length)).astype(np.float32)
    starts = window_starts(length, window, step)
    assert starts.tolist() == [start for start in range(0, length, step) if start + window <= length]
    labels = torch.arange(len(starts))
    samples = WindowSamples(torch.from_numpy(signal), torch.from_numpy(starts), window, labels, lambda i: f"w{i}")
    assert (len(samples), samples.item_shape, samples.dtype) == (len(starts), (channels, window), torch.float32)
    order = random.integers(0, max(len(starts), 1), size=7 if len(starts) else 0)
    inputs, targets = samples.fetch(order.tolist())
    assert inputs.shape == (len(order), channels, window)
    for place, index in enumerate(order.tolist()):
        assert np.array_equal(inputs[place], signal[:, starts[index] : starts[index] + window])
        assert int(targets[place]) == index
    part = samples.subset(order)
    assert torch.equal(part.fetch(range(len(part)))[0], inputs)
    assert [part.name(place) for place in range(len(part))] == [f"w{index}" for index in order]


def test_overlap_takes_no_memory_and_batches_are_their_own():
    signal = torch.arange(100.0).reshape(1, 100)
    samples = WindowSamples(signal, torch.arange(0, 91), 10, torch.zeros(91), groups=torch.arange(91))
    batch = samples.fetch([0, 1])[0]
    batch.zero_()
    assert signal[0, 5] == 5
    part = samples.subset([3, 4])
    assert part._signals is samples._signals
    assert part.groups.tolist() == [3, 4]


def test_windows_beyond_the_signal_are_refused():
    with pytest.raises(DataError) as error:
        WindowSamples(torch.zeros(1, 9), torch.tensor([0, 6]), 4, torch.zeros(2))
    assert str(error.value) == (
        "Expected windows of 4 samples within the 9 there are; received starts from 0 to 6. Lower window."
    )


@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_classes_of_spans_are_counted(length, window, classes, seed):
    codes = np.random.default_rng(seed).integers(0, classes, length)
    starts = window_starts(length, window, 1)
    ends = starts + window
    best, keep = span_classes(codes, starts, ends, "pure")
    counted = [np.bincount(codes[start:end]) for start, end in zip(starts, ends, strict=True)]
    assert best.tolist() == [count.argmax() for count in counted]
    assert keep.tolist() == [np.count_nonzero(count) == 1 for count in counted]
    assert span_classes(codes, starts, ends, "majority")[1].all()


@given(st.integers(2, 40), st.integers(1, 10), st.integers(0, 99))
def test_means_of_spans(length, window, seed):
    values = np.random.default_rng(seed).normal(size=(length, 2)) * 1e3
    starts = window_starts(length, min(window, length), 1)
    ends = starts + min(window, length)
    wanted = np.array([values[start:end].mean(0) for start, end in zip(starts, ends, strict=True)])
    assert np.allclose(span_means(values, starts, ends), wanted, atol=1e-9)


def test_the_mean_of_a_constant_is_that_constant():
    assert (span_means(np.full((1000, 1), 0.1), np.array([3]), np.array([77])) == 0.1).all()
