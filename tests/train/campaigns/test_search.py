"""A search: trials are runs, the validation part decides, and it goes on where it was stopped or killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import tomllib

import optuna
import pytest
import sklearn  # noqa: F401  # Optuna imports it, which sets variables of the environment

from striate.errors import ConfigError, DivergedError, ModelError, StoppedError
from striate.train import Quiet, Run, RunConfig, evaluate
from striate.train.campaigns import Space, search
from striate.train.campaigns.trials import Trials, without_password

SPACE = Space.parse({"optimizer.learning_rate": "log:1e-4:1e-1", "batch_size": "8,16"})


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The searches that would have been drawn; that takes longer than they do."""
    searches = []
    monkeypatch.setattr("striate.train.campaigns.tuning._draw", searches.append)
    return searches


def table(folder):
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def settings_of(found):
    return [trial.settings for trial in found.trials]


def test_the_best_trial_is_that_of_the_validation_part(config_of, tmp_path, drawn):
    found = search(config_of(), tmp_path / "s", space=SPACE, trials=4, pruner="none", reporter=Quiet())
    assert [trial.state for trial in found.trials] == ["complete"] * 4
    assert found.metric == "val_accuracy"
    runs = [Run.open(trial.folder) for trial in found.trials]
    values = [max(row["val_accuracy"] for row in run.metrics) for run in runs]
    assert [trial.value for trial in found.trials] == values
    assert found.best.value == max(values)
    assert found.best.number == values.index(max(values))

    # Every trial is a run with the settings that were tried, and the best ones are a configuration.
    for trial, run in zip(found.trials, runs, strict=True):
        assert run.config.optimizer.learning_rate == trial.settings["optimizer.learning_rate"]
        assert run.config.batch_size == trial.settings["batch_size"]
        assert run.finished
    best = RunConfig.from_toml(tmp_path / "s" / "best.toml")
    assert best.differences(runs[found.best.number].config) == []

    # The test part is looked at for the best alone.
    assert [(run.folder / "evaluation").exists() for run in runs] == [trial is found.best for trial in found.trials]
    assert found.test["accuracy"] == evaluate(runs[found.best.number], bootstrap=0).metrics["accuracy"]

    rows = table(tmp_path / "s")
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert [float(row["val_accuracy"]) for row in rows] == values
    assert json.loads((tmp_path / "s" / "summary.json").read_text()) == found.to_dict()
    assert drawn == [found]


def test_it_goes_on_with_more_trials_and_the_same_as_at_once(config_of, tmp_path):
    config = config_of(epochs=1)
    first = search(config, tmp_path / "a", space=SPACE, trials=2, reporter=Quiet())
    more = search(config, tmp_path / "a", space=SPACE, trials=4, reporter=Quiet())
    assert settings_of(more)[:2] == settings_of(first)
    at_once = search(config, tmp_path / "b", space=SPACE, trials=4, reporter=Quiet())
    assert settings_of(more) == settings_of(at_once)
    assert [trial.value for trial in more.trials] == [trial.value for trial in at_once.trials]
    assert len({trial.settings["optimizer.learning_rate"] for trial in more.trials}) == 4
    other = search(config_of(epochs=1, seed=1), tmp_path / "c", space=SPACE, trials=1, reporter=Quiet())
    assert settings_of(other)[0] != settings_of(first)[0]


def test_a_stopped_search_goes_on_in_the_middle_of_its_trial(config_of, tmp_path, told):
    config = config_of(checkpoint_seconds=0, epochs=3)
    whole = search(config, tmp_path / "whole", space=SPACE, trials=3, reporter=Quiet())

    def stop(epoch):
        if epoch == 5:  # the second epoch of the second trial
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match=r"Stopped in trial 1. Its checkpoint is written in .*trial-1; the same"):
        search(config, tmp_path / "parts", space=SPACE, trials=3, reporter=told(stop))
    reporter = told()
    parts = search(config, tmp_path / "parts", space=SPACE, trials=3, reporter=reporter)
    assert reporter.epochs == [3, 1, 2, 3]
    assert [(trial.settings, trial.value) for trial in parts.trials] == [
        (trial.settings, trial.value) for trial in whole.trials
    ]
    for name in ("trial-1", "trial-2"):
        pair = [(tmp_path / each / name / "best.safetensors").read_bytes() for each in ("parts", "whole")]
        assert pair[0] == pair[1]


