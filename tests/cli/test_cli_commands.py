"""The other commands: what they print, write and refuse."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from striate.cli import printing
from striate.cli.app import app

COMMANDS = [command.name for command in app.registered_commands]
HEAVY = {"torch", "numpy", "matplotlib", "pydantic", "lightning_fabric", "PIL", "torchmetrics", "safetensors"}


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns, without colours."""
    console = Console(width=80, force_terminal=True, no_color=True, highlight=False, color_system=None)
    monkeypatch.setattr(printing, "output", console)


@pytest.fixture
def folder(tmp_path):
    """Pictures of two classes, whose names and files look like Rich's markup."""
    draw = np.random.default_rng(0)
    for place, name in enumerate(["[red]apple", "été [b]"]):
        (tmp_path / "odd [x]" / name).mkdir(parents=True)
        for count in range(12):
            pixels = (draw.random((12, 12)) * 100 + 100 * place).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "odd [x]" / name / f"[bold]{count}.png")
    return Path("odd [x]")


def test_the_commands_are_those_of_the_readme(striate):
    assert COMMANDS == [
        "train",
        "cross-validate",
        "repeat",
        "search",
        "runs",
        "evaluate",
        "predict",
        "inspect",
        "look",
        "filter",
        "models",
        "data",
        "pack",
        "kernel",
        "cache",
        "bench",
    ]


@pytest.fixture(scope="module")
def helps():
    """What every command's help prints, its exit code, and what is imported by then, in one process one by one."""
    code = """
import contextlib, io, json, sys
from striate.cli import main

told = {}
for name in ["", *sys.argv[1:]]:
    sys.argv = ["striate", *([name] if name else []), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main()
        except SystemExit as left:
            told[name] = text.getvalue(), left.code, sorted({module.split(".")[0] for module in sys.modules})
print(json.dumps(told))
"""
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_examples_and_imports_nothing_heavy(helps, name):
    text, code, loaded = helps[name]
    assert code == 0
    assert "Examples" in text
    assert f"striate {name or 'train'} " in text
    assert {"sys", "typer"} <= set(loaded)
    # Typer itself needs pydantic to look at a command's options.
    assert set(loaded) & (HEAVY - {"pydantic"} if name else HEAVY) == set()


def test_python_dash_m_and_exit_codes():
    def run(*words):
        return subprocess.run([sys.executable, "-m", "striate", *words], capture_output=True, text=True)

    version = run("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("striate ")
    bad = run("--debug", "filter", "1 2")
    assert (bad.returncode, bad.stdout) == (2, "")
    message, _, trace = bad.stderr.partition("\n")
    assert message == (
        "Error: Expected a source and a --kernel; received no --kernel. See `striate filter --help` for examples."
    )
    assert trace.startswith("Traceback (most recent call last)")


def test_a_reader_who_leaves_is_no_accident():
    done = subprocess.run(
        f"{sys.executable} -m striate filter --list | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


def test_a_name_that_cannot_be_shown_is_shown_otherwise(folder):
    command = [sys.executable, "-X", "utf8=0", "-m", "striate", "data", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    )
    assert done.returncode == 0, done.stderr
    assert "\\xe9t\\xe9 [b]" in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermissionError(13, "Permission denied", "/a/.b.12.partial.csv"), 2, ("Error: Expected a file or folder that "
         "can be used; received /a/b.csv: permission denied. Check the path and its rights.\n")),
        (IsADirectoryError(21, "Is a directory", "/.b.12.partial", None, "/a"), 2, ("Error: Expected a file or folder "
         "that can be used; received /a: is a directory. Check the path and its rights.\n")),
        (OSError(28, "No space left on device"), 1, "Error: [Errno 28] No space left on device\n"),
        (MemoryError(), 1, "Out of memory: MemoryError Make the batch, the input or the network smaller.\n"),
        (KeyError("[red]x"), 1, ("KeyError: '[red]x'\nThis looks like a defect in Striate. `striate --debug ...` shows "
         "where it happened.\n")),
        (KeyboardInterrupt(), 1, "Stopped.\n"),
    ],
)  # fmt: skip
def test_what_escapes_from_a_command(striate, monkeypatch, error, code, message):
    def fail():
        raise error

    monkeypatch.setattr("striate.nn.list_filters", fail)
    done = striate("filter", "--list")
    assert (done.exit_code, done.stderr) == (code, message)


