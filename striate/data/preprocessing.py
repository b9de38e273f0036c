"""What happens to samples before the network sees them, learned from the training part and kept with the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import torch

from striate.data.conversion import convert_channels, pad_or_crop, resize
from striate.data.dataset import Normalise
from striate.data.decoding import ARRAYS, IMAGES, Decoder, decode_image
from striate.data.layout import as_samples
from striate.data.limits import Budget
from striate.data.moments import Moments
from striate.data.npy import read_npy
from striate.data.single import sample_file
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from striate.data.dataset import Dataset
    from striate.data.file import File

_CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class Preprocessing:
    """Scaling of inputs to zero mean and unit variance per channel, and reading of new files for prediction.

    Calling it maps inputs (N, C, *size), uint8 or float32 as data sets give them, to float32
    ``(inputs / value_scale - mean) / std``; ``mean`` and ``std`` are per channel, of the training part alone, in units
    of ``value_scale`` (so 0.1307 and 0.3081 for MNIST). A channel that never changes has std 1. With ``normalise``
    "sample" each channel of each sample is scaled by its own mean and standard deviation instead, and with "none" mean
    is 0 and std 1. Tokens, integers (N, *size) below ``channels``, pass as they are. ``reading`` tells how files became
    samples (`Dataset.reading`). Raises `DataError` on construction for values that contradict each other.

    >>> preprocessing = Preprocessing(channels=1, size=(2,), value_scale=255.0, mean=(0.5,), std=(0.25,))
    >>> preprocessing(torch.tensor([[[0, 255]]], dtype=torch.uint8)).round(decimals=3).tolist()
    [[[-2.0, 2.0]]]
    """

    channels: int
    size: tuple[int, ...]
    value_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalise: Normalise = "dataset"
    input_kind: str = "values"
    reading: Mapping[str, Any] = field(default_factory=dict)

    _scale: torch.Tensor = field(init=False, repr=False, compare=False)
    _shift: torch.Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels)
        if not 1 <= len(self.size) <= 3:
            raise _bad("size with 1 to 3 entries", f"size={self.size!r}")
        for length in self.size:
            _check_whole("size", length)
        for name, value, words in (
            ("normalise", self.normalise, get_args(Normalise)),
            ("input_kind", self.input_kind, ("values", "tokens")),
        ):
            if value not in words:
                raise _bad(f"{name} of {' or '.join(words)}", f"{name}={value!r}")
        for name, values, count in (
            ("value_scale", (self.value_scale,), 1),
            ("mean", self.mean, self._scaled_channels),
            ("std", self.std, self._scaled_channels),
        ):
            positive = name != "mean"
            if len(values) != count or not all(_is_finite(v) and (v > 0 or not positive) for v in values):
                raise _bad(f"{name} of {count} finite{' positive' if positive else ''} numbers", f"{name}={values!r}")
        # One multiplication and one addition per value are all that is left to do for each batch.
        shape = (1, self._scaled_channels, *(1,) * len(self.size))
        scale = torch.tensor([1 / (self.value_scale * s) for s in self.std], dtype=torch.float64)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], dtype=torch.float64)
        object.__setattr__(self, "_scale", scale.float().reshape(shape))
        object.__setattr__(self, "_shift", shift.float().reshape(shape))

    @property
    def _scaled_channels(self) -> int:
        return self.channels if self.input_kind == "values" else 0

    @classmethod
    def fit(cls, dataset: Dataset) -> Preprocessing:
        """Learn mean and standard deviation from the training part, a few samples at a time, in float64.

        Where the data set asks for another normalisation nothing has to be learned.

        >>> from striate.data import load_data
        >>> preprocessing = Preprocessing.fit(load_data("digits"))
        >>> preprocessing.value_scale, round(preprocessing.mean[0], 2)
        (16.0, 0.3)
        """
        facts: dict[str, Any] = {
            "channels": dataset.in_channels,
            "size": dataset.input_size,
            "value_scale": dataset.value_scale,
            "normalise": dataset.normalise,
            "input_kind": dataset.input_kind,
            "reading": dict(dataset.reading),
        }
        if dataset.normalise != "dataset" or dataset.input_kind == "tokens":
            count = dataset.in_channels if dataset.input_kind == "values" else 0
            return cls(mean=(0.0,) * count, std=(1.0,) * count, **facts)
        train = dataset.train
        moments = Moments(dataset.in_channels)
        per_chunk = max(_CHUNK_BYTES // max(math.prod(train.item_shape), 1), 1)
        for start in range(0, len(train), per_chunk):
            moments.add(train.fetch(range(start, min(start + per_chunk, len(train))))[0])
        scale = dataset.value_scale
        std = [value / scale for value in moments.std.tolist()]
        return cls(
            mean=tuple(value / scale for value in moments.mean.tolist()),
            std=tuple(value if value > 0 else 1.0 for value in std),
            **facts,
        )

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scale inputs (N, C, *spatial) to float32 on the device they are on. Raises `DataError` for other channels."""
        if self.input_kind == "tokens":
            return inputs
        if inputs.ndim != self._scale.ndim or inputs.shape[1] != self.channels:
            raise DataError(
                f"inputs of shape (N, {self.channels}{', size' * len(self.size)})",
                f"inputs of shape {tuple(inputs.shape)}",
                "Read files with read(), which brings them to this shape.",
            )
        values = inputs.to(torch.float32)
        if self.normalise == "sample":
            return _standardised(values)  # whatever they are multiplied by, and whatever is added
        # Numbers that were bytes have memory of their own already.
        out = None if inputs.is_floating_point() else values
        return torch.addcmul(self._shift.to(inputs.device), values, self._scale.to(inputs.device), out=out)

    def read(self, path: str | Path) -> torch.Tensor:
        """Read one image or .npy file as an input (1, C, *size) in the units of the training data, not yet scaled.

        Like what data sets give, the result still goes through ``__call__``. Images are converted to the channels and
        size of the training data, and to its full white. An array must be one sample, (C, *spatial), (*spatial, C), or
        (*spatial) for one channel, and its values are taken as they are. Any other kind of file is decoded with the
        options of the training data. Raises `DataError` naming the file.
        """
        sample = self.read_whole(path)
        return pad_or_crop(sample, self.size) if self.reading.get("fit") == "pad" else resize(sample, self.size)

    def read_whole(self, path: str | Path) -> torch.Tensor:
        """Read one file as `read` does, but leave it at its own size."""
        file = sample_file(path)
        if file.suffix in ARRAYS.suffixes:
            sample = self._array(file)
        elif file.suffix in IMAGES.suffixes:
            sample = self._image(file)
        else:
            sample = Decoder(options=self.reading)(file).inputs
            if sample.ndim != 1 + len(self.size):
                raise self._other_rank(file)
        return convert_channels(sample.unsqueeze(0), self.channels, file.label)

    def _other_rank(self, file: File) -> DataError:
        return DataError(
            f"a .npy file with one sample of {len(self.size)} spatial axes",
            f"{file.label}, an image" if file.suffix in IMAGES.suffixes else file.label,
            "Give the kind of data that the network was trained on.",
        )

    def _image(self, file: File) -> torch.Tensor:
        image, full = decode_image(file, {"pages": self.reading.get("pages", "first")})
        if image.ndim != 1 + len(self.size):
            raise self._other_rank(file)
        return image if full == self.value_scale else image.float() * (self.value_scale / full)

    def _array(self, file: File) -> torch.Tensor:
        with file.open() as stream:
            array = read_npy(stream, file.size, file.label, Budget().take)
        rank = len(self.size)
        letters = "DHW"[-rank:] if rank > 1 else "L"
        shape = array.shape
        if len(shape) == rank:
            layout = f"N{letters}"
        elif len(shape) == rank + 1 and shape[0] == self.channels:
            layout = f"NC{letters}"
        elif len(shape) == rank + 1 and shape[-1] == self.channels:
            layout = f"N{letters}C"
        else:
            raise DataError(
                f"one sample of {self.channels} channels and {rank} spatial axes",
                f"{file.label} of shape {shape}",
                f"Save it with shape {(self.channels, *self.size)}.",
            )
        return as_samples(array[None], layout, file.label)[0]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain numbers and lists, for JSON or TOML."""
        return {
            "channels": self.channels,
            "size": list(self.size),
            "value_scale": self.value_scale,
            "mean": list(self.mean),
            "std": list(self.std),
            "normalise": self.normalise,
            "input_kind": self.input_kind,
            "reading": dict(self.reading),
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """Build it from what `to_dict` gave. Raises `DataError` for missing, unknown or impossible settings.

        >>> given = {"channels": 1, "size": [28, 28], "value_scale": 255.0, "mean": [0.13], "std": [0.31]}
        >>> Preprocessing.from_dict(given).to_dict()["normalise"]
        'dataset'
        """
        wanted = ("channels", "size", "value_scale", "mean", "std")
        if not set(wanted) <= set(settings) <= {*wanted, "normalise", "input_kind", "reading"}:
            raise _bad(f"the settings {', '.join(wanted)}", ", ".join(sorted(map(str, settings))) or "none")
        for name in ("size", "mean", "std"):
            if not isinstance(settings[name], list | tuple):
                raise _bad(f"{name} to be a list", f"{name}={settings[name]!r}")
        return cls(
            settings["channels"],
            tuple(settings["size"]),
            settings["value_scale"],
            tuple(settings["mean"]),
            tuple(settings["std"]),
            settings.get("normalise", "dataset"),
            settings.get("input_kind", "values"),
            settings.get("reading", {}),
        )


def _bad(expected: str, received: str) -> DataError:
    return DataError(f"preprocessing with {expected}", received, "Use the settings that were saved with the network.")


def _standardised(inputs: torch.Tensor) -> torch.Tensor:
    values = inputs.flatten(2)
    centred = values - values.mean(2, keepdim=True)
    # PyTorch's own std along an axis takes five times as long as all of this.
    std = centred.square().mean(2, keepdim=True).sqrt()
    # By rounding a constant may seem to vary.
    varies = (values.amax(2, keepdim=True) > values.amin(2, keepdim=True)) & (std > 0)
    return centred.div_(torch.where(varies, std, 1)).reshape(inputs.shape)


def _check_whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{name} of whole numbers from 1", f"{name}={value!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
