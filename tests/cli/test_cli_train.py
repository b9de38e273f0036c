"""``striate train``: options, files and folders into a configuration; signals."""

import json
import signal
import subprocess
import sys
import tomllib

import pytest

from striate.train import PlainLines, RunConfig

TRAIN = ["train", "lenet", "--data", "digits28"]


@pytest.fixture
def chosen(striate, monkeypatch):
    """The configuration and folder that a command line comes to; nothing is trained."""
    seen = {}

    def record(config, folder):
        seen.update(config=config, folder=folder)
        return type("Run", (), {"folder": folder})

    monkeypatch.setattr("striate.train.fit", record)

    def run(*words):
        done = striate("train", *words)
        assert done.exit_code == 0, done.output
        return seen["config"]

    run.seen = seen
    return run


def test_every_option_reaches_its_setting(chosen):
    config = chosen(
        "lenet", "-d", "digits28", "--epochs", 3, "--batch-size", 8, "--optimizer", "rmsprop", "--lr", 0.5,
        "--momentum", 0.25, "--l1", 0.125, "--l2", 0.5, "--schedule", "cosine", "--warmup", 1,
        "--label-smoothing", 0.1, "--clip", 2, "--patience", 4,
        "--image-size", 16, "--channels", 1, "--val-fraction", 0.2, "--test-fraction", 0.3,
        "--skip-corrupt", "--seed", 7, "--device", "cpu", "--precision", "64-true", "--option", "dropout=0.5",
        "--option", "pool=avg", "--set", "optimizer.alpha=0.9", "--set", "data.layout=classes",
    )  # fmt: skip
    assert config == RunConfig.from_dict(
        {
            "epochs": 3,
            "batch_size": 8,
            "seed": 7,
            "gradient_clip": 2,
            "device": "cpu",
            "precision": "64-true",
            "model": {"name": "lenet", "options": {"dropout": 0.5, "pool": "avg"}},
            "data": {
                "source": "digits28",
                "image_size": 16,
                "channels": 1,
                "val_fraction": 0.2,
                "test_fraction": 0.3,
                "skip_corrupt": True,
                "layout": "classes",
            },
            "optimizer": {
                "name": "rmsprop", "learning_rate": 0.5, "momentum": 0.25, "l1": 0.125, "l2": 0.5, "alpha": 0.9
            },
            "schedule": {"name": "cosine", "warmup_epochs": 1},
            "loss": {"name": "auto", "label_smoothing": 0.1},
            "early_stopping": {"patience": 4},
        }
    )  # fmt: skip


def test_every_option_of_training_reaches_its_setting(chosen, tmp_path):
    config = chosen(
        "lenet", "-d", "digits28", "--accumulate", 2, "--sampling", "balanced", "--dropout", 0.25,
        "--stochastic-depth", 0.125, "--workers", 2, "--data-option", "window=50", "--loss", "focal",
        "--class-weights", "1,2.5", "--ema-decay", 0.5, "--from", "runs/a", "--freeze", "conv1", "--freeze", "fc*",
        "--unfreeze-after", 3, "--layer-decay", 0.5, "--teacher", "runs/b", "--best", "val_macro_f1",
        "--augment", "flip,crop:padding=4", "--devices", 4, "--nodes", 2, "--strategy", "fsdp",
    )  # fmt: skip
    assert config == RunConfig.from_dict(
        {
            "accumulate": 2,
            "sampling": "balanced",
            "model": {"name": "lenet", "dropout": 0.25, "stochastic_depth": 0.125},
            "data": {"source": "digits28", "workers": 2, "options": {"window": 50}},
            "loss": {"name": "focal", "class_weights": [1.0, 2.5]},
            "averaging": {"name": "ema", "decay": 0.5},
            "fine_tuning": {"weights": "runs/a", "freeze": ["conv1", "fc*"], "unfreeze_after": 3},
            "optimizer": {"layer_decay": 0.5},
            "distillation": {"teacher": "runs/b"},
            "best": {"metric": "val_macro_f1"},
            "augmentation": [{"name": "flip"}, {"name": "crop", "padding": 4}],
            "devices": 4,
            "nodes": 2,
            "strategy": "fsdp",
        }
    )


