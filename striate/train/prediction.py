"""Asking a trained network about files."""

from __future__ import annotations

import csv
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_fabric import Fabric

from striate.data import SkippedFile, SkippedFileWarning
from striate.data.file import file_on_disk, is_clutter, is_file, is_folder
from striate.data.file_kinds import holds_sample, sample_suffixes
from striate.data.single import writing
from striate.errors import DataError
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from torch import Tensor

    from striate.train.run import Run

_THREADS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A class and the probability that the network gives it."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network takes a file for: its most probable classes, the first first."""

    path: Path
    answers: tuple[Answer, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.answers[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.answers[0].probability

    def to_dict(self) -> dict[str, Any]:
        """The prediction in the plain types of JSON.

        >>> Prediction(Path("a.png"), (Answer("7", 0.9),)).to_dict()
        {'path': 'a.png', 'answers': [{'label': '7', 'probability': 0.9}]}
        """
        return {"path": str(self.path), "answers": [asdict(answer) for answer in self.answers]}


class Predictions(list[Prediction]):
    """A list of predictions; ``skipped`` names the files that could not be read, and why."""

    def __init__(self, predictions: Sequence[Prediction] = (), skipped: Sequence[SkippedFile] = ()) -> None:
        super().__init__(predictions)
        self.skipped = tuple(skipped)

    def save_csv(self, path: str | PathLike[str]) -> None:
        """Write a table with a row per file: its path, then each class and its probability, the first first.

        Raises `DataError` for a place that cannot be written to.
        """
        ranks = range(1, 1 + max((len(prediction.answers) for prediction in self), default=1))
        with (
            writing(path),
            replacing(Path(path)) as beside,
            # Names of files that are no text come out as the bytes they are.
            beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
        ):
            table = csv.writer(stream)
            table.writerow(["path", *(name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}"))])
            for prediction in self:
                cells = (cell for answer in prediction.answers for cell in (answer.label, answer.probability))
                table.writerow([prediction.path, *cells])


def predict(
    run: Run,
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    top_k: int = 1,
    weights: Literal["best", "last"] = "best",
    skip_corrupt: bool = False,
) -> Predictions:
    """Predict the class of files, and of all images and arrays in folders and what is below them, in sorted order.

    Files are converted to the channels and the size of the training data. ``top_k`` is how many classes are told per
    file. With ``skip_corrupt`` files that cannot be read are left out, with a `SkippedFileWarning`.

    Raises `DataError` naming the first file that cannot be read, for a path that does not exist and a folder without
    samples, and `CheckpointError` for weights that are missing or damaged.

    ::

        for prediction in predict(Run.open("runs/digits"), ["photo.png", "scans/"], top_k=3):
            print(prediction.path, prediction.label, prediction.probability)
    """
    if type(top_k) is not int or not 1 <= top_k <= len(run.classes):
        raise DataError(
            f"top_k from 1 to {len(run.classes)}, the number of classes",
            f"top_k={top_k!r}",
            "Ask for as many classes as there are, or fewer.",
        )
    given = [paths] if isinstance(paths, str) or not hasattr(paths, "__iter__") else paths
    files = [file for path in given for file in _files(Path(path))]
    fabric = Fabric(accelerator=run.config.device, devices=1, precision=run.config.precision)
    model = fabric.setup(run.model(weights))
    predictions: list[Prediction] = []
    skipped: list[SkippedFile] = []
    size = run.config.batch_size
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), size):
            read = list(pool.map(lambda file: _read(run, file, skip_corrupt), files[start : start + size]))
            skipped += [entry for entry in read if isinstance(entry, SkippedFile)]
            whole = [
                (file, entry)
                for file, entry in zip(files[start : start + size], read, strict=True)
                if not isinstance(entry, SkippedFile)
            ]
            if not whole:
                continue
            inputs = torch.cat([entry for _, entry in whole])
            with torch.inference_mode():
                probabilities = model(run.preprocessing(fabric.to_device(inputs))).softmax(dim=1).cpu()
            values, places = probabilities.topk(top_k)
            for (file, _), row, columns in zip(whole, values.tolist(), places.tolist(), strict=True):
                answers = (Answer(run.classes[column], value) for column, value in zip(columns, row, strict=True))
                predictions.append(Prediction(file, tuple(answers)))
    for entry in skipped:
        warnings.warn(f"{entry.name} was left out: {entry.reason}", SkippedFileWarning, stacklevel=2)
    return Predictions(predictions, skipped)


def _files(path: Path) -> list[Path]:
    if is_file(path):
        return [path]
    if not is_folder(path):
        raise DataError("a file or a folder", f"{path}, which does not exist", "Check the path.")
    found = sorted(
        file
        for file in path.rglob("*")
        if not is_clutter(str(file.relative_to(path))) and is_file(file) and holds_sample(file_on_disk(file, file.name))
    )
    if not found:
        raise DataError(
            f"a folder with samples ({', '.join(sample_suffixes())})",
            f"{path} without any",
            "Check the path, or convert the files.",
        )
    return found


def _read(run: Run, file: Path, skip_corrupt: bool) -> Tensor | SkippedFile:
    try:
        return run.preprocessing.read(file)
    except DataError as error:
        if not skip_corrupt:
            raise
        return SkippedFile(str(file), str(error))
