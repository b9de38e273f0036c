"""The settings that a search tries: ranges and choices, by the names they have in ``config.toml``.

A range or a choice is written the same on the command line and in a file, where tables are the sections::

    batch_size = [16, 32, 64]

    [optimizer]
    learning_rate = "log:1e-4:1e-1"
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from striate.errors import ConfigError
from striate.train.dotted import flat, flat_settings, with_settings
from striate.train.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    import optuna

    from striate.data import Dataset
    from striate.train.config import RunConfig

_FORMS = "LOW:HIGH, LOW:HIGH:STEP, log:LOW:HIGH, or choices A,B,C"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included: all, or every ``step``; ``log`` draws their logarithms evenly.

    Raises `ConfigError` for bounds that are not finite or not in order, and for a step that does not fit.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        numbers = (self.low, self.high) if self.step is None else (self.low, self.high, self.step)
        if not all(map(math.isfinite, numbers)) or self.low >= self.high:
            raise ConfigError("a range from a lower number to a higher one", str(self), "Use 0.1:0.5, or 1:8.")
        if self.log and self.low <= 0:
            raise ConfigError("a range above 0 where logarithms are drawn", str(self), "Use log:1e-4:1e-1.")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ConfigError("a step above 0, within the range, without log", str(self), "Use 0:0.5:0.1.")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers: all that it was given are."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    def __str__(self) -> str:
        numbers = (self.low, self.high) if self.step is None else (self.low, self.high, self.step)
        return ":".join([*(["log"] if self.log else []), *map(repr, numbers)])


@dataclass(frozen=True, slots=True)
class Choice:
    """Some values of a setting. Raises `ConfigError` for fewer than two, and for one given twice."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len({repr(value) for value in self.values}) < len(self.values):
            raise ConfigError("two different values or more to choose from", str(self), "Use 16,32,64.")

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


Tried: TypeAlias = Range | Choice


@dataclass(frozen=True, slots=True)
class Space:
    """The settings to be tried, by name.

    >>> Space.parse({"batch_size": "16,32,64", "optimizer.learning_rate": "log:1e-4:1e-1"}).to_dict()
    {'batch_size': '16,32,64', 'optimizer.learning_rate': 'log:0.0001:0.1'}
    """

    tried: dict[str, Tried]

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Space:
        """Read settings by name, ``section.setting``, or in nested tables. Raises `ConfigError`."""
        tried = {name: parse_tried(name, value) for name, value in flat(given).items()}
        if not tried:
            raise ConfigError("a space of one setting or more", "an empty one", "Add optimizer.learning_rate.")
        return cls(tried)

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> Space:
        """Read a file. Raises `ConfigError` for one that is missing, not TOML, or no space."""
        try:
            return cls.parse(tomllib.loads(read_text(Path(path))))
        except FileNotFoundError:
            raise ConfigError("a file with a space", f"{path}, which does not exist", "Check the path.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                "a space in TOML", f"{path}: {error}", 'Write lines such as learning_rate = "log:1e-4:1e-1".'
            ) from error

    def to_dict(self) -> dict[str, str]:
        """The space in plain texts, which `parse` reads."""
        return {name: str(tried) for name, tried in self.tried.items()}

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Let a trial of Optuna pick a value of every setting."""
        return {name: _suggested(trial, name, tried) for name, tried in self.tried.items()}

    def values(self, picked: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are meant by what Optuna keeps of them."""
        read: dict[str, Any] = {}
        for name, value in picked.items():
            tried = self.tried.get(name)
            read[name] = _values_by_name(tried).get(value, value) if isinstance(tried, Choice) else value
        return read

    def fitted(self, config: RunConfig) -> Space:
        """The same space for a configuration: ranges of fractional settings are fractional. Raises `ConfigError`.

        Every bound and every choice is tried out in the configuration, so that a search does not fail after hours.
        """
        first = {name: _examples(tried)[0] for name, tried in self.tried.items()}
        for name, tried in self.tried.items():
            for value in _examples(tried):
                with_settings(config, first | {name: value})
        known = flat_settings(with_settings(config, first))
        return Space(
            {
                name: Range(float(tried.low), float(tried.high), tried.step, tried.log)
                if isinstance(tried, Range) and isinstance(known.get(name), float)
                else tried
                for name, tried in self.tried.items()
            }
        )


