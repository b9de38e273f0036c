"""The embedded digits: 1,797 scanned handwritten digits of 43 people, 8x8 pixels with values from 0 to 16.

They are the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), the same images and
order as scikit-learn's ``load_digits``. ``digits28`` is the same at 28x28 with values 0 to 255, enlarged with Pillow's
bicubic filter.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import torch

from striate.data.conversion import resize
from striate.data.reader import ArrayPart, Collection, ReadOptions
from striate.data.source import BUILT_IN, Source

if TYPE_CHECKING:
    from striate.data.options import Option


class DigitsReader:
    """Reads the data sets that come with the package."""

    kind = "digits"
    summary = "the embedded handwritten digits, by the name digits (8x8) or digits28 (28x28)"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the two names."""
        return "the name of a built-in data set" if source.form == "name" and source.label in BUILT_IN else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the digits. Never fails on an intact installation."""
        archive = files("striate.data.images") / "digits.npz"
        with archive.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            inputs = torch.from_numpy(stored["images"]).unsqueeze(1)
            labels = torch.from_numpy(stored["labels"].astype(np.int64))
        scale = 16.0
        if source.label == "digits28":
            inputs = resize(inputs.float() * (255 / 16), (28, 28), "bicubic").clamp(0, 255).round().to(torch.uint8)
            scale = 255.0
        options.budget.take(inputs.numel(), source.label)
        part = ArrayPart(inputs, labels, lambda index: f"digit {index}")
        return Collection(self.kind, tuple("0123456789"), {"train": part}, value_scale=scale)
