"""Lists of transforms that suit a kind of data, by one word, and lists as the command line gives them.

A preset is written out where it is used: the configuration of a run holds the transforms and their parameters, not the
word. No preset mirrors grey images, because a digit or a letter in a mirror is another one: add `flip` for those that
may be mirrored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from striate.data.augmentation.transform import make_transform, registered
from striate.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.data.augmentation.transform import Facts

PRESETS = ("light", "standard", "strong")


def preset(name: str, facts: Facts) -> list[dict[str, Any]]:
    """The transforms, with all parameters, that "light", "standard" or "strong" means for such data.

    Raises `ConfigError` for another name.

    >>> from striate.data.augmentation.transform import Facts
    >>> [entry["name"] for entry in preset("standard", Facts(size=(32, 32), channels=3, value_scale=255.0))]
    ['flip', 'crop']
    """
    if name not in PRESETS:
        raise ConfigError("the name of a preset", repr(name), did_you_mean(name, PRESETS))
    if facts.input_kind == "tokens":
        chosen = _TOKENS[name]
    elif facts.content == "bases":
        chosen = _BASES[name]
    elif facts.content == "spectrograms" and not facts.masks:
        chosen = _SPECTROGRAMS[name]
    elif facts.masks and facts.spatial_dims > 1:
        chosen = _masked(name, facts)
    elif facts.spatial_dims == 1:
        chosen = _SIGNALS[name]
    elif facts.spatial_dims == 2:
        chosen = _images(name, facts)
    else:
        chosen = _volumes(name, facts)
    return [make_transform(settings).settings() for settings in chosen]


def expand(settings: Sequence[str | Mapping[str, Any]], facts: Facts) -> list[dict[str, Any]]:
    """Write presets out, so that every entry is a table of a transform and its parameters.

    Raises `ConfigError` for entries that are neither names nor tables, unknown names and wrong parameters.

    >>> from striate.data.augmentation.transform import Facts
    >>> expand(["reverse", {"name": "jitter", "std": [0, 0.1]}], Facts(size=(128,), channels=3))
    [{'name': 'reverse', 'p': 0.5, 'axes': [-1]}, {'name': 'jitter', 'p': 1.0, 'std': [0.0, 0.1]}]
    """
    expanded = []
    for entry in settings:
        table = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            raise ConfigError(
                "augmentation as names, or tables with a name", repr(entry), 'Write name = "flip", for example.'
            )
        if table["name"] in PRESETS:
            if len(table) > 1:
                raise ConfigError(
                    f"the preset {table['name']!r} without parameters",
                    ", ".join(f"{key}={value!r}" for key, value in table.items() if key != "name"),
                    "List the transforms themselves to set their parameters.",
                )
            expanded += preset(table["name"], facts)
        elif table["name"] in {kind.name for kind in registered()}:
            expanded.append(make_transform(table).settings())
        else:
            known = [*PRESETS, *(kind.name for kind in registered())]
            raise ConfigError(
                "the name of a transform or preset", repr(table["name"]), did_you_mean(table["name"], known)
            )
    return expanded


def parse_augmentation(text: str) -> list[dict[str, Any]]:
    """Read transforms as the command line gives them: ``name:parameter=value:...``, with commas between transforms.

    Several values of one parameter are separated by slashes. Raises `ConfigError` for what has another form.

    >>> parse_augmentation("flip,crop:padding=4,resized_crop:area=0.5/1")
    [{'name': 'flip'}, {'name': 'crop', 'padding': 4}, {'name': 'resized_crop', 'area': [0.5, 1]}]
    """
    parsed: list[dict[str, Any]] = []
    for part in text.split(","):
        name, *pairs = (piece.strip() for piece in part.split(":"))
        table: dict[str, Any] = {"name": name}
        for pair in pairs:
            key, equals, value = (piece.strip() for piece in pair.partition("="))
            if not key or not equals or not value or key in table:
                raise _unreadable(part)
            values = [_value(piece) for piece in value.split("/")]
            table[key] = values if len(values) > 1 else values[0]
        if not name:
            raise _unreadable(part)
        parsed.append(table)
    return parsed


def _unreadable(part: str) -> ConfigError:
    return ConfigError(
        "transforms as name:parameter=value, with commas between them",
        repr(part.strip()),
        "Write, for example, flip,crop:padding=4.",
    )


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


_TOKENS: dict[str, list[dict[str, Any]]] = {
    "light": [{"name": "word_dropout", "rate": 0.05}],
    "standard": [{"name": "word_dropout", "rate": 0.1}],
    "strong": [{"name": "word_deletion", "rate": 0.1}, {"name": "word_swap"}, {"name": "word_dropout", "rate": 0.2}],
}
_BASES: dict[str, list[dict[str, Any]]] = {
    "light": [{"name": "base_dropout", "rate": 0.02}],
    "standard": [{"name": "base_dropout", "rate": 0.05}],
    "strong": [{"name": "base_dropout", "rate": 0.15}],
}
_SPECTROGRAMS: dict[str, list[dict[str, Any]]] = {
    "light": [{"name": "spec_augment", "frequency_masks": 1, "time_masks": 1}],
    "standard": [{"name": "spec_augment"}],
    "strong": [
        {"name": "intensity_shift", "strength": 0.3},
        {"name": "gaussian_noise", "std": [0.0, 0.1]},
        {"name": "spec_augment", "frequency_width": 0.3, "time_width": 0.2},
    ],
}
_SIGNALS: dict[str, list[dict[str, Any]]] = {
    "light": [{"name": "jitter"}],
    "standard": [{"name": "window_slice", "p": 0.5}, {"name": "scaling"}, {"name": "jitter"}],
    "strong": [
        {"name": "window_slice", "p": 0.5},
        {"name": "time_warp", "p": 0.5},
        {"name": "magnitude_warp", "p": 0.5},
        {"name": "channel_dropout", "rate": 0.05},
        {"name": "jitter", "std": [0.0, 0.1]},
    ],
}


def _images(name: str, facts: Facts) -> list[dict[str, Any]]:
    flip = [{"name": "flip"}] if facts.channels == 3 else []
    crop = {"name": "crop", "padding": _eighth(facts), "padding_mode": _outside(facts)}
    if name == "light":
        return flip or [crop | {"padding": max(_eighth(facts) // 2, 1)}]
    if name == "standard":
        return [*flip, crop]
    # TrivialAugment turns by up to 135 degrees, which makes a 6 a 9.
    policy = "trivial_augment" if facts.channels == 3 else "rand_augment"
    return [*flip, crop, {"name": policy, "padding_mode": _outside(facts)}, {"name": "erasing", "p": 0.25}]


def _volumes(name: str, facts: Facts) -> list[dict[str, Any]]:
    affine = {"name": "affine", "padding_mode": _outside(facts)}
    light = [affine | {"degrees": 5, "scale": [0.95, 1.05], "translate": 0.05, "p": 0.5}]
    standard: list[dict[str, Any]] = [
        affine | {"p": 0.8},
        {"name": "intensity_scale"},
        {"name": "intensity_shift"},
    ]
    if name == "light":
        return light
    if name == "standard":
        return standard
    return [
        *standard,
        {"name": "elastic", "p": 0.3},
        {"name": "bias_field", "p": 0.3},
        {"name": "gamma", "p": 0.3},
        {"name": "gaussian_noise", "p": 0.3},
    ]


def _masked(name: str, facts: Facts) -> list[dict[str, Any]]:
    # Reflection, so that no border appears where none is, as the U-Net's paper continues its images.
    gentle = {"name": "affine", "degrees": 10, "translate": 0.05, "padding_mode": "reflection", "p": 0.8}
    light: list[dict[str, Any]] = [{"name": "flip"}]
    standard = [*light, gentle, {"name": "elastic", "p": 0.5}]
    if name == "light":
        return light
    if name == "standard":
        return standard
    return [
        *standard,
        {"name": "gamma", "p": 0.3},
        {"name": "contrast", "p": 0.3},
        {"name": "gaussian_blur", "sigma": [0.1, 1.0], "p": 0.2},
        {"name": "gaussian_noise", "p": 0.2},
    ]


def _outside(facts: Facts) -> str:
    # Without a full white, zero is no colour: in a scan it may be water, bone or nothing.
    return "zeros" if facts.bounded else "border"


def _eighth(facts: Facts) -> int:
    return max(max(facts.size) // 8, 1)
