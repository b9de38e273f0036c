"""Cross-validation and repeated seeds: complete runs, one table, going on where they were stopped."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch

from striate.data import load_data
from striate.errors import CheckpointError, ConfigError, DataError, StoppedError, StriateError
from striate.train import Quiet, Run, evaluate
from striate.train.campaigns import campaign_folder, cross_validate, repeat
from striate.train.campaigns.members import spreads


def weights_of(folder):
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("*/best.safetensors"))}


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_fold_is_a_run_and_every_sample_is_tested_once(config_of, tmp_path):
    campaign = cross_validate(config_of(), tmp_path / "a", folds=3, reporter=Quiet())
    runs = [Run.open(result.folder) for result in campaign.results]
    assert [run.folder.name for run in runs] == ["fold-1", "fold-2", "fold-3"]
    assert [run.config.data.fold for run in runs] == [[0, 3], [1, 3], [2, 3]]
    assert all(run.finished for run in runs)
    accuracies = [evaluate(run, bootstrap=0).accuracy for run in runs]
    counts = [evaluate(run, bootstrap=0).count for run in runs]
    assert sum(counts) == 60
    measured = campaign.metrics["accuracy"]
    assert measured.mean == pytest.approx(np.mean(accuracies))
    assert measured.deviation == pytest.approx(np.std(accuracies, ddof=1))
    assert campaign.overlap == 1 / 2

    rows = table(tmp_path / "a" / "folds.csv")
    assert [row["run"] for row in rows] == ["fold-1", "fold-2", "fold-3"]
    assert [row["fold"] for row in rows] == ["1", "2", "3"]
    assert [float(row["test_accuracy"]) for row in rows] == pytest.approx(accuracies)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["metrics"]["accuracy"]["interval"] == list(measured.interval)


def test_a_stopped_cross_validation_goes_on_to_the_same_bits(config_of, tmp_path, told):
    config = config_of(checkpoint_seconds=0)
    whole = cross_validate(config, tmp_path / "whole", folds=3, reporter=Quiet())

    def stop(epoch):
        if epoch == 3:  # the first epoch of the second fold
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match=r"Stopped in fold 2, run 2 of 3.*the same command goes on"):
        cross_validate(config, tmp_path / "parts", folds=3, reporter=told(stop))
    assert [row["run"] for row in table(tmp_path / "parts" / "folds.csv")] == ["fold-1"]
    reporter = told()
    parts = cross_validate(config, tmp_path / "parts", folds=3, reporter=reporter)
    assert reporter.epochs[-2:] == [1, 2]  # the third fold from its beginning
    assert len(reporter.epochs) <= 4  # and nothing of the first
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "whole")
    assert parts.metrics == whole.metrics


def test_what_is_done_is_neither_trained_nor_loaded_again(config_of, tmp_path, told, monkeypatch):
    first = cross_validate(config_of(epochs=1), tmp_path / "a", folds=2, reporter=Quiet())
    monkeypatch.setattr("striate.train.campaigns.members.load", None)
    reporter = told()
    assert cross_validate(config_of(epochs=1), tmp_path / "a", folds=2, reporter=reporter) == first
    assert list(reporter) == []


def test_repeats_of_folds_have_other_seeds_and_other_folds(config_of, tmp_path):
    campaign = cross_validate(config_of(epochs=1, seed=7), tmp_path / "a", folds=2, repeats=2, reporter=Quiet())
    names = ["seed-7-fold-1", "seed-7-fold-2", "seed-8-fold-1", "seed-8-fold-2"]
    assert [result.folder.name for result in campaign.results] == names
    assert [(result.seed, result.fold) for result in campaign.results] == [(7, 1), (7, 2), (8, 1), (8, 2)]
    assert campaign.metrics["accuracy"].count == 4


def test_leaving_one_subject_out(config_of, tmp_path, monkeypatch, rows):
    import striate.train.campaigns.cross_validation as module

    def loaded(config):
        dataset = load_data(rows, val_fraction=0, test_fraction=0)
        dataset.train.groups = torch.arange(60) % 4
        assert (config.data.val_fraction, config.data.test_fraction) == (0, 0)
        return dataset

    monkeypatch.setattr(module, "load", loaded)
    assert module.subjects_in(config_of()) == 4
    monkeypatch.setattr(module, "complete", lambda folder, members, **options: (members, options))
    members, options = cross_validate(config_of(), tmp_path / "a", folds="subjects")
    assert [member.config.data.fold for member in members] == [[0, 4], [1, 4], [2, 4], [3, 4]]
    assert options["overlap"] == 1 / 3


def test_subjects_are_asked_of_data_that_has_them(config_of, tmp_path):
    with pytest.raises(DataError, match=r"samples of two subjects or more.*without subjects.*Give a number of folds"):
        cross_validate(config_of(), tmp_path / "a", folds="subjects")


def test_repeated_seeds(config_of, tmp_path, rows):
    campaign = repeat(config_of(epochs=1, seed=3), tmp_path / "a", repeats=2, reporter=Quiet())
    assert [result.folder.name for result in campaign.results] == ["seed-3", "seed-4"]
    runs = [Run.open(result.folder) for result in campaign.results]
    assert [run.config.seed for run in runs] == [3, 4]
    accuracies = [evaluate(run, bootstrap=0).accuracy for run in runs]
    assert campaign.metrics["accuracy"].mean == pytest.approx(np.mean(accuracies))
    # 12 of 60 samples are drawn anew for each seed's test part.
    assert campaign.overlap == pytest.approx(12 / 48)
    assert [row["seed"] for row in table(tmp_path / "a" / "repeats.csv")] == ["3", "4"]


def test_a_test_part_of_the_source_is_the_same_for_all_seeds(config_of, tmp_path):
    random = np.random.default_rng(0)
    parts = {
        f"{name}_{part}": random.integers(0, 255, (24, 4, 4), dtype=np.uint8) if name == "x" else np.arange(24) % 3
        for part in ("train", "test")
        for name in ("x", "y")
    }
    np.savez(tmp_path / "official.npz", **parts)
    config = config_of(epochs=1, data={"source": str(tmp_path / "official.npz")})
    assert repeat(config, tmp_path / "a", repeats=2, reporter=Quiet()).overlap == 0


def test_only_metrics_that_every_run_has_are_described():
    found = spreads([{"accuracy": 0.5, "auroc": 0.6}, {"accuracy": 0.7}], 0.0)
    assert list(found) == ["accuracy"]


@pytest.mark.parametrize(
    ("folds", "repeats", "message"),
    [
        (1, 1, "Expected folds of 2 or more, or 'subjects'; received folds=1. Use 5 or 10."),
        ("persons", 1, "Expected folds of 2 or more, or 'subjects'; received folds='persons'."),
        (3, 0, "Expected repeats of 1 or more; received repeats=0."),
    ],
)
def test_wrong_numbers(config_of, tmp_path, folds, repeats, message):
    with pytest.raises(ConfigError) as raised:
        cross_validate(config_of(), tmp_path / "a", folds=folds, repeats=repeats)
    assert message in str(raised.value)
    assert not (tmp_path / "a").exists()


def test_wrong_settings(config_of, tmp_path, rows):
    with pytest.raises(ConfigError, match=r"settings without data.fold.*received data.fold=\[0, 2\]"):
        cross_validate(config_of(data={"source": str(rows), "fold": [0, 2]}), tmp_path / "a")
    with pytest.raises(ConfigError, match="repeats of 2 or more; received repeats=1"):
        repeat(config_of(), tmp_path / "a", repeats=1)
    with pytest.raises(ConfigError, match="seeds up to 4294967295; received 2 seeds from 4294967295"):
        repeat(config_of(seed=2**32 - 1), tmp_path / "a", repeats=2)
    with pytest.raises(ConfigError, match=r"a test part.*without one. Raise data.test_fraction"):
        repeat(config_of(data={"source": str(rows), "test_fraction": 0.0}), tmp_path / "a", repeats=2)


@pytest.mark.parametrize("wrong", [{"data": {"source": "nowhere.csv"}}, {"model": {"name": "unet", "options": {}}}])
@pytest.mark.parametrize("begin", [cross_validate, repeat])
def test_a_campaign_that_is_refused_leaves_nothing(config_of, tmp_path, begin, wrong):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StriateError):
        begin(config_of(**wrong), tmp_path / "new" / "a", reporter=Quiet())
    assert sorted(tmp_path.rglob("*")) == before


def test_other_settings_do_not_go_on_with_a_campaign(config_of, tmp_path):
    config = config_of(epochs=1)
    cross_validate(config, tmp_path / "a", folds=2, reporter=Quiet())
    with pytest.raises(ConfigError, match="was begun with; received other values of epochs"):
        cross_validate(config_of(epochs=2), tmp_path / "a", folds=2)
    with pytest.raises(ConfigError, match="other values of folds"):
        cross_validate(config, tmp_path / "a", folds=3)
    with pytest.raises(ConfigError, match="other values of kind"):
        repeat(config, tmp_path / "a", repeats=2)
    same = config.model_copy(update={"checkpoint_seconds": 1.0})
    assert len(cross_validate(same, tmp_path / "a", folds=2, reporter=Quiet()).results) == 2


def test_a_folder_with_other_things_is_left_alone(config_of, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"a new or empty folder.*which holds notes.txt"):
        repeat(config_of(), tmp_path)
    with pytest.raises(CheckpointError, match=r"a folder for the runs; received the file"):
        repeat(config_of(), tmp_path / "notes.txt")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "campaign.json").write_text('{"kind": "seeds"}')
    with pytest.raises(CheckpointError, match="the configuration of a campaign's runs"):
        repeat(config_of(), broken)


def test_a_folder_is_used_by_one_process(config_of, tmp_path):
    from filelock import FileLock

    (tmp_path / "a").mkdir()
    with FileLock(tmp_path / "a" / ".lock"), pytest.raises(CheckpointError, match="no other process is using"):
        repeat(config_of(), tmp_path / "a")


def test_the_same_command_finds_its_folder_and_another_does_not(config_of, tmp_path):
    config, root = config_of(epochs=1), tmp_path / "runs"
    five, three = ({"kind": "folds", "folds": count, "repeats": 1} for count in (5, 3))
    folder = campaign_folder(config, five, root)
    assert folder == root / "tiny-rows.npz-folds"
    from striate.train.campaigns.folder import begun

    with begun(folder, config, five):
        pass
    assert campaign_folder(config, five, root) == folder
    assert campaign_folder(config, three, root) == root / "tiny-rows.npz-folds-2"
    assert campaign_folder(config_of(epochs=3), five, root) == root / "tiny-rows.npz-folds-2"
