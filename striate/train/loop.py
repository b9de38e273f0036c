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

from striate.data import Preprocessing, TensorSamples, load_data
from striate.errors import ConfigError, DivergedError, StoppedError
from striate.memory import peak_bytes
from striate.models import model_entry
from striate.models.outputs import main_output
from striate.train.averaging import Average
from striate.train.best import beats
from striate.train.checkpoint import TrainingState, save_weights, weights_of
from striate.train.clock import Clock
from striate.train.config import RunConfig
from striate.train.curves import Curves
from striate.train.distillation import Teacher
from striate.train.feed import Feed, batch_bounds, step_turns
from striate.train.fine_tuning import Freezing
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
from striate.train.loggers.reporting import logged
from striate.train.loss import total_loss
from striate.train.network import Network, load_initial
from striate.train.optimizer import Penalty, build_optimizer
from striate.train.progress import EpochMetrics, Sums, write_metrics
from striate.train.randomness import seeded
from striate.train.regularisation import regularise
from striate.train.report import Reporter, default_reporter, duration
from striate.train.run import Run
from striate.train.sampling import repetitions, sampled_order
from striate.train.schedule import LearningRate, Patience
from striate.train.settling import settled, with_absolute_paths
from striate.train.tasks import TRAINING
from striate.train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from torch import Tensor

    from striate.data import Dataset, Samples
    from striate.train.feed import Augment, Turn

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
    write, as on a full disk, or kills a process that prepares batches.

    ::

        config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
        run = fit(config, "runs/digits")
    """
    folder = Path(folder)
    reporter = default_reporter() if reporter is None else reporter
    config = with_absolute_paths(config)
    check_folder(folder, config, resume=resume)
    _check_device(config)
    dataset = load(config) if dataset is None else dataset
    config = settled(config, dataset)
    training = TRAINING[dataset.task]
    columns = training.columns(has_val=dataset.val is not None)
    reporter = logged(reporter, config.loggers, config, folder)

    with (
        claimed(folder, config, resume=resume),
        seeded(config.seed),
        Interruption() as interruption,
        Feed(dataset.parts, augmentation_of(config, dataset), config.data.workers) as feed,
    ):
        # The network and what trains it.
        network = Network.of(config, dataset)
        preprocessing = Preprocessing.from_dict(network.preprocessing)
        fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        module = network.build(dataset.vectors)
        regularise(module, config.model, model_entry(network.name))
        if config.fine_tuning.weights and not (folder / CHECKPOINT).exists():
            reporter.said(str(load_initial(module, config.fine_tuning.weights)))
        freezing = Freezing(module, config.fine_tuning)
        if not freezing.thaws:
            freezing.apply(0)  # so that the optimiser does without
        # Fused steps are PyTorch's fastest, but they hide the scaling of half-precision gradients from clipping.
        plain_optimizer = build_optimizer(config.optimizer, module, fused=config.precision != "16-mixed")
        model, optimizer = fabric.setup(module, plain_optimizer)
        average = Average(module, config.averaging, epochs=config.epochs)
        averaged = model if average.copy is None else fabric.setup(average.copy)
        penalty = Penalty(module, l1=config.optimizer.l1, l2=config.optimizer.l2)
        teaching = config.distillation
        teacher = Teacher(Run.open(teaching.teacher), teaching, dataset, fabric) if teaching.teacher else None
        bounds = batch_bounds(len(dataset.train), config.batch_size * config.accumulate)
        rate = LearningRate(
            config.schedule, config.optimizer.learning_rate, steps_per_epoch=len(bounds), epochs=config.epochs
        )
        rate_at = average.rates(rate.at, len(bounds))
        patience = Patience(config.early_stopping.metric, config.early_stopping.min_delta)
        precision = fabric.strategy.precision
        data = fingerprint(dataset, preprocessing)
        state = TrainingState(module, plain_optimizer, precision, rate, patience, average, data)
        state.progress.sums = Sums(training.score)
        network.try_out(model, preprocessing, dataset.train, fabric)

        # The folder, as the checkpoint left it.
        if (folder / CHECKPOINT).exists():
            state.load(folder / CHECKPOINT)
        progress = state.progress
        with written(folder):
            if not (folder / CONFIG).exists():
                config.save(folder / CONFIG)
            network.save(folder)
            _write_derived(state, columns, folder)
        if progress.finished:
            reporter.said(f"The run in {folder} is finished ({progress.finished}): there is nothing to resume.")
            return Run.open(folder)
        with written(folder):
            changed = enter_environment(folder / ENVIRONMENT, describe_environment(fabric.device))
            curves = Curves(folder / CURVES, progress)
        if changed:
            reporter.said(f"Resumed with other {', '.join(changed)}: the last bits of the result may differ.")
        clock = Clock(progress.seconds)

        def save() -> None:
            progress.seconds = clock.seconds()
            with written(folder):
                state.save(folder / CHECKPOINT)
                _write_derived(state, columns, folder)
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
                f"at learning rate {rate_at(step - 1):.6g}; the batch held {names}{more}. Lower "
                "optimizer.learning_rate, set gradient_clip, or look for broken values in these samples."
            )

        def epoch_turns(first: int) -> Iterator[Turn]:
            order = sampled_order(dataset.train, config.sampling, config.seed, progress.epoch)
            keys = repetitions(order, len(dataset.train)) if config.augmentation else None
            return step_turns(
                order,
                keys,
                progress.epoch,
                batch_size=config.batch_size,
                accumulate=config.accumulate,
                first=first,
            )

        def watch(turn: Turn, loss: float) -> None:
            if dataset.val is not None and not math.isfinite(loss):
                raise diverged("validation loss", loss, turn.indices, dataset.val)
            if interruption:
                raise stop()

        reporter.started(
            epochs=config.epochs, steps_per_epoch=len(bounds), step=progress.step, seen=progress.sums.count
        )
        try:
            while not progress.finished:
                # One epoch, or what is left of it.
                model.train()
                freezing.apply(progress.epoch)
                clock.epoch_began(feed)
                step_loss = 0.0
                for turn, inputs, targets in feed(epoch_turns(progress.batch)):
                    inputs, targets = fabric.to_device((inputs, targets))
                    output, scaled = model(preprocessing(inputs)), network.scaled(targets)
                    if teacher is None:
                        loss = total_loss(config.loss, output, scaled)
                    else:
                        loss = teacher.loss(config.loss, output, scaled, inputs)
                    fabric.backward(loss if turn.share == 1 else loss * turn.share)
                    loss_value = loss.item()
                    if not math.isfinite(loss_value):
                        raise diverged("loss", loss_value, turn.indices, dataset.train)
                    answers = network.unscaled(main_output(output))
                    score = training.count(answers, targets, network.void)
                    progress.sums.add(loss=loss_value, count=len(targets), score=score)
                    step_loss += loss_value * turn.share
                    if not turn.last:
                        continue

                    # A whole step is gathered.
                    learning_rate = rate_at(progress.step)
                    for group in plain_optimizer.param_groups:
                        group["lr"] = learning_rate * group["scale"]
                    if config.gradient_clip or penalty:
                        precision.unscale_gradients(plain_optimizer)
                    if config.gradient_clip:
                        torch.nn.utils.clip_grad_norm_(module.parameters(), config.gradient_clip)
                    penalty.add()
                    optimizer.step()
                    optimizer.zero_grad()
                    average.stepped()
                    progress.batch += 1
                    progress.step += 1
                    if progress.step % DRAW_EVERY == 0:
                        progress.losses.append((progress.step, step_loss, learning_rate, time.time()))
                        with written(folder):
                            curves.draw_step(*progress.losses[-1])
                    step_loss = 0.0
                    reporter.stepped(progress.step, progress.sums)
                    if interruption:
                        raise stop()
                    if clock.since_saved() >= config.checkpoint_seconds:
                        save()
                clock.epoch_trained(feed, reporter, config.data.workers)

                # Its validation and its row in the table.
                if average.epoch_ended(progress.epoch):
                    with average.learning_norms(), torch.no_grad():
                        for _, inputs, _ in feed(epoch_turns(0)):
                            averaged(preprocessing(fabric.to_device(inputs)))
                            if interruption:
                                raise stop()
                metrics = {"train_loss": progress.sums.loss, f"train_{training.score}": progress.sums.score}
                if dataset.val is not None:
                    metrics |= validate(
                        averaged if average.count else model,
                        dataset.val,
                        feed,
                        network=network,
                        preprocessing=preprocessing,
                        loss=config.loss,
                        fabric=fabric,
                        batch_size=config.batch_size,
                        watch=watch,
                    )
                row = EpochMetrics(progress.epoch + 1, progress.step, rate_at(progress.step - 1), metrics)

                # What follows from it.
                is_best = beats(row, progress.best, config.best.metric)
                if is_best:
                    progress.best_epoch, state.best = row.epoch, weights_of(average.module)
                progress.history.append(row)
                progress.times.append((time.time(), clock.seconds()))
                rate.epoch_ended(row)
                stale = patience.stale_after(row.get(patience.metric))
                progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, Sums(training.score)
                if progress.epoch == config.epochs:
                    progress.finished = f"all {config.epochs} epochs"
                elif config.early_stopping.patience and stale >= config.early_stopping.patience:
                    progress.finished = f"no better {patience.metric} for {stale} epochs"
                with written(folder):
                    write_metrics(progress.history, columns, folder / METRICS)
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
        fit=settings.fit,
        normalise=settings.normalise,
        fold=settings.fold,
        options=settings.options,
    )


def augmentation_of(config: RunConfig, dataset: Dataset) -> Augment | None:
    """What is done to the training samples of a configuration, None for nothing. Raises `ConfigError`."""
    if not config.augmentation:
        return None
    from striate.data.augmentation import Augmentation, Facts

    return Augmentation.from_settings(config.augmentation, Facts.of(dataset), seed=config.seed)


def fingerprint(dataset: Dataset, preprocessing: Preprocessing) -> str:
    """Return a hash by which changed data is noticed.

    It takes in the task, the classes, every part's shape, targets (of masks only those in memory) and names, and of the
    values the mean and the standard deviation of the training part, which are at hand.
    """
    digest = hashlib.sha256(repr((dataset.task, dataset.classes, preprocessing.to_dict())).encode())
    for samples in (dataset.train, dataset.val, dataset.test):
        if samples is not None:
            digest.update(repr((samples.item_shape, len(samples))).encode())
            targets = samples.targets if isinstance(samples, TensorSamples) else samples.labels
            digest.update(targets.numpy().tobytes())
            digest.update("\0".join(map(samples.name, range(len(samples)))).encode(errors="surrogateescape"))
        digest.update(b"|")
    return digest.hexdigest()


def _write_derived(state: TrainingState, columns: tuple[str, ...], folder: Path) -> None:
    """Write the files that follow from the checkpoint; a process killed in between leaves them to the next."""
    progress = state.progress
    write_metrics(progress.history, columns, folder / METRICS)
    if progress.step:
        save_weights(weights_of(state.average.module), folder / LAST)
    if state.best:
        save_weights(state.best, folder / BEST)
    if progress.finished:
        result = {
            "finished": progress.finished,
            "best_epoch": progress.best_epoch,
            "seconds": progress.seconds,
            "peak_bytes": peak_bytes(),
        }
        write_json(result, folder / RESULT)


def _check_device(config: RunConfig) -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise ConfigError(
            "a device that PyTorch finds", f"device={config.device!r}", "Use 'auto' or 'cpu', or mend its drivers."
        )
