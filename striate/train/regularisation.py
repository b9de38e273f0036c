"""Dropout and stochastic depth by one setting, whatever the network calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.nn import StochasticDepth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.models.registry import ModelEntry
    from striate.train.config import ModelSettings

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
SETTINGS = ("dropout", "stochastic_depth")


def as_options(settings: ModelSettings, entry: ModelEntry) -> dict[str, float]:
    """Those of the two settings that the network takes as options of its own.

    >>> from striate.models import model_entry
    >>> from striate.train.config import ModelSettings
    >>> as_options(ModelSettings(name="lenet", dropout=0.3), model_entry("lenet"))
    {'dropout': 0.3}
    """
    given = {name: getattr(settings, name) for name in SETTINGS}
    return {
        name: value
        for name, value in given.items()
        if value is not None and isinstance(entry.options.get(name), int | float)
    }


def regularise(model: nn.Module, settings: ModelSettings, entry: ModelEntry) -> None:
    """Set the probabilities of a built network that are no options of it, in place.

    ``dropout`` goes to all its dropout layers, ``stochastic_depth`` to its residual blocks, rising in equal steps to
    the last one (Huang and others 2016). Raises `ModelError` for a network without such layers.

    >>> from striate.models import model_entry
    >>> from striate.train.config import ModelSettings
    >>> model = nn.Sequential(StochasticDepth(0.0), StochasticDepth(0.0))
    >>> regularise(model, ModelSettings(name="m5", stochastic_depth=0.2), model_entry("m5"))
    >>> [block.probability for block in model]
    [0.1, 0.2]
    """
    done = as_options(settings, entry)
    if settings.dropout is not None and "dropout" not in done:
        layers = [module for module in model.modules() if isinstance(module, _DROPOUTS)]
        _check_some(layers, "dropout", settings.dropout, entry)
        for layer in layers:
            layer.p = settings.dropout
    if settings.stochastic_depth is not None and "stochastic_depth" not in done:
        blocks = [module for module in model.modules() if isinstance(module, StochasticDepth)]
        _check_some(blocks, "stochastic_depth", settings.stochastic_depth, entry)
        for place, block in enumerate(blocks, 1):
            block.probability = settings.stochastic_depth * place / len(blocks)


def _check_some(layers: Sequence[nn.Module], name: str, value: float, entry: ModelEntry) -> None:
    if not layers:
        words = name.replace("_", " ")
        raise ModelError(
            f"a network with {words}", f"model.{name}={value} with {entry.name}, which has none", "Leave it out."
        )
