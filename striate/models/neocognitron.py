"""The neocognitron: layers of S-cells, which learn features without a teacher, and of C-cells, which forgive shifts.

Fukushima, Neocognitron: A Self-organizing Neural Network Model for a Mechanism of Pattern Recognition Unaffected by
Shift in Position, Biological Cybernetics 36, 1980. Names are the paper's: u_S and u_C are the outputs of S- and
C-cells, a and b the modifiable excitatory and inhibitory synapses, c and d the fixed ones, r the selectivity, q the
speed of reinforcement. A cell-plane is what is called a channel today. Numbers in brackets are those of its equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate import ops
from striate.errors import ModelError
from striate.geometry import check_spatial_dims
from striate.models.field import check_batch, check_smallest
from striate.models.registry import register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Progress = Callable[[int, int, float], object]

_SMALLEST = 12
_INPUT_DECAY, _POOL_DECAY = 0.9, 0.8  # The paper asks that c and d fall with distance, and leaves open how fast.
_SATURATION = 0.5
_BATCH = 256


def _falling(spatial_dims: int, size: int, base: float) -> Tensor:
    """A kernel ``base ** distance`` from its middle."""
    axis = torch.arange(size, dtype=torch.get_default_dtype()) - (size - 1) / 2
    squares = torch.zeros((size,) * spatial_dims)
    for place in range(spatial_dims):
        squares = squares + axis.square().view(-1, *(1,) * (spatial_dims - 1 - place))
    return torch.pow(base, squares.sqrt())


class SLayer(nn.Module):
    """S-cells, (N, planes, *spatial) -> (N, planes, *spatial): each plane detects a feature that it has taught itself.

    ``a`` and ``b`` are parameters without gradients: `reinforce` is what changes them. ``column`` is the width of an
    S-column, the cells of all planes whose fields lie together; None is the whole layer.

    >>> layer = SLayer(2, 1, 24, padding=2, selectivity=4.0, rate=1.0, column=5)
    >>> layer(torch.rand(1, 1, 16, 16)).shape
    torch.Size([1, 24, 16, 16])
    """

    c: Tensor

    def __init__(
        self,
        spatial_dims: int,
        in_planes: int,
        planes: int,
        size: int = 5,
        *,
        padding: int,
        selectivity: float,
        rate: float,
        column: int | None,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.size, self.padding = spatial_dims, size, padding
        self.selectivity, self.rate, self.column = selectivity, rate, column
        kernel = _falling(spatial_dims, size, _INPUT_DECAY).expand(1, in_planes, *(size,) * spatial_dims)
        self.register_buffer("c", kernel / kernel.sum(), persistent=False)
        self.a = nn.Parameter(torch.empty(planes, *kernel.shape[1:]), requires_grad=False)
        self.b = nn.Parameter(torch.empty(planes), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Forget: excitation starts small, positive and different in every plane, and inhibition at zero.

        The paper prefers an orientation in each plane, by a formula that it does not give. Small random values, a ten-
        thousandth of one reinforcement, break the tie between planes as well, and in every rank.
        """
        with torch.no_grad():
            self.a.uniform_().mul_(1e-4 * self.rate * self.c)
            self.b.zero_()

    def dense_weight(self) -> Tensor:
        """The excitatory synapses as the weight of a convolution, (planes, in_planes, *size)."""
        return self.a

    def inhibition(self, input: Tensor) -> Tensor:
        """The V-cells' outputs, root mean squares of what the S-cells see (3): (N, 1, *spatial)."""
        mean = ops.conv(input.square(), self.c, padding=self.padding)
        # The root has no slope at 0, where gradients of the input would become NaN.
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).sqrt()

    def forward(self, input: Tensor) -> Tensor:
        """Compute the S-cells' outputs (1)."""
        r = self.selectivity
        excitation = ops.conv(input, self.a, padding=self.padding)
        b = self.b.view(-1, *(1,) * self.spatial_dims)
        shunting = 2 * r / (1 + r) * b * self.inhibition(input)
        # (1 + e) / (1 + h) - 1, written so that the faint answers of planes that have learned nothing are not lost.
        return r * F.relu((excitation - shunting) / (1 + shunting))

    def representatives(self, output: Tensor) -> dict[int, tuple[int, ...]]:
        """Choose which cells learn from one pattern: ``output`` is (planes, *spatial), the result {plane: position}.

        The strongest cell of every S-column is a candidate; of the candidates in a plane only the strongest is taken.
        S-columns overlap: there is one around every position whose column lies within the layer.
        """
        strongest, plane = output.max(dim=0)
        size = strongest.shape
        column = tuple(extent if self.column is None else min(extent, self.column) for extent in size)
        _, candidates = ops.max_pool(strongest[None, None], column, 1, return_indices=True)
        chosen: dict[int, tuple[int, ...]] = {}
        places = candidates.flatten().unique()
        values, owners = strongest.flatten()[places], plane.flatten()[places]
        for index in values.argsort(descending=True, stable=True).tolist():
            if values[index] > 0 and int(owners[index]) not in chosen:
                chosen[int(owners[index])] = tuple(map(int, np.unravel_index(int(places[index]), size)))
        return chosen

    @torch.no_grad()
    def reinforce(self, input: Tensor) -> int:
        """Learn from one pattern (in_planes, *spatial), and tell how many planes did.

        The representative of a plane strengthens the synapses that it received input through, in proportion to it
        (7), and the inhibition by half of what the V-cell sends (8); its whole plane shares the synapses.
        """
        batch = input[None]
        chosen = self.representatives(self(batch)[0])
        padded = F.pad(input, (self.padding,) * (2 * self.spatial_dims))
        v = self.inhibition(batch)[0, 0]
        for plane, place in chosen.items():
            seen = padded[(slice(None), *(slice(start, start + self.size) for start in place))]
            self.a[plane] += self.rate * self.c[0] * seen
            self.b[plane] += self.rate / 2 * v[place]
        return len(chosen)

    def extra_repr(self) -> str:
        """The sizes, the selectivity r and the speed q."""
        return f"{self.a.shape[1]}, {len(self.a)}, size={self.size}, r={self.selectivity}, q={self.rate}"


