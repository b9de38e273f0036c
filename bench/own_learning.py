"""Networks that gradients do not train: the neocognitron, and deep belief network and SVM, on Fashion-MNIST's head.

Their learning sees no labels. The neocognitron's cells are then named by the classes that make them answer, as in 1980
(``-then``), or its cells of all layers go to an SVM (``-today``), as those of the belief network do in its paper.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from machine import about
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from striate.data import load_data
from striate.insight import summary
from striate.models import create_model, model_entry
from striate.train.randomness import seeded
from striate.train.scores import wilson_interval

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from striate.data import Samples

DATA = "fashion_mnist_head"


@dataclass(frozen=True)
class OwnLearner:
    """A network, how its learning goes, and who gives the answers: its own ``cells`` or an ``svm``."""

    network: str
    options: dict[str, Any]
    images: int
    learning: dict[str, Any]
    answers: str


_NEOCOGNITRON = OwnLearner(
    # Grey clothes want more planes and a higher selectivity than the drawn digits of the paper.
    "neocognitron",
    {"planes": (24, 48, 96), "selectivity": (8.0, 2.5, 1.5)},
    2000,
    {"presentations": 2},
    "cells",
)
_BELIEF = OwnLearner("cdbn", {}, 4000, {"epochs": 4}, "svm")

OWN_LEARNERS = {
    "history/1980-neocognitron-then": _NEOCOGNITRON,
    "history/1980-neocognitron-today": OwnLearner(**{**vars(_NEOCOGNITRON), "answers": "svm"}),
    "history/2009-cdbn-then": _BELIEF,
}


def settings_of(learner: OwnLearner) -> str:
    """How a learner learns, in one line."""
    given = learner.options | learner.learning
    answers = "the classes of its cells" if learner.answers == "cells" else "SVM (RBF, C=10) on its features"
    return "; ".join([*(f"{k}={v}" for k, v in given.items()), f"learning from {learner.images} images", answers])


def learn_and_test(name: str, data: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Let a network learn, keep its weights in ``folder``, and return its row of the table."""
    learner = OWN_LEARNERS[name]
    dataset = load_data(data / DATA, val_fraction=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = _all(dataset.train)
    test_images, test_labels = _all(dataset.parts["test"])
    with seeded(seed):
        network: Any = create_model(learner.network, in_channels=dataset.in_channels, **learner.options)
        began = time.perf_counter()
        chosen = torch.randperm(len(images))[: learner.images]
        network.learn(images[chosen], progress=_tell, **learner.learning)
        seconds = time.perf_counter() - began
        predicted = _answers(learner, network, images, labels, test_images)
    torch.save(network.state_dict(), folder / "weights.pt")
    correct = int((predicted == test_labels.numpy()).sum())
    low, high = wilson_interval(correct, len(test_labels))
    epochs = next(iter(learner.learning.values()))
    return {
        "year": model_entry(learner.network).year,
        "network": learner.network,
        "data": DATA,
        "settings": settings_of(learner),
        "parameters": sum(p.numel() for p in network.parameters()),
        "macs": summary(network, (1, *images.shape[1:])).macs,
        "epochs": epochs,
        "seconds_per_epoch": round(seconds / epochs, 2),
        "samples": len(test_labels),
        "metric": "accuracy",
        "value": correct / len(test_labels),
        "low": low,
        "high": high,
        "more": {},
        "machine": about(),
    }


def _all(samples: Samples) -> tuple[Tensor, Tensor]:
    """A part as values from 0 to 1, which cells and binary units know, and its labels."""
    inputs, labels = samples.fetch(range(len(samples)))
    return inputs.float() / 255, labels


def _answers(learner: OwnLearner, network: Any, images: Tensor, labels: Tensor, test: Tensor) -> NDArray[np.integer]:
    if learner.answers == "cells":
        network.name_cells(images, labels)
        with torch.inference_mode():
            batches = [network(batch).argmax(1) for batch in torch.split(test, 256)]
        return torch.cat(batches).numpy()
    layers = range(1, network.depth + 1)
    scaler = StandardScaler()
    known = scaler.fit_transform(network.features(images, layers))
    asked = scaler.transform(network.features(test, layers))
    # SVC's own radial kernel, but by matrix products: libsvm takes an hour for so many features.
    gamma = 1 / (known.shape[1] * known.var())
    machine = SVC(C=10, kernel="precomputed").fit(rbf_kernel(known, gamma=gamma), labels.numpy())
    return np.asarray(machine.predict(rbf_kernel(asked, known, gamma=gamma)))


def _tell(layer: int, epoch: int, *facts: float) -> None:
    print(f"  layer {layer}, epoch {epoch}: {', '.join(f'{fact:.4g}' for fact in facts)}", flush=True)
