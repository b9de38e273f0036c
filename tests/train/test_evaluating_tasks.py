"""Evaluation of every task and rank, against what the networks put out: metrics, worst samples, JSON, views."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from striate.errors import CheckpointError, DataError, InputError
from striate.train import Run, evaluate, predict, save_evaluation
from striate.train.embedding import embed
from striate.train.evaluation import wilson_interval
from striate.train.metrics import METRICS, metrics_of
from striate.train.temperature import CALIBRATION, load_calibration
from striate.train.views import Flip, Same, Shift, default_views

if TYPE_CHECKING:
    from striate.data import Dataset

KINDS = ("signal", "image", "volume", "text", "multi-label", "regression", "segmentation", "volumes", "verification")


def outputs_of(run: Run, dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = dataset.parts["test"].fetch(range(len(dataset.parts["test"])))
    with torch.no_grad():
        return run.model()(run.preprocessing(inputs)), targets


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_is_measured(kind: str, trained: Any, tmp_path: Any) -> None:
    run, dataset = trained(kind)
    evaluation = evaluate(run, dataset=dataset, bootstrap=50)
    assert evaluation.task == dataset.task
    assert evaluation.count == len(dataset.parts["test"])
    assert tuple(evaluation.metrics) == tuple(evaluation.intervals) == metrics_of(dataset.task)
    for name, interval in evaluation.intervals.items():
        if interval is not None:
            assert interval[0] <= interval[1], name
            assert name in METRICS
    told = json.loads(json.dumps(evaluation.to_dict()))
    assert told["metrics"] == evaluation.metrics
    assert told["task"] == dataset.task
    if kind != "multi-label":
        return  # drawing takes longer than measuring, and the pages of runs are drawn too
    files = save_evaluation(evaluation, run, tmp_path)
    names = ["evaluation.json", "recall.png", "roc.png", "precision-recall.png", "mistakes.png", "curves.png"]
    assert [path.name for path in files] == names
    assert json.loads(files[0].read_text(encoding="utf-8")) == told


def test_several_labels(trained: Any) -> None:
    run, dataset = trained("multi-label")
    evaluation = evaluate(run, dataset=dataset, bootstrap=0)
    outputs, targets = outputs_of(run, dataset)
    probabilities = outputs.sigmoid()
    assert evaluation.metrics["mean_average_precision"] == pytest.approx(
        sk.average_precision_score(targets, probabilities, average="macro"), abs=1e-5
    )
    assert evaluation.loss == pytest.approx(
        float(torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets)), rel=1e-5
    )
    decided = probabilities >= 0.5
    for place, score in enumerate(evaluation.classes):
        assert score.support == int(targets[:, place].sum())
        assert score.recall == pytest.approx(sk.recall_score(targets[:, place], decided[:, place], zero_division=0.0))
    errors = [each.error for each in evaluation.worst]
    assert errors == sorted(errors, reverse=True)
    assert all(each.true != each.predicted for each in evaluation.worst)
    assert set(evaluation.intervals.values()) == {None}
    # Columns follow their names, wherever they stand.
    turned = type(dataset.parts["test"])(dataset.parts["test"].inputs, targets.flip(1))
    other = type(dataset)(**{**fields_of(dataset), "test": turned, "classes": dataset.classes[::-1]})
    assert evaluate(run, dataset=other, bootstrap=0).metrics == evaluation.metrics


def fields_of(dataset: Dataset) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in dataset.__dataclass_fields__}


def test_numbers_are_in_their_own_units(trained: Any) -> None:
    run, dataset = trained("regression")
    evaluation = evaluate(run, dataset=dataset, bootstrap=0)
    outputs, targets = outputs_of(run, dataset)
    said = run.network.unscaled(outputs)
    assert evaluation.metrics["mae"] == pytest.approx(sk.mean_absolute_error(targets, said), rel=1e-4)
    assert [score.name for score in evaluation.numbers] == list(dataset.classes)
    assert evaluation.loss == pytest.approx(float((outputs - run.network.scaled(targets)).square().mean()), rel=1e-4)
    deviation = targets.std(0)
    assert evaluation.worst[0].error == pytest.approx(float(((said - targets).abs() / deviation).max()), rel=1e-4)


@pytest.mark.parametrize("kind", ["segmentation", "volumes"])
def test_positions(kind: str, trained: Any) -> None:
    run, dataset = trained(kind)
    evaluation = evaluate(run, dataset=dataset, bootstrap=20)
    outputs, targets = outputs_of(run, dataset)
    said, kept = outputs.argmax(1), targets != dataset.void
    assert evaluation.metrics["pixel_accuracy"] == pytest.approx(float((said == targets)[kept].double().mean()))
    assert np.array_equal(
        evaluation.confusion, sk.confusion_matrix(targets[kept], said[kept], labels=range(len(dataset.classes)))
    )
    errors = [each.error for each in evaluation.worst]
    assert errors == sorted(errors, reverse=True)
    for each in evaluation.worst:
        assert each.said is not None
        assert torch.equal(each.said, said[each.index])
        assert torch.equal(each.truth, targets[each.index])


def test_verification(trained: Any) -> None:
    run, dataset = trained("verification")
    evaluation = evaluate(run, dataset=dataset, bootstrap=30, mistakes=6)
    inputs, identities = dataset.parts["test"].fetch(range(len(dataset.parts["test"])))
    with torch.no_grad():
        unit = torch.nn.functional.normalize(embed(run.model(), run.preprocessing(inputs)), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), 1)
    similarity, same = (unit[first] * unit[second]).sum(1), identities[first] == identities[second]
    assert evaluation.metrics["auroc"] == pytest.approx(sk.roc_auc_score(same, similarity), abs=1e-5)
    assert evaluation.loss is None
    assert evaluation.threshold is not None
    for pair in evaluation.pairs:
        assert (pair.similarity >= evaluation.threshold) != pair.same


def test_accuracy_is_for_classification_only(trained: Any) -> None:
    run, dataset = trained("regression")
    evaluation = evaluate(run, dataset=dataset, bootstrap=0)
    for name in ("correct", "accuracy", "interval"):
        with pytest.raises(InputError) as error:
            getattr(evaluation, name)
        assert str(error.value) == (
            "Expected an evaluation of classification, which has an accuracy; received one of regression. "
            "Its metrics are mae, rmse, r2, pearson: see evaluation.metrics."
        )


# Intervals -----------------------------------------------------------------------------------------------------------


def test_the_interval_of_the_accuracy_is_wilsons_unless_subjects_are_told(trained: Any) -> None:
    run, dataset = trained("image")
    plain = evaluate(run, dataset=dataset)
    assert plain.intervals["accuracy"] == plain.interval == wilson_interval(plain.correct, plain.count)
    test = dataset.parts["test"]
    told = type(test)(test.inputs, test.labels, groups=torch.arange(len(test)) // 5)
    grouped = evaluate(run, dataset=type(dataset)(**{**fields_of(dataset), "test": told}))
    assert grouped.metrics == plain.metrics
    assert grouped.intervals["accuracy"] != plain.interval
    again = evaluate(run, dataset=type(dataset)(**{**fields_of(dataset), "test": told}))
    assert again.intervals == grouped.intervals


# Views and calibration -----------------------------------------------------------------------------------------------


def test_views_are_averaged(trained: Any) -> None:
    run, dataset = trained("image")
    inputs, labels = dataset.parts["test"].fetch(range(len(dataset.parts["test"])))
    with torch.no_grad():
        mean = torch.stack(
            [run.model()(run.preprocessing(each)).softmax(1) for each in (inputs, inputs.flip(-1))]
        ).mean(0)
    evaluation = evaluate(run, dataset=dataset, tta=[Same(), Flip(-1)], bootstrap=0)
    assert evaluation.views == 2
    assert evaluation.accuracy == pytest.approx(float((mean.argmax(1) == labels).double().mean()))
    assert evaluation.metrics["log_loss"] == pytest.approx(
        float(torch.nn.functional.nll_loss(mean.log(), labels)), rel=1e-4
    )
    assert (
        evaluate(run, dataset=dataset, tta=[Same()], bootstrap=0).metrics
        == evaluate(run, dataset=dataset, bootstrap=0).metrics
    )


@pytest.mark.parametrize("kind", ["signal", "volume", "segmentation", "regression", "multi-label", "verification"])
def test_views_of_every_task(kind: str, trained: Any) -> None:
    run, dataset = trained(kind)
    assert evaluate(run, dataset=dataset, tta=True, bootstrap=0).views == len(
        default_views(dataset.task, dataset.input_size)
    )


def test_flips_of_positions_are_undone(trained: Any) -> None:
    run, dataset = trained("segmentation")
    test = dataset.parts["test"]
    inputs, masks = test.fetch(range(len(test)))
    with torch.no_grad():
        views = [run.model()(run.preprocessing(inputs)).softmax(1)]
        views.append(run.model()(run.preprocessing(inputs.flip(-1))).softmax(1).flip(-1))
    said, kept = torch.stack(views).mean(0).argmax(1), masks != dataset.void
    evaluation = evaluate(run, dataset=dataset, tta=[Same(), Flip(-1)], bootstrap=0)
    assert evaluation.metrics["pixel_accuracy"] == pytest.approx(float((said == masks)[kept].double().mean()))


def test_shifts_repeat_the_edge() -> None:
    values = torch.arange(6).reshape(1, 2, 3)
    assert Shift(-1, -1)(values).tolist() == [[[1, 2, 2], [4, 5, 5]]]
    assert Shift(-2, 1)(values).tolist() == [[[0, 1, 2], [0, 1, 2]]]
    assert torch.equal(Flip(-1).undo(Flip(-1)(values)), values)
    assert torch.equal(Shift(-1, 1).undo(Shift(-1, 1)(values))[..., :2], values[..., :2])


def test_a_temperature_is_fitted_kept_and_used(trained: Any) -> None:
    run, dataset = trained("image")
    (run.folder / CALIBRATION).unlink(missing_ok=True)
    plain = evaluate(run, dataset=dataset, bootstrap=0)
    assert plain.calibration is not None
    assert plain.calibration.scaled is None
    fitted = evaluate(run, dataset=dataset, bootstrap=0, calibration="fit")
    saved = evaluate(run, dataset=dataset, bootstrap=0, calibration="saved")
    assert saved.to_dict() == fitted.to_dict()
    assert fitted.calibration is not None
    found, scaled = fitted.calibration.fitted, fitted.calibration.scaled
    assert found is not None
    assert scaled is not None
    assert found == load_calibration(run, "best")
    assert found.count == len(dataset.parts["val"])
    assert found.log_loss_after <= found.log_loss_before
    assert fitted.accuracy == plain.accuracy
    assert fitted.loss == plain.loss
    assert fitted.calibration.plain == plain.calibration.plain
    assert fitted.metrics["log_loss"] == pytest.approx(scaled.log_loss)
    outputs, labels = outputs_of(run, dataset)
    expected = torch.nn.functional.cross_entropy(outputs / found.temperature, labels)
    assert scaled.log_loss == pytest.approx(float(expected), rel=1e-4)


def test_predictions_use_the_temperature_on_request(trained: Any, tmp_path: Any) -> None:
    run, dataset = trained("image")
    found = evaluate(run, dataset=dataset, bootstrap=0, calibration="fit").calibration.fitted
    np.save(tmp_path / "one.npy", dataset.parts["test"].inputs[0].numpy())
    with torch.no_grad():
        logits = run.model()(run.preprocessing(dataset.parts["test"].inputs[:1]))[0]
    for calibrated, temperature in ((False, 1.0), (True, found.temperature)):
        told = predict(run, tmp_path / "one.npy", calibrated=calibrated)[0]
        assert told.probability == pytest.approx(float((logits / temperature).softmax(0).max()), rel=1e-5)


def test_files_are_not_classified_by_other_tasks(trained: Any, tmp_path: Any) -> None:
    with pytest.raises(DataError) as error:
        predict(trained("regression")[0], tmp_path)
    assert str(error.value) == (
        "Expected a run that tells classes of files; received one of regression. "
        "Use run.model() and run.preprocessing, which give its outputs."
    )
    run, dataset = trained("multi-label")
    np.save(tmp_path / "one.npy", dataset.parts["test"].inputs[0].numpy())
    with torch.no_grad():
        expected = run.model()(run.preprocessing(dataset.parts["test"].inputs[:1]))[0].sigmoid()
    told = predict(run, tmp_path / "one.npy", top_k=3)[0].answers
    assert [answer.probability for answer in told] == pytest.approx(expected.sort(descending=True).values.tolist())


def test_a_calibration_that_cannot_be_used(trained: Any) -> None:
    run, dataset = trained("image")
    path = run.folder / CALIBRATION
    path.unlink(missing_ok=True)

    def refused(**arguments: Any) -> str:
        with pytest.raises((CheckpointError, DataError)) as error:
            evaluate(run, dataset=dataset, **arguments)
        return str(error.value)

    remedy = "Fit one: striate evaluate --calibrate."
    assert (
        refused(calibration="saved")
        == f"Expected a run with calibration.json; received {run.folder} without it. {remedy}"
    )
    good = {"weights": "best", "temperature": 2.0, "count": 9, "log_loss_before": 1.0, "log_loss_after": 0.5}
    good |= {"ece_before": 0.2, "ece_after": 0.1}
    path.write_text(json.dumps(good))
    assert load_calibration(run, "best").temperature == 2.0
    assert refused(calibration="saved", weights="last") == (
        f"Expected the calibration of the last weights; received {path} of 'best'. {remedy}"
    )
    for name, value in (("temperature", 0), ("temperature", "1"), ("count", None), ("ece_after", float("nan"))):
        path.write_text(json.dumps(good | {name: value}))
        assert refused(calibration="saved") == (
            f"Expected a calibration with numbers; received {path} with another {name}. {remedy}"
        )
    path.unlink()
    dataset = type(dataset)(**{**fields_of(dataset), "val": None})
    assert refused(calibration="fit") == (
        "Expected a validation part to fit the temperature to; received made here without one. "
        "Train with a data.val_fraction above 0."
    )


def test_what_cannot_be_evaluated(trained: Any) -> None:
    def refused(kind: str, **arguments: Any) -> str:
        run, dataset = trained(kind)
        changes = arguments.pop("changes", {})
        with pytest.raises(DataError) as error:
            evaluate(run, dataset=type(dataset)(**(fields_of(dataset) | changes)), **arguments)
        return str(error.value)

    assert refused("image", bootstrap=1) == (
        "Expected a bootstrap of 2 resamples or more, or 0; received bootstrap=1. Use 1000, or 0 for none."
    )
    assert refused("image", mistakes=-1) == (
        "Expected mistakes of 0 or more, how many to list; received mistakes=-1. Use 0 for none."
    )
    assert refused("image", tta=[]) == (
        "Expected a view of the inputs or more; received none. Leave views out to test the inputs as they are."
    )
    assert refused("text", tta=True) == (
        "Expected inputs with views, as images have; received texts. Leave tta out, or give views of your own."
    )
    assert refused("segmentation", tta=[torch.abs]).startswith(
        "Expected views that can be undone, for outputs per position; received <built-in method abs"
    )
    assert refused("regression", calibration="fit") == (
        "Expected a run of classification, whose probabilities a temperature calibrates; received one of regression. "
        "Leave the calibration out."
    )
    assert refused("regression", changes={"classes": ("width",)}) == (
        "Expected all of the run's numbers: width, height; received made here without 'height'. "
        "Give data that tells each of them."
    )
    assert refused("segmentation", changes={"classes": ("ground", "other", "cell")}) == (
        "Expected classes numbered as in the run: ground, cell, other; received ground, other, cell in made here. "
        "Number them alike."
    )
    assert refused("image", changes={"task": "regression"}) == (
        "Expected data for classification, as in training; received data for regression in made here. "
        "Give data of the same kind."
    )
