"""The whole configuration of a run, which is one readable TOML file.

::

    config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}, "epochs": 5})
    config.save("digits.toml")

Every value that a run depends on is in it, defaults included, so that the file repeats the run bit for bit on the same
machine with the same number of threads.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import tomli_w
from pydantic import Field, field_validator, model_validator

from striate.errors import ConfigError
from striate.files import replacing
from striate.train.averaging import AveragingSettings, NoAveraging
from striate.train.best import BestSettings
from striate.train.distillation import Distillation
from striate.train.files import read_text
from striate.train.fine_tuning import FineTuning
from striate.train.loggers.settings import LoggerSettings
from striate.train.loss import Auto, LossSettings
from striate.train.optimizer import AdamW, OptimizerSettings
from striate.train.schedule import OneCycle, ScheduleSettings
from striate.train.section import Section

if TYPE_CHECKING:
    from os import PathLike

_HEADER = "# A run of Striate. Repeat it with: striate train --config THIS_FILE --out FOLDER\n\n"
_USUAL_NAMES = {"optimizer": "adamw", "schedule": "one_cycle", "loss": "auto", "averaging": "none"}


class ModelSettings(Section):
    """Which network. Channels, classes, rank and input size come from the data; ``options`` are the network's own.

    ``dropout`` and ``stochastic_depth`` are probabilities, set whatever the network calls them (see
    `striate.train.regularisation`); None leaves the network's own.
    """

    section: ClassVar[str] = "model"
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    stochastic_depth: float | None = Field(default=None, ge=0, lt=1)

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        return _as_in_toml(options, "model.options")


class DataSettings(Section):
    """Which data, how it is split and brought to size: the arguments of `striate.data.load_data`.

    ``memory_limit`` (bytes) and ``workers``, the processes that prepare batches, decide where and by whom samples are
    prepared, not what they are: both may differ when a run is resumed.
    """

    section: ClassVar[str] = "data"
    source: str
    val_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    fold: list[int] | None = None
    image_size: int | list[int] | None = None
    fit: Literal["resize", "pad"] = "resize"
    channels: int | None = Field(default=None, ge=1)
    normalise: Literal["dataset", "sample", "none"] | None = None
    layout: str | None = None
    skip_corrupt: bool = False
    memory_limit: int | None = Field(default=None, ge=1)
    workers: int = Field(default=0, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        return _as_in_toml(options, "data.options")

    def model_post_init(self, context: Any, /) -> None:
        """Check what the fields cannot check alone. Raises `ConfigError`."""
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "data.val_fraction and data.test_fraction that leave a part to train on",
                f"{self.val_fraction} + {self.test_fraction}",
                "Lower one of them.",
            )
        sizes = self.image_size if isinstance(self.image_size, list) else [self.image_size or 1]
        if self.image_size == 0 or not sizes or min(sizes) < 1:
            raise ConfigError(
                "data.image_size of at least 1 on every axis",
                f"data.image_size={self.image_size!r}",
                "Give one size for all axes, or one per axis.",
            )
        if self.fold is not None and (len(self.fold) != 2 or not 0 <= self.fold[0] < self.fold[1]):
            raise ConfigError(
                "data.fold of two numbers [k, n], the k-th (from 0) of n folds",
                f"data.fold={self.fold!r}",
                "Use [0, 5] for the first of 5.",
            )


class EarlyStopping(Section):
    """Stop when ``metric`` has not improved by more than ``min_delta`` for ``patience`` epochs; 0 never stops.

    ``auto`` is ``val_loss``, or where that cannot be measured the metric that decides which epoch is the best.
    """

    section: ClassVar[str] = "early_stopping"
    metric: str = "auto"
    patience: int = Field(default=0, ge=0)
    min_delta: float = Field(default=0.0, ge=0)


class RunConfig(Section):
    """Everything a run depends on. Unknown, contradictory and out-of-range settings raise `ConfigError`.

    A step takes ``accumulate`` batches of ``batch_size`` samples. ``sampling`` takes each sample once an epoch, or
    every class as often (see `striate.train.sampling`). ``gradient_clip`` is the largest allowed norm of all gradients
    together, 0 for none. ``device`` is Fabric's accelerator and ``precision`` Fabric's precision.
    ``devices`` processes on each of ``nodes`` machines share every batch (see docs/distributed.md), as ``strategy``
    says; ``batch_size`` is that of all together. A run may go on with others.
    ``checkpoint_seconds`` is how much work a crash may cost: a checkpoint is written when that long has passed since
    the last one (0: after every step). ``augmentation`` lists what is done to the training samples, each a table with
    its ``name`` and settings (see `striate.data.augmentation`).

    A word stands for a section where its other settings are the usual ones. What is ``auto`` follows from the data
    when a run begins (see `striate.train.settling`); its file holds what was decided.

    >>> config = RunConfig(model="lenet", data="digits28")
    >>> config.epochs, config.optimizer.name, config.schedule.name
    (12, 'adamw', 'one_cycle')
    """

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    seed: int = Field(default=0, ge=0, lt=2**32)
    gradient_clip: float = Field(default=0.0, ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true"] = "32-true"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    strategy: Literal["ddp", "fsdp"] = "ddp"
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    model: ModelSettings
    data: DataSettings
    optimizer: OptimizerSettings = Field(default_factory=AdamW)
    schedule: ScheduleSettings = Field(default_factory=OneCycle)
    loss: LossSettings = Field(default_factory=Auto)
    averaging: AveragingSettings = Field(default_factory=NoAveraging)
    fine_tuning: FineTuning = Field(default_factory=FineTuning)
    distillation: Distillation = Field(default_factory=Distillation)
    best: BestSettings = Field(default_factory=BestSettings)
    early_stopping: EarlyStopping = Field(default_factory=EarlyStopping)
    augmentation: list[dict[str, Any]] = Field(default_factory=list)
    loggers: LoggerSettings = Field(default_factory=LoggerSettings)

    @field_validator("augmentation")
    @classmethod
    def _plain(cls, augmentation: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return as_in_toml_each(augmentation, "augmentation")

    @model_validator(mode="before")
    @classmethod
    def _name_the_usual(cls, settings: dict[str, Any]) -> dict[str, Any]:
        # `model = "lenet"` says enough, and so does an `[optimizer]` that holds a learning rate alone.
        words = {"model": "name", "data": "source", **dict.fromkeys(_USUAL_NAMES, "name")}
        settings = {
            key: {words[key]: value} if key in words and isinstance(value, str) else value
            for key, value in settings.items()
        }
        named = {
            section: {"name": name, **settings[section]}
            for section, name in _USUAL_NAMES.items()
            if isinstance(settings.get(section), dict)
        }
        return settings | named

    def model_post_init(self, context: Any, /) -> None:
        """Check what the sections cannot check alone. Raises `ConfigError`."""
        if self.schedule.warmup_epochs >= self.epochs:
            raise ConfigError(
                f"schedule.warmup_epochs below the {self.epochs} epochs of the run",
                f"schedule.warmup_epochs={self.schedule.warmup_epochs}",
                "Warm up for a shorter time, often 1 epoch, or train for longer.",
            )
        if self.precision == "16-mixed" and self.device == "cpu":
            raise ConfigError(
                "precision='bf16-mixed' or '32-true' on a CPU",
                "precision='16-mixed' with device='cpu'",
                "Half-precision floats need a GPU; bfloat16 has the range of a float and needs no scaling.",
            )

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> RunConfig:
        """Make a configuration from nested dictionaries, as they come from TOML. Raises `ConfigError`.

        >>> RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}, "epoch": 3})
        Traceback (most recent call last):
        striate.errors.ConfigError: Expected only known settings in the configuration; received epoch=3. \
