"""Recordings that lie end to end in an .npz file."""

import numpy as np
import pytest
import torch
from signal_files import save_recordings

from striate.data import load_data
from striate.data.file import file_on_disk
from striate.data.registry import list_readers
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def test_windows_with_a_label_per_recording(tmp_path):
    stored = save_recordings(tmp_path / "a.npz", classes=np.array(["off", "on"]))
    dataset = load_data(tmp_path / "a.npz", **WHOLE, options={"window": 10, "step": 5})
    assert (dataset.kind, dataset.classes, dataset.train.item_shape) == ("recordings-npz", ("off", "on"), (3, 10))
    index = 0
    for recording in range(4):
        first, last = stored["offsets"][recording : recording + 2]
        for start in range(first, last - 9, 5):
            inputs, label = dataset.train.fetch([index])
            assert np.array_equal(inputs[0], stored["x"][start : start + 10].T)
            assert int(label) == recording % 2
            assert dataset.train.name(index) == f"{stored['names'][recording]}[{start - first}:{start - first + 10}]"
            index += 1
    assert index == len(dataset.train)


def test_labels_per_sample_as_texts_and_a_single_channel(tmp_path):
    words = np.array(["up", "down"])[np.arange(115) // 10 % 2]
    save_recordings(tmp_path / "a.npz", x=np.arange(115.0), y=words)
    dataset = load_data(tmp_path / "a.npz", **WHOLE, options={"window": 10, "window_label": "pure"})
    assert (dataset.classes, dataset.train.item_shape) == (("down", "up"), (1, 10))
    starts = [int(dataset.train.fetch([index])[0][0, 0, 0]) for index in range(len(dataset.train))]
    assert starts == [0, 10, 20, 30, 40, 50, 60]
    assert dataset.train.labels.tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_names_choose_recordings_subjects_and_parts(tmp_path):
    save_recordings(tmp_path / "a.npz", lengths=(20,) * 12, y=np.arange(12) // 2 % 2)
    options = {"window": 10, "select": "_a$", "name_pattern": r"(?P<subject>s\d+)_.*", "test_pattern": "^s[45]"}
    dataset = load_data(tmp_path / "a.npz", val_fraction=0, options=options)
    names = [dataset.train.name(index) for index in range(len(dataset.train))]
    assert names[::2] == [f"s{subject}_{2 * subject}_a[0:10]" for subject in range(4)]
    assert dataset.train.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert dataset.test.groups.tolist() == [4, 4, 5, 5]


def test_arrays_of_subjects_labels_times_and_parts(tmp_path):
    lengths = (40, 40, 40, 40)
    times = np.tile(np.arange(40), 4) * 100 + 1_657_533_977_813
    save_recordings(
        tmp_path / "a.npz",
        lengths,
        y=None,
        action=np.array([1, 2, 2, 1], np.uint8),
        subject=np.array([7, 7, 8, 8]),
        split=np.array(["train", "Train", "test", "test"]),
        t_ms=times,
    )
    options = {"label": "action", "time": "t_ms", "time_unit": "ms", "rate": 5, "window": 10}
    dataset = load_data(tmp_path / "a.npz", val_fraction=0, options=options)
    assert (dataset.classes, dataset.official) == (("1", "2"), ("train", "test"))
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([0, 0, 1, 1], [1, 1, 0, 0])
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([0] * 4, [1] * 4)
    held = load_data(tmp_path / "a.npz", val_fraction=0, options={**options, "test_subjects": [7]})
    assert held.test.name(0).startswith("s0_0_a")


def test_every_fold_leaves_subjects_out(tmp_path):
    save_recordings(tmp_path / "a.npz", (30,) * 8, subject=np.arange(8) // 2)
    held = set()
    for fold in range(4):
        dataset = load_data(tmp_path / "a.npz", val_fraction=0, fold=(fold, 4), options={"window": 10, "step": 5})
        out = set(dataset.test.groups.tolist())
        assert len(out) == 1
        assert not out & set(dataset.train.groups.tolist())
        held |= out
    assert held == {0, 1, 2, 3}


def test_new_recordings(tmp_path):
    save_recordings(tmp_path / "a.npz")
    dataset = load_data(tmp_path / "a.npz", **WHOLE, options={"window": 10, "step": 5})
    stored = save_recordings(tmp_path / "b.npz", (12, 21), y=None)
    reader = next(reader for reader in list_readers() if reader.kind == dataset.reading["kind"])
    samples = reader.read_new(file_on_disk(tmp_path / "b.npz", "b.npz"), dataset.reading)
    assert [name for name, _ in samples] == ["s0_0_a[0:10]", "s0_1_b[0:10]", "s0_1_b[5:15]", "s0_1_b[10:20]"]
    assert np.array_equal(samples[2][1], stored["x"][17:27].T)


def test_the_signals_are_held_once(tmp_path):
    save_recordings(tmp_path / "a.npz", (1000,) * 4)
    dataset = load_data(tmp_path / "a.npz", options={"window": 500, "step": 1})
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 4 * 501
    assert dataset.train._signals.shape == (3, 4000)
    assert dataset.val._signals is dataset.train._signals
    assert torch.equal(dataset.train.fetch([0])[0][0, :, 1:], dataset.train.fetch([1])[0][0, :, :-1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"y": None},
            (
                "Expected labels; received {path} with names, offsets, x. "
                "Name their array with the option label, or save it as y."
            ),
        ),
        (
            {"y": np.arange(7)},
            (
                "Expected one label for each of 4 recordings or of 115 samples; received {path}[y] with 7. "
                "Use the arrays that belong together."
            ),
        ),
        (
            {"y": np.array([0.5, 1, 0, 1])},
            (
                "Expected labels that are texts or whole numbers from 0; received {path}[y] of shape (4,) "
                "and dtype float64. "
                "Number the classes from 0."
            ),
        ),
        (
            {"y": np.array([0, 1, 2, 1]), "classes": np.array(["a", "b"])},
            (
                "Expected labels from 0 to 1, one of 2 classes; received 2 in {path}[y]. "
                "Correct the labels, or name every class."
            ),
        ),
        (
            {"offsets": np.array([0, 50, 30, 115])},
            (
                "Expected offsets that ascend from 0 to 115, the number of samples; received "
                "{path}[offsets] of other values. "
                "Save where each recording begins, and where the last one ends."
            ),
        ),
        (
            {"offsets": np.array([0.0, 115.0])},
            (
                "Expected offsets that ascend from 0 to 115, the number of samples; received "
                "{path}[offsets] of another kind. "
                "Save where each recording begins, and where the last one ends."
            ),
        ),
        (
            {"x": np.zeros((115, 2, 2))},
            (
                "Expected numbers of shape (samples, channels); received {path}[x] of shape (115, 2, 2) "
                "and dtype float64. "
                "Save recordings end to end, one row per sample."
            ),
        ),
        (
            {"names": np.array(["a", "b"])},
            (
                "Expected an entry for each of 4 recordings; received {path}[names] of shape (2,). "
                "Use the arrays that belong together."
            ),
        ),
        (
            {"split": np.array(["train", "exam", "train", "test"])},
            (
                "Expected a split of train, val or test; received 'exam' in {path}[split]. Choose one of: "
                "test, train, val."
            ),
        ),
        (
            {"split": np.array(["test"] * 4)},
            "Expected recordings to train on; received {path} with test only. Leave some for training.",
        ),
        (
            {"offsets": np.array([0, 30, 30, 75, 115])},
            "Expected a recording with samples; received s0_1_b, which is empty. Remove it.",
        ),
    ],
)
def test_refused_arrays(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    save_recordings(path, **arrays)
    with pytest.raises(DataError) as error:
        load_data(path, options={"window": 10})
    assert str(error.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label": "labl"},
            "Expected label to name an array; received label='labl'. Choose one of: names, offsets, x, y.",
        ),
        (
            {"time": "y"},
            (
                "Expected a number for each of 115 samples; received {path}[y] of shape (4,) and dtype int64. "
                "Name the array of times."
            ),
        ),
        (
            {"select": "zzz"},
            (
                "Expected at least one recording with 'zzz' in its name that can be used; received {path} without any. "
                "Correct the options, or replace the damaged recordings."
            ),
        ),
        (
            {"name_pattern": r"(?P<subject>x)"},
            (
                "Expected names that match the name_pattern '(?P<subject>x)' as a whole; received 's0_0_a'. "
                "Correct the pattern, or leave such names out with select."
            ),
        ),
    ],
)
def test_refused_options(tmp_path, options, message):
    path = tmp_path / "a.npz"
    save_recordings(path)
    with pytest.raises(DataError) as error:
        load_data(path, options={"window": 10, **options})
    assert str(error.value) == message.format(path=path)
