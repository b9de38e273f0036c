"""Runs in MLflow, by its client: settings as parameters, epochs as steps of metrics."""

from __future__ import annotations

import socket
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from striate.train.loggers.settings import LoggerSettings
    from striate.train.progress import EpochMetrics

_CONNECT_SECONDS = 5.0
_BATCH = 100  # parameters that MLflow takes at once
_LONGEST = 500  # characters of a parameter that every server takes


class MLflow:
    """A run in MLflow; see `Logger`."""

    def __init__(self, settings: LoggerSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._run = ""

    def begin(self, known: str | None, name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
        """Begin a run, or go on with the known one."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(tracking_uri=self._settings.address or None)
        check_reachable(client.tracking_uri)
        if known is None:
            project = self._settings.project
            experiment = client.get_experiment_by_name(project)
            where = experiment.experiment_id if experiment is not None else client.create_experiment(project)
            known = client.create_run(where, run_name=name).info.run_id
            told = [Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
            for start in range(0, len(told), _BATCH):
                client.log_batch(known, params=told[start : start + _BATCH])
        else:
            client.update_run(known, status="RUNNING")
        self._client, self._run = client, str(known)
        return self._run, f"{client.tracking_uri}, experiment {self._settings.project}, run {self._run}"

    def log(self, rows: Sequence[EpochMetrics]) -> None:
        """Add the metrics of epochs; MLflow's steps are epochs."""
        from mlflow.entities import Metric

        check_reachable(self._client.tracking_uri)
        now = round(time.time() * 1000)
        for row in rows:
            named = {**row, "learning_rate": row.learning_rate}
            self._client.log_batch(
                self._run, metrics=[Metric(name, value, now, row.epoch) for name, value in named.items()]
            )

    def end(self, results: Mapping[str, float], *, finished: bool) -> None:
        """Add numbers about the whole run and close it."""
        from mlflow.entities import Metric

        check_reachable(self._client.tracking_uri)
        now = round(time.time() * 1000)
        if results:
            self._client.log_batch(self._run, metrics=[Metric(name, value, now, 0) for name, value in results.items()])
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


def check_reachable(address: str) -> None:
    """Try to connect to a server, because MLflow itself tries for minutes. Raises `OSError`.

    >>> check_reachable("sqlite:///mlflow.db")
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS):
        pass
