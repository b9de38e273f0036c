"""A teacher's answers as part of the loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from striate.errors import ConfigError
from striate.train import Quiet, fit
from striate.train.distillation import soft_loss

if TYPE_CHECKING:
    from pathlib import Path


def test_the_formula_by_hand() -> None:
    student, teacher, temperature = [[1.0, 3.0, 0.0], [0.5, 0.5, 2.0]], [[2.0, 2.0, 1.0], [0.0, 1.0, 4.0]], 3.0

    def softened(row: list[float]) -> list[float]:
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    expected = 0.0
    for given, taught in zip(student, teacher, strict=True):
        for q, p in zip(softened(given), softened(taught), strict=True):
            expected += temperature**2 * p * math.log(p / q) / 2
    tensors = (torch.tensor(rows, dtype=torch.float64) for rows in (student, teacher))
    assert soft_loss(*tensors, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_positions_of_maps_are_samples() -> None:
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [maps.movedim(1, -1).reshape(-1, 3) for maps in (student, teacher)]
    torch.testing.assert_close(soft_loss(student, teacher, 2.0), soft_loss(*rows, 2.0))


def test_the_first_loss_of_a_run(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    teacher = fit(make_config(epochs=4), tmp_path / "teacher", dataset=dataset, reporter=Quiet())
    plain = {"model": {"name": "tiny", "options": {"dropout": 0.0}}, "epochs": 1, "batch_size": 64}
    hard = fit(make_config(**plain), tmp_path / "hard", dataset=dataset, reporter=Quiet())
    taught = make_config(**plain, distillation={"teacher": str(teacher.folder), "temperature": 2.0, "alpha": 0.25})
    run = fit(taught, tmp_path / "student", dataset=dataset, reporter=Quiet())
    whole = make_config(**plain, distillation={"teacher": str(teacher.folder), "temperature": 2.0, "alpha": 1.0})
    soft = fit(whole, tmp_path / "soft", dataset=dataset, reporter=Quiet())
    # There is one step, so that all begin with the same weights.
    expected = 0.75 * hard.metrics[0]["train_loss"] + 0.25 * soft.metrics[0]["train_loss"]
    assert run.metrics[0]["train_loss"] == pytest.approx(expected, rel=1e-6)
    torch.manual_seed(0)
    fresh = teacher.network.build().train()
    fresh[3].p = 0.0
    with torch.no_grad():
        inputs = teacher.preprocessing(dataset.train.inputs)
        loss = soft_loss(fresh(inputs), teacher.model()(inputs), 2.0)
    assert soft.metrics[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_student_learns_from_its_teacher_alone(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    teacher = fit(make_config(epochs=12), tmp_path / "teacher", dataset=dataset, reporter=Quiet())
    config = make_config(epochs=12, distillation={"teacher": str(teacher.folder), "alpha": 1.0})
    run = fit(config, tmp_path / "student", dataset=dataset, reporter=Quiet())
    assert run.best is not None
    assert run.best["val_accuracy"] > 0.9


def test_teachers_of_something_else(make_config: Any, dataset: Any, made: Any, tmp_path: Path) -> None:
    teacher = fit(make_config(epochs=1), tmp_path / "teacher", dataset=dataset, reporter=Quiet())
    config = make_config(distillation={"teacher": str(teacher.folder)})
    with pytest.raises(ConfigError) as classes:
        fit(config, tmp_path / "a", dataset=made(classes=("a", "b", "c")), reporter=Quiet())
    assert str(classes.value) == (
        f"Expected a teacher of the classes a, b, c; received distillation.teacher={str(teacher.folder)!r} of top, "
        "middle, low. Train the teacher on the same data."
    )
    larger = made(
        **{name: type(part)(part.inputs.repeat(1, 1, 2, 2), part.labels) for name, part in dataset.parts.items()}
    )
    with pytest.raises(ConfigError) as size:
        fit(config, tmp_path / "b", dataset=larger, reporter=Quiet())
    assert str(size.value) == (
        "Expected a teacher of inputs with 1 channels of size (8, 8); received distillation.teacher="
        f"{str(teacher.folder)!r} of inputs with 1 channels of size (4, 4). Train the teacher on the same data, or "
        "give data.image_size and data.channels."
    )
    numbers = made(
        task="regression",
        **{name: type(part)(part.inputs, part.labels[:, None].float()) for name, part in dataset.parts.items()},
    )
    with pytest.raises(ConfigError) as task:
        fit(config, tmp_path / "c", dataset=numbers, reporter=Quiet())
    assert str(task.value).startswith("Expected a teacher and data of one task, classification or segmentation; ")