Did you mean 'epochs'?
        """
        return cls(**settings)

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> RunConfig:
        """Read a configuration file. Raises `ConfigError` for a file that is missing, not TOML, or not a configuration.

        ::

            config = RunConfig.from_toml("runs/first/config.toml")
        """
        try:
            return cls.from_dict(tomllib.loads(read_text(Path(path))))
        except FileNotFoundError:
            raise ConfigError("a configuration file", f"{path}, which does not exist", "Check the path.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                "a configuration in TOML", f"{path}: {error}", "Mend the file, or copy config.toml of a run."
            ) from error

    def to_toml(self) -> str:
        """The text of the configuration file, all values included; a setting that is None is left out.

        >>> config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
        >>> print(config.to_toml().splitlines()[2])
        epochs = 12
        """
        settings = self.model_dump(exclude_none=True)
        for section in _USUAL_NAMES:  # the name first: the other settings depend on it
            settings[section] = {"name": settings[section].pop("name"), **settings[section]}
        return _HEADER + tomli_w.dumps(settings)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the configuration file."""
        with replacing(Path(path)) as partial:
            partial.write_text(self.to_toml(), encoding="utf-8")

    def differences(self, other: RunConfig) -> list[str]:
        """Name the settings in which two configurations differ, as ``section.setting``.

        What either leaves to the data, by ``auto`` or a preset, differs from nothing that is spelled out.

        >>> config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
        >>> config.differences(config.model_copy(update={"epochs": 3}))
        ['epochs']
        """
        mine, theirs = _flat(self.model_dump()), _flat(other.model_dump())
        if "auto" in (mine["loss.name"], theirs["loss.name"]):
            mine, theirs = ({k: v for k, v in each.items() if not k.startswith("loss.")} for each in (mine, theirs))
        return [
            key
            for key in {**mine, **theirs}
            if key not in mine or key not in theirs or (mine[key] != theirs[key] and not _is_open(key, mine, theirs))
        ]


def _is_open(key: str, *settings: dict[str, Any]) -> bool:
    if key.endswith(".metric"):
        return any(each[key] == "auto" for each in settings)
    if key == "augmentation":
        mine, theirs = (each[key] for each in settings)
        # A preset is written out when the data is known, and only then can be compared with what it stands for.
        return _has_preset(mine) != _has_preset(theirs) or _written_out(mine) == _written_out(theirs)
    return key == "loss.class_weights" and any(each[key] == "balanced" for each in settings)


def _has_preset(augmentation: list[dict[str, Any]]) -> bool:
    from striate.data.augmentation import PRESETS

    return any(entry.get("name") in PRESETS for entry in augmentation)


def _written_out(augmentation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Transforms with all their parameters, and presets as they are. Raises `ConfigError` for what is no transform."""
    from striate.data.augmentation.transform import make_transform

    tables = [entry if _has_preset([entry]) else make_transform(entry).settings() for entry in augmentation]
    return as_in_toml_each(tables, "augmentation")


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def as_in_toml_each(tables: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Tables as they come back from the file. Raises `ConfigError` for values that it cannot hold.

    >>> as_in_toml_each([{"name": "crop", "size": (28, 28), "fill": None}], "augmentation")
    [{'name': 'crop', 'size': [28, 28]}]
    """
    return [_as_in_toml(table, name) for table in tables]


def _as_in_toml(settings: dict[str, Any], name: str) -> dict[str, Any]:
    # What the file cannot tell apart (a tuple from a list, None from nothing) must not differ here either.
    try:
        return tomllib.loads(tomli_w.dumps({key: value for key, value in settings.items() if value is not None}))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} of numbers, texts, booleans and lists of them",
            f"{name}={settings!r}",
            "Give values that a TOML file can hold.",
        ) from error