@pytest.mark.parametrize(
    ("words", "section", "setting", "value"),
    [
        (["--freeze", "2"], "fine_tuning", "freeze", 2),
        (["--freeze", "all but head"], "fine_tuning", "freeze", "all but head"),
        (["--class-weights", "balanced"], "loss", "class_weights", "balanced"),
        (["--swa-start", 0.5], "averaging", "start", 0.5),
        (["--averaging", "swa"], "averaging", "name", "swa"),
        (["--set", "averaging=ema"], "averaging", "name", "ema"),
    ],
)
def test_options_that_are_more_than_a_value(chosen, words, section, setting, value):
    assert getattr(getattr(chosen("lenet", "-d", "digits28", *words), section), setting) == value


def test_finders_print_and_draw(striate, tmp_path):
    done = striate(*TRAIN, "--find-lr", "--find-batch-size", "--out", "found", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "learning rate" in done.stdout
    assert "The loss falls fastest at --lr " in done.stdout
    assert "Suggested: --batch-size " in done.stdout
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["batch-finder.png", "lr-finder.png"]


def test_the_help_groups_its_options(striate):
    done = striate("train", "--help")
    for group in ("Data", "Network", "Optimiser and schedule", "Loss and unbalanced classes", "Averaging"):
        assert f"─ {group} ─" in done.stdout


def test_options_override_a_file(chosen, tmp_path):
    written = RunConfig.from_dict(
        {"model": "lenet", "data": "digits28", "epochs": 9, "optimizer": {"name": "adamw", "weight_decay": 0.3}}
    )
    written.save(tmp_path / "a.toml")
    assert chosen("--config", "a.toml") == written
    config = chosen("two_conv", "--config", "a.toml", "--epochs", 2, "--lr", 0.5)
    assert (config.model.name, config.data.source, config.epochs) == ("two_conv", "digits28", 2)
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (0.5, 0.3)


@pytest.mark.parametrize(
    "words",
    [["--optimizer", "sgd"], ["--set", "optimizer.name=sgd"], ["--set", "optimizer=sgd"]],
)
def test_another_optimizer_inherits_nothing_and_keeps_what_is_given_with_it(chosen, tmp_path, words):
    RunConfig.from_dict(
        {"model": "lenet", "data": "digits28", "optimizer": {"learning_rate": 0.7, "weight_decay": 0.3, "l1": 0.2}}
    ).save(tmp_path / "a.toml")
    config = chosen("--config", "a.toml", "--l2", 0.5, *words)
    assert config.optimizer == type(config.optimizer)(name="sgd", l2=0.5)


def test_another_network_inherits_no_options(chosen, tmp_path):
    RunConfig.from_dict({"model": {"name": "lenet", "options": {"pool": "avg"}}, "data": "digits28"}).save(
        tmp_path / "a.toml"
    )
    assert chosen("lenet", "--config", "a.toml").model.options == {"pool": "avg"}
    assert chosen("two_conv", "--config", "a.toml").model.options == {}


def test_a_run_without_out_goes_to_a_new_folder_below_runs(chosen):
    chosen("lenet", "-d", "digits28")
    assert chosen.seen["folder"].as_posix() == "runs/lenet-digits28"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lenet"], ("Expected a network and --data, or --config, or --resume; received no --data. "
         "For example: striate train lenet --data digits28")),
        (["-d", "x"], ("Expected a network and --data, or --config, or --resume; received no network. "
         "For example: striate train lenet --data digits28")),
        (["--epochs", 1], ("Expected a network and --data, or --config, or --resume; received none of them. "
         "For example: striate train lenet --data digits28")),
        ([*TRAIN[1:], "--epochs", "x"],
         "Expected a whole number for --epochs; received 'x'. See `striate train --help`."),
        ([*TRAIN[1:], "--lr", "x"],
         "Expected a number for --learning-rate; received 'x'. See `striate train --help`."),
        ([*TRAIN[1:], "--set", "foo"], ("Expected KEY=VALUE, such as optimizer.momentum=0.9; received 'foo'. "
         "Join key and value by '='.")),
        ([*TRAIN[1:], "--set", "a.=3"], ("Expected KEY=VALUE, such as optimizer.momentum=0.9; received 'a.=3'. "
         "Join key and value by '='.")),
        ([*TRAIN[1:], "--epochs", 3, "--set", "epochs=4"],
         "Expected every setting once; received epochs as 3 and 4. Leave one out."),
        ([*TRAIN[1:], "--epochs", 3, "--set", "epochs.x=4"],
         "Expected nothing below epochs, a setting itself; received epochs.x=4. Set epochs itself."),
        ([*TRAIN[1:], "--set", "epoch=4"], ("Expected only known settings in the configuration; received epoch=4. "
         "Did you mean 'epochs'?")),
        (["--resume", "a", "--epochs", 3], ("Expected --resume alone, or with --devices, --nodes and --strategy: a run "
         "keeps its own settings; received --resume with other arguments. Leave them out, or start a new run with "
         "--out.")),
        ([*TRAIN[1:], "--out", "/dev/null/a"], ("Expected a folder to write to; received /dev/null/a, where /dev/null "
         "is a file. Choose another folder.")),
        ([*TRAIN[1:], "--averaging", "swa", "--ema-decay", 0.9],
         "Expected one kind of averaging; received ema and swa. Leave out the settings of the other."),
        ([*TRAIN[1:], "--class-weights", "a,b"], ("Expected balanced, or numbers with commas between them, for "
         "--class-weights; received 'a,b'. Write 1,2.5 for example.")),
        (["--resume", "a", "--find-lr"], ("Expected --resume alone, or with --devices, --nodes and --strategy: a run "
         "keeps its own settings; received --resume with other arguments. Leave them out, or start a new run with "
         "--out.")),
        (["--config", "no.toml"], ("Expected a configuration file; received no.toml, which does not exist. "
         "Check the path.")),
    ],
)  # fmt: skip
def test_refused(refused, words, message, tmp_path):
    assert refused("train", *words) == message
    assert list(tmp_path.iterdir()) == []


