"""A run's network over a whole part of a data set, one batch at a time, through one view of the inputs or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from striate.data.segmentation.tiles import Blend
from striate.data.segmentation.wholes import WholeSamples
from striate.errors import DataError
from striate.train.embedding import embed
from striate.train.feed import batch_bounds, batches
from striate.train.views import Same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn

    from striate.data import Samples
    from striate.data.dataset import Task
    from striate.data.segmentation.tiles import Tiling
    from striate.train.run import Run
    from striate.train.views import View


OVERLAP = 0.5
"""The part of a tile that the next one shares at least, where whole images are asked about."""

_MOST_OVERLAP = 0.9


class Outputs(NamedTuple):
    """The outputs of a batch, one tensor per view, on the CPU and as the network gives them; and its targets.

    Where whole images were asked about by tiles, outputs are logarithms of probabilities.
    """

    indices: Tensor
    views: tuple[Tensor, ...]
    targets: Tensor


class Inference:
    """A run's network, ready to be asked: on its device and in its precision.

    ``views`` are changes of the stored inputs (see `striate.train.views`). Verification gives features in place of
    outputs. With ``tiles`` inputs of segmentation may have any size: they are asked about tile by tile, and the
    probabilities blended (see `striate.data.segmentation.tiles.Blend`). Raises `DataError` for views that segmentation
    cannot undo or none at all, and `CheckpointError` for weights that are missing or damaged.

    ::

        for batch in Inference(run)(dataset.test):
            batch.views[0].softmax(1)
    """

    def __init__(
        self,
        run: Run,
        weights: Literal["best", "last"] = "best",
        *,
        task: Task = "classification",
        views: Iterable[View] | None = None,
        tiles: Tiling | None = None,
    ) -> None:
        self.run, self.task, self._tiles = run, task, tiles
        self.views = (Same(),) if views is None else tuple(views)
        if not self.views:
            raise DataError("a view of the inputs or more", "none", "Leave views out to test the inputs as they are.")
        self._undo: list[View] = [getattr(view, "undo", None) or Same() for view in self.views]
        for view in self.views:
            if task == "segmentation" and not hasattr(view, "undo"):
                raise DataError(
                    "views that can be undone, for outputs per position",
                    f"{view!r}",
                    "Give it a method undo(outputs), as Flip and Shift have.",
                )
        self._fabric = Fabric(accelerator=run.config.device, devices=1, precision=run.config.precision)
        self._model: nn.Module = self._fabric.setup(run.model(weights))

    def __call__(self, samples: Samples | WholeSamples, indices: Sequence[int] | None = None) -> Iterator[Outputs]:
        """Yield the outputs of all samples, or those at ``indices``, in order; whole images one by one."""
        order = torch.arange(len(samples)) if indices is None else torch.tensor(indices, dtype=torch.int64)
        if isinstance(samples, WholeSamples):
            for place in order:
                inputs, targets = samples.fetch(place[None])
                yield Outputs(place[None], self.ask(inputs), targets)
            return
        bounds = batch_bounds(len(order), self.run.config.batch_size)
        for places, inputs, targets in batches(samples, order, bounds):
            yield Outputs(places, self.ask(inputs), targets)

    def ask(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of a batch of inputs as stored, one tensor per view."""
        with torch.inference_mode():
            given = [self._one(view, undo, inputs) for view, undo in zip(self.views, self._undo, strict=True)]
        # Out of inference mode, so that whatever follows may use them.
        return tuple(each.clone() for each in given)

    def _one(self, view: View, undo: View, inputs: Tensor) -> Tensor:
        if self._tiles is not None:
            return torch.stack([self._blended(view, undo, sample, self._tiles) for sample in inputs])
        return self._direct(view, undo, inputs)

    def _direct(self, view: View, undo: View, inputs: Tensor) -> Tensor:
        prepared = self.run.preprocessing(view(self._fabric.to_device(inputs)))
        if self.task == "verification":
            return embed(self._model, prepared).float().cpu()
        output: Tensor = self._model(prepared)
        return (undo(output) if self.task == "segmentation" else output).float().cpu()

    def _blended(self, view: View, undo: View, sample: Tensor, tiles: Tiling) -> Tensor:
        shape, size = sample.shape[1:], self.run.config.batch_size
        blend, starts = Blend(tiles, shape), tiles.starts(shape)
        for first in range(0, len(starts), size):
            some = starts[first : first + size]
            said = self._direct(view, undo, torch.stack([tiles.cut(sample, start) for start in some]))
            for start, probabilities in zip(some, averaged("segmentation", [said]), strict=True):
                blend.add(start, probabilities)
        return _logarithm(blend.whole())


def averaged(task: Task, views: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
    """The mean of what several views say: of probabilities, of numbers, or of features of length 1.

    >>> averaged("classification", [torch.zeros(1, 2), torch.zeros(1, 2)]).tolist()
    [[0.5, 0.5]]
    """
    said = [_SAID[task](view / temperature if temperature != 1.0 else view) for view in views]
    return said[0] if len(said) == 1 else torch.stack(said).mean(dim=0)


def as_outputs(task: Task, views: Sequence[Tensor]) -> Tensor:
    """What several views say as if one network had put it out, for losses, which take no probabilities.

    >>> as_outputs("classification", [torch.zeros(1, 2), torch.zeros(1, 2)]).softmax(1).tolist()
    [[0.5, 0.5]]
    """
    if len(views) == 1:
        return views[0]
    mean = averaged(task, views)
    if task in ("classification", "segmentation"):
        return _logarithm(mean)
    return torch.logit(mean, eps=1e-7) if task == "multi-label" else mean


def check_overlap(overlap: float) -> None:
    """Check that tiles can share this part of their length. Raises `DataError`.

    >>> check_overlap(0.5)
    """
    if isinstance(overlap, bool) or not isinstance(overlap, int | float) or not 0 <= overlap <= _MOST_OVERLAP:
        raise DataError(
            f"an overlap from 0 to {_MOST_OVERLAP}, the part of a tile that the next one shares",
            f"overlap={overlap!r}",
            f"Use {OVERLAP}.",
        )


def _logarithm(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


_SAID: dict[str, Callable[[Tensor], Tensor]] = {
    "classification": lambda outputs: outputs.softmax(dim=1),
    "segmentation": lambda outputs: outputs.softmax(dim=1),
    "multi-label": lambda outputs: outputs.sigmoid(),
    "regression": lambda outputs: outputs,
    "verification": lambda outputs: F.normalize(outputs, dim=1),
}
