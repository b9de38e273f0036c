"""DICOM series as volumes: the slices of a series sorted by where they lie, scaled, and turned to one orientation.

A folder of classes holds a folder per series (or several series in one folder, told apart by their UID), possibly with
``train``, ``val`` and ``test`` above. Slices are sorted by their position along the normal of the slices, never by
their names. Patients are told by their ID, so that all scans of one lie in one part.
"""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.extras import extra
from striate.data.file import MAX_FILE_BYTES, File
from striate.data.file_kinds import DamagedFileError
from striate.data.items import Item, ItemCollection, ItemPart
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.source import siblings
from striate.data.subjects import number_over_parts
from striate.data.threads import each
from striate.data.volumes.volume import SPACING, Volume, canonical, check_voxels, resampled
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from striate.data.source import Source

SUFFIXES = (".dcm", ".dicom", ".ima")

_MAGIC_AT, _MAGIC = 128, b"DICM"
_TOLERANCE = 0.02
"""Distances between slices that differ by more than this part of the usual one are not equal."""

_TURNED = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Slice(NamedTuple):
    """Where a slice lies: its file, and what the header says of series, patient, place and size."""

    file: File
    series: str
    patient: str
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float


class DicomReader:
    """Reads folders of DICOM series, one folder per class above them."""

    kind = "dicom"
    summary = "a folder with one sub-folder per class that holds folders of DICOM slices, one per series"
    options = (SPACING,)

    def recognises(self, source: Source) -> str | None:
        """Recognise DICOM files in sub-folders, by extension or by their first bytes."""
        if source.form not in ("folder", "archive"):
            return None
        inside = [file for file in source.files if "/" in file.name]
        if any(file.suffix in SUFFIXES for file in inside):
            return "DICOM files in sub-folders"
        bare = [file for file in inside if not file.suffix][:3]
        return "files in sub-folders that begin as DICOM files do" if any(map(_begins, bare)) else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Sort slices into series and decode every series once. Raises `DataError` naming the series at fault."""
        return self.items(source, options).open(options, source.label)

    def items(self, source: Source, options: ReadOptions) -> ItemCollection:
        """Sort slices into series by their headers. Raises `DataError` naming the file at fault."""
        files = [file for file in source.files if "/" in file.name and _is_dicom(file)]
        series = _series(files)
        split_of = _splits(series)
        classes = sorted({_class(key, split_of) for key in series if _part(key, split_of) == "train"})
        parts: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in series:
            name = _class(key, split_of)
            if name not in classes:
                raise DataError(
                    f"series of the classes of train: {', '.join(classes) or 'none'}",
                    f"{'/'.join(key)} of {source.label} with class {name!r}",
                    "Add it to train, or remove it.",
                )
            parts[_part(key, split_of)].append(key)
        patients = {s: [series[key][0].patient or None for key in keys] for s, keys in parts.items()}
        known = all(name is not None for names in patients.values() for name in names)
        groups = number_over_parts(patients, source.label) if known else {}
        used = {one.file.name for slices in series.values() for one in slices}
        ignored = tuple(file.name for file in source.files if file.name not in used)
        found = {
            split: ItemPart(
                SeriesItems(tuple(("/".join(key[:-1]), tuple(series[key])) for key in keys), options),
                torch.tensor([classes.index(_class(key, split_of)) for key in keys], dtype=torch.int64),
                groups.get(split),
            )
            for split, keys in parts.items()
        }
        return ItemCollection(found, Collection(self.kind, tuple(classes), {}, ignored=ignored, normalise="sample"))

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The series that one slice on disk belongs to, of the files in its folder."""
        own = read_slice(file)
        beside = [other for other in siblings(Path(file.label)) if _is_dicom(other)]
        found = [read for other in beside if (read := read_slice(other)).series == own.series]
        volume = read_series(found, file.folder or file.label)
        return [(file.label, resampled(volume, reading.get("spacing"), file.label))]


def _begins(file: File) -> bool:
    if file.size <= _MAGIC_AT + len(_MAGIC):
        return False
    with file.open() as stream:
        return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def _is_dicom(file: File) -> bool:
    return file.suffix in SUFFIXES or (not file.suffix and _begins(file))


