"""Classic fixed filters by name: as arrays (`filter_kernel`) and as a layer (`FixedFilter`).

The values are the published ones, normalised as published: blurs sum to 1, as do identity, sharpen and the unsharp mask
(flat areas keep their brightness) and emboss; edge, gradient, Laplacian and line filters sum to 0 (flat areas vanish)
and are not scaled further. Like every kernel here they are applied without flipping: ``sobel_x`` answers positively
where values grow along the last axis.

Sources: the article "Kernel (image processing)" of Wikipedia for identity, the three edge detectors, sharpen, the blurs
and the unsharp mask; Sobel and Feldman 1968; Prewitt 1970; Gonzalez and Woods, Digital Image Processing, section 10.2,
for Laplacians and line detectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from striate import ops
from striate.errors import GeometryError, did_you_mean
from striate.geometry import Axes, Padding, Size, Window, check_spatial_dims
from striate.nn.conv import PaddingMode, check_padding_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class NamedFilter:
    """A named filter: what it does, and its kernel for every rank it exists in."""

    name: str
    description: str
    kernels: Mapping[int, NDArray[np.float64]]

    @property
    def spatial_dims(self) -> tuple[int, ...]:
        """The ranks in which the filter exists."""
        return tuple(self.kernels)


def _separable(*factors: Sequence[float]) -> NDArray[np.float64]:
    """The outer product of one factor per axis, first axis first."""
    return reduce(np.multiply.outer, [np.asarray(factor, dtype=np.float64) for factor in factors])


def _every_rank(construct: Callable[[int], NDArray[np.float64]], lowest: int = 1) -> dict[int, NDArray[np.float64]]:
    return {rank: construct(rank) for rank in range(lowest, 4)}


def _blur(factor: Sequence[float], total: int) -> dict[int, NDArray[np.float64]]:
    # Divided once at the end, so that each value is the published fraction correctly rounded.
    return _every_rank(lambda rank: _separable(*[factor] * rank) / total**rank)


def _gradient(smooth: Sequence[float], from_last: int) -> dict[int, NDArray[np.float64]]:
    """The derivative along the axis ``from_last`` places before the last, smoothed along all others."""

    def construct(rank: int) -> NDArray[np.float64]:
        return _separable(*[(-1, 0, 1) if axis == rank - 1 - from_last else smooth for axis in range(rank)])

    return _every_rank(construct, lowest=from_last + 1)


def _laplacian(rank: int) -> NDArray[np.float64]:
    """The sum of the second differences along every axis."""
    return sum(
        (_separable(*[(1, -2, 1) if axis == along else (0, 1, 0) for axis in range(rank)]) for along in range(rank)),
        start=np.zeros((3,) * rank),
    )


def _flat(*rows: Sequence[float], scale: float = 1) -> dict[int, NDArray[np.float64]]:
    return {2: np.asarray(rows, dtype=np.float64) / scale}


_FILTERS = {
    name: NamedFilter(name, description, kernels)
    for name, description, kernels in [
        ("identity", "Leaves the input as it is", _every_rank(lambda rank: _separable(*[(0, 1, 0)] * rank))),
        ("edge_1", "Edge detector: differences across the diagonals", _flat((1, 0, -1), (0, 0, 0), (-1, 0, 1))),
        ("edge_2", "Edge detector: against 4 neighbours", _flat((0, 1, 0), (1, -4, 1), (0, 1, 0))),
        ("edge_3", "Edge detector: against 8 neighbours", _flat((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))),
        ("sharpen", "Strengthens every difference to the 4 neighbours", _flat((0, -1, 0), (-1, 5, -1), (0, -1, 0))),
        ("box_blur", "Mean of the 3 nearest along every axis", _blur((1, 1, 1), 3)),
        ("gaussian_3", "Gaussian blur, binomial weights 1 2 1 along every axis", _blur((1, 2, 1), 4)),
        ("gaussian_5", "Gaussian blur, binomial weights 1 4 6 4 1 along every axis", _blur((1, 4, 6, 4, 1), 16)),
        (
            "unsharp_mask",
            "Sharpens by taking the 5x5 Gaussian blur away from twice the input",
            _flat(
                (1, 4, 6, 4, 1),
                (4, 16, 24, 16, 4),
                (6, 24, -476, 24, 6),
                (4, 16, 24, 16, 4),
                (1, 4, 6, 4, 1),
                scale=-256,
            ),
        ),
        ("sobel_x", "Sobel gradient along the last axis (vertical edges)", _gradient((1, 2, 1), 0)),
        ("sobel_y", "Sobel gradient along the last axis but one (horizontal edges)", _gradient((1, 2, 1), 1)),
        ("sobel_z", "Sobel gradient along the depth of a volume", _gradient((1, 2, 1), 2)),
        ("prewitt_x", "Prewitt gradient along the last axis (vertical edges)", _gradient((1, 1, 1), 0)),
        ("prewitt_y", "Prewitt gradient along the last axis but one (horizontal edges)", _gradient((1, 1, 1), 1)),
        ("prewitt_z", "Prewitt gradient along the depth of a volume", _gradient((1, 1, 1), 2)),
        ("laplacian", "Laplacian: second differences along the axes (2, 4, 6 neighbours)", _every_rank(_laplacian)),
        ("laplacian_8", "Laplacian with the diagonals (8 neighbours)", _flat((1, 1, 1), (1, -8, 1), (1, 1, 1))),
        ("emboss", "Relief lit from the lower right", _flat((-2, -1, 0), (-1, 1, 1), (0, 1, 2))),
        ("vertical_line", "Line detector: vertical, one pixel wide", _flat(*[(-1, 2, -1)] * 3)),
        ("horizontal_line", "Line detector: horizontal, one pixel wide", _flat((-1, -1, -1), (2, 2, 2), (-1, -1, -1))),
        ("diagonal_line", "Line detector: falling to the right", _flat((2, -1, -1), (-1, 2, -1), (-1, -1, 2))),
        ("antidiagonal_line", "Line detector: rising to the right", _flat((-1, -1, 2), (-1, 2, -1), (2, -1, -1))),
        ("moving_average", "Mean of 3 neighbouring samples", {1: np.full(3, 1 / 3)}),
        ("bump_detector", "Answers where the signal has a bump, by its height", {1: np.asarray((0.0, 1.0, 0.0))}),
    ]
}


def list_filters(spatial_dims: int | None = None) -> list[NamedFilter]:
    """The named filters, sorted by name; with ``spatial_dims`` only those that exist in that rank.

    >>> [entry.name for entry in list_filters(spatial_dims=3)][:3]
    ['box_blur', 'gaussian_3', 'gaussian_5']
    """
    entries = [_FILTERS[name] for name in sorted(_FILTERS)]
    return entries if spatial_dims is None else [entry for entry in entries if spatial_dims in entry.kernels]


def filter_kernel(name: str, spatial_dims: int = 2) -> NDArray[np.float64]:
    """The kernel of a named filter as a float64 array with one axis per spatial dimension; the caller's to change.

    Raises `GeometryError` for an unknown name, or a rank in which the filter does not exist.

    >>> filter_kernel("sobel_x").tolist()
    [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
    """
    check_spatial_dims(spatial_dims)
    entry = _FILTERS.get(name)
    if entry is None:
        raise GeometryError("the name of a filter", f"filter {name!r}", did_you_mean(name, _FILTERS))
    if spatial_dims not in entry.kernels:
        raise GeometryError(
            f"{name} in {' or '.join(f'{rank}-D' for rank in entry.kernels)}, where it exists",
            f"spatial_dims={spatial_dims}",
            f"Filters in {spatial_dims}-D: {', '.join(other.name for other in list_filters(spatial_dims))}.",
        )
    return entry.kernels[spatial_dims].copy()


class FixedFilter(nn.Module):
    """Applies one fixed kernel to every channel by itself, (N, C, *spatial) -> (N, C, *spatial).

    ``kernel`` is a filter's name (with ``spatial_dims``) or the values themselves, whose axes then decide the rank. The
    kernel is a buffer that follows the layer to devices and types; nothing is learned and the state_dict stays empty.
    ``padding`` is ``same`` unless told otherwise, with zeros outside: ``padding_mode="replicate"`` avoids a dark frame.

    Raises `GeometryError`.

    >>> blur = FixedFilter("box_blur", padding_mode="replicate")
    >>> blur(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 3, 8, 8])
    >>> FixedFilter([0, 1, 0], padding=0)(torch.tensor([[[0.0, 0, 0, 1, 1, 0, 0, 0]]])).tolist()
    [[[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]]]
    """

    kernel: Tensor

    def __init__(
        self,
        kernel: str | ArrayLike | Tensor,
        spatial_dims: int | None = None,
        stride: Axes = 1,
        padding: Padding = "same",
        dilation: Axes = 1,
        *,
        padding_mode: PaddingMode = "zeros",
        padding_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = kernel if isinstance(kernel, str) else None
        if isinstance(kernel, str):
            values = torch.from_numpy(filter_kernel(kernel, 2 if spatial_dims is None else spatial_dims))
        else:
            values = torch.as_tensor(_numbers(kernel))
            if spatial_dims is not None and values.ndim != spatial_dims:
                raise GeometryError(
                    f"a kernel with {spatial_dims} axes, as spatial_dims={spatial_dims} says",
                    f"a kernel of shape {tuple(values.shape)}",
                    "Leave spatial_dims out, or reshape the kernel.",
                )
        check_spatial_dims(values.ndim)
        window = Window.of(values.ndim, tuple(values.shape), stride, padding, dilation)
        check_padding_value(padding_mode, padding_value)
        self.spatial_dims = values.ndim
        self.kernel_size, self.stride, self.dilation = window.kernel_size, window.stride, window.dilation
        self.padding, self.padding_mode, self.padding_value = window.padding, padding_mode, padding_value
        self.register_buffer("kernel", values.to(torch.get_default_dtype()), persistent=False)

    def pads(self, input_size: Size) -> tuple[tuple[int, int], ...]:
        """The (before, after) padding per axis that an input of this size gets. Raises `GeometryError`."""
        return Window.of(self.spatial_dims, self.kernel_size, self.stride, self.padding, self.dilation).pads(input_size)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the kernel to every channel of a batch."""
        if input.ndim != self.spatial_dims + 2:
            raise GeometryError(
                f"a batch (N, C{', size' * self.spatial_dims}) for a {self.spatial_dims}-D filter",
                f"an input of shape {tuple(input.shape)}",
                f"Reshape it to {self.spatial_dims + 2} axes.",
            )
        if not input.is_floating_point() and not input.is_complex():
            raise GeometryError(
                "values with a fraction, as filters give",
                f"an input of {input.dtype}",
                "Convert it first, as with input.float().",
            )
        channels = input.shape[1]
        weight = self.kernel.expand(channels, 1, *self.kernel_size)
        return ops.conv(
            input,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            channels,
            padding_mode=self.padding_mode,
            padding_value=self.padding_value,
        )

    def extra_repr(self) -> str:
        """The filter's name or size, and where it goes."""
        shown = repr(self.name) if self.name else f"kernel_size={self.kernel_size}"
        return f"{shown}, spatial_dims={self.spatial_dims}, stride={self.stride}, padding={self.padding!r}"


def _numbers(kernel: Any) -> NDArray[np.float64]:
    """The values of a kernel given as a tensor, an array or nested lists, every one finite."""
    try:
        values = np.asarray(kernel.detach().cpu() if isinstance(kernel, torch.Tensor) else kernel, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(
            "a kernel of numbers with rows of equal length", repr(kernel), "Give nested lists, an array or a tensor."
        ) from error
    if not values.size or not all(map(math.isfinite, values.flat)):
        raise GeometryError(
            "a kernel with at least one value, all of them finite",
            f"a kernel of shape {values.shape}: {values.tolist()}",
            "Give nested lists, an array or a tensor of numbers.",
        )
    return values