def parse_tried(name: str, value: Any) -> Tried:
    """Read what is to be tried of one setting: a text, or a list of choices. Raises `ConfigError`.

    >>> parse_tried("optimizer.name", "sgd,adamw").values, parse_tried("epochs", "5:20:5").whole
    (('sgd', 'adamw'), True)
    """
    if isinstance(value, list):
        return Choice(tuple(value))
    if isinstance(value, str):
        log, text = value.startswith("log:"), value.removeprefix("log:")
        parts = [_read(part) for part in text.split(":")]
        if len(parts) in (2, 3) and all(type(part) in (int, float) for part in parts):
            return Range(parts[0], parts[1], parts[2] if len(parts) == 3 else None, log=log)
        if not log and len(choices := text.split(",")) > 1:
            return Choice(tuple(map(_read, choices)))
    raise ConfigError(f"what to try of {name}, as {_FORMS}", repr(value), "For example: optimizer.momentum=0.5:0.99")


def default_space(config: RunConfig, dataset: Dataset) -> Space:
    """What is worth trying for any network: learning rate, weight decay, batch size, and what else it has of these.

    Label smoothing belongs to it for classes, and dropout for a network that takes it as an option.

    >>> from striate.data import load_data
    >>> from striate.train import RunConfig
    >>> list(default_space(RunConfig(model="lenet", data="digits"), load_data("digits")).tried)
    ['optimizer.learning_rate', 'optimizer.weight_decay', 'batch_size', 'loss.label_smoothing', 'model.dropout']
    """
    from striate.models import model_entry

    rate = config.optimizer.learning_rate
    tried: dict[str, Tried] = {"optimizer.learning_rate": Range(rate / 20, rate * 20, log=True)}
    if "weight_decay" in type(config.optimizer).model_fields:
        tried["optimizer.weight_decay"] = Range(1e-4, 0.3, log=True)
    else:
        tried["optimizer.l2"] = Range(1e-6, 1e-2, log=True)
    sizes = tuple(size for size in (16, 32, 64, 128) if size * 4 <= len(dataset.train))
    if len(sizes) > 1:
        tried["batch_size"] = Choice(sizes)
    if dataset.task == "classification" and config.loss.name in ("auto", "cross_entropy"):
        tried["loss.label_smoothing"] = Range(0.0, 0.2)
    if "dropout" in model_entry(config.model.name).options and "dropout" not in config.model.options:
        tried["model.dropout"] = Range(0.0, 0.6)
    return Space(tried)


def _read(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return read["value"] if len(read) == 1 else text.strip()


def _examples(tried: Tried) -> tuple[Any, ...]:
    return tried.values if isinstance(tried, Choice) else (tried.low, tried.high)


def _values_by_name(choice: Choice) -> dict[Any, Any]:
    # Optuna keeps numbers and texts alone; a list goes by what it reads like.
    return {value if isinstance(value, str | int | float) else repr(value): value for value in choice.values}


def _suggested(trial: optuna.Trial, name: str, tried: Tried) -> Any:
    if isinstance(tried, Choice):
        return _values_by_name(tried)[trial.suggest_categorical(name, list(_values_by_name(tried)))]
    if tried.whole:
        step = 1 if tried.step is None else int(tried.step)
        return trial.suggest_int(name, int(tried.low), int(tried.high), step=step, log=tried.log)
    return trial.suggest_float(name, tried.low, tried.high, step=tried.step, log=tried.log)
