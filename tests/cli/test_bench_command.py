"""``striate bench``: the sides it compares, what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from striate.cli import bench, printing


@pytest.fixture
def model_file():
    Path("my_model.py").write_text(
        "from torch import nn\nsize = 3\ndef net():\n    return nn.Sequential(nn.Conv1d(2, size, 3), nn.Flatten())\n"
    )


def test_a_registered_network_as_json(striate):
    done = striate("bench", "lenet", "--input", "2x1x28x28", "--train", "--repeats", 1, "--no-memory", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [side["name"] for side in told["sides"]] == ["pytorch", "channels-last", "striate"]
    assert all(side["median_ms"] > 0 and side["start_seconds"] > 0 for side in told["sides"])
    assert (told["input_shape"], told["train"]) == ([2, 1, 28, 28], True)
    assert [layer["name"] for layer in told["acceleration"]["layers"]] == ["conv1", "conv2"]


def test_a_network_of_tokens(striate):
    done = striate(
        "bench", "wavenet", "--input", "2x8x20", "--only", "pytorch", "--repeats", 1, "--no-memory", "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["input_shape"] == [2, 8, 20]


def test_a_run_with_the_usual_input(striate, run):
    done = striate("bench", run, "--repeats", 1, "--no-memory", "--only", "pytorch", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "inference on 8x1x28x28, 1 thread" in done.stdout


def test_a_model_of_ones_own_in_80_columns(striate, model_file, monkeypatch):
    console = Console(width=80, force_terminal=True, no_color=True, highlight=False, color_system=None)
    monkeypatch.setattr(printing, "output", console)
    monkeypatch.setattr(bench, "_peak_of", lambda *_: 3 << 30)
    done = striate("bench", "my_model:net", "--input", "1x2x16", "--repeats", 2, "--train")
    assert done.exit_code == 0, done.output
    assert "Striate" in done.stdout
    assert "3.0 GiB" in done.stdout
    assert "channels-last" not in done.stdout.split("convolutions")[0]  # there is none in 1-D
    assert max(map(len, done.stdout.splitlines())) <= 80
    layers = striate("bench", "my_model:net", "--input", "1x2x16", "--repeats", 1, "--layers", "--no-memory")
    assert "1d n1 c2 o3 i16 k3 s1 p0 bias" in layers.stdout


def test_peak_memory_is_that_of_a_process_of_its_own(model_file):
    peak = bench._peak_of("my_model:net", (1, 2, 16), True, "striate", 1)
    assert peak is not None
    assert 50 << 20 < peak < 4 << 30
    assert bench._peak_of("my_model:gone", (1, 2, 16), True, "striate", 1) is None


def test_what_is_refused(refused, model_file):
    assert "Did you mean 'lenet'" in refused("bench", "lenett")
    assert "No module named 'nowhere'" in refused("bench", "nowhere:net", "--input", "1x2x16")
    assert "no attribute 'gone'" in refused("bench", "my_model:gone", "--input", "1x2x16")
    assert "received my_model:size" in refused("bench", "my_model:size", "--input", "1x2x16")
    assert "Give it, such as --input" in refused("bench", "my_model:net")
    assert "received --input 1x3x16" in refused("bench", "my_model:net", "--input", "1x3x16")
    assert "received --only theirs" in refused("bench", "lenet", "--only", "theirs")
    assert "an input shape of channels and sizes" in refused("bench", "lenet", "--input", "28")
