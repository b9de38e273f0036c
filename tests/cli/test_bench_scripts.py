"""The programs in bench/ that need a quiet machine to mean anything: here only that they run, and on what."""

import contextlib
import importlib
import io
import json
import math
import subprocess
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


@pytest.fixture
def program(script, monkeypatch):
    """Runs a program's main with words of a command line, with the number of threads that there is."""

    def run(name, *words):
        monkeypatch.setattr("sys.argv", [name, "--quick", "--threads", str(torch.get_num_threads()), *words])
        script(name).main()

    return run


def test_shapes_are_written_as_they_are_read(script):
    layers = script("convolutions").layers([], quick=False)
    texts = [line.split("|")[1].strip() for line in (BENCH / "shapes.txt").read_text().splitlines() if "2d n8" in line]
    assert {str(layer.problem) for layer in layers} >= set(texts[1:])
    assert len({layer.name for layer in layers}) == len(layers) > 50
    families = {family for layer in layers for family in layer.families}
    assert families == {"depthwise", "grouped", "few channels", "1-D", "dense 3x3", "1x1", "transposed", "3-D"}


def test_both_sides_of_every_layer_have_the_same_shape(script):
    convolutions = script("convolutions")
    for layer in convolutions.layers([], quick=True):
        with torch.device("meta"):
            x, w = torch.empty(layer.problem.input_shape), torch.empty(layer.problem.weight_shape)
        for ours in (False, True):
            assert convolutions.operator(layer.problem, ours)(x, w).shape == layer.problem.output_shape, layer.name


def test_layers_measured_again_take_the_place_of_the_earlier(script, tmp_path, monkeypatch):
    machine, convolutions = script("machine"), script("convolutions")
    first, second, third = convolutions.names_of_layers()[:3]
    earlier = [(name, "p", mode, side, 1, 1, 1, 9, ratio, 0, "")
               for name, ratio in ((first, 2), (third, 8))
               for mode in convolutions.MODES
               for side in ("torch contiguous", "striate channels-last", "striate contiguous")]  # fmt: skip
    path = tmp_path / "convolutions.csv"
    machine.write_results(path, [], convolutions.HEADINGS, earlier)
    anew = [(*row[:8], 4, *row[9:]) for row in earlier if row[0] == third]
    anew += [(second, *row[1:]) for row in anew]
    rows = machine.renewed(path, anew, convolutions.names_of_layers())
    assert [name for name, *_ in rows[::6]] == [first, second, third]
    assert convolutions.ratios_of(rows)[third]["forward"] == 4
    assert "forward: mean 3.17x of 3, least 2.00x" in convolutions.summary(rows)[0]
    monkeypatch.setattr(machine, "about", lambda: "another machine")
    assert len(machine.renewed(path, anew, convolutions.names_of_layers())) == 12


def test_convolutions(program, capsys):
    program("convolutions", "--only", "lenet-c2", "--no-memory")
    told = capsys.readouterr().out
    assert "lenet-c2" in told
    assert "few channels, forward+backward: mean" in told
    assert "microseconds a call" in told
    assert "ms to compile a kernel" in told


def test_peak_memory_of_a_layer(script, monkeypatch):
    convolutions = script("convolutions")
    (layer,) = convolutions.layers(["pointwise-24-144"], quick=True)
    alone = subprocess.run

    def seldom_alone(words, **options):
        """A process of its own for one of our sides; what the others would run there is run here."""
        side = words[words.index("--peak") + 1]
        if side == "striate contiguous":
            return alone(words, **options)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            convolutions.peak(layer, side)
        return subprocess.CompletedProcess(words, 0, told.getvalue())

    monkeypatch.setattr(subprocess, "run", seldom_alone)
    _, *grown, ratio = convolutions.memory(layer, 1, quick=True)
    assert all(float(value) >= 0 for value in grown)
    assert math.isfinite(float(ratio))


def test_networks_have_the_published_number_of_parameters(script):
    for name, network in script("reference_networks").NETWORKS.items():
        with torch.device("meta"):
            model = network.build().eval()
            output = model(torch.empty(1, *network.input_shape[1:]))
        assert output.shape[0] == 1
        if network.parameters is not None:
            assert sum(p.numel() for p in model.parameters()) == network.parameters, name


def test_networks(program, script, capsys, monkeypatch):
    networks = script("networks")
    alone = networks.alone

    def seldom_alone(name, side, train, arguments, cache):
        """Processes of their own for our side of training; what the other sides would run there is run here."""
        if train and side == "striate":
            return alone(name, side, train, arguments, cache)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            networks.run_alone(name, side, train, arguments.quick)
        return json.loads(told.getvalue())

    monkeypatch.setattr(networks, "alone", seldom_alone)
    program("networks", "--only", "lenet")
    told = capsys.readouterr().out
    assert "lenet inference: pytorch" in told
    assert "lenet training: pytorch" in told
    assert "geometric mean" in told


def test_the_page_of_accuracies_tells_what_was_measured(script, tmp_path, monkeypatch):
    page = script("accuracy_page")
    before = page.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "accuracy.md"
    copy.write_text("\n".join(line for line in before.splitlines() if "| `digits` |" not in line), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", copy)
    monkeypatch.setattr("sys.argv", ["accuracy_page"])
    # Results of this processor may not be there; those in the repository are.
    (results,) = (BENCH / "results").glob("accuracy-amd-epyc-2-float32.csv")
    monkeypatch.setattr(page, "result_file", lambda *_: results)
    page.main()
    assert copy.read_text(encoding="utf-8") == before


def test_a_recipe_with_several_runs_has_one_row(script):
    page = script("accuracy_page")
    row = {"recipe": "polarity", "network": "text_cnn_rand", "parameters": "6080000", "epochs": "6"}
    row |= {"seconds_per_epoch": "19.24", "metric": "mean_dice", "value": "0.8", "more": "AUROC 0.9"}
    row |= {"reference": "0.759", "source": "others", "within_1.5_points": "yes", "about": "5 folds"}
    runs = [
        row | {"run": "fold 0 of 10", "low": "", "high": ""},
        row | {"run": "median of 5", "low": "0.7", "high": "0.9"},
    ]
    (last,) = page.told_last(runs)
    assert page.of_task(last) == (
        "`polarity`",
        "`text_cnn_rand`",
        "6.08 M",
        "19.2, 6",
        "mean dice, median of 5",
        "80.0 (70.0 to 90.0); AUROC 0.9",
        "75.9: others",
        "yes; 5 folds",
    )
    text = "before\n\n| recipe | network |\n|---|---|\n| old | old |\n\nafter\n"
    new = page.replaced(text, page.HEADS[0], [("a", "b")])
    assert new == "before\n\n| recipe | network |\n|---|---|\n| a | b |\n\nafter\n"
    with pytest.raises(SystemExit, match=r"has no table that begins with \| year"):
        page.replaced(text, page.HEADS[1], [])