class CLayer(nn.Module):
    """C-cells, (N, planes, *spatial) -> (N, planes, *smaller): each answers if any S-cell of its area does.

    Areas of ``size`` lie two apart and reach beyond the border, which gives ``spatial // 2 + 2`` cells per axis.
    ``size=None`` makes one cell per plane, whose area is all of it. Planes inhibit each other.

    >>> CLayer(2, 5)(torch.rand(1, 24, 16, 16)).shape, CLayer(2, None)(torch.rand(1, 24, 2, 2)).shape
    (torch.Size([1, 24, 10, 10]), torch.Size([1, 24, 1, 1]))
    """

    d: Tensor

    def __init__(self, spatial_dims: int, size: int | None) -> None:
        super().__init__()
        self.spatial_dims, self.size = spatial_dims, size
        kernel = torch.ones((1,) * spatial_dims) if size is None else _falling(spatial_dims, size, _POOL_DECAY)
        self.register_buffer("d", kernel[None, None], persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Compute the C-cells' outputs (4): what exceeds the mean over planes, saturating."""
        planes = input.shape[1]
        if self.size is None:
            # Four cells of a 2x2 plane are equally far from its middle, so the paper's last layer weighs them alike.
            excitation = ops.global_sum_pool(input, keepdim=True)
        else:
            before = (self.size + 1) // 2
            pads = ((before, before + 1),) * self.spatial_dims
            excitation = ops.conv(input, self.d.expand(planes, *self.d.shape[1:]), None, 2, pads, groups=planes)
        v = excitation.mean(dim=1, keepdim=True)  # (6)
        # Cut at zero first: the paper's psi, read literally, becomes positive again far below it.
        x = F.relu((excitation - v) / (1 + v))
        return x / (_SATURATION + x)  # (5)

    def extra_repr(self) -> str:
        """The area of a cell."""
        return f"size={self.size}"


class CellClasses(nn.Module):
    """Scores of classes from the cells of the last layer, (N, cells) -> (N, classes): the strongest cell of each.

    ``owner`` holds the class of every cell, or -1. Before anything is known, cells are dealt out in turn.

    >>> CellClasses(4, 2)(torch.tensor([[0.1, 0.7, 0.2, 0.0]]))
    tensor([[0.2000, 0.7000]])
    """

    owner: Tensor

    def __init__(self, cells: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("owner", torch.arange(cells) % num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Take the largest output among the cells of each class, 0 if it has none."""
        classes = torch.arange(self.num_classes, device=input.device)
        return (input.unsqueeze(1) * (self.owner == classes.unsqueeze(1))).amax(dim=2)


@dataclass(frozen=True, slots=True)
class Stage:
    """What is chosen for one S-layer and the C-layer behind it; `PAPER_STAGES` has the paper's values."""

    planes: int
    padding: int
    selectivity: float
    rate: float
    column: int | None = field(default=5)
    pool: int | None = field(default=5)


PAPER_STAGES = (
    Stage(planes=24, padding=2, selectivity=4.0, rate=1.0),
    Stage(planes=24, padding=1, selectivity=1.5, rate=16.0),
    Stage(planes=24, padding=0, selectivity=1.5, rate=16.0, column=None, pool=None),
)
"""The network of 1980: 16x16 - 16x16x24 - 10x10x24 - 8x8x24 - 6x6x24 - 2x2x24 - 24, with 5x5 areas throughout."""


class Neocognitron(nn.Module):
    """S- and C-layers in turn, (N, C, *spatial) -> (N, classes); see `neocognitron`.

    `learn` teaches the S-cells without labels; `name_cells` then finds out which class each cell of the last layer has
    come to stand for. Raises `ModelError` when called with inputs of the wrong rank or channels, or too small.
    """

    head = "classes"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, stages: Sequence[Stage] = PAPER_STAGES
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = check_spatial_dims(spatial_dims), in_channels
        self.depth = len(stages)
        # After the last pool one cell is left of each plane; no other stage may end so, and this one must.
        if not stages or [stage.pool is None for stage in stages] != [False] * (len(stages) - 1) + [True]:
            raise ModelError(
                "one or more stages of which the last, and only it, has pool=None",
                f"pools {[stage.pool for stage in stages]}",
                "Give the last stage pool=None, so that one cell is left of each plane.",
            )
        planes = in_channels
        for number, stage in enumerate(stages, 1):
            s_layer = SLayer(
                spatial_dims,
                planes,
                stage.planes,
                padding=stage.padding,
                selectivity=stage.selectivity,
                rate=stage.rate,
                column=stage.column,
            )
            self.add_module(f"s{number}", s_layer)
            self.add_module(f"c{number}", CLayer(spatial_dims, stage.pool))
            planes = stage.planes
        self.classes = CellClasses(planes, num_classes)
        self.stages = tuple(f"c{number}" for number in range(1, self.depth + 1))
        self.smallest = _smallest_input(stages)

    def s_layer(self, layer: int) -> SLayer:
        """The S-layer of a stage, counted from 1. Raises `ModelError`."""
        if not 1 <= layer <= self.depth:
            raise ModelError(f"a layer from 1 to {self.depth}", f"{layer!r}", "The first layer is 1.")
        return cast("SLayer", self.get_submodule(f"s{layer}"))

    def cells(self, input: Tensor, layer: int | None = None) -> Tensor:
        """The C-cells' outputs of a stage, (N, planes, *spatial), or the input itself for 0; by default of the last."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        output = input
        for number in range(1, (self.depth if layer is None else layer) + 1):
            output = self.get_submodule(f"c{number}")(self.get_submodule(f"s{number}")(output))
        return output

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to the score of every class."""
        scores: Tensor = self.classes(self.cells(input).flatten(1))
        return scores

    @torch.no_grad()
    def fit_layer(
        self,
        images: Tensor,
        layer: int,
        *,
        presentations: int = 5,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Let one S-layer organise itself, the layers below it staying as they are.

        Every image of (N, C, *spatial) is presented ``presentations`` times, in an order drawn from ``generator``, one
        at a time. ``progress(layer, presentation, planes)`` is told the mean number of planes that learned from an
        image. Raises `ModelError` for negative inputs, which cells do not know.
        """
        s_layer = self.s_layer(layer)
        inputs = self._in_batches(_checked(images), layer - 1)
        for presentation in range(1, presentations + 1):
            order = torch.randperm(len(inputs), generator=generator).tolist()
            learned = sum(s_layer.reinforce(inputs[index]) for index in order)
            if progress is not None:
                progress(layer, presentation, learned / len(order))

    @torch.no_grad()
    def learn(
        self,
        images: Tensor,
        *,
        presentations: int = 5,
        together: bool = False,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> Neocognitron:
        """Organise all S-layers, without labels, and return the network itself.

        Layer by layer from the first to the last, so that each learns from finished features, as Fukushima's later
        networks do; with ``together=True`` every image is learnt by all layers at once, as in 1980. Arguments are those
        of `fit_layer`. Learning goes on from where it was: ``reset_parameters`` of the layers forgets.

        >>> strokes = torch.zeros(2, 1, 16, 16)
        >>> strokes[0, :, 8, 3:13], strokes[1, :, 3:13, 8] = 1, 1
        >>> network = neocognitron(2, 1, 2).learn(strokes).name_cells(strokes, torch.tensor([0, 1]))
        >>> network(strokes).argmax(1).tolist()
        [0, 1]
        """
        if not together:
            for layer in range(1, self.depth + 1):
                self.fit_layer(images, layer, presentations=presentations, generator=generator, progress=progress)
            return self
        images = _checked(images)
        for presentation in range(1, presentations + 1):
            learned = [0] * self.depth
            for index in torch.randperm(len(images), generator=generator).tolist():
                # All layers see the image as the network was before it.
                inputs = [self.cells(images[index : index + 1], layer)[0] for layer in range(self.depth)]
                for layer, seen in enumerate(inputs):
                    learned[layer] += self.s_layer(layer + 1).reinforce(seen)
            if progress is not None:
                for layer, count in enumerate(learned):
                    progress(layer + 1, presentation, count / len(images))
        return self

    @torch.no_grad()
    def name_cells(self, images: Tensor, labels: Tensor) -> Neocognitron:
        """Give each cell of the last layer the class for whose images it answered strongest most often.

        Labels take no part in learning itself. A cell that never won gets no class. Returns the network. Raises
        `ModelError` for labels that do not fit.
        """
        known = (labels >= 0) & (labels < self.classes.num_classes)
        if labels.shape != images.shape[:1] or not bool(known.all()):
            raise ModelError(
                f"a label from 0 to {self.classes.num_classes - 1} for each of {len(images)} images",
                f"labels of shape {tuple(labels.shape)}, {int((~known).sum())} of them others",
                "Give one label per image, or build the network with more num_classes.",
            )
        outputs = self._in_batches(images, self.depth).flatten(1)
        strongest, winner = outputs.max(dim=1)
        wins = torch.zeros(outputs.shape[1], self.classes.num_classes, device=outputs.device)
        answered = strongest > 0
        wins.index_put_((winner[answered], labels[answered]), torch.ones(()).to(wins), accumulate=True)
        most, owner = wins.max(dim=1)
        self.classes.owner.copy_(owner.masked_fill(most == 0, -1))
        return self

    @torch.no_grad()
    def features(self, images: Tensor, layers: Sequence[int] | None = None) -> NDArray[np.floating]:
        """Describe images by C-cells, one row each, for scikit-learn: those of ``layers``, by default of the last."""
        chosen = (self.depth,) if layers is None else tuple(layers)
        for layer in chosen:
            self.s_layer(layer)
        table: NDArray[np.floating] = (
            torch.cat([self._in_batches(images, layer).flatten(1) for layer in chosen], dim=1).cpu().numpy()
        )
        return table

    def first_layer_features(self) -> NDArray[np.floating]:
        """What the planes of the first layer detect, (planes, C, *size): `filter_figure` draws it."""
        found: NDArray[np.floating] = self.s_layer(1).a.detach().cpu().numpy().copy()
        return found

    def _in_batches(self, images: Tensor, layer: int) -> Tensor:
        return torch.cat([self.cells(batch, layer) for batch in torch.split(images, _BATCH)])


def _checked(images: Tensor) -> Tensor:
    if len(images) == 0 or bool((images < 0).any()) or not bool(images.isfinite().all()):
        raise ModelError(
            "one or more images of values of 0 or more, as cells have no negative outputs",
            f"{len(images)} images" if len(images) == 0 else f"values from {images.min():.3g} to {images.max():.3g}",
            "Give the images unstandardised, from 0 for nothing to about 1.",
        )
    return images


def _smallest_input(stages: Sequence[Stage]) -> int:
    """The smallest input that leaves a cell in every layer."""
    needed = 1
    for stage in reversed(stages):
        # A C-layer of n cells needs 2n - 4 S-cells or more, and at least one; an S-cell sees five.
        needed = needed if stage.pool is None else max(1, 2 * needed - 4)
        needed = max(1, needed + 4 - 2 * stage.padding)
    return needed


@register(
    summary="Neocognitron: three stages of S-cells, which teach themselves, and C-cells, 24 planes each",
    paper="Fukushima: Neocognitron: A Self-organizing Neural Network Model for a Mechanism of Pattern Recognition "
    "Unaffected by Shift in Position",
    year=1980,
    input_size=16,
    min_input_size=_SMALLEST,
    parameters=29_472,
    macs=1_261_600,
    learns_by="reinforcement of winning cells, without a teacher: Neocognitron.learn(images)",
)
def neocognitron(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    planes: int | Sequence[int] = 24,
    selectivity: Sequence[float] = (4.0, 1.5, 1.5),
) -> Neocognitron:
    """The neocognitron of 1980: 16x16 - S 16x16, C 10x10 - S 8x8, C 6x6 - S 2x2, C 1, with 24 planes in each.

    29,400 excitatory and 72 inhibitory synapses that learn, all connecting areas 5 wide. It is not trained by
    gradients, and its parameters have none: ``learn(images)`` lets the S-cells organise themselves, layer by layer, and
    ``name_cells(images, labels)`` then asks which class makes which cell of the last layer answer. Values go from 0 to
    about 1; larger inputs only enlarge the planes.

    The paper leaves some choices open. Here c and d fall as 0.9 and 0.8 to the power of the distance; areas of C-cells
    lie two apart, which gives the sizes printed; initial synapses are small random numbers; S-columns lie around every
    position. With ten digits the paper itself found 24 planes too few: ``planes`` widens all or each of the layers.
    Lower ``selectivity`` makes cells forgive more, and grey strokes of real digits want a higher one, such as
    (8, 2.5, 1.5), than the paper's black and white drawings.

    Paper: Fukushima, Biological Cybernetics 36, 1980. Raises `ModelError` and `GeometryError`.

    >>> neocognitron(2, 1, 10)(torch.rand(1, 1, 16, 16)).shape
    torch.Size([1, 10])
    """
    counts = (planes,) * len(PAPER_STAGES) if isinstance(planes, int) else tuple(planes)
    if len(counts) != len(PAPER_STAGES) or not all(isinstance(count, int) and count > 0 for count in counts):
        raise ModelError(
            "planes as a positive integer, or one for each of the three stages", f"planes={planes!r}", "Use 24."
        )
    if len(selectivity) != len(PAPER_STAGES) or not all(0 < r < math.inf for r in selectivity):
        raise ModelError(
            "selectivity as a positive number for each of the three stages",
            f"selectivity={selectivity!r}",
            "Use (4.0, 1.5, 1.5).",
        )
    stages = [
        replace(stage, planes=count, selectivity=float(r))
        for stage, count, r in zip(PAPER_STAGES, counts, selectivity, strict=True)
    ]
    return Neocognitron(spatial_dims, in_channels, num_classes, stages)
