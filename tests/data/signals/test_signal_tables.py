"""Tables of signals: long ones, folders of them, windows, targets, parts, and what is refused."""

import csv
import datetime as dt
import sys

import numpy as np
import pytest
import torch
from signal_files import long_table, table_text

from striate.data import load_data
from striate.data.file import file_on_disk
from striate.data.gathering import SkippedFileWarning
from striate.data.registry import list_readers
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def saved(folder, columns, name="long.csv", separator=","):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table_text(columns, separator))
    return path


def reader_of(kind):
    return next(reader for reader in list_readers() if reader.kind == kind)


@pytest.fixture(params=["pyarrow", "standard library"])
def either_way(request, monkeypatch):
    """Reading with pyarrow, and without it."""
    if request.param != "pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";")])
def test_windows_of_a_long_table(tmp_path, name, separator):
    columns = long_table()
    dataset = load_data(
        saved(tmp_path, columns, name, separator), **WHOLE, options={"window": 10, "step": 5, "columns": ["ax", "ay"]}
    )
    assert (dataset.kind, dataset.task, dataset.classes) == ("signal-table", "classification", ("run", "walk"))
    assert dataset.train.item_shape == (2, 10)
    values = np.array([columns["ax"], columns["ay"]], dtype=np.float32)
    index = 0
    for recording, (first, length) in enumerate(((0, 30), (30, 20), (50, 25), (75, 40))):
        for start in range(0, length - 9, 5):
            inputs, label = dataset.train.fetch([index])
            assert np.array_equal(inputs[0], values[:, first + start : first + start + 10])
            words = columns["label"][first + start : first + start + 10]
            # Of five each the class that comes first wins.
            assert dataset.classes[int(label)] == max(words, key=lambda word: (words.count(word), word == "walk"))
            assert dataset.train.name(index) == f"r{recording}[{start}:{start + 10}]"
            assert int(dataset.train.groups[index]) == recording // 2
            index += 1
    assert index == len(dataset.train)
    assert dict(dataset.stored_sizes) == {(10,): index}


def test_all_other_numbers_are_channels_and_rows_may_be_mixed(tmp_path):
    columns = long_table(lengths=(12, 12))
    order = np.arange(24).reshape(2, 12).T.reshape(-1)
    mixed = {name: [values[place] for place in order] for name, values in columns.items()}
    plain = load_data(saved(tmp_path, columns, "a.csv"), **WHOLE, options={"window": 6})
    other = load_data(saved(tmp_path, mixed, "b.csv"), **WHOLE, options={"window": 6})
    assert plain.train.item_shape == (2, 6)
    assert torch.equal(plain.train.fetch(range(4))[0], other.train.fetch(range(4))[0])


def test_pure_windows(tmp_path):
    path = saved(tmp_path, long_table(lengths=(30, 30)))
    assert len(load_data(path, **WHOLE, options={"window": 10}).train) == 6
    dataset = load_data(path, **WHOLE, options={"window": 10, "window_label": "pure"})
    assert [dataset.train.name(index) for index in range(len(dataset.train))] == [
        "r0[0:10]",
        "r0[20:30]",
        "r1[0:10]",
        "r1[20:30]",
    ]


def test_subjects_stay_on_one_side(tmp_path):
    path = saved(tmp_path, long_table(lengths=(30,) * 10))
    dataset = load_data(path, options={"window": 10, "step": 2})
    sides = [set(part.groups.tolist()) for part in dataset.parts.values()]
    assert len(sides) == 3
    assert len(set.union(*sides)) == sum(map(len, sides))
    held = load_data(path, val_fraction=0, options={"window": 10, "test_subjects": ["p1", "p3"]})
    assert {held.test.name(index).partition("[")[0] for index in range(len(held.test))} == {"r2", "r3", "r6", "r7"}
    assert held.official == ("train", "test")


