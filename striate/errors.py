"""The exceptions Striate raises.

::

    StriateError                  anything this package reports about itself (command line: exit code 1)
    ├── InputError (ValueError)   something the caller gave cannot be used   (command line: exit code 2)
    │   ├── GeometryError         arguments of a convolution or pool
    │   ├── ModelError            an unknown model, or one that cannot take this input
    │   ├── DataError             a file, folder or data set
    │   ├── ConfigError           the settings of a run
    │   └── CheckpointError       a run folder, or weights that do not fit
    └── RunError (RuntimeError)   the work itself failed
        ├── DivergedError         the loss became NaN or infinite
        └── StoppedError          a run was asked to stop, and can be resumed

Every input error is built from three parts, so that each message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class StriateError(Exception):
    """Base class of every exception that Striate raises on purpose."""


class InputError(StriateError, ValueError):
    """Something the caller gave cannot be used.

    The message reads ``Expected {expected}; received {received}. {remedy}``, and the parts are attributes.

    >>> raise InputError("a positive stride", "stride=0", "Use 1 to visit every position.")
    Traceback (most recent call last):
    striate.errors.InputError: Expected a positive stride; received stride=0. Use 1 to visit every position.
    """

    def __init__(self, expected: str, received: str, remedy: str) -> None:
        super().__init__(expected, received, remedy)
        self.expected = expected
        self.received = received
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Expected {self.expected}; received {self.received}. {self.remedy}"


class GeometryError(InputError):
    """Arguments of a convolution or pool that contradict each other or the input."""


class ModelError(InputError):
    """An unknown model, or a model that cannot take the given input."""


class DataError(InputError):
    """A file, folder or data set that cannot be read or used."""


class ConfigError(InputError):
    """Settings of a run that are unknown, contradictory or out of range."""


class CheckpointError(InputError):
    """A run folder or weight file that is missing, damaged or does not fit."""


class RunError(StriateError, RuntimeError):
    """The work itself failed although its input was acceptable."""


class DivergedError(RunError):
    """The loss became NaN or infinite during training."""


class StoppedError(RunError):
    """A run stopped because it was asked to (Ctrl-C, SIGTERM); its checkpoint is written and it can be resumed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the known words nearest to a mistyped one, or all of them when none is near.

    >>> did_you_mean("lenett", ["lenet", "lenet5", "lecture"])
    "Did you mean 'lenet' or 'lenet5'?"
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=2, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    return f"Choose one of: {', '.join(choices)}."
