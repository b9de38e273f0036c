"""Training, from top to bottom: read `fit`."""

from __future__ import annotations

import hashlib
import math
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric

from striate.data import Preprocessing, load_data
from striate.data.source import absolute_source
from striate.errors import ConfigError, DivergedError, StoppedError
from striate.models.outputs import main_output
from striate.train.checkpoint import TrainingState, save_weights, weights_of
from striate.train.config import RunConfig
from striate.train.curves import Curves
from striate.train.feed import batch_bounds, batches
from striate.train.folder import (
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    ENVIRONMENT,
    LAST,
    METRICS,
    RESULT,
    check_folder,
    claimed,
    config_of,
    describe_environment,
    enter_environment,
    write_json,
    written,
)
from striate.train.interruption import Interruption
from striate.train.loss import total_loss
from striate.train.network import Network
from striate.train.optimizer import Penalty, build_optimizer
from striate.train.progress import EpochMetrics, Sums, beats, write_metrics
from striate.train.randomness import epoch_order, seeded
from striate.train.report import Reporter, default_reporter, duration
from striate.train.run import Run
from striate.train.schedule import LearningRate, Patience

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor

    from striate.data import Dataset, Samples

DRAW_EVERY = 50
"""Steps between two points of the loss curve in TensorBoard."""