def test_without_subjects_recordings_stay_on_one_side(tmp_path):
    columns = long_table(lengths=(30,) * 10)
    del columns["subject"]
    dataset = load_data(saved(tmp_path, columns), options={"window": 10, "step": 2})
    sides = [{part.name(i).partition("[")[0] for i in range(len(part))} for part in dataset.parts.values()]
    assert sum(map(len, sides)) == 10


def test_a_single_recording_is_cut_into_blocks(tmp_path):
    columns = long_table(lengths=(1000,))
    columns["label"] = np.array(["run", "walk"])[np.arange(1000) // 40 % 2].tolist()
    del columns["id"], columns["subject"]
    dataset = load_data(saved(tmp_path, columns), options={"window": 20, "step": 1, "window_label": "majority"})
    seen = {}
    for part in dataset.parts.values():
        for index in range(len(part)):
            start, end = part.name(index).partition("[")[2][:-1].split(":")
            assert int(start) // 100 == (int(end) - 1) // 100
            assert seen.setdefault(int(start) // 100, part) is part
    assert len(seen) == 10


def test_whole_recordings_and_their_lengths(tmp_path):
    columns = long_table(lengths=(20, 20, 20, 20))
    columns["label"] = ["walk"] * 40 + ["run"] * 40
    dataset = load_data(saved(tmp_path, columns), **WHOLE)
    assert (dataset.train.item_shape, dataset.train.labels.tolist()) == ((2, 20), [1, 1, 0, 0])
    assert dataset.train.name(2) == "r2"
    columns = long_table(lengths=(20, 30))
    path = saved(tmp_path, columns)
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE)
    assert str(error.value) == (
        f"Expected recordings of one length; received {path} with lengths from 20 to 30. Cut them with the option "
        "window, or give image_size (with fit='pad' to cut and fill up with zeros)."
    )
    columns["label"] = ["walk"] * 20 + ["run"] * 30
    padded = load_data(saved(tmp_path, columns), **WHOLE, image_size=24, fit="pad")
    inputs = padded.train.fetch([0, 1])[0]
    values = np.array([columns["ax"], columns["ay"]], dtype=np.float32)
    assert np.array_equal(inputs[0, :, 2:22], values[:, :20])
    assert (inputs[0, :, [0, 1, 22, 23]] == 0).all()
    assert np.array_equal(inputs[1], values[:, 23:47])
    assert dict(padded.stored_sizes) == {(20,): 1, (30,): 1}
    assert load_data(saved(tmp_path, columns), **WHOLE, image_size=24).train.item_shape == (2, 24)


def test_resampling_by_the_times(tmp_path):
    columns = long_table(lengths=(400, 400), rate=100.0)
    seconds = np.array(columns["time"])
    columns["ax"] = np.sin(2 * np.pi * 2 * seconds).round(5).tolist()
    columns["ay"] = np.sin(2 * np.pi * 35 * seconds).round(5).tolist()
    path = saved(tmp_path, columns)
    dataset = load_data(path, **WHOLE, options={"window": 50, "rate": 25})
    assert [dataset.train.name(index) for index in (0, 1, 2, 3)] == ["r0[0:50]", "r0[50:100]", "r1[0:50]", "r1[50:100]"]
    inputs, labels = dataset.train.fetch([0])
    assert np.abs(inputs[0, 0].numpy() - np.sin(2 * np.pi * 2 * np.arange(50) / 25)).max() < 5e-3
    assert inputs[0, 1, 10:40].abs().max() < 0.01
    assert dataset.classes[int(labels[0])] == "walk"
    columns["time"] = (seconds * 1000).tolist()
    in_ms = load_data(saved(tmp_path, columns), **WHOLE, options={"window": 50, "rate": 25, "time_unit": "ms"})
    assert torch.allclose(in_ms.train.fetch([0])[0], inputs, atol=1e-5)
    start = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
    columns["time"] = [(start + dt.timedelta(seconds=each)).isoformat(sep=" ") for each in seconds.tolist()]
    dates = load_data(saved(tmp_path, columns), **WHOLE, options={"window": 50, "rate": 25})
    assert torch.allclose(dates.train.fetch([0])[0], inputs, atol=1e-4)


def test_numbers_to_predict_and_several_labels(tmp_path):
    columns = long_table(lengths=(20, 20))
    columns["speed"] = np.arange(40.0).tolist()
    columns["up"], columns["on"] = [0] * 12 + [1] * 28, [1] * 40
    path = saved(tmp_path, columns)
    dataset = load_data(path, **WHOLE, options={"window": 10, "targets": ["speed"], "columns": ["ax"]})
    assert (dataset.task, dataset.classes, dataset.train.labels.dtype) == ("regression", ("speed",), torch.float32)
    assert dataset.train.labels.tolist() == [[4.5], [14.5], [24.5], [34.5]]
    options = {"window": 10, "targets": "up,on", "columns": "ax,ay", "task": "multi-label"}
    several = load_data(path, **WHOLE, options=options)
    assert (several.task, several.classes) == ("multi-label", ("up", "on"))
    assert several.train.labels.tolist() == [[0, 1], [1, 1], [1, 1], [1, 1]]
    pure = load_data(path, **WHOLE, options=options | {"window_label": "pure"})
    assert len(pure.train) == 3
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE, options={"window": 10, "targets": ["speed"], "task": "multi-label"})
    assert str(error.value) == (
        "Expected targets of 0 and 1 for several labels; received r0 with other numbers. "
        "Leave the option task out to predict numbers."
    )


