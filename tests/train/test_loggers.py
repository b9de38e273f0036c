"""Telling trackers: MLflow itself with a database in a file, and a stand-in for Weights & Biases that records calls."""

import logging
import os
import signal
import socket
import sys
import types

import pytest

from striate.errors import ConfigError, StoppedError
from striate.train import Quiet, fit, resume
from striate.train.campaigns.results import evaluated
from striate.train.folder import read_json
from striate.train.loggers.mlflow import check_reachable
from striate.train.loggers.reporting import LOGGERS, log_results

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # tests need no network
import mlflow  # noqa: F401  # here, because it sets variables of the environment

# MLflow asks SQLAlchemy 2.1 for what that is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


class Told(Quiet):
    """A reporter that keeps what is said."""

    def __init__(self, at_epoch=lambda epoch: None):
        self.messages, self.ended, self._at_epoch = [], 0, at_epoch

    def said(self, message):
        self.messages.append(message)

    def epoch_ended(self, metrics, *, best):
        self._at_epoch(metrics.epoch)

    def stopped(self):
        self.ended += 1


# MLflow --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def client(database):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=database)


def mlflow_of(make_config, database, **changes):
    return make_config(loggers={"names": ["mlflow"], "project": "tests", "address": database}, **changes)


def history_of(client, run, name):
    return [(each.step, each.value) for each in client.get_metric_history(run, name)]


def test_mlflow_gets_settings_epochs_and_results(make_config, dataset, folder, database, client):
    reporter = Told()
    run = fit(mlflow_of(make_config, database), folder, dataset=dataset, reporter=reporter)
    known = read_json(folder / LOGGERS)["mlflow"]
    assert known["epochs"] == 2
    kept = client.get_run(known["run"])
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "run"
    assert kept.data.params["optimizer.learning_rate"] == "0.01"
    assert kept.data.params["model.name"] == "tiny"
    for name in ("train_loss", "val_accuracy"):
        assert history_of(client, known["run"], name) == [(row.epoch, row[name]) for row in run.metrics]
    assert kept.data.metrics["best_epoch"] == run.best.epoch
    assert kept.data.metrics["best_val_accuracy"] == run.best["val_accuracy"]
    assert client.get_experiment(kept.info.experiment_id).name == "tests"
    assert any(message.startswith("mlflow: sqlite:") for message in reporter.messages)
    assert not any("Warning" in message for message in reporter.messages)
    assert reporter.ended == 1


def test_a_resumed_run_goes_on_in_mlflow_and_tells_every_epoch_once(make_config, dataset, folder, database, client):
    config = mlflow_of(make_config, database, epochs=3)

    def stop(epoch):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        fit(config, folder, dataset=dataset, reporter=Told(stop))
    known = read_json(folder / LOGGERS)["mlflow"]["run"]
    assert client.get_run(known).info.status == "KILLED"
    run = resume(folder, dataset=dataset, reporter=Quiet())
    assert read_json(folder / LOGGERS)["mlflow"] == {"run": known, "epochs": 3}
    assert history_of(client, known, "val_loss") == [(row.epoch, row["val_loss"]) for row in run.metrics]
    assert client.get_run(known).info.status == "FINISHED"


