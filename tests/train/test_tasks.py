"""Every task: from samples to a table of metrics, and what does not fit."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error
from torch import nn

from striate.data import TensorSamples
from striate.errors import CheckpointError, ConfigError, ModelError
from striate.models.registry import register, unregister
from striate.train import Quiet, Run, fit
from striate.train.tasks import TRAINING, say_metric, score_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Words(nn.Module):
    """Embeds tokens and averages them."""

    def __init__(self, tokens: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, 8)
        self.fc = nn.Linear(8, classes)
        self.head = "fc"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embedding(x).mean(1))


@pytest.fixture(autouse=True)
def other_models() -> Iterator[None]:
    @register(summary="", paper="", year=2000, input_size=4, min_input_size=2, spatial_dims=(2,), task="segmentation")
    def tiny_map(spatial_dims: int, in_channels: int, num_classes: int, *, padding: int = 1) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=padding), nn.ReLU(), nn.Conv2d(8, num_classes, 1))

    @register(summary="", paper="", year=2000, input_size=6, min_input_size=1, spatial_dims=(1,), input_kind="tokens")
    def tiny_words(spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
        return Words(in_channels, num_classes)

    yield
    unregister("tiny_map")
    unregister("tiny_words")


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 255, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def parts(target: Any, inputs: Any = pictures) -> dict[str, TensorSamples]:
    made = {}
    for seed, (name, count) in enumerate({"train": 120, "val": 40, "test": 8}.items()):
        given = inputs(count, seed)
        made[name] = TensorSamples(given, target(given))
    return made


def corners(inputs: torch.Tensor) -> torch.Tensor:
    """Two labels: whether the left and the right half are bright."""
    halves = torch.stack([inputs[..., :2].float().mean((1, 2, 3)), inputs[..., 2:].float().mean((1, 2, 3))], 1)
    return (halves > 127).float()


def columns(folder: Path) -> list[str]:
    return next(csv.reader((folder / "metrics.csv").read_text().splitlines()))


def test_multi_label(make_config: Any, made: Any, folder: Path) -> None:
    dataset = made(task="multi-label", classes=("left", "right"), **parts(corners))
    run = fit(make_config(epochs=15), folder, dataset=dataset, reporter=Quiet())
    assert run.config.loss.name == "binary_cross_entropy"
    assert run.config.best.metric == "val_mean_average_precision"
    assert columns(folder)[3:8] == [
        "train_loss", "train_micro_f1", "val_loss", "val_mean_average_precision", "val_macro_f1"
    ]  # fmt: skip
    with torch.inference_mode():
        logits = run.model("last")(run.preprocessing(dataset.val.inputs))
    targets = dataset.val.targets
    row = run.metrics[-1]
    assert row["val_loss"] == pytest.approx(nn.functional.binary_cross_entropy_with_logits(logits, targets).item())
    assert row["val_micro_f1"] == pytest.approx(f1_score(targets, logits >= 0, average="micro"))
    assert row["val_mean_average_precision"] == pytest.approx(average_precision_score(targets, logits), rel=1e-5)
    assert row["val_mean_average_precision"] > 0.9


def test_regression_learns_in_deviations_and_tells_in_units(make_config: Any, made: Any, folder: Path) -> None:
    def brightness(inputs: torch.Tensor) -> torch.Tensor:
        whole = inputs.float().mean((1, 2, 3))
        return torch.stack([1000 + whole, -0.01 * whole], 1)

    dataset = made(task="regression", classes=("light", "dark"), **parts(brightness))
    config = make_config(epochs=25, model={"name": "tiny", "options": {"dropout": 0.0}})
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert columns(folder)[3:] == [
        "train_loss", "train_mae", "val_loss", "val_mae", "val_rmse", "val_r2", "val_pearson"
    ]  # fmt: skip
    assert (run.config.loss.name, run.config.best.metric) == ("squared_error", "val_mae")
    train = dataset.train.targets.double()
    assert run.network.target_mean == pytest.approx(train.mean(0).tolist())
    assert run.network.target_std == pytest.approx(train.std(0, correction=0).tolist())
    with torch.inference_mode():
        outputs = run.network.unscaled(run.model("last")(run.preprocessing(dataset.val.inputs)))
    assert run.metrics[-1]["val_mae"] == pytest.approx(mean_absolute_error(dataset.val.targets, outputs), rel=1e-5)
    scaled = run.network.scaled(dataset.val.targets)
    torch.testing.assert_close(run.network.unscaled(scaled), dataset.val.targets)
    error = (run.network.scaled(outputs) - scaled).square().mean().item()
    assert run.metrics[-1]["val_loss"] == pytest.approx(error, rel=1e-3)
    assert run.metrics[-1]["val_r2"] > 0.8
    assert run.best is not None
    assert run.best["val_mae"] == min(row["val_mae"] for row in run.metrics)


def test_a_number_that_never_changes_has_deviation_1(make_config: Any, made: Any, folder: Path) -> None:
    dataset = made(task="regression", classes=("same",), **parts(lambda inputs: torch.full((len(inputs), 1), 7.0)))
    run = fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    assert (run.network.target_mean, run.network.target_std) == ((7.0,), (1.0,))


@pytest.mark.parametrize("void", [None, 9])
def test_segmentation(make_config: Any, made: Any, folder: Path, void: int | None) -> None:
    def bright(inputs: torch.Tensor) -> torch.Tensor:
        masks = (inputs[:, 0] > 127).long()
        if void is not None:
            masks[:, 0] = void
        return masks

    dataset = made(task="segmentation", classes=("dark", "bright"), void=void, **parts(bright))
    config = make_config(model="tiny_map", epochs=12, optimizer={"learning_rate": 0.05})
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert columns(folder)[3:7] == ["train_loss", "train_pixel_accuracy", "val_loss", "val_mean_dice"]
    assert (run.config.loss.name, run.config.loss.void, run.network.void) == ("dice_cross_entropy", void, void)
    with torch.inference_mode():
        said = run.model("last")(run.preprocessing(dataset.val.inputs)).argmax(1)
    told = dataset.val.targets != 9
    right = (said == dataset.val.targets)[told].double().mean().item()
    assert run.metrics[-1]["val_pixel_accuracy"] == pytest.approx(right)
    assert right > 0.9


def test_verification_compares_features_of_people_it_was_not_trained_on(
    make_config: Any, made: Any, folder: Path
) -> None:
    def people(count: int, seed: int) -> torch.Tensor:
        """Each has a bright pixel of their own; those of the other parts are new."""
        inputs = pictures(count, seed) // 4
        inputs.view(count, 16)[torch.arange(count), torch.arange(count) % 4 + 4 * seed] = 255
        return inputs

    made_parts = {}
    for seed, (name, count) in enumerate({"train": 120, "val": 40}.items()):
        made_parts[name] = TensorSamples(people(count, seed), torch.arange(count) % 4 + 4 * seed)
    dataset = made(task="verification", classes=tuple("abcdefgh"), test=None, **made_parts)
    run = fit(make_config(epochs=4), folder, dataset=dataset, reporter=Quiet())
    assert run.network.outputs == 4
    assert columns(folder)[3:7] == ["train_loss", "train_accuracy", "val_auroc", "val_eer"]
    assert (run.config.best.metric, run.config.early_stopping.metric) == ("val_auroc", "val_auroc")
    assert all(0 <= row["val_eer"] <= 1 for row in run.metrics)
    assert "val_loss" not in run.metrics[0]


def test_tokens(make_config: Any, made: Any, folder: Path) -> None:
    def sentences(count: int, seed: int) -> torch.Tensor:
        return torch.randint(2, 10, (count, 6), generator=torch.Generator().manual_seed(seed))

    dataset = made(
        input_kind="tokens",
        vocabulary=("<pad>", "<unknown>", *"abcdefgh"),
        classes=("no", "yes"),
        value_scale=1.0,
        **parts(lambda inputs: (inputs == 5).any(1).long(), sentences),
    )
    config = make_config(model="tiny_words", epochs=40, optimizer={"learning_rate": 0.05})
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert (run.network.input_kind, run.network.in_channels, run.network.vocabulary[5]) == ("tokens", 10, "d")
    assert run.best is not None
    assert run.best["val_accuracy"] > 0.85
    with pytest.raises(ModelError) as error:
        fit(make_config(model="tiny_words"), folder.with_name("b"), dataset=made(), reporter=Quiet())
    assert str(error.value) == (
        "Expected a network that takes values; received tiny_words, which takes tokens. "
        "`striate models --task classification --rank 2` lists those for this data."
    )


# What does not fit ---------------------------------------------------------------------------------------------------


def test_networks_that_do_not_serve(make_config: Any, dataset: Any, made: Any, folder: Path) -> None:
    masks = made(task="segmentation", **parts(lambda inputs: torch.zeros(len(inputs), 4, 4).long()))
    with pytest.raises(ModelError) as error:
        fit(make_config(), folder, dataset=masks, reporter=Quiet())
    assert str(error.value) == (
        "Expected a network that gives one class per position, for segmentation; received tiny, made for "
        "classification. `striate models --task segmentation --rank 2` lists those for this data."
    )
    with pytest.raises(ModelError) as other:
        fit(make_config(model="tiny_map"), folder, dataset=dataset, reporter=Quiet())
    assert str(other.value) == (
        "Expected a network that gives one answer per input, for classification; received tiny_map, made for "
        "segmentation. `striate models --task classification --rank 2` lists those for this data."
    )
    config = make_config(model={"name": "tiny_map", "options": {"padding": 0}})
    with pytest.raises(ModelError) as smaller:
        fit(config, folder, dataset=masks, reporter=Quiet())
    assert str(smaller.value) == (
        "Expected outputs of shape (2, 3, 4, 4); received (2, 3, 2, 2) from tiny_map. Pad the network "
        "(model.options.padding='same'), or give it a data.image_size that it keeps."
    )
    assert not (folder / "config.toml").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": "huber"},
            (
                "Expected a loss for classification; received loss.name='huber'. "
                "Choose one of: cross_entropy, focal, half_squared_error."
            ),
        ),
        (
            {"loss": {"class_weights": [1.0, 2.0]}},
            (
                "Expected loss.class_weights of 3 numbers, one for each of the classes; received 2 numbers. "
                "Give as many, or 'balanced'."
            ),
        ),
        (
            {"best": {"metric": "val_acuracy"}},
            (
                "Expected best.metric to be a metric of classification; received best.metric='val_acuracy'. "
                "Did you mean 'val_accuracy' or 'val_auroc'?"
            ),
        ),
        (
            {"early_stopping": {"metric": "val_mae", "patience": 1}},
            (
                "Expected early_stopping.metric to be a metric of classification; received "
                "early_stopping.metric='val_mae'. Did you mean 'val_ece' or 'val_macro_f1'?"
            ),
        ),
    ],
    ids=["loss", "weights", "best", "stopping"],
)
def test_settings_that_do_not_fit(
    make_config: Any, dataset: Any, folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        fit(make_config(**changes), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == message
    assert not folder.exists()


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"schedule": {"name": "plateau"}}, "schedule.metric='val_loss'"),
        ({"early_stopping": {"patience": 1}}, "early_stopping.metric='val_loss'"),
        ({"best": {"metric": "val_accuracy"}}, "best.metric='val_accuracy'"),
    ],
    ids=["plateau", "stopping", "best"],
)
def test_metrics_that_will_not_exist(
    make_config: Any, made: Any, folder: Path, changes: dict[str, Any], setting: str
) -> None:
    with pytest.raises(ConfigError) as error:
        fit(make_config(**changes), folder, dataset=made(val=None), reporter=Quiet())
    assert str(error.value) == (
        f"Expected {setting.partition('=')[0]} to be measured during the run; received {setting} without validation "
        "samples. Raise data.val_fraction, or watch train_loss."
    )


def test_balanced_sampling_needs_one_class_per_sample(make_config: Any, made: Any, folder: Path) -> None:
    dataset = made(task="multi-label", classes=("left", "right"), **parts(corners))
    with pytest.raises(ConfigError) as error:
        fit(make_config(sampling="balanced"), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        "Expected sampling='shuffled' where samples are not of one class each; received sampling='balanced' with data "
        "for multi-label. Weigh the classes instead: loss.class_weights='balanced'."
    )


def test_any_metric_of_the_table_can_decide(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(
        epochs=6,
        best={"metric": "val_log_loss"},
        early_stopping={"metric": "val_auroc", "patience": 2, "min_delta": 2.0},
        schedule={"name": "plateau", "metric": "val_ece"},
    )
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert run.finished == "no better val_auroc for 2 epochs"
    assert run.best is not None
    assert run.best["val_log_loss"] == min(row["val_log_loss"] for row in run.metrics)


def test_run_folders_of_other_formats(make_config: Any, dataset: Any, folder: Path) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    path = folder / "network.json"
    whole = path.read_text()
    for text, number in ((whole.replace('"format": 2,', ""), "1"), (whole.replace('"format": 2', '"format": 3'), "3")):
        path.write_text(text)
        with pytest.raises(CheckpointError) as error:
            Run.open(folder)
        assert str(error.value) == (
            f"Expected the description of a network in format 2; received {path} in format {number}. "
            "Use the version of Striate that wrote it, or train again."
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "regression"}, "target_mean and target_std should be 3 numbers each, deviations above 0"),
        ({"target_std": [1.0]}, "target_mean and target_std should be 0 numbers each, deviations above 0"),
        ({"classes": ["a", "b"]}, "classes should name the 3 outputs, not 2"),
        ({"classes": ["a"]}, "classes should have at least 2 items for classification"),
        ({"task": "verification", "classes": ["a", "b"]}, "classes should name the 3 outputs, not 2"),
    ],
)
def test_numbers_that_do_not_belong_together(
    make_config: Any, dataset: Any, folder: Path, change: dict[str, Any], reason: str
) -> None:
    fit(make_config(epochs=1), folder, dataset=dataset, reporter=Quiet())
    path = folder / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError) as error:
        Run.open(folder)
    assert str(error.value) == (
        f"Expected the description of a network; received {path}: {reason}. Resume the run, or train again."
    )


# Scores --------------------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert score_of("classification", logits, torch.tensor([0, 0, 0])) == 2 / 3
    mixed = torch.tensor([[0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    assert score_of("classification", logits, mixed) == 2 / 3
    # said: both, second, first of the third; true: first, second, none: 2 hits of 4 said and 2 true.
    said = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [1.0, -1.0]])
    true = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert score_of("multi-label", said, true) == 2 * 2 / (4 + 2)
    assert score_of("multi-label", said - 9, 0 * true) == 0
    assert score_of("regression", torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 5.0]])) == 2
    maps = torch.tensor([[[3.0, 0.0, 2.0], [1.0, 1.0, 0.0]]])
    assert score_of("segmentation", maps, torch.tensor([[0, 0, 7]]), void=7) == 0.5
    assert score_of("segmentation", maps, torch.tensor([[0, 0, 0]])) == 2 / 3


def test_every_score_is_a_metric_of_the_table() -> None:
    for task, training in TRAINING.items():
        assert training.task == task
        assert training.best in training.columns(has_val=True)
        assert say_metric(f"train_{training.score}", 0.5)


def test_metrics_in_words() -> None:
    assert say_metric("val_loss", 0.25) == "loss 0.2500"
    assert say_metric("val_mean_dice", 0.25) == "mean dice 25.00%"
    assert say_metric("val_r2", 0.25) == "r2 0.2500"