def recording(folder, name, length=20, seed=0, **more):
    random = np.random.default_rng(seed)
    columns = {"time": (np.arange(length) / 10).tolist(), "ax": random.normal(size=length).round(4).tolist()} | more
    return saved(folder, columns, name)


def test_folder_with_a_label_per_sub_folder(tmp_path):
    for label in ("run", "walk"):
        for index in range(4):
            recording(tmp_path, f"{label}/p{index}_1.csv", 20 + index, index)
    (tmp_path / "README.md").write_text("about")
    dataset = load_data(
        tmp_path,
        val_fraction=0,
        options={"window": 10, "step": 5, "name_pattern": r"(?P<subject>p\d)_\d", "test_pattern": "p3"},
    )
    assert (dataset.kind, dataset.classes, dataset.ignored) == ("signal-tables", ("run", "walk"), ("README.md",))
    assert dataset.train.name(0) == "run/p0_1.csv[0:10]"
    assert (dataset.train.groups.unique().tolist(), dataset.test.groups.unique().tolist()) == ([0, 1, 2], [3])
    assert len(load_data(tmp_path, **WHOLE, options={"window": 10, "select": "run/p[01]|walk/p0"}).train) == 2 * 3


def test_folder_with_parts_above(tmp_path):
    for split in ("train", "test"):
        for label in ("run", "walk"):
            recording(tmp_path, f"{split}/{label}/a.csv")
    dataset = load_data(tmp_path, val_fraction=0, options={"window": 10})
    assert (dataset.classes, dataset.official) == (("run", "walk"), ("train", "test"))
    assert dataset.test.name(0) == "test/run/a.csv[0:10]"


def test_folder_with_a_list_of_labels(tmp_path):
    for index in range(4):
        recording(tmp_path, f"{index}.csv", seed=index)
    text = "file,label,subject,split\n0.csv,up,ann,train\n1.csv,down,bob,train\n2.csv,up,cid,test\n"
    (tmp_path / "labels.csv").write_text(text)
    dataset = load_data(tmp_path, val_fraction=0)
    assert (dataset.classes, dataset.train.labels.tolist(), len(dataset.test)) == (("down", "up"), [1, 0], 1)
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([0, 1], [2])
    assert dataset.ignored == ("3.csv",)
    (tmp_path / "labels.csv").write_text(text + "9.csv,up,ann,train\n")
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    assert str(error.value) == (
        "Expected files that exist, each once, with a label; received "
        f"'9.csv' in {tmp_path}/labels.csv, which does not exist. Correct the list."
    )


