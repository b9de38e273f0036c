"""A small data set in memory, a tiny network with dropout and batch norm, and configurations of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from striate.data import Dataset, TensorSamples
from striate.models.registry import register, unregister
from striate.ops import use_compiled
from striate.train import Quiet, Run, RunConfig, fit

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


# Runs of every task and rank, with networks of the package, for what is made of runs --------------------------------


def tiny_segmenter(spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    return nn.Sequential(conv(in_channels, 8, 3, padding=1), nn.ReLU(), conv(8, num_classes, 1))


@pytest.fixture(scope="session")
def runs_by_kind() -> dict[str, tuple[Run, Dataset]]:
    return {}


@pytest.fixture
def trained(
    runs_by_kind: dict[str, tuple[Run, Dataset]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[Run, Dataset]]]:
    """Gives a run of a kind of data, and that data; trained once and shared, so that tests leave it as it is."""
    register(
        summary="A tiny segmenter",
        paper="",
        year=2000,
        input_size=8,
        min_input_size=2,
        spatial_dims=(2, 3),
        task="segmentation",
    )(tiny_segmenter)

    def run_of(kind: str) -> tuple[Run, Dataset]:
        if kind not in runs_by_kind:
            dataset, model = _of_kind(kind)
            config = RunConfig.from_dict(
                {"model": model, "data": {"source": "made here"}, "epochs": 2, "batch_size": 8, "device": "cpu"}
                | {"optimizer": {"learning_rate": 0.003}}
            )
            folder = tmp_path_factory.mktemp(kind) / f"{kind} <b>&amp;é"
            runs_by_kind[kind] = (fit(config, folder, dataset=dataset, reporter=Quiet()), dataset)
        return runs_by_kind[kind]

    with use_compiled(False):  # dozens of kernels, and none of them is what these tests are about
        yield run_of
    unregister("tiny_segmenter")


def _of_kind(kind: str) -> tuple[Dataset, dict[str, Any]]:
    generator = torch.Generator().manual_seed(5)
    count = 48
    task = kind if kind in ("multi-label", "regression", "segmentation", "verification") else "classification"
    size = {"signal": (32,), "volume": (8, 8, 8), "volumes": (8, 8, 8)}.get(kind, (16, 16))
    classes: tuple[str, ...] = ("dim <i>", "bright & é", "dark")
    targets = torch.arange(count) % 3
    inputs = torch.randn((count, 1, *size), generator=generator)
    extra: dict[str, Any] = {}
    model: dict[str, Any] = {"name": "two_conv" if kind == "volume" else "lenet"}
    if kind == "text":
        extra = {"input_kind": "tokens", "vocabulary": ("", "?", "good", "bad", "a", "<script>alert(1)</script>")}
        inputs = torch.randint(2, 6, (count, 12), generator=generator)
        model = {"name": "text_cnn_rand", "options": {"embedding_dim": 8, "filters": 4}}
    elif kind == "multi-label":
        targets = (torch.rand(count, 3, generator=generator) < 0.5).float()
        targets[0], targets[1] = 0, 1
    elif kind == "regression":
        classes, targets = ("width", "height"), torch.randn(count, 2, generator=generator) * 30 + 200
    elif kind in ("segmentation", "volumes"):
        task, classes = "segmentation", ("ground", "cell", "other")
        targets = (inputs[:, 0] > 0.5).long() + (inputs[:, 0] > 1.5).long()
        targets[:, 0] = 9
        extra, model = {"void": 9}, {"name": "tiny_segmenter"}
    elif kind == "verification":
        classes, targets = tuple(f"person {number}" for number in range(12)), torch.arange(count) // 4
        # The part that is trained on has the first six people.
        targets = torch.cat((torch.arange(24) % 6, 6 + torch.arange(24) % 6))
        inputs = inputs + torch.randn((12, 1, *size), generator=generator)[targets]
    elif kind != "text":
        inputs = inputs + targets.reshape(-1, 1, *[1] * len(size))
    if task == "classification":
        targets[45:] = (targets[45:] + 1) % 3  # what no network gets right
    bounds = {"train": (0, 24), "val": (24, 36), "test": (36, 48)}
    parts = {
        name: TensorSamples(inputs[start:end], targets[start:end], lambda index, name=name: f"{name} <{index}>")
        for name, (start, end) in bounds.items()
    }
    fields = {"source": "made here", "kind": "memory", "reason": "made in a test", "official": ()}
    sizes = {"stored_sizes": {size if kind != "text" else (12,): count}, "value_scale": 1.0}
    return Dataset(**parts, **fields, **sizes, classes=classes, task=task, **extra), model
