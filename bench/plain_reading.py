"""How a PyTorch user reads each kind of source: a Dataset with the obvious call of the obvious library.

Nothing is checked and nothing is kept beyond what the library keeps. Each class takes the path and ``scaled``, what is
done to the values of one sample; ``names`` are the samples in order, as Striate calls them, where they are files.
"""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    Scaled = Callable[[Tensor], Tensor]


class Plain(Dataset[tuple["Tensor", Any]]):
    """Samples of a list of files in folders of classes; a subclass says how one is loaded."""

    pattern = "*/*"

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.scaled = scaled
        self.files = sorted(path.glob(self.pattern))
        self.names: list[str] = [str(file.relative_to(path)) for file in self.files]
        classes = sorted({file.parent.name for file in self.files})
        self.labels = [classes.index(file.parent.name) for file in self.files]

    def __len__(self) -> int:
        return len(self.labels)

    def close(self) -> None:
        """Close what is kept open."""

    def _load(self, file: Path) -> Tensor:
        """The values of one file."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.scaled(self._load(self.files[index])), self.labels[index]


class Images(Plain):
    """Image files through Pillow."""

    def __init__(self, path: Path, scaled: Scaled, size: tuple[int, int] | None = None) -> None:
        super().__init__(path, scaled)
        self.size = size

    def _load(self, file: Any) -> Tensor:
        image: Image.Image = Image.open(file)
        if self.size is not None:
            image = image.resize(self.size, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


class TarredImages(Images):
    """The same, inside tar files of samples ``name.png`` with ``name.cls``."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.scaled, self.size = scaled, None
        self.archives: dict[Path, tarfile.TarFile] = {}
        found: list[tuple[Path, tarfile.TarInfo]] = []
        words: dict[str, bytes] = {}
        for file in sorted(path.glob("*.tar")):
            with tarfile.open(file) as archive:
                for member in archive:
                    key, _, ending = member.name.partition(".")
                    if ending == "cls":
                        words[key] = archive.extractfile(member).read()  # type: ignore[union-attr]
                    elif ending in ("png", "jpg"):
                        found.append((file, member))
        self.members = found
        self.names = [member.name.partition(".")[0] for _, member in found]
        classes = sorted(set(words.values()))
        self.labels = [classes.index(words[name]) for name in self.names]

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        file, member = self.members[index]
        if file not in self.archives:  # in each process its own, and closed at the end
            self.archives[file] = tarfile.open(file)  # noqa: SIM115
        return self.scaled(self._load(self.archives[file].extractfile(member))), self.labels[index]

    def close(self) -> None:
        """Close the tar files."""
        for archive in self.archives.values():
            archive.close()


class Idx(Plain):
    """MNIST's files, inflated into one array."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.scaled, self.names = scaled, []
        with gzip.open(path / "train-images-idx3-ubyte.gz") as stream:
            images = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(path / "train-labels-idx1-ubyte.gz") as stream:
            labels = np.frombuffer(stream.read(), np.uint8, offset=8)
        self.images, self.labels = torch.tensor(images), labels.tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.scaled(self.images[index]), self.labels[index]


class LongTable(Plain):
    """One table through Arrow, cut into windows of 100."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        from pyarrow import csv

        self.scaled, self.names = scaled, []
        table = csv.read_csv(path)
        self.values = np.stack([table[name].to_numpy() for name in ("ax", "ay", "az")]).astype(np.float32)
        of, label = table["id"].to_numpy(), table["label"].to_numpy()
        edges = [0, *(np.flatnonzero(of[1:] != of[:-1]) + 1).tolist(), len(of)]
        self.starts = [s for a, b in pairwise(edges) for s in range(a, b - 99, 100)]
        classes = sorted(set(label.tolist()))
        self.labels = [classes.index(label[start]) for start in self.starts]

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        start = self.starts[index]
        return self.scaled(torch.from_numpy(self.values[:, start : start + 100])), self.labels[index]


class Tables(Plain):
    """One table per recording through Arrow."""

    def _load(self, file: Path) -> Tensor:
        from pyarrow import csv

        columns = csv.read_csv(file).columns
        return torch.from_numpy(np.stack([column.to_numpy() for column in columns]).astype(np.float32))


class Series(Plain):
    """A .ts file, split into numbers when it is opened."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.scaled, self.names = scaled, []
        lines = path.read_text().split("@data\n")[1].splitlines()
        cases = [line.split(":") for line in lines]
        self.values = [np.array([axis.split(",") for axis in case[:-1]], dtype=np.float32) for case in cases]
        self.labels = ["ab".index(case[-1]) for case in cases]

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.scaled(torch.from_numpy(self.values[index])), self.labels[index]


class Sounds(Plain):
    """Sound files through soundfile, in the middle of one second of silence."""

    def _load(self, file: Path) -> Tensor:
        import soundfile

        values, rate = soundfile.read(file, dtype="float32")
        made = np.zeros(rate, np.float32)
        if len(values) > rate:
            values = values[(len(values) - rate) // 2 :][:rate]
        start = (rate - len(values)) // 2
        made[start : start + len(values)] = values
        return torch.from_numpy(made)[None]


class Spectrograms(Sounds):
    """Their log-mel spectrograms, with filters and window made once."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        from striate.data.signals.log_mel import mel_filters

        super().__init__(path, scaled)
        self.filters, self.window = mel_filters(8000, 256, 40, 0.0, 4000.0), torch.hann_window(200)

    def _load(self, file: Path) -> Tensor:
        waveform = super()._load(file)
        spectrum = torch.stft(waveform, 256, 80, 200, self.window, pad_mode="constant", return_complex=True)
        decibels = 10 * torch.log10((self.filters @ spectrum.abs() ** 2).clamp(min=1e-10))
        return decibels.clamp(min=decibels.max() - 80)


