"""The checkpoint: one file that holds everything a run needs to continue to the same bits.

It is the whole truth about an unfinished run. ``metrics.csv``, the TensorBoard events and the weight files beside it
are written from it and can be written again, so only this one file has to be replaced in one piece.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import load_file, save

from striate.errors import CheckpointError
from striate.files import replacing
from striate.train.progress import Progress
from striate.train.randomness import rng_state, set_rng_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_fabric.plugins import Precision
    from torch import Tensor, nn

    from striate.train.averaging import Average
    from striate.train.schedule import LearningRate, Patience

FORMAT = 2
"""The number of the checkpoint's layout; a file with another number is refused."""

Weights = dict[str, "Tensor"]


@dataclass
class TrainingState:
    """All that changes while a run trains. ``data`` is a fingerprint of the samples, which must not change.

    ``average`` holds the weights that are kept, which are the model's own without averaging.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    rate: LearningRate
    patience: Patience
    average: Average
    data: str
    progress: Progress = field(default_factory=Progress)
    best: Weights = field(default_factory=dict)

    def content(self, others: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """What a checkpoint holds.

        ``others`` are the states of the random number generators of the processes after the first.
        """
        plateau = self.rate.patience
        return {
            "format": FORMAT,
            "data": self.data,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "reductions": self.rate.reductions,
            "plateau": None if plateau is None else (plateau.best, plateau.stale),
            "patience": (self.patience.best, self.patience.stale),
            "rng": [rng_state(), *others],
            "progress": self.progress.state_dict(),
        }

    def restore(self, state: dict[str, Any], path: Path, rank: int = 0) -> None:
        """Put back what was read from a checkpoint, random number generators included, in the process ``rank``.

        Raises `CheckpointError` for one of another network or other data.
        """
        if state.get("data") != self.data:
            raise CheckpointError(
                "the data that the run was started with",
                f"other samples, labels or classes than those of {path}",
                "Bring the data back as it was, or start a new run in another folder.",
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.precision.load_state_dict(state["precision"])
            self.rate.reductions = state["reductions"]
            if self.rate.patience is not None:
                self.rate.patience.best, self.rate.patience.stale = state["plateau"]
            self.patience.best, self.patience.stale = state["patience"]
            self.progress = Progress.from_state_dict(state["progress"])
            self.best = state["best"]
            # Earlier versions knew of one process only. One that was not there keeps the numbers it was given.
            generators = state["rng"] if isinstance(state["rng"], list) else [state["rng"]]
            if rank < len(generators):
                set_rng_state(generators[rank])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                "a checkpoint of this run", f"{path}, which does not fit: {reason}", "Start again in another folder."
            ) from error


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, beside first and then renamed."""
    # Into memory first: PyTorch's own writer hides why the system refuses to write.
    written = io.BytesIO()
    torch.save(content, written)
    with replacing(path, durable=True) as partial:
        partial.write_bytes(written.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's content without running anything in it. Raises `CheckpointError` for a damaged file."""
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            "a whole checkpoint", f"{path}: {reason}", "Restore it from a copy, or start again in another folder."
        ) from error
    number = state.get("format") if isinstance(state, dict) else None
    if not isinstance(state, dict) or number != FORMAT:
        raise CheckpointError(
            f"a checkpoint of format {FORMAT}",
            f"{path}, which is {'something else' if number is None else f'of format {number}'}",
            "Use the version that wrote it.",
        )
    return state


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # PyTorch stores members as they are, so anything larger than the file is not its work; and it does not compare
        # the check sums that it writes.
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("it holds compressed members")
        broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken} has changed")


# Weights -------------------------------------------------------------------------------------------------------------


def weights_of(model: nn.Module) -> Weights:
    """Copy a model's weights and buffers to the CPU, each in memory of its own.

    >>> sorted(weights_of(torch.nn.Linear(2, 1)))
    ['bias', 'weight']
    """
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def save_weights(weights: Weights, path: Path) -> None:
    """Write weights as safetensors, beside first and then renamed."""
    with replacing(path, durable=True) as partial:
        partial.write_bytes(save(weights, metadata={"format": "pt"}))


def check_weights(model: nn.Module, path: Path) -> None:
    """Check that a file of weights fits a model, without reading the tensors; the model may be on the meta device.

    Raises `CheckpointError` if the file is missing, damaged, or does not fit.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            given = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 - no dict
    except FileNotFoundError:
        raise CheckpointError(
            "a file of weights", f"{path}, which does not exist", "Train first, or resume the run."
        ) from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            "a whole file of weights", f"{path}: {error}", "Restore it from a copy, or resume the run."
        ) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted({**wanted, **given}):
        if wanted.get(name) != given.get(name):
            raise CheckpointError(
                f"{name} of shape {wanted[name]}" if name in wanted else "only the weights of the network",
                f"{name} of shape {given[name]} in {path}" if name in given else f"no {name} in {path}",
                "Use the weights that belong to this run.",
            )


def load_weights(model: nn.Module, path: Path) -> None:
    """Load safetensors into a model, which keeps its own types. Raises as `check_weights` does."""
    check_weights(model, path)
    model.load_state_dict(load_file(path))
