"""The convolutional restricted Boltzmann machine with probabilistic max-pooling, and how it learns.

Lee, Grosse, Ranganath and Ng, Convolutional Deep Belief Networks for Scalable Unsupervised Learning of Hierarchical
Representations, 2009, sections 3.2 and 3.3. Visible units v form an image; hidden units h form K groups, each of which
detects one feature W^k anywhere in it; pooling units p sum up blocks of C x C hidden units, of which at most one may be
on. With the signal I = W * v + b that a hidden unit gets from below, all that follows comes from one energy:

    E(v, h) = - sum h I(v) - c sum v                 binary visible units
    E(v, h) = - sum h I(v) + 1/2 sum (v - c)^2       Gaussian visible units of unit variance
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate import ops
from striate.errors import ModelError
from striate.geometry import Axes, Size, check_spatial_dims, per_axis
from striate.models.field import check_batch, check_smallest

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int, float, float], object]

Visible = Literal["binary", "gaussian"]


class Statistics(NamedTuple):
    """What one batch tells the parameters of a machine: by how much each should grow."""

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor


class ConvRBM(nn.Module):
    """K feature groups over an image, pooled: (N, C, *spatial) -> (N, K, *pooled), the probabilities that p is on.

    ``weight`` is (K, C, *kernel_size), and there is one hidden bias per group and one visible bias per channel. They
    have no gradients: `fit` is what changes them. Filters lie wholly within the image, so a side of n gives
    n - kernel + 1 hidden units, less those at its end that fill no block.

    Raises `ModelError` for inputs that are too small or have another rank or other channels.

    >>> machine = ConvRBM(2, 1, 24, 5, pool=2)
    >>> machine(torch.rand(1, 1, 28, 28)).shape
    torch.Size([1, 24, 12, 12])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        groups: int,
        kernel_size: Axes,
        *,
        pool: int = 2,
        visible: Visible = "binary",
    ) -> None:
        super().__init__()
        if visible not in get_args(Visible):
            raise ModelError('visible units "binary" or "gaussian"', repr(visible), "Gaussian for values of any sign.")
        if not isinstance(pool, int) or pool < 1:
            raise ModelError("pool to be an integer of 1 or more", f"pool={pool!r}", "Use 1 for no pooling.")
        self.spatial_dims, self.in_channels, self.pool = check_spatial_dims(spatial_dims), in_channels, pool
        self.visible: Visible = visible
        self.kernel_size: Size = per_axis("kernel_size", kernel_size, spatial_dims)
        self.weight = nn.Parameter(torch.empty(groups, in_channels, *self.kernel_size), requires_grad=False)
        self.hidden_bias = nn.Parameter(torch.empty(groups), requires_grad=False)
        self.visible_bias = nn.Parameter(torch.empty(in_channels), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small weights, N(0, 0.01^2), with hidden units seldom on and visible ones undecided."""
        with torch.no_grad():
            self.weight.normal_(std=0.01)
            self.hidden_bias.fill_(-2.0)
            self.visible_bias.zero_()

    def dense_weight(self) -> Tensor:
        """The features as the weight of a convolution, (K, C, *kernel_size)."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """The probability of every pooling unit given the visible ones, P(p = 1 | v)."""
        return torch.sigmoid(self._by_block(self.signal(input)).logsumexp(-1))

    # The hidden side.

    def signal(self, v: Tensor) -> Tensor:
        """What the hidden units get from below, I = W * v + b: (N, K, *hidden), in whole blocks."""
        check_batch(v, self.spatial_dims, self.in_channels)
        check_smallest(v, self.smallest)
        hidden = ops.conv(v, self.weight, self.hidden_bias)
        for axis in range(2, hidden.ndim):
            hidden = hidden.narrow(axis, 0, hidden.shape[axis] // self.pool * self.pool)
        return hidden

    @property
    def smallest(self) -> int:
        """The smallest size per axis that fills a block."""
        return max(self.kernel_size) + self.pool - 1

    def hidden(self, signal: Tensor, top_down: Tensor | None = None) -> Tensor:
        """P(h = 1 | v, and what is above): the units of a block and "none of them" share a probability of 1.

        ``top_down`` is what the layer above sends to the pooling units, (N, K, *pooled); each hidden unit of a block
        gets it besides its own signal (section 3.6).
        """
        blocks = self._by_block(signal)
        if top_down is not None:
            blocks = blocks + top_down.unsqueeze(-1)
        # exp(I) / (1 + sum exp(I)), safe for large I.
        return self._unblocked(torch.exp(blocks - F.softplus(blocks.logsumexp(-1, keepdim=True))))

    def sample_hidden(self, probability: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw hidden units from what `hidden` gives: at most one is on in every block."""
        blocks = self._by_block(probability)
        choices = torch.cat([blocks, (1 - blocks.sum(-1, keepdim=True)).clamp_min(0)], dim=-1)
        drawn = torch.multinomial(choices.flatten(0, -2), 1, generator=generator).view(choices.shape[:-1])
        return self._unblocked(F.one_hot(drawn, choices.shape[-1])[..., :-1].to(probability.dtype))

    def pooled(self, h: Tensor) -> Tensor:
        """Pooling units from hidden ones, on where one of the block is; probabilities from probabilities."""
        return self._by_block(h).sum(-1)

    def unpooled(self, p: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw hidden units given pooling units alone: in a block that is on, each is as likely as any other."""
        even = p.unsqueeze(-1).expand(*p.shape, self.pool**self.spatial_dims) / self.pool**self.spatial_dims
        return self.sample_hidden(self._unblocked(even), generator)

    # The visible side.

    def mean_visible(self, h: Tensor, size: Size | None = None) -> Tensor:
        """E[v | h], an image of ``size``: pixels that no filter reaches have their bias alone."""
        total = self.from_above(h, size) + self.visible_bias.view(-1, *(1,) * self.spatial_dims)
        return torch.sigmoid(total) if self.visible == "binary" else total

    def from_above(self, h: Tensor, size: Size | None = None) -> Tensor:
        """The sum over groups of W^k * h^k, that is what the hidden units tell the visible ones."""
        total = ops.conv_transpose(h, self.weight)
        gaps = [] if size is None else [extent - got for extent, got in zip(size, total.shape[2:], strict=True)]
        return F.pad(total, [pad for gap in reversed(gaps) for pad in (0, gap)]) if any(gaps) else total

    def sample_visible(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw visible units around their mean."""
        if self.visible == "binary":
            return torch.bernoulli(mean, generator=generator)
        return mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)

    # Energies.

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h) of every sample, (N,)."""
        return self._visible_energy(v) - (h * self.signal(v)).flatten(1).sum(1)

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log sum over h of exp(-E(v, h)), (N,): the lower, the more probable is an image."""
        blocks = self._by_block(self.signal(v))
        return self._visible_energy(v) - F.softplus(blocks.logsumexp(-1)).flatten(1).sum(1)

    def reconstruction_error(self, v: Tensor) -> Tensor:
        """The mean squared difference between an image and its reconstruction from the means of h, (N,)."""
        again = self.mean_visible(self.hidden(self.signal(v)), tuple(v.shape[2:]))
        return (v - again).square().flatten(1).mean(1)

    # Learning.

    @torch.no_grad()
    def contrast(self, v: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Statistics:
        """The direction of contrastive divergence, CD-k: correlations of h and v in the data less those after k steps.

        It stands for the gradient of the log-likelihood, whose second term would need samples of the model itself.
        Sums over positions are taken as means, so that a rate does for every image size. As is usual, the last
        reconstruction is a mean and not drawn.
        """
        size = tuple(v.shape[2:])
        q = start = self.hidden(self.signal(v))
        model = v
        for step in range(steps):
            model = self.mean_visible(self.sample_hidden(q, generator), size)
            if step < steps - 1:
                model = self.sample_visible(model, generator)
            q = self.hidden(self.signal(model))
        axes = (0, *range(2, v.ndim))
        count = start[:, 0].numel()
        return Statistics(
            (self._correlation(v, start) - self._correlation(model, q)) / count,
            (start - q).mean(axes),
            (v - model).mean(axes),
        )

    @torch.no_grad()
    def fit(
        self,
        images: Tensor,
        *,
        epochs: int = 5,
        batch_size: int = 20,
        learning_rate: float = 1.0,
        momentum: float = 0.5,
        weight_decay: float = 1e-4,
        sparsity_target: float | None = 0.03,
        sparsity_rate: float = 5.0,
        steps: int = 1,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> ConvRBM:
        """Learn from images (N, C, *spatial) by contrastive divergence, and return the machine itself.

        ``sparsity_target`` is the share of the time that a hidden unit should be on: after every batch each group's
        bias moves towards it, ``learning_rate * sparsity_rate`` times the difference (section 3.2); None leaves it.
        With 0.03, filters of 12x12 become strokes; those of 5x5, of which more must be on at once, want about 0.1, and
        Gaussian units a ``learning_rate`` of about 0.01.

        ``progress(epoch, error, activity)`` is told the mean reconstruction error of the images and the share of
        hidden units that were on in the last batch. ``generator`` draws the order of the images and the hidden units.
        Raises `ModelError` where binary units are given values outside 0 to 1.
        """
        self._check(images)
        speed = Statistics(*(torch.zeros_like(parameter) for parameter in self._learned()))
        for epoch in range(1, epochs + 1):
            order = torch.randperm(len(images), generator=generator)
            for indices in torch.split(order, batch_size):
                v = images[indices]
                growth = self.contrast(v, steps=steps, generator=generator)
                for parameter, step, moving in zip(self._learned(), growth, speed, strict=True):
                    decay = weight_decay * parameter if parameter is self.weight else 0.0
                    parameter.add_(moving.mul_(momentum).add_(learning_rate * (step - decay)))
                if sparsity_target is not None:
                    on = self.hidden(self.signal(v)).mean((0, *range(2, v.ndim)))
                    self.hidden_bias.add_(learning_rate * sparsity_rate * (sparsity_target - on))
            if progress is not None:
                errors = [self.reconstruction_error(batch) for batch in torch.split(images, batch_size)]
                progress(epoch, float(torch.cat(errors).mean()), float(self.hidden(self.signal(v)).mean()))
        return self

    def _learned(self) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
        return self.weight, self.hidden_bias, self.visible_bias

    def _check(self, images: Tensor) -> None:
        outside = self.visible == "binary" and bool(((images < 0) | (images > 1)).any())
        if len(images) == 0 or outside:
            raise ModelError(
                "one or more images, of values from 0 to 1 as visible units are binary",
                f"values from {images.min():.3g} to {images.max():.3g}" if len(images) else "none",
                'Scale them, or use visible="gaussian" with images of mean 0 and deviation 1.',
            )

    def _correlation(self, v: Tensor, h: Tensor) -> Tensor:
        """The gradient of sum h (W * v) by W: every group's units times the patches that they see, (K, C, *kernel)."""
        with torch.enable_grad():
            weight = self.weight.detach().requires_grad_()
            seen = v
            for axis, kernel in enumerate(self.kernel_size, 2):
                seen = seen.narrow(axis, 0, h.shape[axis] + kernel - 1)
            (gradient,) = torch.autograd.grad((ops.conv(seen, weight) * h).sum(), weight)
        return gradient

    def _visible_energy(self, v: Tensor) -> Tensor:
        c = self.visible_bias.view(-1, *(1,) * self.spatial_dims)
        each = -c * v if self.visible == "binary" else 0.5 * (v - c).square()
        return each.flatten(1).sum(1)

    def _by_block(self, maps: Tensor) -> Tensor:
        """(N, K, *hidden) -> (N, K, *pooled, units of a block)."""
        rank = self.spatial_dims
        for axis in range(2, 2 + 2 * rank, 2):
            maps = torch.unflatten(maps, axis, (maps.shape[axis] // self.pool, self.pool))
        order = (0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))
        return maps.permute(order).flatten(2 + rank)

    def _unblocked(self, blocks: Tensor) -> Tensor:
        """The inverse of `_by_block`."""
        rank = self.spatial_dims
        apart = torch.unflatten(blocks, -1, (self.pool,) * rank)
        order = (0, 1, *(axis for place in range(rank) for axis in (2 + place, 2 + rank + place)))
        maps: Tensor = apart.permute(order)
        for axis in range(2, 2 + rank):
            maps = maps.flatten(axis, axis + 1)
        return maps

    def extra_repr(self) -> str:
        """The sizes and the kind of visible units."""
        return (
            f"{self.in_channels}, {len(self.weight)}, kernel_size={self.kernel_size}, pool={self.pool}, "
            f"visible={self.visible!r}"
        )
