"""Runs side by side: what is told of each, choosing, ordering, differences, and folders that are broken."""

import shutil

import pytest

from striate.errors import InputError
from striate.train import Quiet, Run, fit
from striate.train.campaigns import find_runs
from striate.train.campaigns.results import evaluated, read_test
from striate.train.loop import load


@pytest.fixture
def root(config_of, tmp_path, trained):
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    return tmp_path_factory.mktemp("stored") / "runs"


@pytest.fixture
def trained(stored, config_of):
    """Three runs, one of which is tested and one in a folder below; trained once."""
    if not stored.exists():
        first = fit(config_of(), stored / "first", reporter=Quiet())
        evaluated(first, load(first.config), print)
        fit(config_of(epochs=1, optimizer={"name": "sgd", "learning_rate": 0.5}), stored / "second", reporter=Quiet())
        fit(config_of(epochs=3), stored / "more" / "third", reporter=Quiet())
    return stored


def test_what_is_told_of_a_run(root):
    found = find_runs(root)
    assert [row["run"] for row in found.rows] == ["first", "more/third", "second"]
    assert found.broken == ()
    row, run = found.rows[0], Run.open(root / "first")
    assert (row["model"], row["data"], row["epochs"], row["finished"]) == ("tiny", "rows.npz", 2, True)
    assert row["best_epoch"] == run.best.epoch
    assert row["val_accuracy"] == run.best["val_accuracy"]
    assert row["test_accuracy"] == read_test(run.folder)["accuracy"]
    # Convolution 4 x 9 + 4, normalisation 4 + 4, dense layer 16 x 3 + 3.
    assert row["parameters"] == 40 + 8 + 51
    assert row["seconds"] == pytest.approx(run.seconds, abs=0.05)
    assert row["date"].startswith("20")
    assert row["optimizer.learning_rate"] == 0.01
    assert row["absent"] is None
    assert found.rows[2]["test_accuracy"] is None
    assert found.columns == (
        "run", "model", "data", "epochs", "val_accuracy", "test_accuracy", "parameters", "seconds", "date"
    )  # fmt: skip


def test_choosing(root):
    found = find_runs(root)
    assert [row["run"] for row in found.where("optimizer.name=sgd").rows] == ["second"]
    assert [row["run"] for row in found.where("epochs>1 and data=rows.npz").rows] == ["first", "more/third"]
    assert [row["run"] for row in found.where("test_accuracy>=0").rows] == ["first"]
    with pytest.raises(InputError, match=r"a column or setting of these runs; received 'val_acuracy'. Did you mean"):
        found.where("val_acuracy>0.5")


def test_ordering(root):
    found = find_runs(root)
    assert [row["epochs"] for row in found.ordered("epochs").rows] == [1, 2, 3]
    assert [row["epochs"] for row in found.ordered("-epochs").rows] == [3, 2, 1]
    losses = [row["val_loss"] for row in found.ordered("val_loss").rows]
    assert losses == sorted(losses)
    accuracies = [row["val_accuracy"] for row in found.ordered("val_accuracy").rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert found.ordered("-test_accuracy").rows[0]["run"] == "first"
    assert [row["optimizer.name"] for row in found.ordered("optimizer.name").rows] == ["adamw", "adamw", "sgd"]
    with pytest.raises(InputError, match="received 'epoch'"):
        found.ordered("epoch")


def test_differences_are_the_settings_that_differ(root):
    found = find_runs(root).where("optimizer.name=adamw")
    assert found.differences() == {"epochs": (2, 3)}
    everything = find_runs(root).differences()
    assert everything["optimizer.weight_decay"] == (0.01, 0.01, None)
    assert everything["optimizer.name"] == ("adamw", "adamw", "sgd")
    assert "batch_size" not in everything


def test_broken_folders_are_listed_and_links_are_not_followed(root):
    (root / "second" / "network.json").write_text("{")
    (root / "first" / "evaluation" / "evaluation.json").write_text('{"split": "test", "weights": "best"}')
    (root / "link").symlink_to(root / "more")
    (root / "empty").mkdir()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "config.toml").write_text("")
    found = find_runs(root)
    assert [row["run"] for row in found.rows] == ["more/third"]
    assert [each.folder.name for each in found.broken] == ["first", "second"]
    assert "an evaluation with its metrics" in found.broken[0].reason
    assert "network.json" in found.broken[1].reason


def test_a_run_that_has_not_ended(root):
    (root / "first" / "result.json").unlink()
    row = find_runs(root / "first").rows[0]
    assert (row["run"], row["seconds"], row["finished"]) == ("first", None, False)


def test_an_evaluation_of_another_part_is_not_that_of_the_test_part(root):
    path = root / "first" / "evaluation" / "evaluation.json"
    path.write_text(path.read_text().replace('"split": "test"', '"split": "val"'))
    assert read_test(root / "first") == {}


def test_nothing_to_compare(tmp_path):
    assert find_runs(tmp_path).rows == ()
    assert find_runs(tmp_path).where("anything=1").ordered("anything").differences() == {}
    with pytest.raises(InputError, match=r"a folder with runs below it; received .*none"):
        find_runs(tmp_path / "none")