def test_a_search_that_was_killed_adopts_its_trial(config_of, tmp_path, told):
    config = config_of(epochs=3)

    class Killed(BaseException):
        """Like a process that dies, runs no handler of an error."""

    def die(epoch):
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        search(config, tmp_path / "s", space=SPACE, trials=1, reporter=told(die))
    reporter = told()
    found = search(config, tmp_path / "s", space=SPACE, trials=1, reporter=reporter)
    assert [trial.state for trial in found.trials] == ["complete"]
    assert reporter.epochs[-1] == 3


def test_bad_trials_are_given_up(config_of, tmp_path):
    # The learning rate decides, and the bad ones come last: what the median tells is known by then.
    space = Space.parse({"optimizer.learning_rate": [3e-2, 2e-2, 1e-2, 1e-9]})
    config = config_of(epochs=6, batch_size=8, optimizer={"name": "sgd"}, schedule="constant")
    found = search(config, tmp_path / "s", space=space, trials=12, pruner="median", reporter=Quiet())
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    run = Run.open(pruned[0].folder)
    assert not run.finished
    assert len(run.metrics) < 6
    assert found.best.state == "complete"


def test_a_trial_that_diverges_is_a_bad_one(config_of, tmp_path, monkeypatch, told):
    import striate.train.campaigns.tuning as module

    real, tried = module.fit, []

    def fit(config, folder, **options):
        tried.append(config)
        if len(tried) == 2:
            raise DivergedError("The loss became nan.")
        return real(config, folder, **options)

    monkeypatch.setattr(module, "fit", fit)
    reporter = told()
    found = search(config_of(epochs=1), tmp_path / "s", space=SPACE, trials=3, reporter=reporter)
    assert [trial.state for trial in found.trials] == ["complete", "pruned", "complete"]
    assert found.trials[1].note == "The loss became nan."
    assert "trial 1 diverged. The loss became nan." in reporter


def test_settings_that_fail_end_a_search_only_if_none_has_worked(config_of, tmp_path, monkeypatch):
    import striate.train.campaigns.tuning as module

    real, fail_at = module.fit, {1}
    tried = []

    def fit(config, folder, **options):
        tried.append(config)
        if len(tried) in fail_at:
            raise ModelError("a network", "none", "Build one.")
        return real(config, folder, **options)

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(ModelError, match=r"Expected a network; received none. Build one."):
        search(config_of(epochs=1), tmp_path / "s", space=SPACE, trials=2, reporter=Quiet())
    fail_at.add(3)
    found = search(config_of(epochs=1), tmp_path / "s", space=SPACE, trials=2, reporter=Quiet())
    assert [trial.state for trial in found.trials] == ["failed", "complete", "failed"]
    assert "Build one." in found.trials[2].note


def test_a_trial_belongs_to_one_process(tmp_path):
    def open_trials():
        options = {"url": None, "name": "s", "maximise": True, "seed": 0, "pruner": "none", "epochs": 2}
        return Trials(tmp_path, SPACE, **options)

    one, two = open_trials(), open_trials()
    with one.claim(2) as first, two.claim(2) as second, open_trials().claim(2) as third:
        assert [first.trial.number, second.trial.number, third] == [0, 1, None]
        values = SPACE.suggest(first.trial)
        first.trial.report(0.5, 1)
    # Its process has ended without telling a value: the next one goes on with the same settings.
    with two.claim(2) as adopted:
        assert adopted.trial.number == 0
        assert adopted.reported == {1}
        assert SPACE.suggest(adopted.trial) == values
        two.study.tell(adopted.trial, 0.75)
    assert [(trial.state, trial.value) for trial in one.all()] == [("complete", 0.75), ("running", None)]


def test_a_trial_of_another_machine_is_left_to_it(tmp_path, monkeypatch):
    def open_trials(folder):
        url = f"sqlite:///{tmp_path / 'server.db'}"
        return Trials(folder, SPACE, url=url, name="s", maximise=True, seed=0, pruner="none", epochs=2)

    with open_trials(tmp_path / "a").claim(5) as claimed:
        assert claimed.folder == tmp_path / "a" / "trial-0"
    monkeypatch.setattr("platform.node", lambda: "another")
    with open_trials(tmp_path / "b").claim(5) as claimed:
        assert claimed.trial.number == 1
        assert claimed.folder == tmp_path / "b" / "trial-1"
    monkeypatch.undo()
    with open_trials(tmp_path / "a").claim(5) as claimed:
        assert claimed.trial.number == 0
        assert claimed.folder == tmp_path / "a" / "trial-0"


