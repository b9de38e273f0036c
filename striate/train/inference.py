"""A run's network over a whole part of a data set, one batch at a time, through one view of the inputs or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from striate.errors import DataError
from striate.train.embedding import embed
from striate.train.feed import batch_bounds, batches
from striate.train.views import Same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn

    from striate.data import Samples
    from striate.data.dataset import Task
    from striate.train.run import Run
    from striate.train.views import View


class Outputs(NamedTuple):
    """The outputs of a batch, one tensor per view, on the CPU and as the network gives them; and its targets."""

    indices: Tensor
    views: tuple[Tensor, ...]
    targets: Tensor


class Inference:
    """A run's network, ready to be asked: on its device and in its precision.

    ``views`` are changes of the stored inputs (see `striate.train.views`). Verification gives features in place of
    outputs. Raises `DataError` for views that segmentation cannot undo or none at all, and `CheckpointError` for
    weights that are missing or damaged.

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
    ) -> None:
        self.run, self.task = run, task
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

    def __call__(self, samples: Samples, indices: Sequence[int] | None = None) -> Iterator[Outputs]:
        """Yield the outputs of all samples, or those at ``indices``, in order."""
        order = torch.arange(len(samples)) if indices is None else torch.tensor(indices, dtype=torch.int64)
        bounds = batch_bounds(len(order), self.run.config.batch_size)
        for places, inputs, targets in batches(samples, order, bounds):
            inputs = self._fabric.to_device(inputs)
            with torch.inference_mode():
                given = [self._one(view, undo, inputs) for view, undo in zip(self.views, self._undo, strict=True)]
            # Out of inference mode, so that whatever follows may use them.
            yield Outputs(places, tuple(each.clone() for each in given), targets)

    def _one(self, view: View, undo: View, inputs: Tensor) -> Tensor:
        prepared = self.run.preprocessing(view(inputs))
        if self.task == "verification":
            return embed(self._model, prepared).float().cpu()
        output: Tensor = self._model(prepared)
        return (undo(output) if self.task == "segmentation" else output).float().cpu()


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
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
    return torch.logit(mean, eps=1e-7) if task == "multi-label" else mean


_SAID: dict[str, Callable[[Tensor], Tensor]] = {
    "classification": lambda outputs: outputs.softmax(dim=1),
    "segmentation": lambda outputs: outputs.softmax(dim=1),
    "multi-label": lambda outputs: outputs.sigmoid(),
    "regression": lambda outputs: outputs,
    "verification": lambda outputs: F.normalize(outputs, dim=1),
}
