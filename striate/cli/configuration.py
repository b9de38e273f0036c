"""The options of training, which all commands that train share, and the configuration that they come to.

Each stands once, in `_FLAGS`, with the setting that it is. `with_flags` gives a command all of them.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from striate.cli.settings import override, parse_setting
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.train import RunConfig

_DATA, _NETWORK, _LEARNING = "Data", "Network", "Optimiser and schedule"
_UNBALANCED, _AVERAGING, _TUNING = "Loss and unbalanced classes", "Averaging", "Fine-tuning and distillation"
_ENDING, _MACHINE = "Best epoch and early end", "Machine"


class _Flag(NamedTuple):
    """An option of the command line: the setting that it is ("": none by itself), its type, and what Typer shows.

    ``read`` makes a setting of what was given; None says that nothing was.
    """

    setting: str
    kind: Any
    shown: Any
    read: Callable[[Any], Any] = lambda value: value


def _flag(
    setting: str,
    kind: Any,
    help: str,
    *names: str,
    panel: str | None = None,
    metavar: str | None = None,
    read: Callable[[Any], Any] | None = None,
) -> _Flag:
    shown = typer.Option(None, *names, help=help, rich_help_panel=panel, metavar=metavar)
    return _Flag(setting, kind | None, shown) if read is None else _Flag(setting, kind | None, shown, read)


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


def _freeze(words: list[str] | None) -> str | int | list[str] | None:
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


def _some(value: Any) -> Any:
    return value or None


# All of them, in the order of --help ---------------------------------------------------------------------------------

_FLAGS = {
    "model": _Flag(
        "model.name", str | None, typer.Argument(None, help="The name of a network (see `striate models`).")
    ),
    "data": _flag("data.source", str, "digits, digits28, or a file or folder (see `striate data`).", "--data", "-d"),
    "config": _flag("", Path, "Take all settings from this file; options given here win."),
    "seed": _flag("seed", int, "Decides splits, first weights, augmentation and the order of the samples."),
    "settings": _flag(
        "", list[str], "Any setting of config.toml (schedule.rise=0.2); repeatable.", "--set", metavar="KEY=VALUE"
    ),
    "logger": _flag("loggers.names", list[str], "Tell mlflow or wandb too; repeatable.", read=_some),
    # Data
    "data_option": _flag(
        "", list[str], "An option of the data's reader (window=50); repeatable.", panel=_DATA, metavar="KEY=VALUE"
    ),
    "image_size": _flag("data.image_size", int, "Resize images to this height and width.", panel=_DATA),
    "channels": _flag("data.channels", int, "1 for grey, 3 for colour (default: as stored).", panel=_DATA),
    "val_fraction": _flag("data.val_fraction", float, "Part of the training data kept for validation.", panel=_DATA),
    "test_fraction": _flag(
        "data.test_fraction", float, "Part kept for testing, if the data has no test part.", panel=_DATA
    ),
    "skip_corrupt": _flag(
        "data.skip_corrupt", bool, "Go on without files that cannot be read.", "--skip-corrupt", panel=_DATA, read=_some
    ),
    "augment": _flag(
        "augmentation",
        str,
        "light, standard, strong, or a list such as flip,crop:padding=4.",
        panel=_DATA,
        read=_augmentation,
    ),
    # Network
    "option": _flag("", list[str], "An option of the network; repeatable.", panel=_NETWORK, metavar="KEY=VALUE"),
    "dropout": _flag("model.dropout", float, "Probability of all its dropout layers.", panel=_NETWORK),
    "stochastic_depth": _flag(
        "model.stochastic_depth", float, "Probability that its last residual block is skipped.", panel=_NETWORK
    ),
    # Optimiser and schedule
    "epochs": _flag("epochs", int, "Passes over the training data.", panel=_LEARNING),
    "batch_size": _flag("batch_size", int, "Samples a batch.", panel=_LEARNING),
    "accumulate": _flag("accumulate", int, "Batches whose gradients make one step.", panel=_LEARNING),
    "optimizer": _flag("optimizer.name", str, "sgd, adam, adamw or rmsprop.", panel=_LEARNING),
    "learning_rate": _flag(
        "optimizer.learning_rate", float, "The largest learning rate.", "--learning-rate", "--lr", panel=_LEARNING
    ),
    "momentum": _flag("optimizer.momentum", float, "Momentum of sgd or rmsprop.", panel=_LEARNING),
    "weight_decay": _flag("optimizer.weight_decay", float, "Decoupled weight decay of adamw.", panel=_LEARNING),
    "l1": _flag("optimizer.l1", float, "Penalty on the sum of absolute weights.", panel=_LEARNING),
    "l2": _flag("optimizer.l2", float, "Penalty on half the sum of squared weights.", panel=_LEARNING),
    "schedule": _flag(
        "schedule.name",
        str,
        "constant, step, cosine, polynomial, warm_restarts, one_cycle or plateau.",
        panel=_LEARNING,
    ),
    "warmup": _flag("schedule.warmup_epochs", float, "Epochs of linear warm-up.", panel=_LEARNING),
    "clip": _flag("gradient_clip", float, "Largest norm of all gradients together.", panel=_LEARNING),
    # Loss and unbalanced classes
    "loss": _flag(
        "loss.name",
        str,
        "auto, cross_entropy, focal, half_squared_error, binary_cross_entropy, binary_focal, squared_error, huber or "
        "dice_cross_entropy.",
        panel=_UNBALANCED,
    ),
    "label_smoothing": _flag("loss.label_smoothing", float, "Of cross_entropy, 0 to 1.", panel=_UNBALANCED),
    "class_weights": _flag(
        "loss.class_weights",
        str,
        "balanced, or one number per class with commas between.",
        panel=_UNBALANCED,
        read=_class_weights,
    ),
    "sampling": _flag("sampling", str, "shuffled, or balanced: every class as often in an epoch.", panel=_UNBALANCED),
    # Averaging: each of its settings switches it on
    "averaging": _flag("", str, "none, ema (moving average) or swa (mean of the last epochs).", panel=_AVERAGING),
    "ema_decay": _flag("averaging.decay", float, "Decay of ema (0.999); switches it on.", panel=_AVERAGING),
    "swa_start": _flag(
        "averaging.start", float, "Where in the run swa begins (0.75); switches it on.", panel=_AVERAGING
    ),
    # Fine-tuning and distillation
    "start": _flag("fine_tuning.weights", str, "Begin with the weights of a run, or a file.", "--from", panel=_TUNING),
    "freeze": _flag(
        "fine_tuning.freeze",
        list[str],
        "What not to train: 'all but head', so many stages, or a stage, layer or pattern; repeatable.",
        panel=_TUNING,
        read=_freeze,
    ),
    "unfreeze_after": _flag("fine_tuning.unfreeze_after", int, "Train everything after so many epochs.", panel=_TUNING),
    "layer_decay": _flag(
        "optimizer.layer_decay", float, "Learning rate of a stage as a share of the next one's.", panel=_TUNING
    ),
    "teacher": _flag("distillation.teacher", str, "A run whose answers are learned besides the labels.", panel=_TUNING),
    # Best epoch and early end
    "best": _flag("best.metric", str, "The column of metrics.csv that decides (val_macro_f1), or last.", panel=_ENDING),
    "patience": _flag(
        "early_stopping.patience", int, "Stop early after this many epochs without improvement.", panel=_ENDING
    ),
    # Machine
    "device": _flag("device", str, "auto, cpu, cuda or mps.", panel=_MACHINE),
    "precision": _flag("precision", str, "32-true, 64-true, bf16-mixed, ...", panel=_MACHINE),
    "workers": _flag("data.workers", int, "Processes that prepare batches.", panel=_MACHINE),
    "devices": _flag("devices", int, "Processes, or GPUs, that share every batch.", panel=_MACHINE),
    "nodes": _flag("nodes", int, "Machines with as many devices each.", panel=_MACHINE),
    "strategy": _flag("strategy", str, "ddp, or fsdp for networks that do not fit into one GPU.", panel=_MACHINE),
}

_FIRST = 2
"""As many of them, network and data, stand before a command's own options in --help."""


