"""Settings given as options, and how they override those of a file."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS = {
    "model": "name",
    "data": "source",
    "optimizer": "name",
    "schedule": "name",
    "loss": "name",
    "averaging": "name",
}


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as TOML where it is TOML, and is a word otherwise. Raises `InputError`.

    >>> parse_setting("optimizer.nesterov=true"), parse_setting("optimizer.name=sgd"), parse_setting("input_size=[8]")
    (('optimizer.nesterov', True), ('optimizer.name', 'sgd'), ('input_size', [8]))
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", key):
        raise InputError("KEY=VALUE, such as optimizer.momentum=0.9", repr(text), "Join key and value by '='.")
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value
    return key, read["value"] if len(read) == 1 else value


def override(settings: dict[str, Any], given: Iterable[tuple[str, Any]]) -> None:
    """Put settings, named ``section.setting``, into nested dictionaries, whatever the order they come in.

    Another ``name`` in a section starts that section anew: the settings of one optimiser are not another's. Raises
    `InputError` for a setting given twice, and for one inside of something that is no section.

    >>> settings = {"epochs": 3, "optimizer": {"name": "adamw", "weight_decay": 0.1}}
    >>> override(settings, [("optimizer.learning_rate", 0.5), ("optimizer.name", "sgd")])
    >>> settings
    {'epochs': 3, 'optimizer': {'name': 'sgd', 'learning_rate': 0.5}}
    """
    named: dict[str, Any] = {}
    for key, value in given:
        # A word stands for a section, as it does in RunConfig.
        full = f"{key}.{_WORDS[key]}" if key in _WORDS and isinstance(value, str) else key
        if full in named:
            raise InputError("every setting once", f"{full} as {named[full]!r} and {value!r}", "Leave one out.")
        named[full] = value
    # Whole sections first, then names, because both throw away what was in the section before.
    for key in sorted(named, key=lambda key: (key.count("."), not key.endswith(".name"))):
        *sections, last = key.split(".")
        inner: Any = settings
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise InputError(
                    f"nothing below {section}, a setting itself",
                    f"{key}={named[key]!r}",
                    f"Set {section} itself.",
                )
        if last == "name" and inner.get("name") not in (None, named[key]):
            inner.clear()
        inner[last] = named[key]