def test_warnings_are_sentences_and_their_printing_is_put_back(striate, monkeypatch, recwarn):
    import warnings

    def warn():
        warnings.warn("left [b] out", UserWarning, stacklevel=1)
        return []

    monkeypatch.setattr("striate.nn.list_filters", warn)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert striate("filter", "--list").stderr == "Warning: left [b] out\n"
    assert warnings.showwarning is before


def test_names_are_never_markup(striate, folder):
    assert striate("train", "lenet", "-d", folder, "--epochs", 1, "--out", "run [i]").exit_code == 0
    listed = striate("predict", "run [i]", folder / "[red]apple").stdout
    assert f"{folder}/[red]apple/[bold]11.png" in listed
    for words in (["data", folder, "--sheet", "s [i].png"], ["evaluate", "run [i]"]):
        shown = striate(*words).stdout
        assert "[red]apple" in shown
        assert "été [b]" in shown
        assert " [i]" in shown
    assert "run [i]/look/input.png\n" in striate("look", "run [i]").stdout


def test_evaluate_prints_and_writes(striate, run):
    done = striate("evaluate", run)
    assert " correct: " in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[-1].endswith(f"in {run}/evaluation")
    told = json.loads(striate("evaluate", run, "--split", "val", "--json", "--out", "here").stdout)
    assert told == json.loads(Path("here/evaluation.json").read_text())
    assert (told["split"], told["count"]) == ("val", 180)


def test_predict_prints_and_writes(striate, run, digit):
    words = ["predict", run, digit, "--top-k", 3]
    table = striate(*words).stdout.splitlines()
    assert len(table) == 5
    assert table[2].startswith("one.png")
    answers = json.loads(striate(*words, "--json").stdout)[0]["answers"]
    assert [answer["label"] for answer in answers] == [line.split()[-2] for line in table[2:]]
    assert striate(*words, "--csv", "a [b].csv").stdout == "Wrote 1 predictions to a [b].csv\n"
    with Path("a [b].csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["class_1"] == answers[0]["label"]


def test_inspect_agrees_with_itself(striate, run):
    told = json.loads(striate("inspect", "lenet", "--json").stdout)
    assert told["totals"]["parameters"] == 61706
    shown = striate("inspect", "lenet").stdout
    assert "61,706 (61,706 trainable, 0 fixed)" in shown
    assert striate("inspect", run).stdout.count("\n") == shown.count("\n")
    assert json.loads(striate("inspect", "two_conv", "--input", "3x16x16x16", "--classes", 2, "--json").stdout)[
        "output_shape"
    ] == [1, 2]


def test_a_network_too_large_for_any_memory_can_be_inspected(striate):
    told = json.loads(striate("inspect", "lenet", "--input", "1x100000x100000", "--json").stdout)
    assert told["totals"]["parameters"] > 10**12


def test_networks_are_listed(striate):
    told = {entry["name"]: entry for entry in json.loads(striate("models", "--json").stdout)}
    assert (told["lenet"]["parameters"], told["lenet5"]["parameters"]) == (61706, 60000)
    assert (told["r3d_18"]["input_size"], told["r3d_18"]["min_input_size"]) == ([16, 112, 112], [1, 1, 1])
    shown = striate("models").stdout
    assert "\nclassification\n" in shown
    assert next(line for line in shown.splitlines() if line.startswith("resnet50 ")).split()[:9] == [
        "resnet50", "2015", "1", "2", "3", "25.6", "M", "4.09", "G"
    ]  # fmt: skip
    assert "lenet5 " not in striate("models", "--rank", 3).stdout
    assert "lenet " not in striate("models", "--task", "segmentation").stdout


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("year", lambda entry: entry["year"]),
        ("name", lambda entry: entry["name"]),
        ("rank", lambda entry: tuple(entry["spatial_dims"])),
        ("parameters", lambda entry: entry["parameters"]),
        ("macs", lambda entry: entry["macs"]),
    ],
)
def test_networks_are_sorted_within_their_task(striate, sort, key):
    told = json.loads(striate("models", "--sort", sort, "--json").stdout)
    assert told == sorted(told, key=lambda entry: (entry["task"], key(entry)))