def _series(files: Sequence[File]) -> dict[tuple[str, ...], list[Slice]]:
    """Slices by folder and series; the key is the folders, and last the series' UID."""
    found: dict[tuple[str, ...], list[Slice]] = {}
    for read in each(read_slice, files):
        if isinstance(read, DataError):
            # Of which series a broken slice is cannot be told, so leaving it out would leave a gap somewhere.
            raise read
        found.setdefault((*read.file.folder.split("/"), read.series), []).append(read)
    return dict(sorted(found.items()))


def _splits(series: Iterable[tuple[str, ...]]) -> dict[str, str]:
    tops = {key[0] for key in series}
    found = {top: SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS}
    deep = all(len(key) > 2 for key in series if key[0] in found)
    return found if len(found) == len(tops) and deep and "train" in found.values() else {}


def _part(key: tuple[str, ...], split_of: Mapping[str, str]) -> str:
    return split_of.get(key[0], "train")


def _class(key: tuple[str, ...], split_of: Mapping[str, str]) -> str:
    return key[1] if key[0] in split_of else key[0]


def read_slice(file: File) -> Slice:
    """Read what the header of a slice says. Raises `DamagedFileError` for what is no slice with a place in space."""
    header = _dataset(file, stop_before_pixels=True)
    try:
        frames, samples = int(header.get("NumberOfFrames", 1) or 1), int(header.get("SamplesPerPixel", 1))
        found = Slice(
            file,
            str(header.get("SeriesInstanceUID", "")),
            str(header.get("PatientID", "") or ""),
            _numbers(header, "ImageOrientationPatient", 6),
            _numbers(header, "ImagePositionPatient", 3),
            (_numbers(header, "PixelSpacing", 2)[0], _numbers(header, "PixelSpacing", 2)[1]),
            (int(header.Rows), int(header.Columns)),
            float(header.get("SliceThickness", 0) or 0),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedFileError(
            "a DICOM slice with its place in space", f"{file.label}: {error}", "Export the series again."
        ) from error
    if frames != 1 or samples != 1:
        raise DamagedFileError(
            "one grey slice per file",
            f"{file.label} with {frames} frames of {samples} values per pixel",
            "Export it as single slices.",
        )
    return found


def _dataset(file: File, stop_before_pixels: bool) -> Any:
    pydicom = extra("pydicom", "medical", file.label)
    if file.size > MAX_FILE_BYTES:
        raise DamagedFileError("a slice of at most 1 GiB", f"{file.label} of {file.size} bytes", "Remove it.")
    try:
        with file.open() as stream:
            content = stream if stop_before_pixels else io.BytesIO(stream.read())
            return pydicom.dcmread(content, stop_before_pixels=stop_before_pixels)
    except DataError:
        raise
    # pydicom raises what the bytes make it stumble over, of many kinds.
    except Exception as error:
        raise _broken(file, error) from error


def _broken(file: File, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        "a complete DICOM file",
        f"{file.label}, which cannot be decoded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        "Replace it; for compressed ones install pylibjpeg[all], or export them uncompressed.",
    )


def _numbers(header: Any, name: str, count: int) -> tuple[float, ...]:
    value = header.get(name)
    listed = tuple(float(part) for part in value) if value is not None and len(value) == count else ()
    if not listed or not np.isfinite(listed).all():
        raise ValueError(f"{name} is {'missing' if value is None else 'not ' + str(count) + ' numbers'}")
    return listed


def read_series(slices: Sequence[Slice], label: str) -> Volume:
    """Put the slices of a series together, in Hounsfield units or whatever the rescaling of the header gives.

    Raises `DamagedFileError` that names the slice for sizes, spacings or orientations that differ, and for slices that
    are missing or lie in one place.
    """
    ordered, distance, normal = _ordered(slices, label)
    first = ordered[0]
    check_voxels((len(ordered), *first.size), label)
    stack = np.empty((len(ordered), *first.size), dtype=np.float32)
    for place, piece in enumerate(ordered):
        stack[place] = _pixels(piece)
    affine = np.eye(4)
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    # PixelSpacing is the distance of rows, then of columns.
    affine[:3, 0], affine[:3, 1] = across * first.spacing[1], down * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = normal * distance, first.position
    return canonical(stack.T, _LPS_TO_RAS @ affine, label)


def _ordered(slices: Sequence[Slice], label: str) -> tuple[list[Slice], float, npt.NDArray[np.float64]]:
    first = slices[0]
    for other in slices:
        for what, mine, theirs in (
            ("size", first.size, other.size),
            ("pixel spacing", first.spacing, other.spacing),
            ("orientation", first.orientation, other.orientation),
        ):
            if mine != theirs and not np.allclose(mine, theirs, rtol=_TURNED, atol=_TURNED):
                raise DamagedFileError(
                    f"slices of one {what}, {mine} as in {first.file.base}",
                    f"{other.file.base} of {label} with {theirs}",
                    "Keep series of their own in folders of their own, and leave localisers out.",
                )
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > _TURNED:
        raise DamagedFileError(
            "rows and columns at right angles", f"{label} with orientation {first.orientation}", "Export it again."
        )
    heights = np.array([float(np.dot(normal, each.position)) for each in slices])
    order = np.argsort(heights, kind="stable")
    ordered = [slices[place] for place in order]
    gaps = np.diff(heights[order])
    if not len(gaps):
        return ordered, first.thickness or 1.0, normal
    usual = float(np.median(gaps))
    for place, gap in enumerate(gaps):
        if gap <= _TURNED:
            raise DamagedFileError(
                "slices in places of their own",
                f"{ordered[place].file.base} and {ordered[place + 1].file.base} of {label} in the same",
                "Keep each time point or echo in a folder of its own.",
            )
        if abs(gap - usual) > _TOLERANCE * usual:
            missing, rest = divmod(gap / usual + 0.1, 1)
            far = f"{missing - 1:.0f} slices missing" if missing > 1 and rest < 0.2 else f"{gap:.3g} mm apart"
            raise DamagedFileError(
                f"slices {usual:.3g} mm apart, as most are",
                f"{ordered[place].file.base} and {ordered[place + 1].file.base} of {label}, {far}",
                "Copy the missing slices, or leave the series out.",
            )
    return ordered, usual, normal


def _pixels(piece: Slice) -> npt.NDArray[np.float32]:
    dataset = _dataset(piece.file, stop_before_pixels=False)
    try:
        pixels = np.asarray(dataset.pixel_array)
        slope = float(dataset.get("RescaleSlope", 1) or 1)
        intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    # As above, and what the decoders of compressed pixels raise.
    except Exception as error:
        raise _broken(piece.file, error) from error
    if pixels.shape != piece.size:
        raise DamagedFileError(
            f"{piece.size[0]} x {piece.size[1]} pixels, as the header says",
            f"{piece.file.label} with {' x '.join(map(str, pixels.shape))}",
            "Export it again.",
        )
    return (pixels * slope + intercept).astype(np.float32)


@dataclass(frozen=True)
class SeriesItems:
    """Series by name, with their slices, as `Items`."""

    series: tuple[tuple[str, tuple[Slice, ...]], ...]
    wanted: ReadOptions

    def __len__(self) -> int:
        return len(self.series)

    def name(self, index: int) -> str:
        """The folder of the series."""
        return self.series[index][0]

    def decode(self, index: int) -> Item:
        """Put a series together. Raises `DamagedFileError` for one that is incomplete or mixed."""
        name, slices = self.series[index]
        values = resampled(read_series(slices, name), self.wanted.own["spacing"], name)
        stored = tuple(values.shape[1:])
        batch = convert_channels(values[None], self.wanted.channels, name)
        goal = target_size(self.wanted.image_size, 3)
        if goal is not None:
            batch = resize(batch, goal) if self.wanted.fit == "resize" else pad_or_crop(batch, goal)
        return Item(batch[0], None, 1.0, stored)
