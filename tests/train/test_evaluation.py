from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from striate.data import SkippedFileWarning
from striate.errors import CheckpointError, DataError
from striate.train import Quiet, Run, evaluate, fit, predict
from striate.train.evaluation import wilson_interval

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(make_config: Any, dataset: Any, folder: Path) -> Run:
    return fit(make_config(epochs=4), folder, dataset=dataset, reporter=Quiet())


def logits_of(run: Run, samples: Any) -> torch.Tensor:
    with torch.no_grad():
        return run.model()(run.preprocessing(samples.inputs))


def test_numbers_are_scikit_learns(run: Run, dataset: Any) -> None:
    evaluation = evaluate(run, dataset=dataset)
    logits, labels = logits_of(run, dataset.test), dataset.test.labels
    predicted = logits.argmax(1)
    assert evaluation.count == 30
    assert evaluation.accuracy == evaluation.correct / 30 == float((predicted == labels).double().mean())
    assert evaluation.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert np.array_equal(evaluation.confusion, confusion_matrix(labels, predicted, labels=[0, 1, 2]))
    theirs = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=0.0)
    for place, score in enumerate(evaluation.classes):
        mine = (score.precision, score.recall, score.f1, score.support)
        assert mine == pytest.approx([column[place] for column in theirs])


def test_the_worst_mistakes_come_first(run: Run, dataset: Any, made: Any) -> None:
    test = type(dataset.test)(dataset.test.inputs, (dataset.test.labels + 1) % 3, lambda index: f"t{index}")
    evaluation = evaluate(run, dataset=made(test=test), mistakes=4)
    probabilities = logits_of(run, test).softmax(1)
    assert len(evaluation.mistakes) == 4
    surest = sorted(
        (
            probabilities[index].max().item()
            for index in range(30)
            if probabilities[index].argmax() != test.labels[index]
        ),
        reverse=True,
    )
    assert [mistake.probability for mistake in evaluation.mistakes] == pytest.approx(surest[:4], rel=1e-5)
    for mistake in evaluation.mistakes:
        assert mistake.name == f"t{mistake.index}"
        assert torch.equal(mistake.input, test.inputs[mistake.index])
        assert mistake.true == run.classes[int(test.labels[mistake.index])]
        assert mistake.predicted == run.classes[int(probabilities[mistake.index].argmax())] != mistake.true
        expected = probabilities[mistake.index, test.labels[mistake.index]].item()
        assert mistake.true_probability == pytest.approx(expected, rel=1e-5)


def test_json_holds_everything(run: Run, dataset: Any, made: Any) -> None:
    test = type(dataset.test)(dataset.test.inputs, (dataset.test.labels + 1) % 3)
    evaluation = evaluate(run, dataset=made(test=test))
    assert evaluation.mistakes
    again = json.loads(json.dumps(evaluation.to_dict()))
    assert again["accuracy"] == evaluation.accuracy
    assert again["metrics"]["accuracy"] == pytest.approx(evaluation.accuracy)
    assert again["intervals"]["accuracy"] == again["interval"]
    assert again["interval"] == list(evaluation.interval)
    assert again["confusion"] == [list(row) for row in evaluation.confusion]
    assert again["classes"][0]["name"] == "top"
    assert set(again["mistakes"][0]) == {"index", "name", "true", "predicted", "probability", "true_probability"}
    assert set(again) == {
        "source", "split", "weights", "task", "count", "correct", "accuracy", "interval", "loss", "views", "metrics",
        "intervals", "classes", "confusion", "calibration", "mistakes",
    }  # fmt: skip


@pytest.mark.parametrize(("correct", "count"), [(0, 10), (10, 10), (81, 263), (1, 2), (9_850, 10_000)])
def test_wilson_solves_its_equation(correct: int, count: int) -> None:
    """The bounds are the shares p at which the observed one is 1.96 standard errors of p away."""
    low, high = wilson_interval(correct, count)
    for bound, trivial in ((low, 0.0), (high, 1.0)):
        if bound not in (0.0, 1.0):
            error = math.sqrt(bound * (1 - bound) / count)
            assert abs(correct / count - bound) == pytest.approx(1.959963984540054 * error)
        else:
            assert bound == trivial == correct / count


def test_classes_of_other_data_are_matched_by_name(run: Run, dataset: Any, made: Any) -> None:
    usual = evaluate(run, dataset=dataset)
    test = type(dataset.test)(dataset.test.inputs, 2 - dataset.test.labels)
    turned = evaluate(run, dataset=made(test=test, classes=("low", "middle", "top")))
    assert turned.confusion == usual.confusion


