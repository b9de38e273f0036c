"""Convolutional networks for PyTorch in one, two and three dimensions: compiled, trained, explained.

The public names below are resolved on first use, so that ``import striate`` loads nothing heavy, not even torch, and
the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.data import Dataset, Preprocessing, describe, load_data
    from striate.insight import feature_maps, filters, summary
    from striate.memory import keep_memory
    from striate.models import create_model, list_models, model_entry
    from striate.nn.accelerate import accelerate
    from striate.ops import precision, use_compiled
    from striate.train import Run, RunConfig, evaluate, fit, predict

_HOME = {
    "striate.data": ("Dataset", "Preprocessing", "describe", "load_data"),
    "striate.insight": ("feature_maps", "filters", "summary"),
    "striate.memory": ("keep_memory",),
    "striate.models": ("create_model", "list_models", "model_entry"),
    "striate.nn.accelerate": ("accelerate",),
    "striate.ops": ("precision", "use_compiled"),
    "striate.train": ("Run", "RunConfig", "evaluate", "fit", "predict"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_PACKAGES = ("cli", "data", "errors", "geometry", "insight", "models", "nn", "ops", "train")

__all__ = [
    "Dataset",
    "Preprocessing",
    "Run",
    "RunConfig",
    "accelerate",
    "create_model",
    "describe",
    "evaluate",
    "feature_maps",
    "filters",
    "fit",
    "keep_memory",
    "list_models",
    "load_data",
    "model_entry",
    "precision",
    "predict",
    "summary",
    "use_compiled",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("striate")
    if name in _PACKAGES:
        return importlib.import_module(f"striate.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'striate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES, "__version__"])