@pytest.mark.slow
def test_several_processes_share_the_trials(config_of, tmp_path):
    config = config_of(epochs=1, model={"name": "lenet"})
    config.save(tmp_path / "config.toml")
    script = (
        "import sys; from striate.train import Quiet, RunConfig; from striate.train.campaigns import Space, search;"
        "config = RunConfig.from_toml(sys.argv[1]); space = Space.parse({'batch_size': '8,16,32'});"
        "search(config, sys.argv[2], space=space, trials=5, reporter=Quiet())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "config.toml"), str(tmp_path / "s")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 2
    rows = table(tmp_path / "s")
    assert [(row["trial"], row["state"]) for row in rows] == [(str(number), "complete") for number in range(5)]
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["test"]


def test_a_database_by_its_url_keeps_the_trials(config_of, tmp_path):
    url = f"sqlite:///{tmp_path / 'server.db'}"
    config = config_of(epochs=1)
    found = search(config, tmp_path / "s", space=SPACE, trials=2, storage=url, study="mine", reporter=Quiet())
    assert not (tmp_path / "s" / "study.db").exists()
    study = optuna.load_study(study_name="mine", storage=url)
    assert [trial.value for trial in study.trials] == [trial.value for trial in found.trials]
    # The name is taken: another search does not mix its trials in.
    with pytest.raises(ConfigError, match="the study mine was begun with; received other values of epochs"):
        search(config_of(), tmp_path / "t", space=SPACE, trials=2, storage=url, study="mine", reporter=Quiet())
    assert not (tmp_path / "t").exists()


def test_passwords_are_not_written_down(config_of, tmp_path):
    assert without_password("postgresql://me:secret@host/studies") == "postgresql://me:***@host/studies"
    with pytest.raises(ConfigError, match="the URL of a database; received 'nonsense'"):
        search(config_of(), tmp_path / "s", storage="nonsense")
    with pytest.raises(ConfigError, match=r"a database that can be used; received .*\*\*\*@host"):
        search(config_of(), tmp_path / "s", storage="postgresql+nothing://me:secret@host/studies", reporter=Quiet())
    assert not (tmp_path / "s").exists()


def test_the_metric_is_one_of_the_validation_part(config_of, tmp_path, rows):
    with pytest.raises(ConfigError, match=r"a metric of the validation part.*received 'train_loss'"):
        search(config_of(), tmp_path / "s", metric="train_loss")
    with pytest.raises(ConfigError, match=r"best.metric to be a metric of classification; received .*'val_acuracy'"):
        search(config_of(), tmp_path / "s", metric="val_acuracy")
    with pytest.raises(ConfigError, match=r"'last' without validation samples. Raise data.val_fraction"):
        search(config_of(data={"source": str(rows), "val_fraction": 0.0}), tmp_path / "s")
    with pytest.raises(ConfigError, match="a number of trials of 1 or more; received trials=0"):
        search(config_of(), tmp_path / "s", trials=0)
    assert not (tmp_path / "s").exists()
    with pytest.raises(ConfigError, match="a pruner of median, halving or none; received pruner='some'"):
        search(config_of(), tmp_path / "s", pruner="some")


def test_less_is_better_for_a_loss(config_of, tmp_path):
    found = search(
        config_of(), tmp_path / "s", space=SPACE, trials=3, metric="val_loss", pruner="halving", reporter=Quiet()
    )
    complete = [trial.value for trial in found.trials if trial.state == "complete"]
    assert found.best.value == min(complete)
    assert tomllib.loads((tmp_path / "s" / "best.toml").read_text())["best"]["metric"] == "val_loss"


def test_choices_that_are_lists_and_the_data_itself_can_be_tried(config_of, tmp_path):
    space = Space.parse({"data.image_size": [[4, 4], [6, 6]]})
    found = search(config_of(epochs=1), tmp_path / "s", space=space, trials=3, reporter=Quiet())
    for trial in found.trials:
        assert Run.open(trial.folder).config.data.image_size == trial.settings["data.image_size"]
    assert found.test


def test_optuna_is_left_as_it_was(config_of, tmp_path):
    before = optuna.logging.get_verbosity()
    with pytest.raises(ConfigError):
        search(config_of(), tmp_path / "s", pruner="some")
    assert optuna.logging.get_verbosity() == before


def test_without_optuna_its_extra_is_named(config_of, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'striate\[search\]'"):
        search(config_of(), tmp_path / "s")


def test_it_is_drawn(config_of, tmp_path, drawn, monkeypatch):
    found = search(config_of(epochs=1), tmp_path / "s", space=SPACE, trials=1, reporter=Quiet())
    monkeypatch.undo()
    from striate.train.campaigns.tuning import _draw

    _draw(found)
    assert {path.name for path in (tmp_path / "s").glob("*.png")} == {"history.png", "parallel.png"}
