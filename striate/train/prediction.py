"""Asking a trained network about files."""

from __future__ import annotations

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
from striate.data.new_files import files_to_read, read_samples, reads_files
from striate.errors import DataError
from striate.train.files import write_table
from striate.train.inference import averaged
from striate.train.temperature import load_calibration

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
    """What the network takes a sample for: its most probable classes, the first first.

    ``name`` tells which sample of the file it is, a line or a window, where a file holds several.
    """

    path: Path
    answers: tuple[Answer, ...]
    name: str = ""

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
        place = {"name": self.name} if self.name else {}
        return {"path": str(self.path), **place, "answers": [asdict(answer) for answer in self.answers]}

    def __str__(self) -> str:
        return self.name or str(self.path)


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
        write_table(
            path,
            ["path", *(name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}"))],
            (
                [prediction, *(cell for answer in prediction.answers for cell in (answer.label, answer.probability))]
                for prediction in self
            ),
        )


def predict(
    run: Run,
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    top_k: int = 1,
    weights: Literal["best", "last"] = "best",
    skip_corrupt: bool = False,
    calibrated: bool = False,
) -> Predictions:
    """Predict the class of files, and of all images and arrays in folders and what is below them, in sorted order.

    Files are converted to the channels and the size of the training data. ``top_k`` is how many classes are told per
    file; where a sample may have several labels, each has a probability of its own. With ``skip_corrupt`` files that
    cannot be read are left out, with a `SkippedFileWarning`. ``calibrated`` uses the temperature that
    ``evaluate(..., calibration="fit")`` kept beside the run.

    Raises `DataError` naming the first file that cannot be read, for a path that does not exist, a folder without
    samples and a run whose outputs are no classes, and `CheckpointError` for weights or a calibration that are missing
    or damaged.

    ::

        for prediction in predict(Run.open("runs/digits"), ["photo.png", "scans/"], top_k=3):
            print(prediction.path, prediction.label, prediction.probability)
    """
    task = run.network.task
    if task not in ("classification", "multi-label"):
        raise DataError(
            "a run that tells classes of files",
            f"one of {task}",
            "Use segment(), which writes masks."
            if task == "segmentation"
            else "Use run.model() and run.preprocessing, which give its outputs.",
        )
    temperature = load_calibration(run, weights).temperature if calibrated else 1.0
    if type(top_k) is not int or not 1 <= top_k <= len(run.classes):
        raise DataError(
            f"top_k from 1 to {len(run.classes)}, the number of classes",
            f"top_k={top_k!r}",
            "Ask for as many classes as there are, or fewer.",
        )
    given = [paths] if isinstance(paths, str) or not hasattr(paths, "__iter__") else paths
    asked = [file for path in given for file in files_to_ask(Path(path), run)]
    files = files_to_read(asked, run.preprocessing, others=True)
    fabric = Fabric(accelerator=run.config.device, devices=1, precision=run.config.precision)
    model = fabric.setup(run.model(weights))
    predictions: list[Prediction] = []
    skipped: list[SkippedFile] = []
    size = run.config.batch_size
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), size):
            read = list(pool.map(lambda file: _read(run, file, skip_corrupt), files[start : start + size]))
            skipped += [entry for entry in read if isinstance(entry, SkippedFile)]
            found = [sample for entry in read if not isinstance(entry, SkippedFile) for sample in entry]
            for first in range(0, len(found), size):
                batch = found[first : first + size]
                inputs = torch.stack([sample for _, _, sample in batch])
                with torch.inference_mode():
                    outputs = model(run.preprocessing(fabric.to_device(inputs))).cpu()
                    probabilities = averaged(task, [outputs], temperature)
                values, places = probabilities.topk(top_k)
                for (file, name, _), row, columns in zip(batch, values.tolist(), places.tolist(), strict=True):
                    answers = (Answer(run.classes[column], value) for column, value in zip(columns, row, strict=True))
                    predictions.append(Prediction(file, tuple(answers), name))
    for entry in skipped:
        warnings.warn(f"{entry.name} was left out: {entry.reason}", SkippedFileWarning, stacklevel=2)
    return Predictions(predictions, skipped)


def files_to_ask(path: Path, run: Run) -> list[Path]:
    """The file at ``path``, or the files below it that hold samples, sorted. Raises `DataError` if there are none."""
    if is_file(path):
        return [path]
    if not is_folder(path):
        raise DataError("a file or a folder", f"{path}, which does not exist", "Check the path.")
    whole = reads_files(run.preprocessing)
    held = sorted(
        file
        for file in path.rglob("*")
        if not is_clutter(str(file.relative_to(path)))
        and is_file(file)
        and (holds_sample(file_on_disk(file, file.name)) or not whole)
    )
    found = files_to_read(held, run.preprocessing)
    if not found:
        kinds = f" ({', '.join(sample_suffixes())})" if whole else ""
        raise DataError(f"a folder with samples{kinds}", f"{path} without any", "Check the path, or convert the files.")
    return found


def _read(run: Run, file: Path, skip_corrupt: bool) -> list[tuple[Path, str, Tensor]] | SkippedFile:
    """The samples of a file, each with the file and what it is called if the file holds several."""
    try:
        whole = reads_files(run.preprocessing)
        return [(file, "" if whole else name, sample) for name, sample in read_samples(file, run.preprocessing)]
    except DataError as error:
        if not skip_corrupt:
            raise
        return SkippedFile(str(file), str(error))
