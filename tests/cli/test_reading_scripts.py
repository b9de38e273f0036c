"""The programs in bench/ that measure reading: both ways give the same numbers for every kind of source."""

import csv
import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"
NAMES = re.findall(r'^    Kind\(\s*"([^"]+)"', (BENCH / "reading.py").read_text(), re.MULTILINE)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


def test_every_kind_is_named(script):
    assert [kind.name for kind in script("reading").KINDS] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_plain_pytorch_and_striate_read_the_same_numbers(script, name, tmp_path):
    reading = script("reading")
    kind = next(kind for kind in reading.KINDS if kind.name == name)
    kind.write(tmp_path / "set", 6)
    path = tmp_path / "set" / kind.inside
    limits = [None, 1000] if kind.from_files else [None]
    for limit in limits:
        dataset = reading.opened(kind, path, limit)
        assert dataset.in_memory == (limit is None)
        preprocessing = reading.Preprocessing.fit(dataset)
        theirs = kind.plain(path, reading.scaling(dataset, preprocessing))
        assert len(theirs) == len(dataset.train) >= 6
        assert reading.difference(kind, dataset, preprocessing, theirs) <= kind.tolerance
        theirs.close()


@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*fork.*:DeprecationWarning")
def test_the_table(script, monkeypatch, tmp_path, capsys):
    reading, machine = script("reading"), script("machine")
    idx = next(kind for kind in reading.KINDS if kind.name == "idx")
    wav = next(kind for kind in reading.KINDS if kind.name == "wav")
    monkeypatch.setattr(reading, "KINDS", (reading.replace(idx, count=40), reading.replace(wav, count=40)))
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    threads = reading.torch.get_num_threads()
    words = ["reading", "--threads", str(threads), "--rounds", "2", "--epochs", "1"]
    monkeypatch.setattr("sys.argv", words)
    reading.main()
    (file,) = tmp_path.glob("reading-*.csv")
    lines = file.read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 4 * (1 + 3)
    assert {(row["held"], row["workers"]) for row in rows} == {("memory", "0"), ("files", "0"), ("files", "2")}
    assert all(
        float(row["lower"]) <= float(row["samples_per_second"]) <= float(row["upper"]) and float(row["ratio"]) > 0
        for row in rows
    )
    assert any(line.startswith("# memory, 0 workers, later epochs: mean ") for line in lines)
    assert "wav, files, 2 workers, later" in capsys.readouterr().out


def test_an_array_larger_than_the_limit_is_trained_on(script, monkeypatch, tmp_path, capsys):
    larger, machine = script("larger_than_memory"), script("machine")
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    threads = larger.torch.get_num_threads()
    monkeypatch.setattr(
        "sys.argv", ["larger", "--gigabytes", "0.003", "--threads", str(threads), "--folder", str(tmp_path)]
    )
    larger.main()
    (file,) = tmp_path.glob("larger-than-memory-*.csv")
    assert list(tmp_path.iterdir()) == [file]
    (row,) = csv.DictReader(line for line in file.read_text().splitlines() if not line.startswith("#"))
    assert int(row["samples"]) == 3_000_000 // 12_288
    assert int(row["anonymous_bytes"]) < int(row["peak_bytes"]) < larger.TARGET
    assert 0 < int(row["result_peak_bytes"]) <= int(row["peak_bytes"])
    assert "are no files" in capsys.readouterr().out


def test_the_array_is_one_that_numpy_reads(script, tmp_path):
    larger = script("larger_than_memory")
    assert larger.write_array(tmp_path, 200_000) == 16
    array = np.load(tmp_path / "x.npy")
    assert (array.shape, array.dtype) == ((16, 3, 64, 64), np.uint8)
    assert len(np.unique(array)) == 256
    assert np.load(tmp_path / "y.npy").tolist() == [number % 10 for number in range(16)]


def test_a_program_that_fails_is_told_of(script):
    with pytest.raises(SystemExit, match="failed with exit code 3:\nno room"):
        script("larger_than_memory").watched([sys.executable, "-c", "print('no room'); raise SystemExit(3)"], 1)
    memory, printed, _ = script("larger_than_memory").watched(
        [sys.executable, "-c", "import json, time; x = bytearray(b'1') * (50 << 20); time.sleep(0.3); print('{}')"], 1
    )
    assert json.loads(printed) == {}
    assert 50 << 20 < memory.anonymous <= memory.peak