def fit(
    config: RunConfig,
    folder: str | PathLike[str],
    *,
    resume: bool = False,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train a network as ``config`` says, and keep everything about it in ``folder``.

    The same configuration gives the same bits on the same machine with the same number of threads. With ``resume`` a
    run in the folder goes on where its checkpoint is, in the middle of an epoch too, to the bits of a run that was
    never stopped; without one it starts, and a finished one is left as it is. ``dataset`` takes the place of the one
    that the configuration names. Ctrl-C and SIGTERM end the step, write a checkpoint and raise `StoppedError`; a
    second Ctrl-C raises `KeyboardInterrupt` at once. Random number generators and signal handlers are left as found.

    Raises `CheckpointError` for a folder that cannot be used, `ConfigError`, `DataError` and `ModelError` for what the
    configuration asks, `DivergedError` when the loss becomes NaN or infinite, and `RunError` when the system refuses to
    write, as on a full disk.

    ::

        config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
        run = fit(config, "runs/digits")
    """
    folder = Path(folder)
    reporter = default_reporter() if reporter is None else reporter
    config = _with_absolute_source(config)
    check_folder(folder, config, resume=resume)
    _check_device(config)
    dataset = load(config) if dataset is None else dataset
    config.check_metrics(has_val=dataset.val is not None)

    with claimed(folder, config, resume=resume), seeded(config.seed), Interruption() as interruption:
        # The network and what trains it.
        network = Network.of(config, dataset)
        preprocessing = Preprocessing.from_dict(network.preprocessing)
        fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        module = network.build()
        # Fused steps are PyTorch's fastest, but they hide the scaling of half-precision gradients from clipping.
        plain_optimizer = build_optimizer(config.optimizer, module, fused=config.precision != "16-mixed")
        model, optimizer = fabric.setup(module, plain_optimizer)
        penalty = Penalty(module, l1=config.optimizer.l1, l2=config.optimizer.l2)
        bounds = batch_bounds(len(dataset.train), config.batch_size)
        rate = LearningRate(
            config.schedule, config.optimizer.learning_rate, steps_per_epoch=len(bounds), epochs=config.epochs
        )
        patience = Patience(config.early_stopping.metric, config.early_stopping.min_delta)
        precision = fabric.strategy.precision
        state = TrainingState(module, plain_optimizer, precision, rate, patience, fingerprint(dataset, preprocessing))

        # The folder, as the checkpoint left it.
        if (folder / CHECKPOINT).exists():
            state.load(folder / CHECKPOINT)
        progress = state.progress
        with written(folder):
            if not (folder / CONFIG).exists():
                config.save(folder / CONFIG)
            network.save(folder)
            _write_derived(state, folder)
        if progress.finished:
            reporter.said(f"The run in {folder} is finished ({progress.finished}): there is nothing to resume.")
            return Run.open(folder)
        with written(folder):
            changed = enter_environment(folder / ENVIRONMENT, describe_environment(fabric.device))
            curves = Curves(folder / CURVES, progress)
        if changed:
            reporter.said(f"Resumed with other {', '.join(changed)}: the last bits of the result may differ.")
        clock = _Clock(progress.seconds)

        def save() -> None:
            progress.seconds = clock.seconds()
            with written(folder):
                state.save(folder / CHECKPOINT)
                _write_derived(state, folder)
            clock.saved()

        def stop() -> StoppedError:
            save()
            return StoppedError(
                f"Stopped by {interruption.signal} after step {progress.step} (epoch {progress.epoch + 1} of "
                f"{config.epochs}, batch {progress.batch} of {len(bounds)}). The checkpoint is written; go on with "
                f"`striate train --resume {shlex.quote(str(folder))}`."
            )

        def diverged(what: str, loss: float, indices: Tensor, samples: Samples) -> DivergedError:
            if state.best:
                with written(folder):
                    save_weights(state.best, folder / BEST)  # the checkpoint may be older than these
            # A validation loss is that of the last step that was done, the other of the one after it.
            step, batch = (progress.step + 1, progress.batch + 1) if what == "loss" else (progress.step, progress.batch)
            names = ", ".join(samples.name(index) for index in indices[:5].tolist())
            more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
            return DivergedError(
                f"The {what} became {loss} in step {step} (epoch {progress.epoch + 1}, batch {batch} of {len(bounds)}) "
                f"at learning rate {rate.at(step - 1):.6g}; the batch held {names}{more}. Lower "
                "optimizer.learning_rate, set gradient_clip, or look for broken values in these samples."
            )

        reporter.started(
            epochs=config.epochs, steps_per_epoch=len(bounds), step=progress.step, seen=progress.sums.count
        )
        try:
            while not progress.finished:
                # One epoch, or what is left of it.
                model.train()
                order = epoch_order(len(dataset.train), config.seed, progress.epoch)
                for indices, inputs, labels in batches(dataset.train, order, bounds[progress.batch :]):
                    learning_rate = rate.at(progress.step)
                    for group in plain_optimizer.param_groups:
                        group["lr"] = learning_rate
                    inputs, labels = fabric.to_device((inputs, labels))
                    output = model(preprocessing(inputs))
                    loss, logits = total_loss(config.loss, output, labels), main_output(output)
                    optimizer.zero_grad()
                    fabric.backward(loss)
                    if config.gradient_clip or penalty:
                        precision.unscale_gradients(plain_optimizer)
                    if config.gradient_clip:
                        torch.nn.utils.clip_grad_norm_(module.parameters(), config.gradient_clip)
                    penalty.add()
                    loss_value = loss.item()
                    if not math.isfinite(loss_value):
                        raise diverged("loss", loss_value, indices, dataset.train)
                    optimizer.step()

                    correct = int((logits.argmax(dim=1) == labels).sum())
                    progress.sums.add(loss=loss_value, correct=correct, count=len(labels))
                    progress.batch += 1
                    progress.step += 1
                    if progress.step % DRAW_EVERY == 0:
                        progress.losses.append((progress.step, loss_value, learning_rate, time.time()))
                        with written(folder):
                            curves.draw_step(*progress.losses[-1])
                    reporter.stepped(progress.step, progress.sums)
                    if interruption:
                        raise stop()
                    if clock.since_saved() >= config.checkpoint_seconds:
                        save()

                # Its validation and its row in the table.
                validation = Sums()
                if dataset.val is not None:
                    model.eval()
                    for indices, inputs, labels in batches(
                        dataset.val, torch.arange(len(dataset.val)), batch_bounds(len(dataset.val), config.batch_size)
                    ):
                        inputs, labels = fabric.to_device((inputs, labels))
                        with torch.inference_mode():
                            logits = model(preprocessing(inputs))
                            loss_value = config.loss(logits, labels).item()
                        if not math.isfinite(loss_value):
                            raise diverged("validation loss", loss_value, indices, dataset.val)
                        correct = int((logits.argmax(dim=1) == labels).sum())
                        validation.add(loss=loss_value, correct=correct, count=len(labels))
                        if interruption:
                            raise stop()
                row = EpochMetrics(
                    progress.epoch + 1,
                    progress.step,
                    rate.at(progress.step - 1),
                    progress.sums.loss,
                    progress.sums.accuracy,
                    validation.loss if dataset.val is not None else None,
                    validation.accuracy if dataset.val is not None else None,
                )

                # What follows from it.
                is_best = beats(row, progress.best)
                if is_best:
                    progress.best_epoch, state.best = row.epoch, weights_of(module)
                progress.history.append(row)
                progress.times.append((time.time(), clock.seconds()))
                rate.epoch_ended(row.values())
                stale = patience.stale_after(row.values().get(patience.metric, row.train_loss))
                progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, Sums()
                if progress.epoch == config.epochs:
                    progress.finished = f"all {config.epochs} epochs"
                elif config.early_stopping.patience and stale >= config.early_stopping.patience:
                    progress.finished = f"no better {patience.metric} for {stale} epochs"
                with written(folder):
                    write_metrics(progress.history, folder / METRICS)
                    curves.draw_epoch(row, progress.times[-1][0])
                reporter.epoch_ended(row, best=is_best)
                if progress.finished or clock.since_saved() >= config.checkpoint_seconds:
                    save()
        finally:
            reporter.stopped()
            with written(folder):
                curves.close()
        reporter.said(f"Finished after {progress.finished}, in {duration(progress.seconds)}.")
    return Run.open(folder)


def resume(folder: str | PathLike[str], *, dataset: Dataset | None = None, reporter: Reporter | None = None) -> Run:
    """Continue the run in ``folder`` with the settings it was started with; see `fit`.

    Raises `CheckpointError` if there is none.
    """
    config = RunConfig.from_toml(config_of(Path(folder)))
    return fit(config, folder, resume=True, dataset=dataset, reporter=reporter)


def load(config: RunConfig) -> Dataset:
    """Load the data that a configuration names. Raises `DataError`."""
    settings = config.data
    return load_data(
        settings.source,
        seed=config.seed,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        image_size=settings.image_size,
        channels=settings.channels,
        skip_corrupt=settings.skip_corrupt,
        layout=settings.layout,
        memory_limit=settings.memory_limit,
    )


def fingerprint(dataset: Dataset, preprocessing: Preprocessing) -> str:
    """Return a hash by which changed data is noticed.

    It takes in the classes, every part's shape, labels and names, and of the values the mean and the standard deviation
    of the training part, which are at hand.
    """
    digest = hashlib.sha256(repr((dataset.classes, preprocessing.to_dict())).encode())
    for samples in (dataset.train, dataset.val, dataset.test):
        if samples is not None:
            digest.update(repr((samples.item_shape, len(samples))).encode())
            digest.update(samples.labels.numpy().tobytes())
            digest.update("\0".join(map(samples.name, range(len(samples)))).encode(errors="surrogateescape"))
        digest.update(b"|")
    return digest.hexdigest()


class _Clock:
    """The time a run has taken over all its sessions, and the time since its last checkpoint."""

    def __init__(self, before: float) -> None:
        self._before, self._began, self._saved = before, time.perf_counter(), time.perf_counter()

    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def since_saved(self) -> float:
        return time.perf_counter() - self._saved

    def saved(self) -> None:
        self._saved = time.perf_counter()


def _write_derived(state: TrainingState, folder: Path) -> None:
    """Write the files that follow from the checkpoint; a process killed in between leaves them to the next."""
    progress = state.progress
    write_metrics(progress.history, folder / METRICS)
    if progress.step:
        save_weights(weights_of(state.model), folder / LAST)
    if state.best:
        save_weights(state.best, folder / BEST)
    if progress.finished:
        result = {"finished": progress.finished, "best_epoch": progress.best_epoch, "seconds": progress.seconds}
        write_json(result, folder / RESULT)


def _with_absolute_source(config: RunConfig) -> RunConfig:
    # So that the run can be repeated and evaluated from any folder.
    source = absolute_source(config.data.source)
    return config.model_copy(update={"data": config.data.model_copy(update={"source": source})})


def _check_device(config: RunConfig) -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise ConfigError(
            "a device that PyTorch finds", f"device={config.device!r}", "Use 'auto' or 'cpu', or mend its drivers."
        )
