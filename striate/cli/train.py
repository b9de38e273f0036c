"""``striate train``: from data to a run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_folder
from striate.cli.printing import say
from striate.cli.settings import override, parse_setting
from striate.errors import InputError


@command(
    """
    striate train lenet --data digits28 --out runs/first
    striate train lenet --data mnist/ --lr 0.001 --set optimizer.beta1=0.95
    striate train lenet5 --data mnist/ --epochs 20 --patience 5
    striate train --config runs/first/config.toml --out runs/again
    striate train --resume runs/first
    """
)
def train_command(
    model: Annotated[str | None, typer.Argument(help="The name of a network (see `striate models`).")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="digits, digits28, or a file or folder (see `striate data`).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder (default: a new one in runs/).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Take all settings from this file; options given here win.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was stopped or killed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam, adamw or rmsprop.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="The largest learning rate.")
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Momentum of sgd or rmsprop.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay of adamw.")] = None,
    l1: Annotated[float | None, typer.Option(help="Penalty on the sum of absolute weights.")] = None,
    l2: Annotated[float | None, typer.Option(help="Penalty on half the sum of squared weights.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, step, cosine, one_cycle or plateau.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Epochs of linear warm-up.")] = None,
    loss: Annotated[str | None, typer.Option(help="cross_entropy or half_squared_error.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Of cross_entropy, 0 to 1.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of all gradients together.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop early after this many epochs without improvement.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize images to this height and width.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for colour (default: as stored).")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Part of the training data kept for validation.")] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Part kept for testing, if the data has no test part.")
    ] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Go on without files that cannot be read.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Decides splits, first weights and the order of the samples.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, 64-true, bf16-mixed, ...")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the network; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of config.toml (schedule.rise=0.2); repeatable."),
    ] = None,
) -> None:
    """Train a network on real data. Everything needed to repeat, resume, evaluate and use it ends up in one folder."""
    flags: dict[str, Any] = {
        "model.name": model,
        "data.source": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer.name": optimizer,
        "optimizer.learning_rate": learning_rate,
        "optimizer.momentum": momentum,
        "optimizer.weight_decay": weight_decay,
        "optimizer.l1": l1,
        "optimizer.l2": l2,
        "schedule.name": schedule,
        "schedule.warmup_epochs": warmup,
        "loss.name": loss,
        "loss.label_smoothing": label_smoothing,
        "gradient_clip": clip,
        "early_stopping.patience": patience,
        "data.image_size": image_size,
        "data.channels": channels,
        "data.val_fraction": val_fraction,
        "data.test_fraction": test_fraction,
        "data.skip_corrupt": skip_corrupt or None,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    given = [(key, value) for key, value in flags.items() if value is not None]
    given += [(f"model.options.{key}", value) for key, value in map(parse_setting, option or [])]
    given += map(parse_setting, settings or [])
    if resume is not None:
        if given or out is not None or config is not None:
            raise InputError(
                "--resume alone: a run keeps its own settings",
                "--resume with other arguments",
                "Leave them out, or start a new run with --out.",
            )
        from striate.train import resume as resume_run

        _report(resume_run(resume).folder)
        return
    named = {key for key, _ in given}
    no_model, no_data = not named & {"model", "model.name"}, not named & {"data", "data.source"}
    if config is None and (no_model or no_data):
        raise InputError(
            "a network and --data, or --config, or --resume",
            "none of them" if no_model and no_data else ("no network" if no_model else "no --data"),
            "For example: striate train lenet --data digits28",
        )
    check_output_folder(out)
    from striate.train import RunConfig, fit, new_folder

    base = RunConfig.from_toml(config).model_dump(exclude_none=True) if config is not None else {}
    override(base, given)
    chosen = RunConfig.from_dict(base)
    _report(fit(chosen, out if out is not None else new_folder(chosen)).folder)


def _report(folder: Path) -> None:
    name = shlex.quote(str(folder))
    say(f"\nThe run is in {folder}. Next: striate evaluate {name}")
