"""Settings by their dotted names, ``section.setting``: reading all of a configuration, and changing some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from striate.errors import ConfigError
from striate.train.config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables.

    >>> flat({"epochs": 3, "optimizer": {"name": "sgd"}})
    {'epochs': 3, 'optimizer.name': 'sgd'}
    """
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """All settings by name, those that are None left out.

    >>> flat_settings(RunConfig(model="lenet", data="digits"))["optimizer.name"]
    'adamw'
    """
    return flat(config.model_dump(exclude_none=True))


def with_settings(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return a configuration with other settings, by name. Raises `ConfigError`.

    Another ``name`` in a section starts that section anew.

    >>> with_settings(RunConfig(model="lenet", data="digits"), {"optimizer.name": "sgd"}).optimizer.learning_rate
    0.05
    """
    settings = config.model_dump(exclude_none=True)
    # Names first, because they throw away what was in the section before.
    for key in sorted(changes, key=lambda key: not key.endswith(".name")):
        *sections, last = key.split(".")
        inner: Any = settings
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"nothing below {section}, a setting itself", key, f"Set {section} itself.")
        if last == "name" and inner.get("name") != changes[key]:
            inner.clear()
        inner[last] = changes[key]
    return RunConfig.from_dict(settings)