def test_a_network_is_described(striate):
    told = json.loads(striate("models", "resnet50", "--json").stdout)
    assert (told["year"], told["macs"], told["accuracy"][:21]) == (2015, 4_089_184_256, "ImageNet top-1 76.13 ")
    assert [stage["name"] for stage in told["stages"]][1:5] == ["layer1", "layer2", "layer3", "layer4"]
    assert told["stages"][4]["output_shape"] == [1, 2048, 7, 7]
    assert sum(stage["macs"] for stage in told["stages"]) == told["macs"]
    assert sum(stage["parameters"] for stage in told["stages"]) == told["parameters"]
    shown = striate("models", "resnet50").stdout
    assert "options     width=64\n            norm='batch'\n" in shown
    assert "│ layer3  6 Bottleneck      │  1024x14x14      7.10 M  1.46 G    267      16\n" in shown
    assert "│ fc  Linear  (head)        │        1000      2.05 M  2.05 M    all\n" in shown


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("googlenet", "Not drawn, as evaluation does not run it: aux1, aux2 (6,379,984 parameters)."),
        ("text_cnn_static", "parameters  360,902 and 5,629,800 that are not trained\n"),
        ("wavenet", "input       1024 tokens out of 256; at least 1\n"),
        ("r3d_18", "input       3x16x112x112; at least 1x1x1\n"),
        ("lenet5", "accuracy    MNIST, 20 epochs, no distortions: 0.95 % errors.\n"),
        ("lenet", "accuracy    none published for this form\n"),
    ],
)
def test_what_is_special_about_a_network_is_told(striate, name, words):
    assert words in striate("models", name).stdout


def test_networks_of_tokens_can_be_inspected(striate):
    told = json.loads(striate("inspect", "wavenet", "--input", "64x100", "--classes", 7, "--json").stdout)
    assert (told["input_shape"], told["output_shape"]) == ([1, 100], [1, 7, 100])
    told = json.loads(striate("inspect", "text_cnn_rand", "--batch", 3, "--json").stdout)
    assert (told["input_shape"], told["output_shape"]) == ([3, 56], [3, 2])


def test_networks_are_inspected_as_published(striate):
    told = json.loads(striate("inspect", "squeezenet1_1", "--json").stdout)
    assert (told["input_shape"], told["totals"]["parameters"]) == ([1, 3, 224, 224], 1_235_496)


def test_data_as_json_draws_nothing(striate, tmp_path):
    told = json.loads(striate("data", "digits", "--json").stdout)
    assert sum(sum(counts.values()) for counts in told["counts"].values()) == 1797
    assert list(tmp_path.iterdir()) == []
    assert striate("data", "digits").stdout.endswith("\nContact sheet: contact-sheet.png\n")
    with Image.open("contact-sheet.png") as sheet:
        assert sheet.width > 0


@pytest.mark.parametrize(
    "words",
    [
        ["models"],
        ["filter", "--list"],
        ["data", "digits"],
        ["models", "lenet5"],
        ["models", "r2plus1d_18"],
        ["models", "wavenet"],
    ],
    ids=str,
)
def test_80_columns_are_enough(striate, terminal, words):
    lines = striate(*words).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)


