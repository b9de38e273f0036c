"""A trained network's last layer, replaced by one for another task.

`replace_head` leaves everything before the final layer as it is. Classification, several labels at once, and
regression need a layer with other outputs, and differ in their loss; `HEAD_LOSSES` has the usual ones. An embedding
is normalised to length 1. `MultiTaskHead` computes the heads of any number of tasks with one grouped convolution.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.errors import ModelError, did_you_mean
from striate.models.features import head_name
from striate.nn import conv_class, pointwise_conv_class
from striate.nn.blocks import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS = ("classification", "multi_label", "regression", "embedding", "multi_task")

_ACTIVATIONS = (*(kind for kind in ACTIVATIONS.values() if isinstance(kind, type)), nn.Softmax, nn.LogSoftmax)


class L2Normalize(nn.Module):
    """Scale every sample, or every position of a map, to length 1 over the channels; the shape is kept.

    >>> L2Normalize()(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the scaled input; zeros stay zeros."""
        return F.normalize(input, dim=1)


class MultiTaskHead(nn.Module):
    """A head for each of several tasks, all computed by one 1x1 convolution with a group per task.

    ``outputs`` says how many outputs each task has, and so how many tasks there are. (N, C) -> (N, sum(outputs)), the
    tasks' outputs one after the other, which `split` takes apart; maps (N, C, *spatial) with ``spatial_dims`` above 0.
    With ``hidden``, each task has a hidden layer of so many units of its own. No head sees another: the result is that
    of separate layers, in one call instead of many.

    Groups are equally large, so all tasks get as many outputs as the largest needs; the others are never returned or
    trained. Raises `ModelError`.

    >>> head = MultiTaskHead(16, outputs=(10, 2, 3))
    >>> head.heads
    PointwiseConv1d(48, 30, kernel_size=(1,), stride=(1,), groups=3)
    >>> [tuple(task.shape) for task in head.split(head(torch.zeros(5, 16)))]
    [(5, 10), (5, 2), (5, 3)]
    """

    used: Tensor

    def __init__(self, in_channels: int, outputs: Sequence[int], hidden: int = 0, *, spatial_dims: int = 0) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        if not self.outputs or not all(_positive(count) for count in self.outputs):
            raise ModelError(
                "a positive number of outputs for each of one or more tasks", f"{outputs!r}", "Give (10, 2), say."
            )
        if hidden != 0 and not _positive(hidden):
            raise ModelError("hidden units per task as an integer of 0 or more", f"{hidden!r}", "Use 0 for none.")
        tasks, widest = len(self.outputs), max(self.outputs)
        pointwise = pointwise_conv_class(max(spatial_dims, 1))
        # Every task's hidden layer sees the same features, so that all of them are one layer without groups.
        self.hidden = nn.Sequential(pointwise(in_channels, tasks * hidden), nn.ReLU()) if hidden else None
        self.heads = pointwise(tasks * (hidden or in_channels), tasks * widest, groups=tasks)
        used = [task * widest + output for task, count in enumerate(self.outputs) for output in range(count)]
        self.register_buffer("used", torch.tensor(used), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return all tasks' outputs, one after the other."""
        maps = input.unsqueeze(-1) if input.ndim == 2 else input
        if self.hidden is not None:
            maps = self.hidden(maps)
        else:
            maps = maps.repeat(1, len(self.outputs), *[1] * (maps.ndim - 2))
        output: Tensor = self.heads(maps)
        if len(self.used) < output.shape[1]:
            output = output.index_select(1, self.used)
        return output.squeeze(-1) if input.ndim == 2 else output

    def split(self, output: Tensor) -> tuple[Tensor, ...]:
        """Take the outputs apart, one tensor for each task."""
        return torch.split(output, list(self.outputs), dim=1)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean over the tasks of the cross-entropy, for class labels (N, tasks); a label of -100 is left out.

        A task without a label in the batch counts as 0.
        """
        losses = [
            F.cross_entropy(logits, labels, reduction="sum") / (labels != -100).sum().clamp(min=1)
            for logits, labels in zip(self.split(output), targets.unbind(1), strict=True)
        ]
        return torch.stack(losses).mean()


# Losses --------------------------------------------------------------------------------------------------------------


def multi_label_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits, for targets of 0 and 1 in the same shape.

    >>> round(multi_label_loss(torch.zeros(1, 2), torch.tensor([[0, 1]])).item(), 4)
    0.6931
    """
    return F.binary_cross_entropy_with_logits(output, targets.to(output.dtype))


def regression_loss(output: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error; targets (N,) are taken for (N, 1).

    >>> regression_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return F.mse_loss(output, targets.to(output.dtype).reshape(output.shape))


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """For every sample: how much nearer than its farthest fellow its nearest stranger is, plus a margin, if positive.

    Fellows have the same label. Samples without a fellow or a stranger in the batch do not count, so that a batch needs
    several samples of several classes. Paper: Hermans, Beyer and Leibe, In Defense of the Triplet Loss, 2017, equation
    5; the margin for embeddings of length 1 is that of Schroff and others 2015.

    >>> points, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1, 1])
    >>> triplet_loss(points, labels)
    tensor(0.)
    """
    distances = torch.cdist(embeddings, embeddings)
    fellows = labels.unsqueeze(1) == labels
    farthest = (distances * fellows).amax(1)
    nearest = distances.masked_fill(fellows, torch.inf).amin(1)
    counts = (fellows.sum(1) > 1) & ~fellows.all(1)
    losses = torch.where(counts, F.relu(farthest - nearest + margin), 0.0)
    return losses.sum() / counts.sum().clamp(min=1)


HEAD_LOSSES: dict[str, Callable[..., Tensor]] = {
    "classification": F.cross_entropy,
    "multi_label": multi_label_loss,
    "regression": regression_loss,
    "embedding": triplet_loss,
}
"""The usual loss of each kind of head, called with output and targets; for several tasks see `MultiTaskHead.loss`."""


# Replacing -----------------------------------------------------------------------------------------------------------


def output_layers(model: nn.Module, layer: str | None = None) -> tuple[str, ...]:
    """The names of the layers that give a network's outputs: the final one, and the last of each auxiliary head.

    >>> from striate.models import create_model
    >>> output_layers(create_model("convnext_tiny"))
    ('classifier.2',)
    """
    names = [head_name(model) if layer is None else layer]
    for auxiliary in getattr(model, "auxiliary_modules", ()):
        inner = dict(model.named_modules()).get(auxiliary)
        if inner is not None:
            layers = [name for name, each in inner.named_modules() if isinstance(each, nn.Linear | _ConvNd)]
            names += [f"{auxiliary}.{layers[-1]}".rstrip(".")] if layers else []
    return tuple(names)


def replace_head(
    model: nn.Module,
    num_outputs: int | Sequence[int],
    kind: str = "classification",
    *,
    tasks: int | None = None,
    hidden: int = 0,
    layer: str | None = None,
) -> nn.Module:
    """Put a fresh final layer into a network, in place, and return the network.

    - ``kind``: ``classification``, ``multi_label`` and ``regression`` give ``num_outputs`` numbers per sample;
      ``embedding`` gives so many, scaled to length 1; ``multi_task`` gives so many for each of ``tasks`` tasks, or
      takes a sequence with one number for each, through a `MultiTaskHead` (whose ``hidden`` units can be given).
    - ``layer``: the name of the layer to replace, for networks that do not name it themselves (see `head_name`).

    The final layer is a dense one, or a convolution, which stays one with other output channels, as in networks for
    dense prediction. Where activations come behind it, as in SqueezeNet, they are taken out except for classification,
    because a value that is to be regressed may be negative. Auxiliary heads get the same kind of layer.

    Raises `ModelError` before anything is changed.

    >>> from striate.models import create_model
    >>> network = replace_head(create_model("lenet"), (10, 2), "multi_task", layer="fc3")
    >>> network(torch.zeros(4, 1, 28, 28)).shape
    torch.Size([4, 12])
    """
    outputs = _checked_outputs(num_outputs, kind, tasks, hidden)
    every = dict(model.named_modules())
    names = output_layers(model, layer)
    fresh = []
    for name in names:
        if name not in every or not name:
            inside = ", ".join(each for each, _ in model.named_children())
            raise ModelError(
                "the name of the layer to replace", f"{name!r}", f"It has {inside}, and what is inside them."
            )
        fresh.append(_fresh_layer(every[name], name, outputs, kind, hidden))
    for name, new in zip(names, fresh, strict=True):
        _put(model, name, new, kind)
    return model


def _checked_outputs(num_outputs: int | Sequence[int], kind: str, tasks: int | None, hidden: int) -> tuple[int, ...]:
    """The outputs of each task, of which all kinds but ``multi_task`` have one."""
    if kind not in KINDS:
        raise ModelError(f"kind to be one of {', '.join(KINDS)}", f"kind={kind!r}", did_you_mean(str(kind), KINDS))
    given = (num_outputs,) if isinstance(num_outputs, int) else tuple(num_outputs)
    if not given or not all(_positive(count) for count in given):
        raise ModelError("positive numbers of outputs", f"num_outputs={num_outputs!r}", "Use 1 or more.")
    if kind == "multi_task":
        if tasks is None and not isinstance(num_outputs, int):
            return given
        if _positive(tasks) and len(given) in (1, tasks):
            return given * cast("int", tasks) if len(given) == 1 else given
        raise ModelError(
            "the number of tasks, or the outputs of each",
            f"num_outputs={num_outputs!r} with tasks={tasks!r}",
            "Give tasks=3 with num_outputs=10, say, or num_outputs=(10, 2, 3).",
        )
    if len(given) > 1 or tasks is not None or hidden:
        raise ModelError(
            f"one number of outputs and nothing else for {kind}",
            f"num_outputs={num_outputs!r}, tasks={tasks!r}, hidden={hidden!r}",
            'Use kind="multi_task" for several tasks.',
        )
    return given


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _fresh_layer(old: nn.Module, name: str, outputs: tuple[int, ...], kind: str, hidden: int) -> nn.Module:
    new: nn.Module
    width = getattr(old, "in_features", None)  # of a dense layer, or the distances of LeNet-5
    if isinstance(width, int):
        new = MultiTaskHead(width, outputs, hidden) if kind == "multi_task" else nn.Linear(width, outputs[0])
    elif isinstance(old, _ConvNd) and not isinstance(old, _ConvTransposeNd):
        rank = len(old.kernel_size)
        if kind != "multi_task":
            padding = cast("tuple[int, ...]", old.padding)
            new = conv_class(rank)(old.in_channels, outputs[0], old.kernel_size, old.stride, padding, old.dilation)
        elif set(old.kernel_size + old.stride) == {1}:
            new = MultiTaskHead(old.in_channels, outputs, hidden, spatial_dims=rank)
        else:
            raise ModelError(
                "a final convolution of size and stride 1 for several tasks",
                f"{name!r} of size {old.kernel_size} and stride {old.stride}",
                "Choose another kind of head.",
            )
    else:
        raise ModelError(
            "a final layer that is dense or a convolution",
            f"{name!r}, a {type(old).__name__}",
            "Name another layer, or build the network with other num_classes.",
        )
    like = next(itertools.chain(old.parameters(), old.buffers()))
    return new.to(device=like.device, dtype=like.dtype).train(old.training)


def _put(model: nn.Module, name: str, new: nn.Module, kind: str) -> None:
    inside, _, own = name.rpartition(".")
    parent = model.get_submodule(inside)
    rows = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
    behind = rows[[each for each, _ in rows].index(own) + 1 :] if rows else []
    if kind != "classification":
        for each, module in behind:
            if isinstance(module, _ACTIVATIONS):
                setattr(parent, each, nn.Identity())
    if kind == "embedding":
        if behind:  # a pool, say, behind which vectors of length 1 would be shorter
            cast("nn.Sequential", parent).append(L2Normalize())
        else:
            new = nn.Sequential(new, L2Normalize()).train(new.training)
    setattr(parent, own, new)
