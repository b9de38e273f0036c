"""``striate cross-validate``, ``repeat``, ``search`` and ``runs``: options into settings, and what is told."""

import csv
import io
import json

import pytest
import sklearn  # noqa: F401  # Optuna imports it, which sets variables of the environment

from striate.train import RunConfig
from striate.train.campaigns import Campaign, Search, Spread, Trial
from striate.train.campaigns.members import Result

FEW = ["lenet5", "--data", "digits", "--epochs", 1, "--set", "data.test_fraction=0.8"]


@pytest.fixture
def asked(striate, monkeypatch, tmp_path):
    """What a command asks the Python API for; nothing is trained."""
    seen = {}
    metrics = {"loss": 0.5, "accuracy": 0.75}
    result = Result(tmp_path / "fold-1", 0, 1, 1, 2.0, metrics)
    described = {name: Spread(1, value, None, None) for name, value in metrics.items()}

    def campaign(config, folder, **options):
        seen.update(config=config, folder=folder, **options)
        return Campaign(folder, (result,), described, 0.0)

    def search(config, folder, **options):
        seen.update(config=config, folder=folder, **options)
        trial = Trial(0, "complete", 0.5, {"batch_size": 16}, folder / "trial-0", 1.0, "")
        return Search(folder, "val_accuracy", (trial,), trial, config, {"accuracy": 0.25}, {"batch_size": 1.0})

    monkeypatch.setattr("striate.train.campaigns.cross_validate", campaign)
    monkeypatch.setattr("striate.train.campaigns.repeat", campaign)
    monkeypatch.setattr("striate.train.campaigns.search", search)

    def run(*words):
        done = striate(*words)
        assert done.exit_code == 0, done.output
        seen["output"] = " ".join(done.stdout.split())
        return seen

    return run


def test_options_reach_every_run(asked, tmp_path):
    seen = asked(
        "cross-validate", "lenet", "--data", "digits28", "--folds", 10, "--repeats", 2, "--epochs", 3, "--seed", 7,
        "--option", "dropout=0.5", "--data-option", "window=50", "--set", "optimizer.learning_rate=0.5",
        "--logger", "mlflow", "--out", tmp_path / "a",
    )  # fmt: skip
    assert seen["config"] == RunConfig.from_dict(
        {
            "model": {"name": "lenet", "options": {"dropout": 0.5}},
            "data": {"source": "digits28", "options": {"window": 50}},
            "epochs": 3,
            "seed": 7,
            "optimizer": {"learning_rate": 0.5},
            "loggers": {"names": ["mlflow"]},
        }
    )
    assert (seen["folder"], seen["folds"], seen["repeats"]) == (tmp_path / "a", 10, 2)
    assert asked("cross-validate", *FEW, "--folds", "subjects")["folds"] == "subjects"


def test_a_file_gives_the_settings(asked, tmp_path):
    written = RunConfig.from_dict({"model": "lenet", "data": "digits", "epochs": 9})
    written.save(tmp_path / "a.toml")
    seen = asked("repeat", "--config", tmp_path / "a.toml", "--repeats", 3)
    assert (seen["config"], seen["repeats"]) == (written, 3)
    assert seen["folder"].as_posix() == "runs/lenet-digits-seeds"
    assert asked("repeat", "--config", tmp_path / "a.toml", "--epochs", 2)["config"].epochs == 2


def test_what_is_tried_in_a_search(asked, tmp_path):
    (tmp_path / "space.toml").write_text('batch_size = [16, 32]\n[optimizer]\nlearning_rate = "log:1e-4:1e-1"')
    seen = asked(
        "search", *FEW, "--space", tmp_path / "space.toml", "--tune", "batch_size=8,64",
        "--tune", "model.dropout=0:0.5", "--trials", 5, "--metric", "val_loss", "--pruner", "halving", "--storage", "postgresql://me@host/studies",
        "--study", "mine",
    )  # fmt: skip
    assert seen["space"].to_dict() == {
        "batch_size": "8,64",
        "optimizer.learning_rate": "log:0.0001:0.1",
        "model.dropout": "0:0.5",
    }
    chosen = {name: seen[name] for name in ("trials", "metric", "pruner", "storage", "study")}
    assert chosen == {
        "trials": 5,
        "metric": "val_loss",
        "pruner": "halving",
        "storage": "postgresql://me@host/studies",
        "study": "mine",
    }
    assert asked("search", *FEW)["space"] is None
    assert "Trial 0 on the test part: accuracy 0.2500" in seen["output"]
    assert "Next: striate train --config" in seen["output"]


