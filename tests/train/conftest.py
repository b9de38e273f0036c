"""A small data set in memory, a tiny network with dropout and batch norm, and configurations of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from striate.data import Dataset, TensorSamples
from striate.models.registry import register, unregister
from striate.train import RunConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def tiny(spatial_dims: int, in_channels: int, num_classes: int, *, dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


@pytest.fixture(autouse=True)
def tiny_model() -> Iterator[None]:
    register(summary="A tiny test network", paper="", year=2000, input_size=4, min_input_size=2, spatial_dims=(2,))(
        tiny
    )
    yield
    unregister("tiny")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_samples(count: int, seed: int, prefix: str = "item") -> TensorSamples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    inputs = torch.randint(0, 90, (count, 1, 4, 4), generator=generator)
    inputs[torch.arange(count), 0, labels] += 120  # the class is the bright row
    return TensorSamples(inputs.to(torch.uint8), labels, lambda index: f"{prefix} {index}")


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset()


def make_dataset(**changes: Any) -> Dataset:
    parts: dict[str, Any] = {"train": make_samples(53, 1), "val": make_samples(17, 2), "test": make_samples(30, 3)}
    fields: dict[str, Any] = {
        "source": "rows",
        "kind": "memory",
        "reason": "made here",
        "classes": ("top", "middle", "low"),
        "value_scale": 255.0,
        "official": (),
        "stored_sizes": {(4, 4): 100},
    }
    return Dataset(**(parts | fields | changes))


@pytest.fixture
def make_config() -> Callable[..., RunConfig]:
    return config_of


def config_of(**changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "model": {"name": "tiny"},
        "data": {"source": "rows"},
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "optimizer": {"learning_rate": 0.01},
    }
    return RunConfig.from_dict(settings | changes)


@pytest.fixture
def made() -> Callable[..., Dataset]:
    return make_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