def test_folder_with_labels_in_the_tables(tmp_path):
    for index in range(3):
        recording(tmp_path, f"{index}.csv", seed=index, label=["a"] * 10 + ["b"] * 10)
    dataset = load_data(tmp_path, **WHOLE, options={"window": 10})
    assert dataset.train.labels.tolist() == [0, 1] * 3


def test_parquet_is_read_like_csv(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    columns = long_table()
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    options = {"window": 10, "step": 5}
    one = load_data(tmp_path / "a.parquet", **WHOLE, options=options)
    other = load_data(saved(tmp_path, columns), **WHOLE, options=options)
    assert (one.kind, one.classes) == ("signal-table", other.classes)
    every = range(len(one.train))
    assert torch.equal(one.train.fetch(every)[0], other.train.fetch(every)[0])
    assert torch.equal(one.train.labels, other.train.labels)
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(DataError, match="none of them"):
        load_data(tmp_path / "b.parquet")


def test_new_tables_are_cut_alike(tmp_path):
    dataset = load_data(saved(tmp_path, long_table()), **WHOLE, options={"window": 10, "step": 5})
    columns = long_table(lengths=(23,), seed=5)
    del columns["label"], columns["subject"], columns["id"]
    new = saved(tmp_path, dict(reversed(columns.items())), "new.csv")
    samples = reader_of(dataset.reading["kind"]).read_new(file_on_disk(new, "new.csv"), dataset.reading)
    assert [name for name, _ in samples] == ["new.csv[0:10]", "new.csv[5:15]", "new.csv[10:20]"]
    values = np.array([columns["ax"], columns["ay"]], dtype=np.float32)
    assert np.array_equal(samples[1][1], values[:, 5:15])
    del columns["ay"]
    with pytest.raises(DataError) as error:
        reader_of("signal-table").read_new(
            file_on_disk(saved(tmp_path, columns, "new.csv"), "new.csv"), dataset.reading
        )
    assert str(error.value) == (
        f"Expected the columns ax, ay; received {new} without ay. "
        "Its columns are time, ax; name them as in the training data."
    )


def test_other_tables_stay_what_they_are(tmp_path):
    (tmp_path / "list.csv").write_text("path,label,weight\na.png,1,0.5\n")
    (tmp_path / "text.csv").write_text("label,text\n1,a good film it was\n0,no\n")
    for name in ("list.csv", "text.csv"):
        assert not reader_of("signal-table").recognises(source_of(tmp_path / name))
    recorded = saved(tmp_path, {"activity": ["walk", "run"], "x": [0.5, 1], "y": [1, 2]})
    assert reader_of("signal-table").recognises(source_of(recorded)) == "a table with columns of numbers"


def source_of(path):
    from striate.data.limits import Budget
    from striate.data.source import open_source

    return open_source(path, Budget())


def spoiled(columns, **changes):
    made = {name: list(values) for name, values in columns.items()}
    for name, (place, value) in changes.items():
        made[name][place] = value
    return made


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ax": (3, "")},
            (
                "Expected samples without NaN; received r0 with 1, first at sample 3 of channel 0. "
                "Clean the data, or fill gaps with missing='interpolate'."
            ),
        ),
        (
            {"ay": (35, "inf")},
            (
                "Expected finite samples; received r1 with 1 that are infinite in float32. Clean or "
                "rescale the data first."
            ),
        ),
        (
            {"time": (5, 0.4)},
            (
                "Expected times that ascend; received r0 with twice the same time at sample 5 (1 such samples). "
                "Give repair_times to sort them and keep the first of each time, or leave the times out."
            ),
        ),
        (
            {"time": (5, 0.1)},
            (
                "Expected times that ascend; received r0 with a time before that of the last sample at sample 5 "
                "(1 such samples). Give repair_times to sort them and keep the first of each time, or "
                "leave the times out."
            ),
        ),
        ({"time": (5, "")}, "Expected a time for every sample; received r0 with some missing. Fill them in."),
        (
            {"label": (40, "")},
            (
                "Expected a label for every sample; received r1 of {path} with 1 without one. "
                "Fill them in, or remove these rows."
            ),
        ),
    ],
)
def test_damaged_recordings_are_named_or_skipped(tmp_path, changes, message):
    path = saved(tmp_path, spoiled(long_table(lengths=(30, 20, 30, 30)), **changes))
    options = {"window": 10, "columns": ["ax", "ay"]}
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE, options=options)
    assert str(error.value) == message.format(path=path)
    with pytest.warns(SkippedFileWarning):
        dataset = load_data(path, **WHOLE, options=options, skip_corrupt=True)
    damaged = message.partition("received ")[2].partition(" ")[0]
    if "time for every" not in message:
        assert [name for name, _ in dataset.skipped] == [damaged]
    assert not any(dataset.train.name(index).startswith(damaged) for index in range(len(dataset.train)))


