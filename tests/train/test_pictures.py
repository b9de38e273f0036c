"""What `look` and `save_evaluation` leave behind, in every rank; and the small outputs beside them."""

from __future__ import annotations

import csv
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.data import TensorSamples
from striate.errors import DataError
from striate.models.registry import register, unregister
from striate.train import (
    Answer,
    Prediction,
    Predictions,
    Quiet,
    Run,
    RunConfig,
    evaluate,
    fit,
    look,
    new_folder,
    predict,
    save_evaluation,
)
from striate.train.loop import load
from striate.train.pictures import _file_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = {1: (2, 64), 2: (3, 32, 32), 3: (1, 16, 16, 16)}


@pytest.fixture(autouse=True)
def few_maps() -> Iterator[None]:
    """A network of every rank with few maps: each of them is a picture that takes long to draw."""

    @register(summary="", paper="", year=2000, input_size=16, min_input_size=2)
    def few_maps(spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        layers = {
            "conv1": conv(in_channels, 3, 3, padding=1),
            "relu1": nn.ReLU(),
            "conv2": conv(3, 4, 3, padding=1, stride=2),
            "relu2": nn.ReLU(),
            "pool": {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[spatial_dims](2),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(4 * 2**spatial_dims, num_classes),
        }
        return nn.Sequential(OrderedDict(layers))

    yield
    unregister("few_maps")


def arrays(folder: Path, shape: tuple[int, ...]) -> Path:
    """Two classes that differ in brightness, as an .npz file with its axes named."""
    generator = np.random.default_rng(0)
    labels = np.arange(24) % 2
    values = generator.normal(size=(24, *shape)) + labels.reshape(-1, *(1,) * len(shape))
    layout = "NC" + {1: "L", 2: "HW", 3: "DHW"}[len(shape) - 1]
    np.savez(
        folder / "samples.npz",
        x=values.astype(np.float32),
        y=labels,
        classes=np.array(["dim", "bright"]),
        layout=np.array(layout),
    )
    return folder / "samples.npz"


def run_on(source: Path | str, folder: Path, **data: Any) -> Run:
    settings = {
        "model": "few_maps",
        "data": {"source": str(source), **data},
        "epochs": 1,
        "batch_size": 8,
        "device": "cpu",
    }
    return fit(RunConfig.from_dict(settings), folder, reporter=Quiet())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_rank_through_the_whole_chain(rank: int, tmp_path: Path) -> None:
    source = arrays(tmp_path, SIZES[rank])
    run = run_on(source, tmp_path / "run")
    assert run.item_shape == SIZES[rank]

    evaluation = evaluate(run, "all")
    assert evaluation.count == 24
    files = save_evaluation(evaluation, run)
    drawn = ["confusion", "recall", "roc", "precision-recall", "calibration"]
    drawn += [*(["mistakes"] if evaluation.mistakes else []), "curves"]
    names = ["evaluation.json", *(f"{name}.png" for name in drawn)]
    assert [path.name for path in files] == names
    assert {path.parent for path in files} == {run.folder / "evaluation"}
    assert json.loads(files[0].read_text(encoding="utf-8"))["accuracy"] == evaluation.accuracy

    one = np.load(source)["x"][5]
    np.save(tmp_path / "one.npy", one)
    answer = predict(run, tmp_path / "one.npy", top_k=2)[0]
    inputs = torch.from_numpy(one)[None]
    with torch.inference_mode():
        expected = run.model()(run.preprocessing(inputs)).softmax(1)[0]
    assert answer.probability == pytest.approx(float(expected.max()), rel=1e-5)
    assert answer.label == run.classes[int(expected.argmax())]

    drawn = look(run, tmp_path / "one.npy", folder=tmp_path / "pictures")
    layers = ("conv1", "conv2")
    assert [path.name for path in drawn] == [
        "input.png" if rank == 2 else "input.npy",
        "prediction.png",
        *(f"filters-{layer}.png" for layer in layers),
        *(f"maps-{layer}.png" for layer in layers),
    ]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(path.name for path in drawn)
    if rank != 2:
        assert np.array_equal(np.load(drawn[0]), one)
    for path in (*files[1:], *drawn[1:]):
        with Image.open(path) as image:
            assert image.getextrema() != ((255, 255),) * len(image.getbands())  # something is drawn


def test_look_takes_a_sample_of_the_data(tmp_path: Path) -> None:
    run = run_on("digits28", tmp_path / "run")
    drawn = look(run, sample=3, split="val")
    assert {path.parent for path in drawn} == {run.folder / "look"}
    with Image.open(drawn[0]) as image:
        shown = np.asarray(image)
    part = load(run.config).val
    assert part is not None
    assert np.array_equal(shown, part.fetch([3])[0][0, 0].numpy())


def test_look_at_what_does_not_exist(tmp_path: Path) -> None:
    run = run_on(arrays(tmp_path, (1, 32, 32)), tmp_path / "run", val_fraction=0.0, test_fraction=0.25)
    with pytest.raises(DataError) as split:
        look(run, split="val")
    assert str(split.value) == (
        "Expected a part of the data that exists; received split='val'. Use one of: train, test."
    )
    with pytest.raises(DataError) as sample:
        look(run, sample=6)
    assert str(sample.value) == "Expected a sample from 0 to 5 of the test part; received 6. Choose one of them."
    assert not (run.folder / "look").exists()


@pytest.mark.parametrize("write", [look, lambda run, folder: save_evaluation(evaluate(run), run, folder)])
def test_a_place_that_cannot_be_written(write: Any, tmp_path: Path) -> None:
    run = run_on(arrays(tmp_path, (1, 32, 32)), tmp_path / "run")
    taken = tmp_path / "samples.npz"
    with pytest.raises(DataError) as error:
        write(run, folder=taken)
    assert str(error.value) == (
        f"Expected a place where the file can be written; received {taken}: File exists. Create the folder first."
    )


def test_an_evaluation_without_mistakes_and_before_the_first_epoch(
    make_config: Any, made: Any, dataset: Any, folder: Path
) -> None:
    class Enough(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make_config(checkpoint_seconds=0.0), folder, dataset=dataset, reporter=Enough())
    assert not Run.open(folder).metrics
    fit(make_config(checkpoint_seconds=0.0), folder, dataset=dataset, resume=True, reporter=Quiet())
    run = Run.open(folder)
    right = predict_labels(run, dataset.test)
    run.metrics.clear()
    evaluation = evaluate(run, dataset=made(test=TensorSamples(dataset.test.inputs, right)))
    assert evaluation.accuracy == 1.0
    assert [path.name for path in save_evaluation(evaluation, run, folder / "e")] == [
        "evaluation.json",
        "confusion.png",
        "recall.png",
        "roc.png",
        "precision-recall.png",
        "calibration.png",
    ]


def predict_labels(run: Run, samples: Any) -> torch.Tensor:
    with torch.inference_mode():
        return run.model()(run.preprocessing(samples.inputs)).argmax(1).clone()


# Outputs of prediction -----------------------------------------------------------------------------------------------


def test_a_table_of_predictions(tmp_path: Path) -> None:
    """Rows of any length, with names that need quotes or are no text at all."""
    one = Prediction(tmp_path / 'a, "b".png', (Answer("7", 0.75), Answer("[bold]", 0.25)))
    other = Prediction(tmp_path / "caf\udce9.png", (Answer("1", 1.0), Answer("7", 0.0)))
    Predictions([one, other]).save_csv(tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_bytes()
    assert b"caf\xe9.png" in text
    rows = list(csv.reader(text.decode("utf-8", "surrogateescape").splitlines()))
    assert rows == [
        ["path", "class_1", "probability_1", "class_2", "probability_2"],
        [str(one.path), "7", "0.75", "[bold]", "0.25"],
        [str(other.path), "1", "1.0", "7", "0.0"],
    ]
    Predictions().save_csv(tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == "path,class_1,probability_1\n"


def test_a_table_where_none_can_be(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Predictions().save_csv(tmp_path / "no" / "table.csv")
    assert str(error.value) == (
        f"Expected a place where the file can be written; received {tmp_path / 'no' / 'table.csv'}: "
        "No such file or directory. Create the folder first."
    )


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name"), [("features.0", "features.0"), ("stage 1/conv", "stage-1-conv"), ("..", "layer"), ("", "layer")]
)
def test_layers_as_file_names(layer: str, name: str) -> None:
    assert _file_name(layer) == name


def test_new_folders(make_config: Any, tmp_path: Path) -> None:
    config = make_config(data={"source": "/data/[my] scans/"})
    names = []
    for _ in range(3):
        folder = new_folder(config, tmp_path / "runs")
        names.append(folder.name)
        folder.mkdir(parents=True)
    assert names == ["tiny-my-scans", "tiny-my-scans-2", "tiny-my-scans-3"]
    assert new_folder(make_config(data={"source": "/"}), tmp_path).name == "tiny-data"
