"""Asking a network of segmentation about files: a mask for each, as large as the file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from striate.data import SkippedFile, SkippedFileWarning
from striate.data.conversion import resize, target_size
from striate.data.segmentation.new_masks import mask_name, read_image, write_mask
from striate.data.segmentation.tiles import Tiling
from striate.data.single import writing
from striate.errors import DataError
from striate.train.files import write_table
from striate.train.inference import OVERLAP, Inference, averaged, check_overlap
from striate.train.prediction import files_to_ask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from torch import Tensor

    from striate.train.run import Run


@dataclass(frozen=True, slots=True)
class PredictedMask:
    """A file, the mask that was written for it, and the share of its positions that each class has."""

    path: Path
    mask: Path
    shares: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The prediction in the plain types of JSON.

        >>> PredictedMask(Path("a.jpg"), Path("masks/a.png"), {"0": 0.75, "1": 0.25}).to_dict()
        {'path': 'a.jpg', 'mask': 'masks/a.png', 'shares': {'0': 0.75, '1': 0.25}}
        """
        return {"path": str(self.path), "mask": str(self.mask), "shares": dict(self.shares)}


class PredictedMasks(list[PredictedMask]):
    """A list of predicted masks; ``skipped`` names the files that could not be read, and why."""

    def __init__(self, masks: Sequence[PredictedMask] = (), skipped: Sequence[SkippedFile] = ()) -> None:
        super().__init__(masks)
        self.skipped = tuple(skipped)

    def save_csv(self, path: str | PathLike[str]) -> None:
        """Write a table with a row per file: its path, its mask, and the share of each class.

        Raises `DataError` for a place that cannot be written to.
        """
        shares = [f"share_{name}" for name in (self[0].shares if self else ())]
        write_table(path, ["path", "mask", *shares], ([each.path, each.mask, *each.shares.values()] for each in self))


def segment(
    run: Run,
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    folder: str | PathLike[str],
    *,
    weights: Literal["best", "last"] = "best",
    skip_corrupt: bool = False,
    overlap: float = OVERLAP,
) -> PredictedMasks:
    """Predict a class for every position of images, volumes and arrays, and write the masks into ``folder``.

    Folders are looked through, and their masks lie in ``folder`` as the files lie in them. A mask has the size of its
    file, the numbers that masks of the training data had for the classes, and its file's name (see
    `striate.data.segmentation.new_masks`); that of a NIfTI file has its affine.

    A run that was trained on tiles (the data's option ``patch``), or on images cut and filled up to one size
    (``data.fit`` "pad"), sees a file in tiles that share ``overlap`` of their length at least, and what is said of them
    is blended (see `striate.data.segmentation.tiles.Blend`). Any other run sees the file resized, as in training, and
    the probabilities are resized back.

    With ``skip_corrupt`` files that cannot be read are left out, with a `SkippedFileWarning`. Raises `DataError` naming
    the first file that cannot be read, for a path that does not exist, a folder without samples, two files with one
    mask, a mask that would replace a file, and a run of another task; `CheckpointError` for weights that are missing or
    damaged.

    ::

        for found in segment(Run.open("runs/cells"), "scans/", "masks/"):
            print(found.path, found.mask, found.shares)
    """
    if run.network.task != "segmentation":
        raise DataError("a run of segmentation", f"one of {run.network.task}", "Use predict().")
    check_overlap(overlap)
    reading, rank = run.preprocessing.reading, len(run.preprocessing.size)
    by_tiles = reading.get("patch") is not None or reading.get("fit") == "pad"
    given = [paths] if isinstance(paths, str) or not hasattr(paths, "__iter__") else paths
    asked = _masks_of([Path(path) for path in given], Path(folder), run)
    tiles = Tiling(run.preprocessing.size, overlap) if by_tiles else None
    inference = Inference(run, weights, task="segmentation", tiles=tiles)
    label_ids = torch.tensor(reading.get("label_ids", range(len(run.classes))))
    found: list[PredictedMask] = []
    skipped: list[SkippedFile] = []
    for path, mask in asked.items():
        try:
            image = read_image(path, run.preprocessing)
        except DataError as error:
            if not skip_corrupt:
                raise
            skipped.append(SkippedFile(str(path), str(error)))
            continue
        labels = _labels(image.inputs, image.size, _seen_size(run, rank), inference)
        with writing(mask.parent):
            mask.parent.mkdir(parents=True, exist_ok=True)
        write_mask(label_ids[labels], mask, path)
        counts = torch.bincount(labels.flatten(), minlength=len(run.classes)).tolist()
        shares = {name: count / labels.numel() for name, count in zip(run.classes, counts, strict=True)}
        found.append(PredictedMask(path, mask, shares))
    for entry in skipped:
        warnings.warn(f"{entry.name} was left out: {entry.reason}", SkippedFileWarning, stacklevel=2)
    return PredictedMasks(found, skipped)


def _seen_size(run: Run, rank: int) -> tuple[int, ...] | None:
    """The size to which an image is resized before the network sees it, or its tiles; None where it is not."""
    reading = run.preprocessing.reading
    if reading.get("fit") == "pad":
        return None
    if reading.get("patch") is not None:
        return target_size(run.config.data.image_size, rank)
    return run.preprocessing.size


def _labels(inputs: Tensor, size: tuple[int, ...], seen: tuple[int, ...] | None, inference: Inference) -> Tensor:
    """The most probable class at every position of an image of ``size``."""
    batch = inputs[None] if seen is None else resize(inputs[None], seen)
    probabilities = averaged("segmentation", inference.ask(batch))
    return resize(probabilities, size)[0].argmax(dim=0)


def _masks_of(paths: Sequence[Path], folder: Path, run: Run) -> dict[Path, Path]:
    """Where the mask of every file is to lie."""
    rank = len(run.preprocessing.size)
    masks: dict[Path, Path] = {}
    for path in paths:
        for file in files_to_ask(path, run):
            below = file.relative_to(path).parent if file != path else Path()
            masks[file] = folder / below / mask_name(file, rank)
    inputs = {file.resolve() for file in masks}
    owners: dict[Path, Path] = {}
    for file, mask in masks.items():
        if mask.resolve() in inputs:
            raise DataError("masks that replace no file to segment", f"{mask} for {file}", "Choose another folder.")
        other = owners.setdefault(mask.resolve(), file)
        if other is not file:
            raise DataError(
                "a mask of its own for every file",
                f"{mask} for {other} and for {file}",
                "Segment them one after the other, into folders of their own.",
            )
    return masks
