"""Small data sets of every kind for bench/reading.py: scanned digits where pictures will do, seeded draws elsewhere."""

from __future__ import annotations

import gzip
import shutil
import struct
import tarfile
from collections import Counter
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from striate.data import load_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

CLASSES = ("a", "b")


def draws() -> np.random.Generator:
    """The same numbers every time."""
    return np.random.default_rng(0)


def place(folder: Path, number: int, suffix: str) -> Path:
    """Where a sample lies in a folder of classes."""
    path = folder / CLASSES[number % len(CLASSES)] / f"{number:05d}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def digits(count: int) -> Pixels:
    """Scanned digits (count, 28, 28), repeated if there are fewer."""
    part = load_data("digits28", val_fraction=0, test_fraction=0).train
    return part.fetch(torch.arange(count) % len(part))[0][:, 0].numpy()


def photograph(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """A smooth colour picture with some grain, which compresses about as photographs do."""
    coarse = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + random.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def write_digits(folder: Path, count: int) -> None:
    """PNG files of 28 x 28 grey pixels in folders of classes."""
    for number, pixels in enumerate(digits(count)):
        Image.fromarray(pixels).save(place(folder, number, ".png"))


def write_photographs(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> None:
    """JPEG files in colour, width and height as given, in folders of classes."""
    random = draws()
    for number in range(count):
        photograph(random, *size).save(place(folder, number, ".jpg"), quality=90)


def write_idx(folder: Path, count: int) -> None:
    """The two training files of MNIST, gzipped, with scanned digits."""
    folder.mkdir()
    arrays = {"images-idx3": digits(count), "labels-idx1": np.arange(count, dtype=np.uint8) % 10}
    for name, array in arrays.items():
        head = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes(), mtime=0))


def walks(count: int, length: int, channels: int) -> npt.NDArray[np.float64]:
    """Random walks (count, length, channels)."""
    return draws().normal(size=(count, length, channels)).cumsum(axis=1).round(4)


def write_long_table(folder: Path, count: int, length: int = 1000) -> None:
    """One table of all recordings, 3 channels, a label per sample."""
    folder.mkdir()
    lines = ["id,ax,ay,az,label"]
    for number, walk in enumerate(walks(count, length, 3)):
        label = CLASSES[number % 2]
        lines += [f"r{number:05d},{x},{y},{z},{label}" for x, y, z in walk.tolist()]
    (folder / "signals.csv").write_text("\n".join(lines) + "\n")


def write_tables(folder: Path, count: int, length: int = 200) -> None:
    """A table per recording in folders of classes."""
    for number, walk in enumerate(walks(count, length, 3)):
        lines = ["ax,ay,az", *(f"{x},{y},{z}" for x, y, z in walk.tolist())]
        place(folder, number, ".csv").write_text("\n".join(lines) + "\n")


def write_series(folder: Path, count: int, length: int = 200) -> None:
    """A .ts file of the time-series archive, 2 dimensions."""
    folder.mkdir()
    lines = ["@problemName Walks", "@univariate false", "@dimensions 2", "@classLabel true a b", "@data"]
    for number, walk in enumerate(walks(count, length, 2)):
        axes = ":".join(",".join(map(str, axis)) for axis in walk.T.tolist())
        lines.append(f"{axes}:{CLASSES[number % 2]}")
    (folder / "Walks.ts").write_text("\n".join(lines) + "\n")


def write_sounds(folder: Path, count: int, suffix: str = ".wav") -> None:
    """Sounds of 0.25 to 0.75 s at 8 kHz, 16 bits."""
    import soundfile

    random = draws()
    for number in range(count):
        frames = int(random.integers(2000, 6000))
        sound = np.sin(np.arange(frames) * random.uniform(0.05, 1.5)) * 0.5 + random.normal(0, 0.02, frames)
        soundfile.write(place(folder, number, suffix), sound.clip(-1, 1), 8000, subtype="PCM_16")


def write_sentences(folder: Path, count: int) -> None:
    """Lines that begin with a label; words as frequent as words are (Zipf), 5 to 35 in a line."""
    folder.mkdir()
    random = draws()
    lines = []
    for number in range(count):
        words = (random.zipf(1.3, int(random.integers(5, 36))) % 20_000).tolist()
        lines.append(f"{number % 2} {' '.join(f'w{word}' for word in words)}")
    (folder / "lines.train").write_text("\n".join(lines) + "\n")


def write_dna(folder: Path, count: int, length: int = 200) -> None:
    """A FASTA file with the class in each header."""
    folder.mkdir()
    bases = np.array(list("ACGT"))[draws().integers(0, 4, (count, length))]
    lines = [f">s{number}|{CLASSES[number % 2]}\n{''.join(row)}" for number, row in enumerate(bases.tolist())]
    (folder / "sites.fa").write_text("\n".join(lines) + "\n")


