"""The recipes of bench/recipes: which runs each stands for, and how their settings read in one line."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate import RunConfig
from striate.train.dotted import flat_settings, with_settings

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
HISTORY = "no published figure for this head of Fashion-MNIST, which has 14 % of its training images"
_TOLD_ELSEWHERE = ("data.source", "model.name", "seed", "device")


@dataclass(frozen=True)
class Recipe:
    """One configuration file and what to compare it with; see recipes.toml."""

    name: str
    vary: str = ""
    values: tuple[Any, ...] = (None,)
    seeds: int = 1
    metric: str = ""
    reference: float | None = None
    source: str = ""
    about: str = ""

    def written(self) -> RunConfig:
        """The configuration as the file has it."""
        return RunConfig.from_toml(RECIPES / f"{self.name}.toml")

    def config(self, data: Path, seed: int, value: Any) -> RunConfig:
        """The configuration of one of its runs, on data in the folder ``data``."""
        config = self.written()
        source = config.data.source if "digits" in config.data.source[:6] else str(data / config.data.source)
        changes = {"data.source": source, "seed": seed, "device": "cpu", "checkpoint_seconds": 20.0}
        return with_settings(config, changes if value is None else changes | {self.vary: value})


def list_recipes() -> list[Recipe]:
    """All recipes in the order of recipes.toml, then those of recipes/history by year."""
    listed = tomllib.loads((HERE / "recipes.toml").read_text(encoding="utf-8"))
    found = [Recipe(name, **{**entry, "values": tuple(entry.get("values", (None,)))}) for name, entry in listed.items()]
    history = sorted((RECIPES / "history").glob("*.toml"))
    return found + [Recipe(f"history/{path.stem}", about=HISTORY) for path in history]


def label_of(value: Any) -> str:
    """What tells a run from the others of its recipe: a fold, or who was left out.

    >>> label_of([3, 10]), label_of(["s01"]), label_of(None)
    ('fold 3 of 10', 's01', '')
    """
    if value is None:
        return ""
    if len(value) == 2 and all(isinstance(each, int) for each in value):
        return f"fold {value[0]} of {value[1]}"
    return " ".join(map(str, value))


def in_one_line(config: RunConfig) -> str:
    """The settings that are not the usual ones, in one line.

    >>> crop = {"name": "crop", "padding": 2}
    >>> in_one_line(RunConfig(model="lenet", data="digits", batch_size=32, augmentation=[crop]))
    'batch_size=32; adamw; one_cycle; augmentation: crop padding=2'
    """
    usual = flat_settings(RunConfig.from_dict({"model": config.model.name, "data": config.data.source}))
    told = []
    for name, value in flat_settings(config).items():
        if name == "augmentation":
            continue
        if name in ("optimizer.name", "schedule.name"):
            told.append(value)
        elif name not in _TOLD_ELSEWHERE and usual.get(name) != value:
            told.append(value if name.endswith(".name") else f"{name.removeprefix('model.options.')}={value}")
    changed = [" ".join([e["name"], *(f"{k}={v}" for k, v in e.items() if k != "name")]) for e in config.augmentation]
    return "; ".join([*told, *(["augmentation: " + ", ".join(changed)] if changed else [])])
