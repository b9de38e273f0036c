"""A run on disk: what was trained, on what, how it went, and the network it left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from striate.data import Preprocessing
from striate.errors import CheckpointError, ConfigError
from striate.train.best import LAST as LAST_EPOCH
from striate.train.best import beats
from striate.train.checkpoint import check_weights, load_weights
from striate.train.config import RunConfig
from striate.train.folder import BEST, ENVIRONMENT, LAST, METRICS, RESULT, config_of, read_json
from striate.train.network import Network
from striate.train.progress import EpochMetrics, read_metrics

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn


@dataclass(frozen=True)
class Run:
    """A trained (or half-trained) network with everything that is known about it.

    ``environment`` is that of the first session. ``finished`` says why training ended, "" if it has not; ``seconds`` is
    the time spent training and validating by then.

    ::

        run = Run.open("runs/first")
        run.metrics[-1]["val_accuracy"]
        run.model()(run.preprocessing.read("photo.png")).softmax(1)
    """

    folder: Path
    config: RunConfig
    network: Network
    preprocessing: Preprocessing
    environment: dict[str, Any]
    metrics: list[EpochMetrics]
    finished: str
    seconds: float

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Run:
        """Read a run's folder. The weights are read by `model` only.

        The folder may come from anyone: everything in it is checked and nothing in it is executed. Raises
        `CheckpointError` for a folder that holds no run or a damaged one.
        """
        folder = Path(folder)
        path = config_of(folder)
        try:
            config = RunConfig.from_toml(path)
        except ConfigError as error:
            raise CheckpointError(
                "the configuration of a run",
                f"{path}: {str(error).rstrip('.')}",
                "Restore the file from a copy.",
            ) from error
        network = Network.load(folder)
        sessions = read_json(folder / ENVIRONMENT).get("sessions")
        if not isinstance(sessions, list) or not sessions or not isinstance(sessions[0], dict):
            raise CheckpointError("a list of sessions", f"{folder / ENVIRONMENT} without one", "Resume the run.")
        result = read_json(folder / RESULT) if (folder / RESULT).exists() else {}
        finished, seconds = result.get("finished", ""), result.get("seconds", 0.0)
        if not isinstance(finished, str) or not isinstance(seconds, int | float):
            raise CheckpointError("why and when the run ended", f"{folder / RESULT} without it", "Resume the run.")
        return cls(
            folder,
            config,
            network,
            Preprocessing.from_dict(network.preprocessing),
            sessions[0],
            read_metrics(folder / METRICS) if (folder / METRICS).exists() else [],
            finished,
            float(seconds),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; of what is predicted where that is no class."""
        return self.network.classes

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one input, (C, *spatial), or (L,) for tokens."""
        if self.network.input_kind == "tokens":
            return self.preprocessing.size
        return (self.preprocessing.channels, *self.preprocessing.size)

    @property
    def best(self) -> EpochMetrics | None:
        """The epoch of the best weights, by the rule of `striate.train.best`; None before the first has ended."""
        metric = self.config.best.metric
        best: EpochMetrics | None = None
        for row in self.metrics:
            if beats(row, best, LAST_EPOCH if metric == "auto" else metric):
                best = row
        return best

    def model(self, weights: Literal["best", "last"] = "best") -> nn.Module:
        """Build the network with its trained weights, in evaluation mode, on the CPU.

        Raises `CheckpointError` if the weights are missing, damaged, or not this network's.
        """
        if weights not in ("best", "last"):
            raise CheckpointError("weights to be best or last", f"weights={weights!r}", "Pick one.")
        path = self.folder / (BEST if weights == "best" else LAST)
        with torch.random.fork_rng(devices=[]):
            # On the meta device nothing is allocated: first the shapes have to agree with the file's.
            with torch.device("meta"):
                check_weights(self.network.build(), path)
            model = self.network.build()
        load_weights(model, path)
        return model.eval()
