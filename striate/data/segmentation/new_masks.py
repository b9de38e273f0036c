"""New images to be segmented, at their own size, and the masks that are made of them, as files like theirs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from striate.data.conversion import convert_channels
from striate.data.decoding import IMAGES
from striate.data.single import sample_file, writing
from striate.data.volumes.nifti import NIFTI, labels_like, read_nifti
from striate.data.volumes.volume import resampled
from striate.errors import DataError
from striate.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from striate.data.file import File
    from striate.data.preprocessing import Preprocessing

_LARGEST = {np.uint8: 2**8 - 1, np.uint16: 2**16 - 1, np.int32: 2**31 - 1}


class NewImage(NamedTuple):
    """An image as the training data would have had it before it was brought to size, and its size as stored.

    Inputs are (C, *spatial); their size is another than that of the file where voxels were resampled.
    """

    inputs: torch.Tensor
    size: tuple[int, ...]


def read_image(path: str | Path, preprocessing: Preprocessing) -> NewImage:
    """Read an image, volume or array at its own size, with the channels, spacing and scale of the training data.

    Raises `DataError` naming the file.

    ::

        read_image("scan.nii.gz", run.preprocessing).inputs.shape
    """
    file = sample_file(path)
    if file.suffix not in NIFTI.suffixes or len(preprocessing.size) != len("DHW"):
        inputs = preprocessing.read_whole(path)[0]
        return NewImage(inputs, tuple(inputs.shape[1:]))
    volume = read_nifti(file)
    values = resampled(volume, preprocessing.reading.get("spacing"), file.label)
    inputs = convert_channels(values[None], preprocessing.channels, file.label)[0]
    return NewImage(inputs, tuple(volume.values.shape[1:]))


def mask_name(path: Path, rank: int) -> str:
    """What the mask of an image with ``rank`` axes is called: as the image, with an extension that keeps numbers.

    >>> from pathlib import Path
    >>> mask_name(Path("scans/a.nii.gz"), 3), mask_name(Path("b.jpg"), 2), mask_name(Path("c.npy"), 1)
    ('a.nii.gz', 'b.png', 'c.npy')
    """
    name = path.name.lower()
    if any(name.endswith(suffix) for suffix in NIFTI.suffixes) and rank == len("DHW"):
        return path.name
    if path.suffix.lower() in IMAGES.suffixes:
        return f"{path.stem}.png" if rank == len("HW") else f"{path.stem}.tif"
    return f"{path.stem}.npy"


def write_mask(labels: torch.Tensor, path: Path, image: Path) -> None:
    """Write the labels (*spatial) of an image, as large as it is stored, to a file that `mask_name` names.

    Pictures are grey, of 8 bits, or 16 where labels are larger, and pages of a TIFF file for volumes; a NIfTI file has
    the affine, the axes and the unit of its image. The file is written beside and renamed. Raises `DataError` for
    labels that pictures cannot hold, and a place that cannot be written.
    """
    kind = next(dtype for dtype, largest in _LARGEST.items() if not labels.numel() or int(labels.max()) <= largest)
    content = _content(labels.numpy().astype(kind), path.name.lower(), sample_file(image))
    with writing(path), replacing(path) as beside:
        beside.write_bytes(content)


def _content(labels: np.ndarray, name: str, image: File) -> bytes:
    if name.endswith(NIFTI.suffixes):
        return labels_like(labels, image)
    stream = io.BytesIO()
    if name.endswith(".npy"):
        np.save(stream, labels)
        return stream.getvalue()
    if labels.dtype == np.int32:
        raise DataError(
            f"labels of at most {_LARGEST[np.uint16]}, which a picture can hold",
            f"{labels.max()} in what is predicted of {image.label}",
            "Give the images as .npy files.",
        )
    pages = [Image.fromarray(page) for page in labels.reshape(-1, *labels.shape[-2:])]
    if name.endswith(".png"):
        pages[0].save(stream, format="PNG")
    else:
        pages[0].save(stream, format="TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    return stream.getvalue()