class Sentences(Plain):
    """Lines of a label and words, with a vocabulary of all words."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.names = []
        lines = [line.split() for line in path.read_text(encoding="latin-1").split("\n") if line]
        classes = sorted({line[0] for line in lines})
        counts = Counter(word for line in lines for word in line[1:])
        words = sorted(counts, key=lambda word: (-counts[word], word))
        self.numbers = {word: number for number, word in enumerate(words, start=2)}
        self.texts = [line[1:] for line in lines]
        self.labels = [classes.index(line[0]) for line in lines]
        self.longest = max(map(len, self.texts))

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        tokens = [self.numbers[word] for word in self.texts[index]]
        return torch.tensor(tokens + [0] * (self.longest - len(tokens))), self.labels[index]


class Dna(Plain):
    """A FASTA file, one-hot when a sequence is asked for."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.names = []
        records = [record.split("\n", 1) for record in path.read_text().split(">")[1:]]
        self.sequences = [sequence.replace("\n", "") for _, sequence in records]
        self.labels = ["ab".index(header.split("|")[1]) for header, _ in records]

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        codes = torch.tensor(["ACGT".index(base) for base in self.sequences[index]])
        return torch.nn.functional.one_hot(codes, 4).T.float(), self.labels[index]


class Pairs(Plain):
    """Files of images/ with those of the same names in masks/, which have the value ``white`` for the last class."""

    masks = "masks"

    def __init__(self, path: Path, scaled: Scaled, white: int | None = None) -> None:
        self.scaled, self.folder, self.white = scaled, path, white
        self.files = sorted((path / "images").iterdir())
        self.names = [f"images/{file.name}" for file in self.files]
        self.labels = [0] * len(self.files)

    def _mask(self, file: Path) -> Tensor:
        """The class of every position."""
        mask = torch.from_numpy(np.array(Image.open(file))).long()
        return mask if self.white is None else mask // self.white

    def _load(self, file: Path) -> Tensor:
        pixels = torch.from_numpy(np.array(Image.open(file)))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        file = self.files[index]
        return self.scaled(self._load(file)), self._mask(self.folder / self.masks / file.name)


class Volumes(Pairs):
    """NIfTI volumes with their masks through nibabel, depth first, filled up with zeros to ``size``."""

    masks = "labels"

    def __init__(self, path: Path, scaled: Scaled, size: tuple[int, int, int] | None = None) -> None:
        super().__init__(path, scaled)
        self.size = size

    def filled(self, values: Tensor) -> Tensor:
        """The values (D, H, W) in the middle of zeros."""
        if self.size is None:
            return values
        missing = [length - given for length, given in zip(self.size, values.shape, strict=True)]
        return F.pad(values, [part for total in reversed(missing) for part in (total // 2, total - total // 2)])

    def _load(self, file: Path) -> Tensor:
        import nibabel

        loaded: Any = nibabel.load(file)
        return self.filled(torch.from_numpy(loaded.get_fdata(dtype=np.float32).T.copy()))[None]

    def _mask(self, file: Path) -> Tensor:
        import nibabel

        loaded: Any = nibabel.load(file)
        return self.filled(torch.from_numpy(np.asarray(loaded.dataobj).T.astype(np.int64)))


class Scans(Plain):
    """Folders of DICOM slices through pydicom, sorted by where they lie."""

    def _load(self, file: Path) -> Tensor:
        import pydicom

        slices = sorted(map(pydicom.dcmread, file.iterdir()), key=lambda one: one.ImagePositionPatient[2])
        volume = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices])
        return torch.from_numpy(volume.astype(np.float32))[None]


class Clips(Plain):
    """16 frames of each video through PyAV."""

    def _load(self, file: Path) -> Tensor:
        import av

        with av.open(str(file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        chosen = ((np.arange(16) + 0.5) * len(frames) / 16).astype(int)
        return torch.from_numpy(np.stack([frames[index] for index in chosen])).permute(3, 0, 1, 2)


class Mapped(Plain):
    """An array mapped into memory."""

    def __init__(self, path: Path, scaled: Scaled) -> None:
        self.scaled, self.names = scaled, []
        self.array = np.load(path, mmap_mode="r")
        self.labels = np.load(path.with_name("y.npy")).tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.scaled(torch.from_numpy(np.array(self.array[index]))), self.labels[index]
