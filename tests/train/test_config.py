from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import ConfigError
from striate.train import RunConfig

if TYPE_CHECKING:
    from pathlib import Path

LEAST = {"model": {"name": "lenet"}, "data": {"source": "digits28"}}

MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 3}, "Expected only known settings in the configuration; received epoch=3. Did you mean 'epochs'?"),
    (
        {"epochs": "ten"},
        "Expected epochs to be a whole number; received epochs='ten'. Change epochs in the configuration.",
    ),
    (
        {"epochs": True},
        "Expected epochs to be a whole number; received epochs=True. Change epochs in the configuration.",
    ),
    ({"epochs": 0}, "Expected epochs of at least 1; received epochs=0. Change epochs in the configuration."),
    (
        {"seed": 2**32},
        "Expected seed less than 4294967296; received seed=4294967296. Change seed in the configuration.",
    ),
    (
        {"optimizer": {"learning_rat": 0.1}},
        (
            "Expected only known settings in [optimizer]; received optimizer.learning_rat=0.1. "
            "Did you mean 'learning_rate'?"
        ),
    ),
    (
        {"optimizer": {"name": "rmsprob"}},
        (
            "Expected optimizer.name to be one of sgd, adam, adamw, rmsprop; received optimizer.name='rmsprob'. "
            "Did you mean 'rmsprop'?"
        ),
    ),
    (
        {"optimizer": {"name": "adam", "weight_decay": 0.1}},
        (
            "Expected only known settings in [optimizer]; received optimizer.weight_decay=0.1. "
            "Did you mean 'layer_decay'?"
        ),
    ),
    (
        {"optimizer": {"learning_rate": -1.0}},
        (
            "Expected optimizer.learning_rate greater than 0.0; received optimizer.learning_rate=-1.0. "
            "Change learning_rate in [optimizer]."
        ),
    ),
    (
        {"optimizer": {"learning_rate": float("nan")}},
        (
            "Expected optimizer.learning_rate to be a finite number; received optimizer.learning_rate=nan. "
            "Change learning_rate in [optimizer]."
        ),
    ),
    (
        {"optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": True}},
        (
            "Expected a momentum above 0 with nesterov; received optimizer.momentum=0.0, optimizer.nesterov=True. "
            "Give a momentum, usually 0.9, or set nesterov to false."
        ),
    ),
    (
        {"schedule": 3},
        ("Expected schedule to be a table of settings; received schedule=3. Change schedule in the configuration."),
    ),
    (
        {"schedule": {"warmup_epochs": 12.0}},
        (
            "Expected schedule.warmup_epochs below the 12 epochs of the run; received schedule.warmup_epochs=12.0. "
            "Warm up for a shorter time, often 1 epoch, or train for longer."
        ),
    ),
    (
        {"loss": {"label_smoothing": 1.0}},
        (
            "Expected loss.label_smoothing less than 1.0; received loss.label_smoothing=1.0. "
            "Change label_smoothing in [loss]."
        ),
    ),
    (
        {"precision": "32"},
        (
            "Expected precision to be one of 32-true, 64-true, 16-mixed, bf16-mixed, bf16-true; "
            "received precision='32'. "
            "Choose one of: 16-mixed, 32-true, 64-true, bf16-mixed, bf16-true."
        ),
    ),
    (
        {"precision": "16-mixed", "device": "cpu"},
        (
            "Expected precision='bf16-mixed' or '32-true' on a CPU; received precision='16-mixed' with device='cpu'. "
            "Half-precision floats need a GPU; bfloat16 has the range of a float and needs no scaling."
        ),
    ),
    ({"data": {}}, "Expected data.source to be given; received no such setting. Add source to [data]."),
    (
        {"data": {"source": "x", "val_fraction": 0.5, "test_fraction": 0.5}},
        (
            "Expected data.val_fraction and data.test_fraction that leave a part to train on; received 0.5 + 0.5. "
            "Lower one of them."
        ),
    ),
    (
        {"data": {"source": "x", "image_size": [28, 0]}},
        (
            "Expected data.image_size of at least 1 on every axis; received data.image_size=[28, 0]. "
            "Give one size for all axes, or one per axis."
        ),
    ),
    (
        {"data": {"source": "x", "fold": [5, 5]}},
        (
            "Expected data.fold of two numbers [k, n], the k-th (from 0) of n folds; received data.fold=[5, 5]. "
            "Use [0, 5] for the first of 5."
        ),
    ),
    (
        {"data": {"source": "x", "options": {"window": len}}},
        (
            "Expected data.options of numbers, texts, booleans and lists of them; "
            "received data.options={'window': <built-in function len>}. Give values that a TOML file can hold."
        ),
    ),
    (
        {"augmentation": [{"name": len}]},
        (
            "Expected augmentation of numbers, texts, booleans and lists of them; "
            "received augmentation={'name': <built-in function len>}. Give values that a TOML file can hold."
        ),
    ),
    (
        {"averaging": {"name": "ema", "decay": 1.0}},
        ("Expected averaging.decay less than 1.0; received averaging.decay=1.0. Change decay in [averaging]."),
    ),
    (
        {"distillation": {"alpha": 2.0}},
        (
            "Expected distillation.alpha of at most 1.0; received distillation.alpha=2.0. "
            "Change alpha in [distillation]."
        ),
    ),
    (
        {"data": {"source": "x", "channels": 0}},
        "Expected data.channels of at least 1; received data.channels=0. Change channels in [data].",
    ),
    (
        {"model": {"name": "lenet", "options": {"hook": len}}},
        (
            "Expected model.options of numbers, texts, booleans and lists of them; "
            "received model.options={'hook': <built-in function len>}. Give values that a TOML file can hold."
        ),
    ),
]