def test_cross_validation_and_its_runs(striate, tmp_path, monkeypatch):
    def save(evaluation, run):  # pictures take longer than all else
        (run.folder / "evaluation").mkdir()
        (run.folder / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation.to_dict()))

    monkeypatch.setattr("striate.train.campaigns.results.save_evaluation", save)
    done = striate("cross-validate", *FEW, "--folds", 2, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    assert "over 2 runs" in done.stdout
    assert "balanced accuracy" in done.stdout
    again = striate("cross-validate", *FEW, "--folds", 2, "--out", tmp_path / "a", "--json")
    summary = json.loads(again.stdout)
    assert summary == json.loads((tmp_path / "a" / "summary.json").read_text())
    assert f"{summary['metrics']['accuracy']['mean']:.4f}" in done.stdout

    (tmp_path / "a" / "broken").mkdir()
    (tmp_path / "a" / "broken" / "config.toml").write_text("epochs = [")
    listed = striate("runs", tmp_path / "a", "--sort", "-run", "--differences", "--plot", tmp_path / "curves.png")
    assert listed.exit_code == 0, listed.output
    text = " ".join(listed.stdout.split())
    assert text.index("fold-2") < text.index("fold-1")
    assert "settings that differ data.fold" in text
    assert "1 broken:" in text
    assert "Drew val_accuracy of 2 runs" in text
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")

    shown = striate("runs", tmp_path / "a", "--csv", "--columns", "run,data.fold", "--filter", "run=fold-2")
    assert list(csv.reader(io.StringIO(shown.stdout))) == [["run", "data.fold"], ["fold-2", "[1, 2]"]]
    plain = json.loads(striate("runs", tmp_path / "a", "--json", "--filter", "epochs=1").stdout)
    assert [run["run"] for run in plain["runs"]] == ["fold-1", "fold-2"]
    assert plain["runs"][0]["settings"]["data.fold"] == [0, 2]
    assert plain["broken"][0]["folder"].endswith("broken")


def test_no_runs(striate, tmp_path):
    assert striate("runs", tmp_path).stdout == "No runs.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cross-validate", "lenet"], "Expected a network and --data, or --config; received no --data."),
        (["repeat", "--data", "digits"], "received no network. For example: striate repeat lenet --data digits28"),
        (["search", "--epochs", 2], "received neither."),
        (["cross-validate", *FEW, "--folds", "many"], "a number of folds, or subjects, for --folds; received 'many'"),
        (["cross-validate", *FEW, "--folds", 1], "folds of 2 or more"),
        (["search", *FEW, "--tune", "batch_size"], "KEY=RANGE once per setting, for --tune; received 'batch_size'"),
        (["search", *FEW, "--tune", "a=1:2", "--tune", "a=1:3"], "KEY=RANGE once per setting"),
        (["search", *FEW, "--tune", "batch_size=8"], "what to try of batch_size"),
        (["runs", "nowhere"], "a folder with runs below it; received nowhere"),
        (["runs", ".", "--csv", "--json"], "--csv or --json; received both"),
        (["runs", ".", "--filter", "a="], "a value after 'a='"),
        (["runs", ".", "--plot", "a.png"], "a metric that some run has; received 'val_accuracy'"),
        (["runs", ".", "--plot", "none/a.png"], "a file in a folder that exists"),
    ],
)
def test_what_is_refused(refused, words, message):
    assert message in refused(*words)


def test_runs_that_different_metrics_decided_are_drawn_by_a_named_one(striate, refused, tmp_path, monkeypatch):
    from striate.train.campaigns import Comparison, RunRow
    from striate.train.progress import EpochMetrics

    history = (EpochMetrics(1, 1, 0.1, {"val_loss": 0.5, "val_accuracy": 0.75}),)
    rows = tuple(
        RunRow(tmp_path, {"run": metric, metric: 0.5}, {}, history, metric) for metric in ("val_loss", "val_accuracy")
    )
    monkeypatch.setattr("striate.train.campaigns.find_runs", lambda folder: Comparison(rows))
    message = refused("runs", ".", "--plot", "a.png")
    assert "--metric, where runs were decided by different ones; received val_accuracy, val_loss" in message
    assert "Drew val_loss of 2 runs" in striate("runs", ".", "--plot", "a.png", "--metric", "val_loss").stdout