def write_volumes(folder: Path, count: int, size: int = 48) -> None:
    """NIfTI volumes of 16 bits with masks of three classes, gzipped."""
    import nibabel

    random = draws()
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        volume = random.normal(300, 60, (size, size, size)).astype(np.int16)
        mask = (volume > 320).astype(np.uint8) + (volume > 380)
        for name, array in (("images", volume), ("labels", mask)):
            image: Any = nibabel.Nifti1Image(array, np.eye(4))  # type: ignore[no-untyped-call]
            nibabel.save(image, folder / name / f"{number:03d}.nii.gz")


def write_dicom(folder: Path, count: int, slices: int = 24, size: int = 96) -> None:
    """DICOM series of slices of 16 bits, in folders of classes; the patient lies so that no axis is turned."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    random = draws()
    for number in range(count):
        series = place(folder, number, "")
        series.mkdir()
        for index in range(slices):
            meta: Any = FileMetaDataset()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{index}"
            one: Any = pydicom.Dataset()
            one.file_meta = meta
            one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            one.SeriesInstanceUID, one.PatientID = f"1.2.3.{number}", f"p{number}"
            one.Rows = one.Columns = size
            one.PixelSpacing, one.ImagePositionPatient = [1, 1], [0, 0, 2 * index]
            one.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
            one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
            one.BitsAllocated = one.BitsStored = 16
            one.HighBit, one.PixelRepresentation = 15, 1
            one.RescaleSlope, one.RescaleIntercept = 1, -1024
            one.PixelData = random.integers(0, 2000, (size, size)).astype("<i2").tobytes()
            one.save_as(series / f"{index:03d}.dcm", enforce_file_format=True)


def write_masks(folder: Path, count: int, size: int = 128) -> None:
    """PNG images in colour with PNG masks of three classes."""
    random = draws()
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        picture = photograph(random, size, size)
        picture.save(folder / "images" / f"{number:04d}.png")
        level = np.asarray(picture.convert("L"))
        Image.fromarray((level > 85).astype(np.uint8) + (level > 170)).save(folder / "masks" / f"{number:04d}.png")


def write_videos(folder: Path, count: int, frames: int = 40, size: int = 64) -> None:
    """MPEG-4 videos of 25 frames a second."""
    import av

    random = draws()
    for number in range(count):
        with av.open(str(place(folder, number, ".mp4")), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 25)
            start, end = (np.asarray(photograph(random, size, size), dtype=np.float64) for _ in range(2))
            for index in range(frames):
                pixels = (start + (end - start) * index / frames).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def write_array(folder: Path, count: int, size: int = 64) -> None:
    """x.npy with pictures in colour (count, 3, size, size), and y.npy with their classes."""
    folder.mkdir()
    np.save(folder / "x.npy", draws().integers(0, 256, (count, 3, size, size), dtype=np.uint8))
    np.save(folder / "y.npy", np.arange(count) % 2)


def take(source: Path, pattern: str, folder: Path, count: int) -> None:
    """Copy the first ``count`` of each sub-folder's files of a real set that match, as they are."""
    taken: Counter[Path] = Counter()
    for file in sorted(source.glob(pattern)):
        inside = file.relative_to(source)
        if taken[inside.parent] < count:
            (folder / inside.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / inside)
            taken[inside.parent] += 1


def take_members(archive: Path, label: Callable[[PurePosixPath], str | None], folder: Path, count: int) -> None:
    """Unpack ``count`` files of a tar, evenly over all, into folders by their label; None leaves one out."""
    with tarfile.open(archive) as opened:
        named = [(member, label(PurePosixPath(member.name))) for member in opened if member.isfile()]
        wanted = [(member, name) for member, name in named if name is not None]
        for member, name in wanted[:: max(len(wanted) // count, 1)][:count]:
            content = opened.extractfile(member)
            if content is not None and name is not None:
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / PurePosixPath(member.name).name).write_bytes(content.read())


def take_spoken_digits(archive: Path, folder: Path, count: int) -> None:
    """Spoken digits named 7_jackson_32.wav, in folders of digits."""
    take_members(archive, lambda path: path.name[0] if path.suffix == ".wav" else None, folder, count)


def take_pictures(archive: Path, folder: Path, count: int) -> None:
    """The training pictures train/cat/0001.jpg, in folders of classes."""
    take_members(archive, lambda path: path.parent.name if "train" in path.parts else None, folder, count)


def take_membranes(source: Path, folder: Path, count: int) -> None:
    """Micrographs and their masks, in folders images and masks."""
    for theirs, ours in (("image", "images"), ("label", "masks")):
        (folder / ours).mkdir(parents=True, exist_ok=True)
        for file in sorted((source / theirs).glob("*.png"))[:count]:
            shutil.copyfile(file, folder / ours / file.name)
