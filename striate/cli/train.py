"""``striate train``: from data to a run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_table, say
from striate.cli.settings import override, parse_setting
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.train import Run, RunConfig

_DATA, _NETWORK, _LEARNING = "Data", "Network", "Optimiser and schedule"
_UNBALANCED, _AVERAGING, _TUNING = "Loss and unbalanced classes", "Averaging", "Fine-tuning and distillation"
_ENDING, _MACHINE, _FINDERS = "Best epoch and early end", "Machine", "Finding settings, without training"
_MAY_CHANGE = ("devices", "nodes", "strategy")


@command(
    """
    striate train lenet --data digits28 --out runs/first
    striate train lenet --data mnist/ --lr 0.001 --set optimizer.beta1=0.95
    striate train resnet18 --data flowers/ --augment standard --workers 4 --averaging ema
    striate train resnet18 --data flowers/ --from weights.pth --freeze "all but head" --unfreeze-after 2
    striate train lenet --data digits28 --find-lr
    striate train --config runs/first/config.toml --out runs/again
    striate train resnet18 --data flowers/ --devices 2
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
    seed: Annotated[
        int | None, typer.Option(help="Decides splits, first weights, augmentation and the order of the samples.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of config.toml (schedule.rise=0.2); repeatable."),
    ] = None,
    # Data
    data_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", rich_help_panel=_DATA, help="An option of the data's reader (window=50); repeatable."
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(rich_help_panel=_DATA, help="Resize images to this height and width.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(rich_help_panel=_DATA, help="1 for grey, 3 for colour (default: as stored).")
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(rich_help_panel=_DATA, help="Part of the training data kept for validation.")
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(rich_help_panel=_DATA, help="Part kept for testing, if the data has no test part.")
    ] = None,
    skip_corrupt: Annotated[
        bool,
        typer.Option("--skip-corrupt", rich_help_panel=_DATA, help="Go on without files that cannot be read."),
    ] = False,
    augment: Annotated[
        str | None,
        typer.Option(rich_help_panel=_DATA, help="light, standard, strong, or a list such as flip,crop:padding=4."),
    ] = None,
    # Network
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", rich_help_panel=_NETWORK, help="An option of the network; repeatable."),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(rich_help_panel=_NETWORK, help="Probability of all its dropout layers.")
    ] = None,
    stochastic_depth: Annotated[
        float | None,
        typer.Option(rich_help_panel=_NETWORK, help="Probability that its last residual block is skipped."),
    ] = None,
    # Optimiser and schedule
    epochs: Annotated[
        int | None, typer.Option(rich_help_panel=_LEARNING, help="Passes over the training data.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(rich_help_panel=_LEARNING, help="Samples a batch.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(rich_help_panel=_LEARNING, help="Batches whose gradients make one step.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(rich_help_panel=_LEARNING, help="sgd, adam, adamw or rmsprop.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", rich_help_panel=_LEARNING, help="The largest learning rate."),
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(rich_help_panel=_LEARNING, help="Momentum of sgd or rmsprop.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(rich_help_panel=_LEARNING, help="Decoupled weight decay of adamw.")
    ] = None,
    l1: Annotated[
        float | None, typer.Option(rich_help_panel=_LEARNING, help="Penalty on the sum of absolute weights.")
    ] = None,
    l2: Annotated[
        float | None, typer.Option(rich_help_panel=_LEARNING, help="Penalty on half the sum of squared weights.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(rich_help_panel=_LEARNING, help="constant, step, cosine, warm_restarts, one_cycle or plateau."),
    ] = None,
    warmup: Annotated[float | None, typer.Option(rich_help_panel=_LEARNING, help="Epochs of linear warm-up.")] = None,
    clip: Annotated[
        float | None, typer.Option(rich_help_panel=_LEARNING, help="Largest norm of all gradients together.")
    ] = None,
    # Loss and unbalanced classes
    loss: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_UNBALANCED,
            help="auto, cross_entropy, focal, half_squared_error, binary_cross_entropy, binary_focal, squared_error, "
            "huber or dice_cross_entropy.",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(rich_help_panel=_UNBALANCED, help="Of cross_entropy, 0 to 1.")
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(rich_help_panel=_UNBALANCED, help="balanced, or one number per class with commas between."),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(rich_help_panel=_UNBALANCED, help="shuffled, or balanced: every class as often in an epoch."),
    ] = None,
    # Averaging
    averaging: Annotated[
        str | None,
        typer.Option(rich_help_panel=_AVERAGING, help="none, ema (moving average) or swa (mean of the last epochs)."),
    ] = None,
    ema_decay: Annotated[
        float | None, typer.Option(rich_help_panel=_AVERAGING, help="Decay of ema (0.999); switches it on.")
    ] = None,
    swa_start: Annotated[
        float | None,
        typer.Option(rich_help_panel=_AVERAGING, help="Where in the run swa begins (0.75); switches it on."),
    ] = None,
    # Fine-tuning and distillation
    start: Annotated[
        str | None, typer.Option("--from", rich_help_panel=_TUNING, help="Begin with the weights of a run, or a file.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_TUNING,
            help="What not to train: 'all but head', so many stages, or a stage, layer or pattern; repeatable.",
        ),
    ] = None,
    unfreeze_after: Annotated[
        int | None, typer.Option(rich_help_panel=_TUNING, help="Train everything after so many epochs.")
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(rich_help_panel=_TUNING, help="Learning rate of a stage as a share of the next one's."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(rich_help_panel=_TUNING, help="A run whose answers are learned besides the labels.")
    ] = None,
    # Best epoch and early end
    best: Annotated[
        str | None,
        typer.Option(rich_help_panel=_ENDING, help="The column of metrics.csv that decides (val_macro_f1), or last."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(rich_help_panel=_ENDING, help="Stop early after this many epochs without improvement."),
    ] = None,
    # Machine
    device: Annotated[str | None, typer.Option(rich_help_panel=_MACHINE, help="auto, cpu, cuda or mps.")] = None,
    precision: Annotated[
        str | None, typer.Option(rich_help_panel=_MACHINE, help="32-true, 64-true, bf16-mixed, ...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(rich_help_panel=_MACHINE, help="Processes that prepare batches.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(rich_help_panel=_MACHINE, help="Processes, or GPUs, that share every batch.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(rich_help_panel=_MACHINE, help="Machines with as many devices each.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(rich_help_panel=_MACHINE, help="ddp, or fsdp for networks that do not fit into one GPU."),
    ] = None,
    # Finding settings, without training
    find_lr: Annotated[
        bool, typer.Option("--find-lr", rich_help_panel=_FINDERS, help="Try growing learning rates and draw the loss.")
    ] = False,
    find_batch_size: Annotated[
        bool,
        typer.Option("--find-batch-size", rich_help_panel=_FINDERS, help="Time growing batches and draw the speed."),
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html at the end.")] = False,
    logger: Annotated[list[str] | None, typer.Option(help="Tell mlflow or wandb too; repeatable.")] = None,
) -> None:
    """Train a network on real data. Everything needed to repeat, resume, evaluate and use it ends up in one folder."""
    flags: dict[str, Any] = {
        "loggers.names": logger or None,
        "model.name": model,
        "model.dropout": dropout,
        "model.stochastic_depth": stochastic_depth,
        "data.source": data,
        "data.image_size": image_size,
        "data.channels": channels,
        "data.val_fraction": val_fraction,
        "data.test_fraction": test_fraction,
        "data.skip_corrupt": skip_corrupt or None,
        "data.workers": workers,
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "sampling": sampling,
        "optimizer.name": optimizer,
        "optimizer.learning_rate": learning_rate,
        "optimizer.layer_decay": layer_decay,
        "optimizer.momentum": momentum,
        "optimizer.weight_decay": weight_decay,
        "optimizer.l1": l1,
        "optimizer.l2": l2,
        "schedule.name": schedule,
        "schedule.warmup_epochs": warmup,
        "loss.name": loss,
        "loss.label_smoothing": label_smoothing,
        "loss.class_weights": _class_weights(class_weights),
        "averaging.name": _averaging(averaging, ema_decay, swa_start),
        "averaging.decay": ema_decay,
        "averaging.start": swa_start,
        "fine_tuning.weights": start,
        "fine_tuning.freeze": _freeze(freeze),
        "fine_tuning.unfreeze_after": unfreeze_after,
        "distillation.teacher": teacher,
        "gradient_clip": clip,
        "best.metric": best,
        "early_stopping.patience": patience,
        "augmentation": _augmentation(augment),
        "seed": seed,
        "device": device,
        "precision": precision,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
    }
    given = [(key, value) for key, value in flags.items() if value is not None]
    given += [(f"model.options.{key}", value) for key, value in map(parse_setting, option or [])]
    given += [(f"data.options.{key}", value) for key, value in map(parse_setting, data_option or [])]
    given += map(parse_setting, settings or [])
    if resume is not None:
        changes = {key: value for key, value in given if key in _MAY_CHANGE}
        if len(given) > len(changes) or out is not None or config is not None or find_lr or find_batch_size:
            raise InputError(
                "--resume alone, or with --devices, --nodes and --strategy: a run keeps its own settings",
                "--resume with other arguments",
                "Leave them out, or start a new run with --out.",
            )
        from striate.train import resume as resume_run

        _end(resume_run(resume, changes=changes), report=not no_report)
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
    if out is None and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise InputError(
            "--out, by which a restart finds the run", "torchrun --max-restarts without it", "Name the run's folder."
        )
    from striate.train import RunConfig, fit, new_folder

    base = RunConfig.from_toml(config).model_dump(exclude_none=True) if config is not None else {}
    override(base, given)
    chosen = RunConfig.from_dict(base)
    if find_lr or find_batch_size:
        if find_lr:
            _find_learning_rate(chosen, out or Path())
        if find_batch_size:
            _find_batch_size(chosen, out or Path())
        return
    _end(fit(chosen, out if out is not None else new_folder(chosen)), report=not no_report)


def _end(run: Run, *, report: bool) -> None:
    from striate.train.processes import follows

    if follows():
        return
    name = shlex.quote(str(run.folder))
    say(f"\nThe run is in {run.folder}. Next: striate evaluate {name}")
    if report and not (run.folder / "report.html").exists():
        from striate.train import report_run

        say(f"The page about it: {report_run(run)}")


# Options that are more than a value ----------------------------------------------------------------------------------


def _class_weights(text: str | None) -> str | list[float] | None:
    if text is None or text == "balanced":
        return text
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(
            "balanced, or numbers with commas between them, for --class-weights", repr(text), "Write 1,2.5 for example."
        ) from None


def _averaging(name: str | None, ema_decay: float | None, swa_start: float | None) -> str | None:
    meant = {name, *(["ema"] if ema_decay is not None else []), *(["swa"] if swa_start is not None else [])} - {None}
    if len(meant) > 1:
        raise InputError(
            "one kind of averaging", " and ".join(sorted(filter(None, meant))), "Leave out the settings of the other."
        )
    return next(iter(meant), None)


def _freeze(words: Sequence[str] | None) -> str | int | list[str] | None:
    if not words:
        return None
    if len(words) == 1 and (words[0].isdecimal() or words[0] == "all but head"):
        return int(words[0]) if words[0].isdecimal() else words[0]
    return list(words)


def _augmentation(text: str | None) -> list[dict[str, Any]] | None:
    if text is None:
        return None
    from striate.data.augmentation import parse_augmentation

    return parse_augmentation(text)


# Finding settings ----------------------------------------------------------------------------------------------------


def _find_learning_rate(config: RunConfig, folder: Path) -> None:
    from striate.insight import figures
    from striate.train.finders import find_learning_rate, rate_figure

    trial = find_learning_rate(config)
    every = max(len(trial.rates) // 12, 1)
    rows = [
        (f"{trial.rates[place]:.2e}", f"{trial.losses[place]:.4f}", f"{trial.smoothed[place]:.4f}")
        for place in range(0, len(trial.rates), every)
    ]
    columns = ("learning rate", "loss", "smoothed")
    print_table(columns, rows, right=columns)
    path = figures.save(rate_figure(trial), folder / "lr-finder.png")
    if trial.suggestion is None:
        say(f"\nThe loss never fell: look at the data and the network. Drawn in {path}")
    else:
        say(f"\nThe loss falls fastest at --lr {trial.suggestion:.2g}. Drawn in {path}")


def _find_batch_size(config: RunConfig, folder: Path) -> None:
    from striate.insight import figures
    from striate.train.finders import find_batch_size, size_figure
    from striate.units import readable_bytes

    trials, suggestion = find_batch_size(config)
    rows = [
        (
            f"{trial.batch_size:,}",
            "no memory" if trial.samples_per_second is None else f"{trial.samples_per_second:,.0f}",
            "" if trial.peak_bytes is None else readable_bytes(trial.peak_bytes),
        )
        for trial in trials
    ]
    columns = ("batch size", "samples/s", "peak memory")
    print_table(columns, rows, right=columns)
    path = figures.save(size_figure(trials, suggestion), folder / "batch-finder.png")
    say(f"\nSuggested: --batch-size {suggestion}, with a learning rate to match (--find-lr). Drawn in {path}")