def test_short_recordings_are_named_or_skipped(tmp_path):
    path = saved(tmp_path, long_table(lengths=(30, 8, 30)))
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE, options={"window": 10})
    assert str(error.value) == (
        "Expected recordings of at least 10 samples, as many as a window; received r1 with 8. "
        "Lower window, or leave short ones out with skip_corrupt."
    )
    with pytest.warns(SkippedFileWarning, match="1 damaged files"):
        assert len(load_data(path, **WHOLE, options={"window": 10}, skip_corrupt=True).train) == 6


def test_gaps_and_times_are_mended_on_demand(tmp_path):
    columns = spoiled(long_table(lengths=(30, 30)), ax=(3, ""), time=(5, 0.4))
    options = {"window": 10, "missing": "interpolate", "repair_times": True}
    dataset = load_data(saved(tmp_path, columns), **WHOLE, options=options)
    inputs = dataset.train.fetch([0])[0][0, 0]
    ax = np.array([float(value or 0) for value in columns["ax"]], dtype=np.float32)
    ax[3] = (ax[2] + ax[4]) / 2
    assert np.allclose(inputs, np.delete(ax[:11], 5), atol=1e-6)
    nothing = {**long_table(lengths=(20, 20)), "ax": [""] * 20 + [1.0] * 20}
    with pytest.raises(DataError) as error:
        load_data(saved(tmp_path, nothing), **WHOLE, options={"columns": ["ax"], **options})
    assert str(error.value) == (
        "Expected channels with at least one sample; received r0 with nothing but NaN in channel 0. "
        "Leave the channel or the recording out."
    )


def test_mixed_rates_are_refused_until_a_rate_is_named(tmp_path):
    columns = long_table(lengths=(30, 30, 30))
    columns["time"][30:60] = (np.arange(30) / 25).tolist()
    path = saved(tmp_path, columns)
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE, options={"window": 5})
    assert str(error.value) == (
        "Expected recordings of one sampling rate, 10 per second as most have; received r1 with 25 (1 of 3 differ). "
        "Bring all to one rate, for example with rate=10."
    )
    assert len(load_data(path, **WHOLE, options={"window": 5, "rate": 10}).train) == 6 + 2 + 6