def test_all_parts_together(run: Run, dataset: Any) -> None:
    whole = evaluate(run, "all", dataset=dataset)
    parts = [evaluate(run, split, dataset=dataset) for split in ("train", "val", "test")]
    assert (whole.count, whole.correct) == (100, sum(part.correct for part in parts))


def test_data_that_does_not_fit(run: Run, dataset: Any, made: Any) -> None:
    def message(**arguments: Any) -> str:
        with pytest.raises(DataError) as error:
            evaluate(run, **arguments)
        return str(error.value)

    assert message(dataset=made(test=None)) == (
        "Expected a part of the data that exists; received split='test'; rows has train, val. "
        "Use one of: train, val, all."
    )
    assert message(dataset=made(classes=("top", "left", "low"))) == (
        "Expected the classes of the run: top, middle, low; received 'left' in rows. "
        "Rename or leave out the other classes."
    )
    wide = type(dataset.test)(torch.zeros(3, 1, 5, 4), torch.arange(3))
    assert message(dataset=made(train=wide)) == (
        "Expected samples with 1 channels of size (4, 4), as in training; received 1 channels of size (5, 4) in rows. "
        "Load them with the image_size and channels of the run."
    )
    assert message(dataset=made(value_scale=1.0)) == (
        "Expected values of the scale that the run was trained on, 255 for full white; received 1 in rows. "
        "Convert the samples to the same scale first."
    )


