"""Which experiment trackers a run is told to."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field

from striate.train.section import Section

LoggerName: TypeAlias = Literal["mlflow", "wandb"]


class LoggerSettings(Section):
    """Trackers that a run is told to besides its folder: ``mlflow``, ``wandb`` (Weights & Biases), or both.

    They have no influence on what is learned, and may differ when a run is resumed. ``project`` is MLflow's experiment,
    or the project of Weights & Biases. ``address`` is that of the server; without it each library decides, as by
    MLFLOW_TRACKING_URI, and by WANDB_BASE_URL and WANDB_MODE.

    >>> LoggerSettings(names=["mlflow"]).project
    'striate'
    """

    section: ClassVar[str] = "loggers"
    names: list[LoggerName] = Field(default_factory=list)
    project: str = Field(default="striate", min_length=1)
    address: str = ""
