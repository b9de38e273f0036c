"""What commands are pointed at: the folder of a run, or the name of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from striate.errors import CheckpointError, InputError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from striate.train import Run


@dataclass(frozen=True)
class Target:
    """A network, the shape of one of its inputs (C, *spatial), and the run it comes from, if any."""

    model: nn.Module
    item_shape: tuple[int, ...]
    run: Run | None


def open_target(name: str, item_shape: tuple[int, ...] | None, num_classes: int | None) -> Target:
    """Open a run's best weights, or describe a network on the meta device, for inputs of ``item_shape``.

    Without ``num_classes`` a network has ten. Raises `InputError`, `ModelError` or `CheckpointError`.
    """
    if not name:
        raise CheckpointError("a run's folder or a model's name", "an empty text", "See `striate models`.")
    folder = Path(name)
    if folder.is_dir():
        if num_classes is not None:
            raise InputError("--classes with the name of a network", f"the run {name}", "A run has its own classes.")
        from striate.train import Run

        run = Run.open(folder)
        return Target(run.model(), item_shape or run.item_shape, run)
    if folder.exists() or "/" in name:
        raise CheckpointError(
            "a run's folder or a model's name", name, "Train one with `striate train ... --out FOLDER`."
        )
    import torch

    from striate.models import create_model, model_entry

    entry = model_entry(name)
    if item_shape is None:
        rank = 2 if 2 in entry.spatial_dims else entry.spatial_dims[0]
        item_shape = (1, *(entry.input_size,) * rank)
    if len(item_shape) < 2:
        raise ModelError(
            "an input shape of channels and sizes, such as 1x28x28",
            f"--input {'x'.join(map(str, item_shape))}",
            "Put the number of channels in front.",
        )
    channels, *size = item_shape
    options = {"input_size": tuple(size)} if "input_size" in entry.options else {}
    classes = 10 if num_classes is None else num_classes
    with torch.device("meta"):  # its layers are wanted, not its weights, however many
        model = create_model(name, spatial_dims=len(size), in_channels=channels, num_classes=classes, **options)
    return Target(model.eval(), item_shape, None)
