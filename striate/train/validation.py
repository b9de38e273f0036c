"""One pass over the validation part: the loss, and the metrics of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.train.embedding import embed
from striate.train.feed import in_order
from striate.train.metrics import meter_of
from striate.train.progress import Sums
from striate.train.tasks import TRAINING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric
    from torch import nn

    from striate.data import Preprocessing, Samples
    from striate.train.feed import Feed, Turn
    from striate.train.loss import LossSettings
    from striate.train.network import Network


def validate(
    model: nn.Module,
    samples: Samples,
    feed: Feed,
    *,
    network: Network,
    preprocessing: Preprocessing,
    loss: LossSettings,
    fabric: Fabric,
    batch_size: int,
    watch: Callable[[Turn, float], None],
) -> dict[str, float]:
    """Measure a network, which is left in evaluation, on the part ``val`` of a feed; return its metrics by column.

    ``watch`` is called after every batch with its loss, and may raise. For verification, where people are new to the
    network, there is no loss, and features are compared in place of outputs. What cannot be said is left out.
    """
    training = TRAINING[network.task]
    meter = meter_of(network.task, classes=len(network.classes), void=network.void)
    sums = Sums()
    model.eval()
    for turn, inputs, targets in feed(in_order("val", len(samples), batch_size)):
        inputs, targets = fabric.to_device((inputs, targets))
        with torch.inference_mode():
            prepared = preprocessing(inputs)
            if training.has_val_loss:
                output = model(prepared)
                value = loss(output, network.scaled(targets)).item()
                output = network.unscaled(output)
                sums.add(loss=value, count=len(targets), score=training.count(output, targets, network.void))
            else:
                output, value = embed(model, prepared), 0.0
            meter.add(output, targets)
        watch(turn, value)
    told = {name: value for name, value in meter.values().items() if value is not None}
    if training.has_val_loss:
        # The score as training counts it, in float64.
        told = {"loss": sums.loss, **told, training.score: sums.score}
    return {f"val_{name}": value for name, value in told.items()}