REFUSED = {
    "ragged row": (
        "id,ax,label\na,1,x\na,2\n",
        (
            "Expected 3 fields in every row, as in the first line; received {path} with 2 in row 2. "
            "Correct the row, and put fields that contain the separator in double quotes."
        ),
    ),
    "word among numbers": (
        "id,ax,label\na,1,x\na,up,x\n",
        (
            "Expected numbers in column 'ax' of {path}; received column 'ax' of {path}: 'up' in row 2. "
            "Correct it, or say with the options which columns are channels."
        ),
    ),
    "no labels": (
        "id,ax\na,1\na,2\n",
        (
            "Expected labels; received a of {path}. Name their column with the option label, "
            "put recordings into one folder per class, or list them."
        ),
    ),
    "a subject that changes": (
        "id,ax,label,subject\na,1,x,p\na,2,x,q\n",
        "Expected one subject for each recording; received a with p and q. Tell recordings apart with the option id.",
    ),
    "a part of another name": (
        "id,ax,label,split\na,1,x,exam\n",
        "Expected a split of train, val or test; received 'exam' for a. Choose one of: test, train, val.",
    ),
    "parts for some": (
        "id,ax,label,split\na,1,x,train\nb,1,y,\n",
        (
            "Expected a split for every recording or for none; received {path} without one for b. "
            "Fill in train, val or test everywhere, or leave it out."
        ),
    ),
    "subjects for some": (
        "id,ax,label,subject\na,1,x,p\nb,1,y,\n",
        (
            "Expected a subject for every recording or for none; received {path} with 1 of 2 without one. "
            "Fill them in, or leave them all out."
        ),
    ),
}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_tables(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        load_data(path)
    assert str(error.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "labl"}, "Expected label to name a column of {path}; received label='labl'. Did you mean 'label'?"),
        (
            {"columns": ["az"]},
            (
                "Expected columns to name a column of {path}; received columns='az'. Choose one of: ax, "
                "ay, id, label, subject, time."
            ),
        ),
        (
            {"test_subjects": ["p9"]},
            "Expected subjects among p0, p1; received 'p9' for {path}. Correct test_subjects and val_subjects.",
        ),
        (
            {"name_pattern": "(?P<label>"},
            (
                "Expected name_pattern to be a regular expression with at least one of the groups (?P<label>...), "
                "(?P<subject>...), (?P<split>...); received name_pattern='(?P<label>'. "
                "It means: what names tell, without their extension, in named groups."
            ),
        ),
        (
            {"rate": 5, "time": "id"},
            (
                "Expected times as numbers or as dates such as 2024-05-01 10:00:00.25; "
                "received 'r0' in {path}. Write them so."
            ),
        ),
    ],
)
def test_refused_options(tmp_path, options, message):
    path = saved(tmp_path, long_table())
    with pytest.raises(DataError) as error:
        load_data(path, options={"window": 10, **options})
    assert str(error.value) == message.format(path=path)


def test_resampling_needs_times(tmp_path):
    columns = long_table()
    del columns["time"]
    with pytest.raises(DataError) as error:
        load_data(saved(tmp_path, columns), options={"window": 10, "rate": 5})
    assert str(error.value) == (
        "Expected time stamps to resample by; received rate=5 for r0 without any. Name them with the option time."
    )


def test_folder_with_a_table_without_a_channel(tmp_path):
    for index in range(3):
        recording(tmp_path, f"a/{index}.csv", 20, index)
        recording(tmp_path, f"b/{index}.csv", 20, index)
    saved(tmp_path, {"time": [0.0, 0.1], "bx": [1.0, 2.0]}, "b/9.csv")
    with pytest.raises(DataError) as error:
        load_data(tmp_path, options={"window": 10})
    assert str(error.value) == (
        f"Expected the columns ax in every table; received {tmp_path}/b/9.csv without ax. "
        "Name the channels that all have with the option columns."
    )
    with pytest.warns(SkippedFileWarning):
        dataset = load_data(tmp_path, options={"window": 10}, skip_corrupt=True)
    assert [name for name, _ in dataset.skipped] == ["b/9.csv"]


def test_quoted_fields_and_spaces(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", " ax", "label"])
        for index in range(8):
            writer.writerow([f"r{index // 4}", f" {index}.5", "on, slowly" if index < 4 else " off "])
    dataset = load_data(path, **WHOLE)
    assert (dataset.classes, dataset.train.labels.tolist()) == (("off", "on, slowly"), [1, 0])
    assert dataset.train.fetch([0])[0][0, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
