"""A run and its evaluation as pictures and files: what `striate look` and `striate evaluate` leave behind.

matplotlib is imported when something is drawn: training and predicting do without.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from striate.data import write_output
from striate.data.single import writing
from striate.errors import DataError
from striate.train.drawings import drawings, learning_curves
from striate.train.folder import write_json
from striate.train.loop import load

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor

    from striate.train.evaluation import Evaluation
    from striate.train.run import Run


def look(
    run: Run,
    input: str | PathLike[str] | None = None,
    *,
    sample: int = 0,
    split: Literal["train", "val", "test"] = "test",
    weights: Literal["best", "last"] = "best",
    folder: str | PathLike[str] | None = None,
) -> list[Path]:
    """Draw what a network learned to look for, and what it sees in one input; return the files written.

    ``input`` is an image or array file; without it, a ``sample`` of a part of the run's data is taken. Into ``folder``
    (``look`` in the run's folder if none is given) go the input itself, the predicted class, the filters of every
    convolution, and for every convolution its maps before and after non-linearity and pooling. Raises `DataError` for
    an input that cannot be read or a sample that does not exist, and `CheckpointError` for missing weights.

    ::

        look(Run.open("runs/digits"), "photo.png")
    """
    from striate.insight import feature_maps, figures, filters

    model = run.model(weights)
    stored, true = (run.preprocessing.read(Path(input)), None) if input is not None else _sample(run, sample, split)
    target = Path(folder) if folder is not None else run.folder / "look"
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)

    prepared = run.preprocessing(stored)
    shown = stored[0].float() / run.preprocessing.value_scale
    written = [_write_input(shown, target)]
    if run.network.task == "classification" and run.network.input_kind == "values":
        with torch.inference_mode():
            probabilities = model(prepared).softmax(dim=1)[0].tolist()
        figure = figures.prediction_figure(shown, run.classes, probabilities, true=true)
        written.append(figures.save(figure, target / "prediction.png"))
    for name, weight in filters(model).items():
        written.append(figures.save(figures.filter_figure(weight, name), target / f"filters-{_file_name(name)}.png"))
    for name, stage in feature_maps(model, prepared).items():
        written.append(figures.save(figures.feature_map_figure(stage, stored), target / f"maps-{_file_name(name)}.png"))
    return written


def save_evaluation(evaluation: Evaluation, run: Run, folder: str | PathLike[str] | None = None) -> list[Path]:
    """Write an evaluation as JSON and pictures, with the run's learning curves; return the files written.

    They go into ``folder``, or ``evaluation`` in the run's folder: ``evaluation.json``, a picture for each of its
    `drawings` (such as ``confusion.png``, and ``mistakes.png`` if there are any) and ``curves.png`` (if an epoch has
    ended).

    ::

        run = Run.open("runs/digits")
        save_evaluation(evaluate(run), run)
    """
    from striate.insight import figures

    target = Path(folder) if folder is not None else run.folder / "evaluation"
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    written = [target / "evaluation.json"]
    write_json(evaluation.to_dict(), written[0])
    curves = learning_curves(run)
    for drawing in (*drawings(evaluation, run), *([curves] if curves else [])):
        written.append(figures.save(drawing.figure, target / f"{drawing.name}.png"))
    return written


def _sample(run: Run, sample: int, split: str) -> tuple[Tensor, str | None]:
    parts = load(run.config).parts
    if split not in parts:
        raise DataError("a part of the data that exists", f"split={split!r}", f"Use one of: {', '.join(parts)}.")
    part = parts[split]
    if not 0 <= sample < len(part):
        raise DataError(f"a sample from 0 to {len(part) - 1} of the {split} part", f"{sample}", "Choose one of them.")
    inputs, labels = part.fetch([sample])
    return inputs, run.classes[int(labels[0])] if run.network.task == "classification" else None


def _write_input(shown: Tensor, folder: Path) -> Path:
    if shown.ndim == 3 and shown.shape[0] in (1, 3):
        return write_output(shown * 255, folder / "input.png")
    return write_output(shown, folder / "input.npy")


def _file_name(name: str) -> str:
    """A layer's name as part of a file name: whatever may not stand there becomes a dash."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "layer"
