"""The options by which commands that train many runs take the settings that all of them share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.settings import override, parse_setting
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train import RunConfig

Model = Annotated[str | None, typer.Argument(help="The name of a network (see `striate models`).")]
Data = Annotated[
    str | None, typer.Option("--data", "-d", help="digits, digits28, or a file or folder (see `striate data`).")
]
Config = Annotated[Path | None, typer.Option(help="Take all settings from this file; options given here win.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training data.")]
Seed = Annotated[int | None, typer.Option(help="The first seed, from which all chance follows.")]
NetworkOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the network; repeatable.")
]
DataOptions = Annotated[
    list[str] | None,
    typer.Option("--data-option", metavar="KEY=VALUE", help="An option of the data's reader; repeatable."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting of config.toml (optimizer.name=sgd); repeatable."),
]
LoggerNames = Annotated[
    list[str] | None, typer.Option("--logger", help="Tell each run to mlflow or wandb too; repeatable.")
]


def chosen_config(
    command: str,
    *,
    model: str | None,
    data: str | None,
    config: Path | None,
    epochs: int | None,
    seed: int | None,
    option: list[str] | None,
    data_option: list[str] | None,
    settings: list[str] | None,
    logger: list[str] | None,
) -> RunConfig:
    """Put options into a configuration. Raises `InputError` where network or data are missing."""
    flags: dict[str, Any] = {
        "model.name": model,
        "data.source": data,
        "epochs": epochs,
        "seed": seed,
        "loggers.names": logger or None,
    }
    given = [(key, value) for key, value in flags.items() if value is not None]
    given += [(f"model.options.{key}", value) for key, value in map(parse_setting, option or [])]
    given += [(f"data.options.{key}", value) for key, value in map(parse_setting, data_option or [])]
    given += map(parse_setting, settings or [])
    named = {key for key, _ in given}
    no_model, no_data = not named & {"model", "model.name"}, not named & {"data", "data.source"}
    if config is None and (no_model or no_data):
        raise InputError(
            "a network and --data, or --config",
            "neither" if no_model and no_data else ("no network" if no_model else "no --data"),
            f"For example: striate {command} lenet --data digits28",
        )
    from striate.train import RunConfig

    base = RunConfig.from_toml(config).model_dump(exclude_none=True) if config is not None else {}
    override(base, given)
    return RunConfig.from_dict(base)
