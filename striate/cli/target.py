"""What commands are pointed at: the folder of a run, or the name of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from striate.errors import CheckpointError, InputError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from striate.models import ModelEntry
    from striate.train import Run


@dataclass(frozen=True)
class Target:
    """A network, its entry, the shape of one of its inputs (C, *spatial), and the run it comes from, if any.

    For a network that takes tokens, C is the number of different tokens.
    """

    model: nn.Module
    entry: ModelEntry
    item_shape: tuple[int, ...]
    run: Run | None

    def blank(self, count: int) -> Tensor | tuple[int, ...]:
        """The shape of so many inputs, or tokens of zero, which take no memory: something for `insight.summary`."""
        if self.entry.input_kind != "tokens":
            return (count, *self.item_shape)
        import torch

        return torch.zeros(1, dtype=torch.long).expand(count, *self.item_shape[1:])


def open_target(name: str, item_shape: tuple[int, ...] | None, num_classes: int | None) -> Target:
    """Open a run's best weights, or describe a network on the meta device, for inputs of ``item_shape``.

    Without ``item_shape`` or ``num_classes`` a network is in its usual form. Raises `InputError`, `ModelError` or
    `CheckpointError`.
    """
    if not name:
        raise CheckpointError("a run's folder or a model's name", "an empty text", "See `striate models`.")
    folder = Path(name)
    if folder.is_dir():
        if num_classes is not None:
            raise InputError("--classes with the name of a network", f"the run {name}", "A run has its own classes.")
        from striate.models import model_entry
        from striate.train import Run

        run = Run.open(folder)
        return Target(run.model(), model_entry(run.network.name), item_shape or run.item_shape, run)
    if folder.exists() or "/" in name:
        raise CheckpointError(
            "a run's folder or a model's name", name, "Train one with `striate train ... --out FOLDER`."
        )
    import torch

    from striate.models import create_model, model_entry

    entry = model_entry(name)
    if item_shape is None:
        item_shape = (entry.in_channels, *entry.usual_size())
    if len(item_shape) < 2:
        raise ModelError(
            "an input shape of channels and sizes, such as 1x28x28",
            f"--input {'x'.join(map(str, item_shape))}",
            "Put the number of channels in front.",
        )
    channels, *size = item_shape
    options = {"input_size": tuple(size)} if "input_size" in entry.options else {}
    classes = entry.num_classes if num_classes is None else num_classes
    with torch.device("meta"):  # its layers are wanted, not its weights, however many
        model = create_model(name, spatial_dims=len(size), in_channels=channels, num_classes=classes, **options)
    return Target(model.eval(), entry, item_shape, None)