def test_the_results_on_the_test_part_are_told_too(make_config, dataset, folder, database, client, monkeypatch):
    run = fit(mlflow_of(make_config, database, epochs=1), folder, dataset=dataset, reporter=Quiet())
    measured = evaluated(run, dataset, pytest.fail)
    kept = client.get_run(read_json(folder / LOGGERS)["mlflow"]["run"])
    assert kept.data.metrics["test_accuracy"] == measured["accuracy"]
    assert kept.info.status == "FINISHED"


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_server_that_is_away_ends_no_run(make_config, dataset, folder, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reporter = Told()
    address = f"http://127.0.0.1:{closed_port()}"
    run = fit(mlflow_of(make_config, address), folder, dataset=dataset, reporter=reporter)
    assert run.finished
    warnings = [message for message in reporter.messages if message.startswith("Warning: mlflow could not be told")]
    assert len(warnings) == 2  # once at the beginning, and once for the last try at the end
    assert "refused" in warnings[0]


def test_what_a_server_misses_is_sent_at_the_end(make_config, dataset, folder, database, client, monkeypatch):
    from striate.train.loggers.mlflow import MLflow

    real, calls = MLflow.log, []

    def log(self, rows):
        calls.append([row.epoch for row in rows])
        if len(calls) == 1:
            raise ConnectionError("gone")
        real(self, rows)

    monkeypatch.setattr(MLflow, "log", log)
    reporter = Told()
    run = fit(mlflow_of(make_config, database, epochs=3), folder, dataset=dataset, reporter=reporter)
    assert calls == [[1], [1, 2, 3]]
    assert [message for message in reporter.messages if "Warning" in message] == [
        "Warning: mlflow could not be told of this epoch: gone"
    ]
    known = read_json(folder / LOGGERS)["mlflow"]["run"]
    assert history_of(client, known, "train_loss") == [(row.epoch, row["train_loss"]) for row in run.metrics]
    assert client.get_run(known).info.status == "FINISHED"


def test_only_servers_are_asked_whether_they_are_there(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", dict)
    check_reachable("sqlite:///a.db")
    check_reachable("databricks")
    with pytest.raises(OSError, match="refused"):
        check_reachable(f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy:1"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
    check_reachable("http://mlflow.example:1")  # reached through the proxy, if at all


# Weights & Biases ----------------------------------------------------------------------------------------------------


class StandIn(types.ModuleType):
    """What of ``wandb`` is used, recording every call."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = types.SimpleNamespace(name="wandb")
        self.calls = []
        self.fail = None

    def Settings(self, **options):
        return options

    def init(self, **options):
        if self.fail is not None:
            raise self.fail
        self.calls.append(("init", options))
        run = types.SimpleNamespace(
            id=options["id"] or "abc", url="https://wandb.example/abc", offline=False, summary=types.SimpleNamespace()
        )
        run.log = lambda values, step: self.calls.append(("log", values, step))
        run.summary.update = lambda values: self.calls.append(("summary", values))
        run.finish = lambda exit_code: self.calls.append(("finish", exit_code))
        return run


@pytest.fixture
def wandb(monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_gets_settings_epochs_and_results(make_config, dataset, folder, wandb):
    reporter = Told()
    config = make_config(loggers={"names": ["wandb"]})
    run = fit(config, folder, dataset=dataset, reporter=reporter)
    (_, options), *epochs, (_, summary), end = wandb.calls
    assert (options["project"], options["name"], options["dir"]) == ("striate", "run", str(folder))
    assert (options["id"], options["resume"]) == (None, None)
    assert options["config"]["optimizer.learning_rate"] == 0.01
    assert "base_url" not in options["settings"]
    assert [(call, values["val_accuracy"], step) for call, values, step in epochs] == [
        ("log", row["val_accuracy"], row.epoch) for row in run.metrics
    ]
    assert summary["best_epoch"] == run.best.epoch
    assert end == ("finish", 0)
    assert "wandb: https://wandb.example/abc" in reporter.messages

    wandb.calls.clear()
    log_results(run, config.loggers, {"test_accuracy": 0.5}, pytest.fail)
    assert wandb.calls[0][1]["id"] == "abc"
    assert wandb.calls[0][1]["resume"] == "allow"
    assert wandb.calls[1:] == [("summary", {"test_accuracy": 0.5}), ("finish", 0)]


def test_wandb_without_an_account_ends_no_run(make_config, dataset, folder, wandb):
    wandb.fail = RuntimeError("No API key configured.\nUse `wandb login`.")
    reporter = Told()
    config = make_config(loggers={"names": ["wandb"], "address": "https://wandb.example"})
    assert fit(config, folder, dataset=dataset, reporter=reporter).finished
    assert "Warning: wandb could not be told of this run: No API key configured." in reporter.messages
    assert not (folder / LOGGERS).exists()


def test_its_address_is_used(make_config, dataset, folder, wandb):
    config = make_config(epochs=1, loggers={"names": ["wandb"], "address": "https://wandb.example"})
    fit(config, folder, dataset=dataset, reporter=Quiet())
    assert wandb.calls[0][1]["settings"]["base_url"] == "https://wandb.example"


# Both ----------------------------------------------------------------------------------------------------------------


def test_a_library_that_is_not_installed_is_named_before_training(make_config, dataset, folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        fit(make_config(loggers={"names": ["wandb"]}), folder, dataset=dataset)
    assert str(raised.value) == (
        "Expected the library wandb, which loggers.names asks for; received an installation without it. "
        "Run: pip install 'striate[wandb]'"
    )
    assert not folder.exists()


def test_nothing_is_imported_or_written_unless_asked_for(make_config, dataset, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = fit(make_config(epochs=1), folder, dataset=dataset, reporter=Quiet())
    assert not (folder / LOGGERS).exists()
    log_results(run, run.config.loggers, {"test_accuracy": 0.5}, pytest.fail)


def test_an_unknown_tracker_is_refused(make_config):
    with pytest.raises(ConfigError, match=r"loggers\.names"):
        make_config(loggers={"names": ["tensorbord"]})


def test_loggers_may_change_on_resume(make_config, dataset, folder, wandb):
    fit(make_config(epochs=1), folder, dataset=dataset, reporter=Quiet())
    fit(make_config(epochs=1, loggers={"names": ["wandb"]}), folder, dataset=dataset, resume=True, reporter=Quiet())
