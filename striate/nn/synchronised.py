"""Batch norm, and sums, over the samples of several processes, on any device, as one with all of them computes it.

PyTorch's own `torch.nn.SyncBatchNorm` runs on GPUs only. Here the sums of all processes are added twice: the sums of
the values give the mean, and with it the sums of the squared distances from it give the variance. (Adding squares in
the same pass would save one exchange, and lose the variance where it is small against the mean.) The backward pass adds
the sums of the gradient and of its product with the normalised values.

Sums are taken in the type of the layer and added between processes in float64, so that results differ from those of one
process by rounding only.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.distributed import ProcessGroup


class _Together:
    """What all synchronised layers of this process share: not attributes of theirs, so that they can be copied."""

    group: ClassVar[ProcessGroup | None] = None
    counted: ClassVar[bool] = True


def synchronise(model: nn.Module, group: ProcessGroup | None = None) -> int:
    """Let the batch norms of a model use the samples of all processes in training; return how many do.

    ``group`` are the processes, by default all. The layers stay where they are, with their parameters, hooks and names
    in the ``state_dict``: they get another class. Layers with a ``forward`` of their own are left as they are. All
    processes must run the model in step, with samples or under `uncounted`.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    >>> synchronise(model), type(model[1]).__name__, isinstance(model[1], nn.BatchNorm2d)
    (1, 'SynchronisedBatchNorm2d', True)
    """
    _Together.group = group
    found = 0
    for module in model.modules():
        kind: Any = type(module)
        if isinstance(module, _BatchNorm) and kind.forward is _BatchNorm.forward and kind is not nn.SyncBatchNorm:
            module.__class__ = _synchronised(kind)
            found += 1
    return found


@contextmanager
def uncounted() -> Iterator[None]:
    """While it is entered, the samples of this process count for nothing in batch norms: it only keeps in step."""
    _Together.counted = False
    try:
        yield
    finally:
        _Together.counted = True


def summed(values: Tensor) -> Tensor:
    """Sum over the processes of a group that `synchronise` has named, for losses that are no mean over samples.

    Gradients flow back to all processes. Under `uncounted` this one adds zeros. A process alone gets its own values,
    and so does each where no gradients are computed, as in evaluation, in which processes need not keep in step.

    >>> summed(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    if not _together() or not torch.is_grad_enabled():
        return values
    add: Any = _Sum.apply
    added: Tensor = add(values * _Together.counted)
    return added


class _Synchronised(_BatchNorm):
    """The part of a batch norm that is another: the pass in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the samples of all processes together in training, and as PyTorch does in evaluation."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        normalise: Any = _Normalise.apply
        output: Tensor
        output, mean, variance, count = normalise(input, self.weight, self.bias, self.eps, _Together.counted)
        if self.track_running_stats:
            self._learn(mean, variance * (count / (count - 1).clamp_min(1)))
        return output

    @torch.no_grad()
    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


class SynchronisedBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` over the samples of all processes; see `synchronise`."""


class SynchronisedBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` over the samples of all processes; see `synchronise`."""


class SynchronisedBatchNorm3d(_Synchronised, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` over the samples of all processes; see `synchronise`."""


_KINDS: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: SynchronisedBatchNorm1d,
    nn.BatchNorm2d: SynchronisedBatchNorm2d,
    nn.BatchNorm3d: SynchronisedBatchNorm3d,
}


def _synchronised(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    if kind not in _KINDS:
        _KINDS[kind] = type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {"__doc__": kind.__doc__})
    return _KINDS[kind]


class _Normalise(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` with mean and variance over all processes.

    With ``y = (x - mean) * s`` and the gradient ``g`` of the output, ``x`` has the gradient
    ``s * weight * (g - mean(g) - y * mean(g * y))``, with means over all processes too. Gradients of weight and bias
    are those of this process's samples: whoever averages gradients over processes adds the others'.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, counted: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the output, and mean, variance and number of the values of each channel."""
        values = _exact(input)
        over = _over(input)
        count = values.numel() // values.shape[1] if counted else 0
        counts = torch.tensor([count], dtype=torch.float64, device=values.device)
        totals = _added(torch.cat((values.sum(over).double() * counted, counts)))
        number = totals[-1]
        mean = (totals[:-1] / number).to(values.dtype)
        centred = values - _along(mean, values)
        variance = _added(centred.square().sum(over).double() * counted) / number
        inverse = (variance + eps).rsqrt().to(values.dtype)
        scale = inverse if weight is None else inverse * weight.to(values.dtype)
        output = centred * _along(scale, values)
        if bias is not None:
            output += _along(bias.to(values.dtype), values)
        ctx.save_for_backward(input, weight, mean, inverse, number)
        ctx.counted = counted
        ctx.mark_non_differentiable(mean, variance, number)
        return output.to(input.dtype), mean, variance, number

    @staticmethod
    def backward(
        ctx: Any, grad_output: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Return the gradients of input, weight and bias."""
        given, weight, mean, inverse, number = ctx.saved_tensors
        values, gradient = _exact(given), _exact(grad_output)
        over = _over(given)
        normalised = (values - _along(mean, values)) * _along(inverse, values)
        of_bias, of_weight = gradient.sum(over), (gradient * normalised).sum(over)
        of_input = None
        if ctx.needs_input_grad[0]:
            sums = _added(torch.cat((of_bias, of_weight)).double() * ctx.counted) / number
            along, across = sums.to(values.dtype).chunk(2)
            scale = (inverse if weight is None else inverse * weight.to(values.dtype)) * ctx.counted
            of_input = gradient - _along(along, values) - normalised * _along(across, values)
            of_input = (of_input * _along(scale, values)).to(given.dtype)
        return (
            of_input,
            of_weight.to(weight.dtype) if ctx.needs_input_grad[1] else None,
            of_bias.to(weight.dtype) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _exact(values: Tensor) -> Tensor:
    """Half-precision values as float32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _over(input: Tensor) -> list[int]:
    return [0, *range(2, input.ndim)]


def _along(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (values.ndim - 2))


class _Sum(torch.autograd.Function):
    """The sum over all processes, each of which passes on the gradient of it, and gets the sum of these."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Add the values of all."""
        return _added(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Add the gradients of all."""
        return _added(gradient.clone())


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _added(values: Tensor) -> Tensor:
    """The sum over all processes; of one alone, its own values."""
    if _together():
        dist.all_reduce(values, group=_Together.group)
    return values
