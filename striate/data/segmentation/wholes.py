"""Whole images again, of samples that are tiles of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.data.samples import as_indices
from striate.data.segmentation.tiles import tiles_of_images
from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.samples import Indices, Samples


class WholeSamples:
    """The images that samples of segmentation are tiles of, with their masks, each of its own size.

    They are put together when they are fetched, to the bits they were cut from, so that a set that does not fit into
    memory is read one image at a time. Raises `DataError` for samples that are no tiles.

    >>> from striate.data import TensorSamples
    >>> inputs, masks = torch.tensor([[[1, 2, 3]], [[3, 4, 5]]]), torch.tensor([[0, 0, 1], [1, 1, 0]])
    >>> whole = WholeSamples(TensorSamples(inputs, masks, ["a[0:3]", "a[2:5]"].__getitem__))
    >>> whole.name(0), *whole.fetch([0])
    ('a', tensor([[[1, 2, 3, 4, 5]]]), tensor([[0, 0, 1, 1, 0]]))
    """

    in_memory = False

    def __init__(self, tiles: Samples) -> None:
        self._tiles = tiles
        found = tiles_of_images(map(tiles.name, range(len(tiles))), len(tiles.item_shape) - 1)
        self._names, self._places = tuple(found), tuple(found.values())

    def __len__(self) -> int:
        return len(self._names)

    @property
    def groups(self) -> torch.Tensor | None:
        """Of whom each image is, if that is known of its tiles."""
        groups = self._tiles.groups
        return None if groups is None else groups[[places[0][0] for places in self._places]]

    def name(self, index: int) -> str:
        """What the image is called."""
        return self._names[index]

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs (n, C, *spatial) and masks (n, *spatial) at these indices, in their order.

        Raises `DataError` for several of different sizes, and for an image of which tiles are missing.
        """
        found = [self._whole(index) for index in as_indices(indices).tolist()]
        if len({mask.shape for _, mask in found}) > 1:
            raise DataError("images of one size", f"{len(found)} of several", "Fetch them one by one.")
        return torch.stack([inputs for inputs, _ in found]), torch.stack([mask for _, mask in found])

    def _whole(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = self._places[index]
        inputs, masks = self._tiles.fetch([tile for tile, _ in places])
        shape = [max(place[axis].stop for _, place in places) for axis in range(masks.ndim - 1)]
        whole, mask = inputs.new_zeros((inputs.shape[1], *shape)), masks.new_zeros(shape)
        seen = torch.zeros(shape, dtype=torch.bool)
        for row, (_, place) in enumerate(places):
            inside = tuple(slice(0, part.stop - part.start) for part in place)
            whole[(slice(None), *place)] = inputs[row][(slice(None), *inside)]
            mask[place] = masks[row][inside]
            seen[place] = True
        if not seen.all():
            raise DataError(
                "all tiles of an image",
                f"{self._names[index]} with {int((~seen).sum())} positions that none covers",
                "Keep the tiles of an image in one part.",
            )
        return whole, mask