class Flags:
    """The options of training that a command was given.

    ``given`` are the settings they come to, in the order of --help, ``file`` is the configuration that they change.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.file: Path | None = values["config"]
        meant = {flag.setting: flag.read(values[name]) for name, flag in _FLAGS.items() if flag.setting}
        meant["averaging.name"] = _averaging(values["averaging"], values["ema_decay"], values["swa_start"])
        self.given: list[tuple[str, Any]] = [(key, value) for key, value in meant.items() if value is not None]
        for section, name in (("model.options.", "option"), ("data.options.", "data_option"), ("", "settings")):
            self.given += [(section + key, value) for key, value in map(parse_setting, values[name] or [])]

    def config(self, command: str, *others: str) -> RunConfig:
        """The configuration. Raises `InputError` where network or data are missing, and `ConfigError`.

        ``others`` are what ``command`` could be given in place of them.
        """
        named = {key for key, _ in self.given}
        no_model, no_data = not named & {"model", "model.name"}, not named & {"data", "data.source"}
        if self.file is None and (no_model or no_data):
            neither = "none of them" if others else "neither"
            raise InputError(
                ", or ".join(["a network and --data", "--config", *others]),
                neither if no_model and no_data else ("no network" if no_model else "no --data"),
                f"For example: striate {command} lenet --data digits28",
            )
        from striate.train import RunConfig

        base = RunConfig.from_toml(self.file).model_dump(exclude_none=True) if self.file is not None else {}
        override(base, self.given)
        return RunConfig.from_dict(base)


def with_flags(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of training, all together as its parameter ``flags``.

    In --help they stand where that parameter stands.
    """

    @functools.wraps(function)
    def command(**values: Any) -> None:
        function(flags=Flags({name: values.pop(name) for name in _FLAGS}), **values)

    own = list(inspect.signature(function, eval_str=True).parameters.values())
    place = next(number for number, parameter in enumerate(own) if parameter.name == "flags")
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=flag.shown, annotation=flag.kind)
        for name, flag in _FLAGS.items()
    ]
    every = [*shared[:_FIRST], *own[:place], *shared[_FIRST:], *own[place + 1 :]]
    # Typer asks for both.
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return command
