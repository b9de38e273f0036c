"""The convolutional deep belief network: convolutional restricted Boltzmann machines on top of each other.

Lee, Grosse, Ranganath and Ng, Convolutional Deep Belief Networks for Scalable Unsupervised Learning of Hierarchical
Representations, 2009, sections 3.4 to 3.6. `striate.models.conv_rbm` has the machine that each layer is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from striate.errors import ModelError
from striate.geometry import Axes, Size, per_axis
from striate.models.conv_rbm import ConvRBM, Visible
from striate.models.field import check_batch, check_exact_size
from striate.models.registry import register
from striate.units import readable_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Progress = Callable[[int, int, float, float], object]

_BATCH = 256


class ConvDBN(nn.Module):
    """Stacked machines and a linear classifier of what they find, (N, C, *spatial) -> (N, classes); see `cdbn`.

    `learn` teaches the machines ``rbm1``, ``rbm2`` and so on without labels, greedily from below. The classifier is an
    ordinary dense layer, which gradients train; or `features` go to an SVM, as in the paper. Raises `ModelError` when
    called with an input of another size, rank or number of channels than it was built for.
    """

    head = "classifier"

    def __init__(
        self,
        input_size: Size,
        in_channels: int,
        num_classes: int,
        groups: Sequence[int],
        kernel_sizes: Sequence[int],
        *,
        pool: int = 2,
        visible: Visible = "binary",
    ) -> None:
        super().__init__()
        rank, channels = len(input_size), in_channels
        self.input_size, self.in_channels, self.depth = input_size, in_channels, len(groups)
        self.sizes = [input_size]
        count = 0
        for number, (width, kernel) in enumerate(zip(groups, kernel_sizes, strict=True), 1):
            # Only the lowest layer sees data; those above see pooling units, which are binary.
            machine = ConvRBM(rank, channels, width, kernel, pool=pool, visible=visible if number == 1 else "binary")
            if min(self.sizes[-1]) < machine.smallest:
                raise ModelError(
                    f"an input_size of at least {smallest_input(kernel_sizes, pool)} per axis for these layers",
                    readable_size(input_size),
                    "Enlarge the inputs, or use smaller kernels or fewer layers.",
                )
            self.add_module(f"rbm{number}", machine)
            self.sizes.append(tuple((size - kernel + 1) // pool for size in self.sizes[-1]))
            channels = width
            count += width * math.prod(self.sizes[-1])
        self.classifier = nn.Linear(count, num_classes)
        self.stages = tuple(f"rbm{number}" for number in range(1, self.depth + 1))

    def layer(self, number: int) -> ConvRBM:
        """The machine of a layer, counted from 1. Raises `ModelError`."""
        if not 1 <= number <= self.depth:
            raise ModelError(f"a layer from 1 to {self.depth}", f"{number!r}", "The first layer is 1.")
        return cast("ConvRBM", self.get_submodule(f"rbm{number}"))

    def pooled(self, input: Tensor) -> list[Tensor]:
        """The probabilities of the pooling units of every layer, each (N, K, *pooled)."""
        check_batch(input, len(self.input_size), self.in_channels)
        check_exact_size(input, self.input_size)
        found = [input]
        for number in range(1, self.depth + 1):
            found.append(self.get_submodule(f"rbm{number}")(found[-1]))
        return found[1:]

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits, from the pooling units of all layers side by side."""
        found = torch.cat([maps.flatten(1) for maps in self.pooled(input)], dim=1)
        logits: Tensor = self.classifier(found)
        return logits

    @torch.no_grad()
    def fit_layer(
        self,
        images: Tensor,
        number: int,
        *,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> None:
        """Teach one machine from images (N, C, *spatial), the layers below it staying as they are (section 3.4).

        What it sees are the probabilities of the pooling units below. ``settings`` are those of `ConvRBM.fit`;
        ``progress(layer, epoch, error, activity)`` is told how it goes.
        """
        machine = self.layer(number)
        seen = images if number == 1 else self._in_batches(images, number - 1)
        told = None if progress is None else lambda *facts: progress(number, *facts)
        machine.fit(seen, generator=generator, progress=told, **settings)

    def learn(
        self,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> ConvDBN:
        """Teach all machines, from the lowest to the highest, without labels, and return the network itself.

        Arguments are those of `fit_layer`. Where layers need different settings, call that for each.

        >>> digits = torch.rand(40, 1, 12, 12).round()
        >>> network = cdbn(2, 1, 10, input_size=12, groups=(4, 4), kernel_sizes=(3, 3))
        >>> network.learn(digits, epochs=1).features(digits).shape
        (40, 104)
        """
        for number in range(1, self.depth + 1):
            self.fit_layer(images, number, generator=generator, progress=progress, **settings)
        return self

    @torch.no_grad()
    def features(self, images: Tensor, layers: Sequence[int] | None = None) -> NDArray[np.floating]:
        """Describe images by pooling units, one row each, for an SVM: those of ``layers``, by default of all."""
        chosen = range(1, self.depth + 1) if layers is None else layers
        for number in chosen:
            self.layer(number)
        table: NDArray[np.floating] = (
            torch.cat([self._in_batches(images, number).flatten(1) for number in chosen], dim=1).cpu().numpy()
        )
        return table

    def first_layer_features(self) -> NDArray[np.floating]:
        """What the groups of the first layer detect, (K, C, *kernel_size): `filter_figure` draws it."""
        return self.layer_features(1)

    @torch.no_grad()
    def layer_features(self, number: int) -> NDArray[np.floating]:
        """What the groups of a layer detect, as images: sums of the features below, weighed by the connections.

        The result is (K, C, *size), where size is the part of an image that one hidden unit sees. A pooling unit below
        is drawn as its feature in the middle of its block.
        """
        maps: Tensor = self.layer(number).weight
        for below in range(number - 1, 0, -1):
            machine = self.layer(below)
            spread = maps.new_zeros(*maps.shape[:2], *(size * machine.pool for size in maps.shape[2:]))
            places = slice((machine.pool - 1) // 2, None, machine.pool)
            spread[(slice(None), slice(None), *(places,) * machine.spatial_dims)] = maps
            maps = machine.from_above(spread)
        found: NDArray[np.floating] = maps.detach().cpu().numpy().copy()
        return found

    @torch.no_grad()
    def sample(self, count: int, *, steps: int = 50, generator: torch.Generator | None = None) -> Tensor:
        """Draw images (count, C, *spatial) from the model, as means of the visible units.

        The highest machine starts from noise and draws its two sides in turn ``steps`` times. From there it goes down:
        each pooling unit that is on turns on one hidden unit of its block, and these say what lies below.
        """
        top, size = self.layer(self.depth), self.sizes[self.depth - 1]
        mean = top.weight.new_empty(count, top.in_channels, *size).uniform_(generator=generator)
        for _ in range(steps):
            h = top.sample_hidden(top.hidden(top.signal(top.sample_visible(mean, generator))), generator)
            mean = top.mean_visible(h, size)
        for number in range(self.depth - 1, 0, -1):
            machine = self.layer(number)
            p = torch.bernoulli(mean, generator=generator)
            mean = machine.mean_visible(machine.unpooled(p, generator), self.sizes[number - 1])
        return mean

    @torch.no_grad()
    def hidden_with_context(self, images: Tensor, number: int, *, rounds: int = 5) -> Tensor:
        """The probabilities of a layer's hidden units given the images and the layer above, (N, K, *hidden).

        Bottom-up and top-down signals are added and both layers' means computed in turn, ``rounds`` times (section
        3.6): what is hidden or missing in the image is filled in by what the layer above has made of the rest.
        """
        machine = self.layer(number)
        signal = machine.signal(images if number == 1 else self._in_batches(images, number - 1))
        h = machine.hidden(signal)
        if number == self.depth:
            return h
        above = self.layer(number + 1)
        for _ in range(rounds):
            p = machine.pooled(h)
            told = above.from_above(above.hidden(above.signal(p)), tuple(p.shape[2:]))
            h = machine.hidden(signal, told)
        return h

    def _in_batches(self, images: Tensor, number: int) -> Tensor:
        return torch.cat([self.pooled(batch)[number - 1] for batch in torch.split(images, _BATCH)])


def smallest_input(kernel_sizes: Sequence[int], pool: int) -> int:
    """The smallest size per axis that leaves a pooling unit in every layer.

    >>> smallest_input((12, 6), pool=2)
    25
    """
    needed = 1
    for kernel in reversed(kernel_sizes):
        needed = needed * pool + kernel - 1
    return needed


@register(
    summary="Convolutional deep belief network: two Boltzmann machines of 40 groups, with probabilistic max-pooling",
    paper="Lee, Grosse, Ranganath, Ng: Convolutional Deep Belief Networks for Scalable Unsupervised Learning of "
    "Hierarchical Representations",
    year=2009,
    input_size=28,
    min_input_size=25,
    parameters=89_491,
    macs=2_209_040,
    accuracy="Paper: MNIST test error 0.82 %, by an SVM on the features of two layers.",
    learns_by="contrastive divergence, layer by layer, without labels: ConvDBN.learn(images)",
)
def cdbn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    groups: Sequence[int] = (40, 40),
    kernel_sizes: Sequence[int] = (12, 6),
    pool: int = 2,
    visible: Visible = "binary",
) -> ConvDBN:
    """The convolutional deep belief network for digits: 40 features of 12x12, pooled by 2, 40 of 6x6, pooled by 2.

    Gradients do not train the machines, and their parameters have none: ``learn(images)`` teaches them by
    contrastive divergence, layer by layer, from images alone. What they find goes to ``classifier``, a dense layer that
    gradients do train, or by ``features(images)`` to an SVM, as in the paper. Values go from 0 to 1, or with
    ``visible="gaussian"`` have mean 0 and deviation 1, as whitened natural images have.

    Two things the paper leaves out: where hidden units do not fill the last block, as the 17 per axis of 28x28 images,
    those too many are not there; and layers are as wide as ``groups`` and ``kernel_sizes`` say, as many as these name.

    Paper: Lee, Grosse, Ranganath and Ng, ICML 2009. Raises `ModelError` and `GeometryError`.

    >>> cdbn(2, 1, 10)(torch.rand(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    if not groups or len(groups) != len(kernel_sizes):
        raise ModelError(
            "as many kernel_sizes as groups, one of each for every layer",
            f"groups={tuple(groups)!r} and kernel_sizes={tuple(kernel_sizes)!r}",
            "Give (40, 40) and (12, 6), say.",
        )
    size = per_axis("input_size", 28 if input_size is None else input_size, spatial_dims)
    return ConvDBN(size, in_channels, num_classes, groups, kernel_sizes, pool=pool, visible=visible)