def test_a_restart_has_to_find_the_run(refused, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert refused(*TRAIN) == (
        "Expected --out, by which a restart finds the run; received torchrun --max-restarts without it. Name the run's "
        "folder."
    )


def test_a_run_goes_on_with_other_devices(striate, monkeypatch, tmp_path):
    asked = {}

    def record(folder, changes):
        asked.update(changes, folder=str(folder))
        return type("Run", (), {"folder": folder})

    monkeypatch.setattr("striate.train.resume", record)
    (tmp_path / "report.html").touch()
    assert striate("train", "--resume", tmp_path, "--devices", 4, "--nodes", 1).exit_code == 0
    assert asked == {"devices": 4, "nodes": 1, "folder": str(tmp_path)}


def test_a_run_is_repeated_from_its_own_file(striate, run):
    again = run.with_name("again")
    assert striate("train", "--config", run / "config.toml", "--out", again).exit_code == 0
    for name in ("config.toml", "metrics.csv", "best.safetensors", "last.safetensors"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name


def test_resuming_a_finished_run_changes_nothing(striate, run):
    before = (run / "last.safetensors").read_bytes()
    done = striate("train", "--resume", run)
    assert "is finished (all 2 epochs): there is nothing to resume." in done.stdout
    assert done.stdout.endswith(f"\nThe run is in {run}. Next: striate evaluate '{run}'\n")
    assert (run / "last.safetensors").read_bytes() == before


def test_a_failed_run_exits_with_1(striate, tmp_path):
    done = striate(*TRAIN, "--optimizer", "sgd", "--lr", 1e30, "--epochs", 1, "--out", "away")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The loss became ")
    assert "Traceback" not in done.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_goes_on(striate, tmp_path, monkeypatch, number):
    folder = tmp_path / "stopped run"
    process = subprocess.Popen(
        [sys.executable, "-m", "striate", *TRAIN, "--epochs", "500", "--out", folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "epoch 1/500" in process.stdout.readline()
    process.send_signal(number)
    rest, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Stopped by {number.name} after step" in told
    assert "striate train --resume" in told
    assert "Traceback" not in rest + told
    assert not [path for path in folder.rglob("*") if ".partial" in path.name]

    told_before = PlainLines.epoch_ended

    def tell_and_stop(*arguments, **named):
        told_before(*arguments, **named)
        signal.raise_signal(number)

    monkeypatch.setattr(PlainLines, "epoch_ended", tell_and_stop)
    again = striate("train", "--resume", folder)
    assert again.exit_code == 1
    assert f"Stopped by {number.name} after step" in again.stderr
    assert int(again.stdout.split()[1].split("/")[0]) > 1
    assert len(json.loads((folder / "environment.json").read_text())["sessions"]) == 2
    assert tomllib.loads((folder / "config.toml").read_text())["epochs"] == 500
