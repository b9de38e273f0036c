"""What commands are pointed at: the folder of a run, or the name of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from striate.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from striate.train import Run


@dataclass(frozen=True)
class Target:
    """A network, the shape of one of its inputs (C, *spatial), and the run it comes from, if any."""

    model: nn.Module
    item_shape: tuple[int, ...]
    run: Run | None


def open_target(name: str, item_shape: tuple[int, ...] | None, num_classes: int) -> Target:
    """Open a run's best weights, or build a network with fresh ones for inputs of ``item_shape``.

    Raises `ModelError` or `CheckpointError`.
    """
    folder = Path(name)
    if folder.is_dir():
        from striate.train import Run

        run = Run.open(folder)
        return Target(run.model(), item_shape or run.item_shape, run)
    if folder.exists() or "/" in name:
        raise CheckpointError(
            "a run's folder or a model's name", name, "Train one with `striate train ... --out FOLDER`."
        )
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
    model = create_model(name, spatial_dims=len(size), in_channels=channels, num_classes=num_classes, **options)
    return Target(model.eval(), item_shape, None)
