"""Beginning with other weights, freezing, rates by stage, dropout and stochastic depth by one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from striate.data import TensorSamples
from striate.errors import CheckpointError, ConfigError, ModelError
from striate.models import create_model, model_entry
from striate.models.registry import register, unregister
from striate.nn import StochasticDepth
from striate.train import Quiet, fit
from striate.train.config import ModelSettings
from striate.train.fine_tuning import FineTuning, Freezing
from striate.train.network import load_initial
from striate.train.optimizer import SGD, AdamW, build_optimizer
from striate.train.regularisation import regularise
from striate.train.stages import parameters_by_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Staged(nn.Module):
    """Two stages with batch norm, and a head."""

    stages = ("second", "fourth")
    head = "fc"

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 3, 3, padding=1)
        self.second = nn.BatchNorm2d(3)
        self.third = nn.Conv2d(3, 4, 3, padding=1)
        self.fourth = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
        self.between = nn.Linear(4, 5)
        self.fc = nn.Linear(5, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fourth(self.third(self.second(self.first(x)).relu()))
        return self.fc(self.between(x.mean((2, 3))).relu())


@pytest.fixture(autouse=True)
def staged() -> Iterator[None]:
    @register(summary="", paper="", year=2000, input_size=4, min_input_size=2, spatial_dims=(2,), name="staged")
    def build(spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
        return Staged(in_channels, num_classes)

    yield
    unregister("staged")


def frozen(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


# Stages --------------------------------------------------------------------------------------------------------------


def test_stages_reach_to_their_modules() -> None:
    assert parameters_by_stage(Staged(1, 2)) == {
        "second": ("first.weight", "first.bias", "second.weight", "second.bias"),
        "fourth": ("third.weight", "third.bias", "fourth.0.weight", "fourth.0.bias"),
        "head": ("between.weight", "between.bias", "fc.weight", "fc.bias"),
    }


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "mobilenet_v2", "googlenet", "lenet5"])
def test_every_parameter_has_one_stage(name: str) -> None:
    with torch.device("meta"):
        model = model_entry(name).usual_form()
    found = [name for names in parameters_by_stage(model).values() for name in names]
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())


def test_networks_without_stages_say_so() -> None:
    with pytest.raises(ModelError) as error:
        parameters_by_stage(nn.Linear(1, 1))
    assert str(error.value) == (
        "Expected a network that names its stages in an attribute `stages`; received Linear. "
        "Name layers by patterns in fine_tuning.freeze, and leave optimizer.layer_decay at 1."
    )


def test_layer_decay_per_group() -> None:
    model = Staged(1, 2)
    groups = build_optimizer(AdamW(layer_decay=0.5, weight_decay=0.3), model).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: (group["scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rates == {
        name: (scale, 0.3 if parameter.ndim > 1 else 0.0)
        for name, parameter in model.named_parameters()
        for scale in [{"first": 0.25, "second": 0.25, "third": 0.5, "fourth": 0.5}.get(name.partition(".")[0], 1.0)]
    }


def test_a_step_with_layer_decay(make_config: Any, dataset: Any, folder: Path) -> None:
    """With plain SGD the weights move by rate, decay and gradient alone."""
    settings = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}
    moved = {}
    for decay in (1.0, 0.5):
        config = make_config(
            model="staged", epochs=1, batch_size=64, schedule="constant", optimizer=settings | {"layer_decay": decay}
        )
        run = fit(config, folder.with_name(str(decay)), dataset=dataset, reporter=Quiet())
        torch.manual_seed(0)
        fresh, last = create_model("staged", in_channels=1, num_classes=3), run.model("last")
        moved[decay] = {
            name: parameter.detach() - dict(fresh.named_parameters())[name].detach()
            for name, parameter in last.named_parameters()
        }
    for name, change in moved[0.5].items():
        scale = {"first": 0.25, "second": 0.25, "third": 0.5, "fourth": 0.5}.get(name.partition(".")[0], 1.0)
        torch.testing.assert_close(change, moved[1.0][name] * scale, rtol=1e-3, atol=1e-6)


# Freezing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        ("all but head", ["first", "second", "third", "fourth", "between"]),
        (1, ["first", "second"]),
        (0, []),
        ([], []),
        (["fourth"], ["third", "fourth"]),
        (["third", "b*"], ["third", "between"]),
        (["*.bias"], []),
    ],
)
def test_what_is_frozen(freeze: Any, kept: list[str]) -> None:
    model = Staged(1, 2)
    Freezing(model, FineTuning(freeze=freeze)).apply(0)
    if freeze == ["*.bias"]:
        assert frozen(model) == [name for name, _ in model.named_parameters() if name.endswith("bias")]
    else:
        assert frozen(model) == [name for name, _ in model.named_parameters() if name.partition(".")[0] in kept]


def test_frozen_batch_norm_stays_in_evaluation() -> None:
    model = Staged(1, 2)
    freezing = Freezing(model, FineTuning(freeze=1, unfreeze_after=2))
    for epoch, thawed in ((0, False), (1, False), (2, True)):
        model.train()
        freezing.apply(epoch)
        assert (model.second.training, model.fourth[0].training) == (thawed, True)
        assert (frozen(model) == []) == thawed


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (
            9,
            (
                "Expected fine_tuning.freeze from 0 to 2, the number of stages; received fine_tuning.freeze=9. "
                "Freeze fewer stages."
            ),
        ),
        (
            ["tenth"],
            (
                "Expected fine_tuning.freeze to be 'all but head', a number of stages, or names and patterns of "
                "layers; received 'tenth', which no parameter has. The network has first, second, third, fourth, "
                "between, fc, and what is inside them."
            ),
        ),
        (
            ["*"],
            (
                "Expected fine_tuning.freeze to leave something that learns; received fine_tuning.freeze=['*']. "
                "Freeze fewer layers."
            ),
        ),
    ],
)
def test_what_cannot_be_frozen(freeze: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Freezing(Staged(1, 2), FineTuning(freeze=freeze))
    assert str(error.value) == message


def test_a_run_that_thaws(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    """Frozen to the end, the body is that of the weights it began with, statistics too; thawed, it is not."""
    first = fit(make_config(model="staged"), tmp_path / "first", dataset=dataset, reporter=Quiet())
    start = load_file(first.folder / "best.safetensors")
    for unfreeze_after, same in ((None, True), (2, True), (1, False)):
        tuning = {"weights": str(first.folder), "freeze": "all but head", "unfreeze_after": unfreeze_after}
        config = make_config(model="staged", fine_tuning=tuning, averaging="ema")
        run = fit(config, tmp_path / f"then-{unfreeze_after}", dataset=dataset, reporter=Quiet())
        weights = torch.load(run.folder / "checkpoint.pt", weights_only=True)["model"]
        body = [name for name in weights if not name.startswith("fc.")]
        assert all(torch.equal(weights[name], start[name]) for name in body) == same
        assert not torch.equal(weights["fc.weight"], start["fc.weight"])


def test_beginning_with_another_run_and_other_classes(
    make_config: Any, dataset: Any, made: Any, tmp_path: Path
) -> None:
    class Heard(Quiet):
        def said(self, message: str) -> None:
            told.append(message)

    told: list[str] = []
    first = fit(make_config(model="staged"), tmp_path / "first", dataset=dataset, reporter=Quiet())
    two = made(
        classes=("even", "odd"),
        train=TensorSamples(dataset.train.inputs, dataset.train.labels % 2),
        val=None,
        test=None,
    )
    config = make_config(model="staged", fine_tuning={"weights": str(first.folder)}, epochs=1)
    fit(config, tmp_path / "second", dataset=two, reporter=Heard())
    assert told[0].startswith("16 tensors of ")
    assert "left fresh: fc.weight of 2x5" in told[0]
    torch.manual_seed(0)
    model = create_model("staged", in_channels=1, num_classes=2)
    load_initial(model, str(first.folder / "last.safetensors"))
    assert torch.equal(model.first.weight, load_file(first.folder / "last.safetensors")["first.weight"])


def test_weights_that_are_not_there(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(fine_tuning={"weights": "nowhere.pth"})
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        fit(config, folder, dataset=dataset, reporter=Quiet())


def test_paths_become_absolute(make_config: Any, dataset: Any, tmp_path: Path, monkeypatch: Any) -> None:
    fit(make_config(), tmp_path / "first", dataset=dataset, reporter=Quiet())
    monkeypatch.chdir(tmp_path)
    config = make_config(fine_tuning={"weights": "first"}, distillation={"teacher": "first"})
    run = fit(config, tmp_path / "second", dataset=dataset, reporter=Quiet())
    assert run.config.fine_tuning.weights == run.config.distillation.teacher == str(tmp_path / "first")


# Dropout and stochastic depth ----------------------------------------------------------------------------------------


def test_the_networks_own_option_is_set(make_config: Any, dataset: Any, folder: Path) -> None:
    run = fit(make_config(model={"name": "tiny", "dropout": 0.45}), folder, dataset=dataset, reporter=Quiet())
    assert run.network.options["dropout"] == 0.45
    assert run.model()[3].p == 0.45


def test_layers_are_set_where_there_is_no_option() -> None:
    blocks = nn.Sequential(nn.Dropout2d(0.1), StochasticDepth(0.0), nn.Dropout(0.9), StochasticDepth(0.5))
    regularise(blocks, ModelSettings(name="staged", dropout=0.3, stochastic_depth=0.2), model_entry("staged"))
    assert (blocks[0].p, blocks[2].p) == (0.3, 0.3)
    assert (blocks[1].probability, blocks[3].probability) == (0.1, 0.2)


@pytest.mark.parametrize("setting", ["dropout", "stochastic_depth"])
def test_networks_without_such_layers(make_config: Any, dataset: Any, folder: Path, setting: str) -> None:
    with pytest.raises(ModelError) as error:
        fit(make_config(model={"name": "staged", setting: 0.5}), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a network with {setting.replace('_', ' ')}; received model.{setting}=0.5 with staged, which has "
        "none. Leave it out."
    )


def test_sgd_does_without_what_is_frozen_for_good() -> None:
    model = Staged(1, 2)
    Freezing(model, FineTuning(freeze="all but head")).apply(0)
    held = [p for group in build_optimizer(SGD(), model).param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(model.fc.weight), id(model.fc.bias)}


def test_weights_thaw_under_momentum(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    """Weights that have no momentum yet learn beside those that have one."""
    config = make_config(
        model="staged",
        epochs=3,
        fine_tuning={"freeze": "all but head", "unfreeze_after": 1},
        optimizer={"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    )
    folder = fit(config, tmp_path / "run", dataset=dataset, reporter=Quiet()).folder
    buffers = torch.load(folder / "checkpoint.pt", weights_only=True)["optimizer"]["state"].values()
    assert all(state["momentum_buffer"] is not None for state in buffers)