def test_another_source_is_read_as_the_run_reads(make_config: Any, folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name, level in (("dark", 20), ("light", 220)):
        (images / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (4, 4), level + number).save(images / name / f"{number}.png")
    settings = {"source": str(images), "test_fraction": 0.3}
    run = fit(make_config(epochs=8, data=settings), folder, reporter=Quiet())
    larger = tmp_path / "larger"
    (larger / "light").mkdir(parents=True)
    (larger / "dark").mkdir()
    for name, level in (("dark", 25), ("light", 225)):
        for number in range(4):
            Image.new("RGB", (9, 7), (level + number,) * 3).save(larger / name / f"{number}.png")
    evaluation = evaluate(run, "all", source=larger)
    assert (evaluation.count, evaluation.accuracy) == (8, 1.0)
    assert evaluate(run).count == 6


# Prediction ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(dataset: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for place, name in enumerate(("c.png", "a.png", "below/b.png")):
        Image.fromarray(dataset.test.inputs[place, 0].numpy()).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_predictions_are_the_networks(run: Run, dataset: Any, pictures: Path) -> None:
    predictions = predict(run, pictures, top_k=3)
    assert [str(entry.path.relative_to(pictures)) for entry in predictions] == ["a.png", "below/b.png", "c.png"]
    probabilities = logits_of(run, dataset.test).softmax(1)
    for entry, place in zip(predictions, (1, 2, 0), strict=True):
        values, order = probabilities[place].sort(descending=True)
        assert [answer.label for answer in entry.answers] == [run.classes[int(index)] for index in order]
        assert [answer.probability for answer in entry.answers] == pytest.approx(values.tolist(), rel=1e-5)
        assert (entry.label, entry.probability) == (entry.answers[0].label, entry.answers[0].probability)
    assert predictions.skipped == ()


def test_many_files_in_batches(run: Run, pictures: Path) -> None:
    paths = [pictures / "c.png", pictures / "a.png"] * 9
    assert [entry.path for entry in predict(run, paths)] == paths


def test_files_that_cannot_be_read(run: Run, pictures: Path) -> None:
    (pictures / "b.png").write_bytes((pictures / "a.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.png"):
        predict(run, pictures)
    with pytest.warns(SkippedFileWarning, match=r"b\.png was left out: "):
        predictions = predict(run, pictures, skip_corrupt=True)
    assert len(predictions) == 3
    assert [entry.name for entry in predictions.skipped] == [str(pictures / "b.png")]
    with pytest.warns(SkippedFileWarning):
        assert predict(run, pictures / "b.png", skip_corrupt=True) == []


def test_paths_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as missing:
        predict(run, tmp_path / "nowhere")
    assert str(missing.value) == (
        f"Expected a file or a folder; received {tmp_path / 'nowhere'}, which does not exist. Check the path."
    )
    with pytest.raises(DataError) as empty:
        predict(run, [tmp_path / "empty"])
    assert str(empty.value).startswith("Expected a folder with samples (")
    assert str(empty.value).endswith(
        f"); received {tmp_path / 'empty'} without any. Check the path, or convert the files."
    )
    with pytest.raises(DataError) as top:
        predict(run, tmp_path, top_k=4)
    assert str(top.value) == (
        "Expected top_k from 1 to 3, the number of classes; received top_k=4. "
        "Ask for as many classes as there are, or fewer."
    )


# Opening a run -------------------------------------------------------------------------------------------------------


def test_a_run_opens_as_it_was(run: Run, folder: Path) -> None:
    again = Run.open(str(folder))
    assert again == run
    assert again.environment["threads"] == 1
    assert again.environment["packages"]["torch"] == torch.__version__
    assert again.best in again.metrics
    assert again.seconds > 0
    state = torch.get_rng_state()
    assert not again.model().training
    assert torch.equal(torch.get_rng_state(), state)


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        Run.open(folder)
    return str(error.value)


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == (
        f"Expected the folder of a run, with config.toml; received {tmp_path / 'no'}, which does not exist. "
        "Give the folder that training wrote to."
    )
    assert refused(tmp_path) == (
        f"Expected the folder of a run, with config.toml; received {tmp_path}, which has none. "
        "Give the folder that training wrote to."
    )


def test_damaged_runs(run: Run, folder: Path) -> None:
    def spoil(name: str, text: str | None) -> str:
        path = folder / name
        kept = path.read_bytes()
        path.unlink() if text is None else path.write_text(text)
        answer = refused(folder)
        path.write_bytes(kept)
        return answer

    network = folder / "network.json"
    settings = json.loads(network.read_text())
    assert spoil("config.toml", "epochs = 0") == (
        f"Expected the configuration of a run; received {folder / 'config.toml'}: Expected epochs of at least 1; "
        "received epochs=0. Change epochs in the configuration. Restore the file from a copy."
    )
    assert spoil("network.json", None) == (
        f"Expected a run with network.json; received {folder} without it. Resume the run, or train again."
    )
    assert spoil("network.json", "[") == (
        f"Expected a file of JSON; received {network}: Expecting value: line 1 column 2 (char 1). "
        "Resume the run, or train again."
    )
    assert spoil("network.json", "[1]") == f"Expected a JSON object; received {network} with list. Train again."
    for change, reason in (
        ({"name": "tinny"}, "Expected the name of a model"),
        ({"in_channels": 0}, "Input should be greater than or equal to 1"),
        ({"options": {"dropout": "much"}}, "not supported between"),
        ({"options": {"__class__": 1}}, "options that tiny takes"),
        ({"classes": ["one"]}, "at least 2 items"),
        ({"preprocessing": {}}, "the settings channels, size"),
        ({"extra": 1}, "Extra inputs"),
    ):
        answer = spoil("network.json", json.dumps(settings | change))
        assert answer.startswith(f"Expected the description of a network; received {network}: ")
        assert reason in answer
    assert spoil("metrics.csv", "a,b\n").startswith("Expected a table of metrics with the columns epoch, step, ")
    assert "columns a, b" in spoil("metrics.csv", "a,b\n")
    assert spoil("environment.json", "{}") == (
        f"Expected a list of sessions; received {folder / 'environment.json'} without one. Resume the run."
    )
    assert spoil("result.json", '{"finished": 3}') == (
        f"Expected why and when the run ended; received {folder / 'result.json'} without it. Resume the run."
    )


def test_a_forged_size_costs_nothing(make_config: Any, folder: Path) -> None:
    config = make_config(model={"name": "lenet"}, data={"source": "digits"}, epochs=1, batch_size=256)
    fit(config, folder, reporter=Quiet())
    path = folder / "network.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"options": {"field": 10**6}}))
    run = Run.open(folder)
    with pytest.raises(CheckpointError, match=r"Expected fc1\.weight of shape"):
        run.model()


def test_unknown_weights(run: Run) -> None:
    with pytest.raises(CheckpointError) as error:
        run.model("first")  # type: ignore[arg-type]
    assert str(error.value) == "Expected weights to be best or last; received weights='first'. Pick one."


def test_a_number_of_mistakes_below_zero(run: Run, dataset: Any) -> None:
    with pytest.raises(DataError) as error:
        evaluate(run, dataset=dataset, mistakes=-1)
    assert str(error.value) == "Expected mistakes of 0 or more, how many to list; received mistakes=-1. Use 0 for none."
    assert evaluate(run, dataset=dataset, mistakes=0).mistakes == ()