@pytest.mark.parametrize(("changes", "message"), MESSAGES, ids=lambda value: str(value)[:40])
def test_messages(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig.from_dict(LEAST | changes)
    assert str(error.value) == message


def test_missing_sections() -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig.from_dict({"model": {"name": "lenet"}})
    assert str(error.value) == ("Expected data to be given; received no such setting. Add data to the configuration.")


def test_what_is_left_to_the_data_differs_from_nothing() -> None:
    open_ = RunConfig.from_dict(LEAST | {"loss": {"class_weights": "balanced"}, "augmentation": [{"name": "light"}]})
    settled = RunConfig.from_dict(
        LEAST
        | {
            "loss": {"name": "cross_entropy", "class_weights": [1.0, 2.0]},
            "best": {"metric": "val_accuracy"},
            "early_stopping": {"metric": "val_loss"},
            "augmentation": [{"name": "flip", "p": 0.5}],
        }
    )
    assert open_.differences(settled) == []
    named = RunConfig.from_dict(LEAST | {"loss": {"name": "cross_entropy", "class_weights": "balanced"}})
    assert named.differences(settled) == ["augmentation"]
    other = RunConfig.from_dict(LEAST | {"best": {"metric": "val_auroc"}, "augmentation": [{"name": "crop"}]})
    assert other.differences(settled) == ["best.metric", "augmentation"]


def test_a_section_may_leave_its_name_out() -> None:
    config = RunConfig.from_dict(LEAST | {"optimizer": {"learning_rate": 0.5}, "schedule": {"warmup_epochs": 1.0}})
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("adamw", 0.5)
    assert (config.schedule.name, config.schedule.warmup_epochs) == ("one_cycle", 1.0)


@settings(max_examples=50)
@given(
    rate=st.floats(1e-12, 1e3),
    momentum=st.floats(0, 0.999),
    epochs=st.integers(1, 10**6),
    source=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    size=st.none() | st.integers(1, 512) | st.lists(st.integers(1, 512), min_size=1, max_size=3),
)
def test_the_file_gives_the_same_configuration_back(
    tmp_path_factory: Any, rate: float, momentum: float, epochs: int, source: str, size: Any
) -> None:
    config = RunConfig.from_dict(
        {
            "model": {
                "name": "lenet",
                "options": {"dropout": rate, "field": (16, 20), "pool": "max", "none": None},
            },
            "data": {"source": source, "image_size": size},
            "epochs": epochs,
            "optimizer": {"name": "sgd", "learning_rate": rate, "momentum": momentum},
        }
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    config.save(path)
    again = RunConfig.from_toml(path)
    assert again == config
    assert again.differences(config) == []


def test_a_word_stands_for_a_section() -> None:
    short = RunConfig.from_dict({"model": "lenet", "data": "digits28", "optimizer": "sgd", "schedule": "cosine"})
    assert short == RunConfig.from_dict(LEAST | {"optimizer": {"name": "sgd"}, "schedule": {"name": "cosine"}})


def test_the_file_names_every_setting() -> None:
    config = RunConfig.from_dict(LEAST)
    text = config.to_toml()
    assert text.splitlines()[0].startswith("# A run of Striate.")
    assert '[optimizer]\nname = "adamw"\nlearning_rate = 0.002\n' in text
    for section in (config.model, config.data, config.optimizer, config.schedule, config.loss, config.early_stopping):
        for name, value in section:
            assert f"{name} = " in text or f".{name}]" in text or value is None, name


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError) as missing:
        RunConfig.from_toml(path)
    assert str(missing.value) == (
        f"Expected a configuration file; received {path}, which does not exist. Check the path."
    )
    path.write_text("epochs = = 3")
    with pytest.raises(ConfigError) as broken:
        RunConfig.from_toml(path)
    assert str(broken.value) == (
        f"Expected a configuration in TOML; received {path}: Invalid value (at line 1, column 10). "
        "Mend the file, or copy config.toml of a run."
    )
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="utf-8"):
        RunConfig.from_toml(path)


def test_differences_name_nested_settings() -> None:
    one = RunConfig.from_dict(LEAST)
    other = RunConfig.from_dict(LEAST | {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 2e-3}})
    assert set(one.differences(other)) == {
        "epochs", "optimizer.name", "optimizer.beta1", "optimizer.beta2", "optimizer.eps", "optimizer.weight_decay",
        "optimizer.momentum", "optimizer.nesterov",
    }  # fmt: skip
