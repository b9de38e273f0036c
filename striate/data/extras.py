"""Libraries that only some kinds of files need, and that are installed when they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from striate.errors import DataError


def extra(module: str, name: str, label: str) -> Any:
    """Import a library of the extra ``name``, which reading ``label`` needs. Raises `DataError` if it is not there.

    >>> extra("json", "medical", "a.nii").loads("[1]")
    [1]
    >>> extra("no_such_library", "medical", "a.nii")
    Traceback (most recent call last):
    striate.errors.DataError: Expected the library no_such_library, which reads a.nii; received an installation \
without it. Install it with: pip install 'striate[medical]'.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the library {module.partition('.')[0]}, which reads {label}",
            "an installation without it",
            f"Install it with: pip install 'striate[{name}]'.",
        ) from error