def test_a_wide_table_is_never_cut(striate, terminal):
    assert striate("inspect", "lenet").stdout.splitlines()[0].split() == [
        "layer", "kind", "output", "parameters", "macs", "flops", "memory", "field", "stride", "offset"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Expected a command of striate; received 'trian'. Did you mean 'train'?"),
        (["inspect", "lenett"],
         "Expected the name of a model; received 'lenett'. Did you mean 'lenet' or 'lenet5'?"),
        (["inspect", ""], "Expected a run's folder or a model's name; received an empty text. See `striate models`."),
        (["inspect", "./x"], ("Expected a run's folder or a model's name; received ./x. "
         "Train one with `striate train ... --out FOLDER`.")),
        (["inspect", "lenet", "--input", "1x28y"],
         "Expected a shape such as 1x28x28; received '1x28y'. Join positive whole numbers by x."),
        (["inspect", "lenet", "--input", "28"], ("Expected an input shape of channels and sizes, such as 1x28x28; "
         "received --input 28. Put the number of channels in front.")),
        (["inspect", "lenet", "--batch", 0],
         "Expected a number of at least 1 for --batch; received '0'. See `striate inspect --help`."),
        (["models", "convnet_tiny"], ("Expected the name of a model; received 'convnet_tiny'. "
         "Did you mean 'convnext_tiny' or 'convnext_base'?")),
        (["models", "--sort", "size"], ("Expected one of 'year', 'name', 'rank', 'parameters', 'macs' for --sort; "
         "received 'size'. See `striate models --help`.")),
        (["models", "lenet", "--rank", 1],
         "Expected a network's name, or --task and --rank to list by; received both. Leave one out."),
        (["evaluate", "x", "--out", "/dev/null"], ("Expected a folder to write to; received /dev/null, where /dev/null "
         "is a file. Choose another folder.")),
        (["predict", "x", "y", "--csv", "z/a.csv"],
         "Expected a file in a folder that exists; received z/a.csv. Create z first."),
        (["predict", "x", "y", "--csv", "a.csv", "--json"], "Expected --csv or --json; received both. Leave one out."),
        (["look", "x", "--split", "y"], ("Expected one of 'train', 'val', 'test' for --split; received 'y'. "
         "See `striate look --help`.")),
        (["data", "digits", "--sheet", "/"], "Expected a file to write; received the folder /. Add a file name."),
    ],
)  # fmt: skip
def test_refused(refused, words, message, tmp_path):
    assert refused(*words) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "wavenet",
            (
                "Expected a network that gives one answer per input, for classification; received wavenet, made for "
                "next-sample prediction. "
            ),
        ),
        ("text_cnn_rand", "Expected a network that takes values; received text_cnn_rand, which takes tokens. "),
        (
            "neocognitron",
            (
                "Expected a network that learns by gradients; received neocognitron, which learns by "
                "reinforcement of winning cells. "
            ),
        ),
        ("voxnet", "Expected a network that exists in 2-D, as the data is; received voxnet in 3-D. "),
    ],
)
def test_networks_that_cannot_be_trained(refused, name, message):
    assert refused("train", name, "--data", "digits", "--out", "run") == (
        f"{message}`striate models --task classification --rank 2` lists those for this data."
    )


@pytest.mark.parametrize("words", [["--rank", 4], ["--task", "x"]])
def test_no_network_to_list(refused, words):
    message = refused("models", *words)
    assert message.startswith("Expected a task of ")
    assert message.endswith(
        f" and a rank of 1, 2 or 3 for which there are networks; received {words[0]} {words[1]}. "
        "`striate models` lists them all."
    )


def test_a_run_keeps_its_classes(refused, run):
    assert refused("inspect", run, "--classes", 3) == (
        f"Expected --classes with the name of a network; received the run {run}. A run has its own classes."
    )


def test_a_broken_run(refused, tmp_path):
    Path("run").mkdir()
    for command in ("evaluate", "look", "inspect"):
        assert refused(command, "run") == (
            "Expected the folder of a run, with config.toml; received run, which has none. "
            "Give the folder that training wrote to."
        )
