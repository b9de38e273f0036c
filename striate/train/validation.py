"""One pass over the validation part: the loss, and the metrics of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.train.embedding import embed
from striate.train.feed import batch_bounds, in_order
from striate.train.metrics import meter_of
from striate.train.progress import Sums
from striate.train.tasks import TRAINING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from striate.data import Preprocessing, Samples
    from striate.train.feed import Feed, Turn
    from striate.train.loss import LossSettings
    from striate.train.network import Network
    from striate.train.processes import Processes


def validate(
    model: nn.Module,
    samples: Samples,
    feed: Feed,
    *,
    network: Network,
    preprocessing: Preprocessing,
    loss: LossSettings,
    processes: Processes,
    batch_size: int,
    watch: Callable[[Turn, float], bool],
    settle: Callable[[], None],
) -> dict[str, float]:
    """Measure a network, which is left in evaluation, on the part ``val`` of a feed; return its metrics by column.

    ``watch`` is called after every batch with its loss, and ends the pass if it says so; ``settle``, at the end of the
    pass in all processes, may raise. Every process looks at its share of the samples, and all return the same. For
    verification, where people are new to the network, there is no loss, and features are compared in place of outputs.
    What cannot be said is left out.
    """
    training = TRAINING[network.task]
    meter = meter_of(network.task, classes=len(network.classes), void=network.void)
    sums = Sums()
    model.eval()
    places = processes.places(len(samples))
    batch_size = -(-batch_size // processes.count)
    for turn, inputs, targets in feed(in_order("val", len(places), batch_size, places.start)):
        inputs, targets = processes.here.to_device((inputs, targets))
        with processes.evaluating():
            prepared = preprocessing(inputs)
            if training.has_val_loss:
                output = model(prepared)
                value = loss(output, network.scaled(targets)).item()
                output = network.unscaled(output)
                sums.add(loss=value, count=len(targets), score=training.count(output, targets, network.void))
            else:
                output, value = embed(model, prepared), 0.0
            meter.add(output, targets)
        if watch(turn, value) and not processes.sharded:
            break
    if processes.sharded:
        _keep_in_step(model, samples, preprocessing, processes, batch_size)
    settle()
    parts = processes.to_first((sums, meter))

    def told() -> dict[str, float]:
        for more, other in parts[1:]:
            sums.merge(more)
            meter.merge(other)
        named = {name: value for name, value in meter.values().items() if value is not None}
        if training.has_val_loss:
            # The score as training counts it, in float64.
            named = {"loss": sums.loss, **named, training.score: sums.score}
        return {f"val_{name}": value for name, value in named.items()}

    return processes.from_first(told)


def _keep_in_step(
    model: nn.Module, samples: Samples, preprocessing: Preprocessing, processes: Processes, batch_size: int
) -> None:
    """Compute a sample for every batch that another process has more than this one."""
    shares = [len(processes.places(len(samples), rank)) for rank in range(processes.count)]
    counts = [len(batch_bounds(share, batch_size)) for share in shares]
    for _ in range(max(counts) - counts[processes.rank]):
        with processes.evaluating():
            model(preprocessing(processes.here.to_device(samples.fetch([0])[0])))
