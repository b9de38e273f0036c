"""Training, from top to bottom: read `fit`."""

from __future__ import annotations

import hashlib
import math
import shlex
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from striate.data import Preprocessing, TensorSamples, load_data
from striate.errors import ConfigError, DivergedError, StoppedError
from striate.memory import keep_memory
from striate.models import model_entry
from striate.models.outputs import main_output
from striate.train.averaging import Average
from striate.train.best import beats
from striate.train.checkpoint import TrainingState, read_checkpoint, weights_of
from striate.train.clock import Clock
from striate.train.config import RunConfig
from striate.train.distillation import Teacher
from striate.train.feed import Feed, batch_bounds, step_turns
from striate.train.fine_tuning import Freezing
from striate.train.folder import CHECKPOINT, check_folder, claimed, config_of
from striate.train.interruption import Interruption
from striate.train.lockstep import Lockstep
from striate.train.loggers.reporting import logged
from striate.train.loss import total_loss
from striate.train.network import Network, load_initial, shortest_text
from striate.train.optimizer import Penalty, build_optimizer
from striate.train.processes import launch, restarted
from striate.train.progress import EpochMetrics, Sums
from striate.train.randomness import rng_state, seeded
from striate.train.records import Records
from striate.train.regularisation import regularise
from striate.train.report import Quiet, Reporter, default_reporter, duration
from striate.train.run import Run
from striate.train.sampling import repetitions, sampled_order
from striate.train.schedule import LearningRate, Patience
from striate.train.settling import settled, with_absolute_paths
from striate.train.spool import shared
from striate.train.tasks import TRAINING
from striate.train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from os import PathLike
    from typing import Any

    from torch import Tensor

    from striate.data import Dataset, Samples
    from striate.train.feed import Augment, Turn
    from striate.train.processes import Processes

DRAW_EVERY = 50
"""Steps between two points of the loss curve in TensorBoard."""

_ENDING_SECONDS = 10.0  # that a process which has been killed may still hold the folder


def fit(
    config: RunConfig,
    folder: str | PathLike[str],
    *,
    resume: bool = False,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train a network as ``config`` says, and keep everything about it in ``folder``.

    The same configuration gives the same bits on the same machine with the same number of threads and processes. With
    ``resume`` a run in the folder goes on where its checkpoint is, in the middle of an epoch too, to the bits of a run
    that was never stopped; without one it starts, and a finished one is left as it is. ``dataset`` takes the place of
    the one that the configuration names. Ctrl-C and SIGTERM end the step, write a checkpoint and raise `StoppedError`;
    a second Ctrl-C raises `KeyboardInterrupt` at once. Random number generators and signal handlers are left as found;
    the process keeps from then on the memory that it frees (see `striate.keep_memory`).

    With several ``devices`` or ``nodes`` every process runs the script, or command, that calls this; all get the same
    `Run`, the first one alone writes and tells, and what fails in any of them is raised there, while the others exit
    (see docs/distributed.md).

    Raises `CheckpointError` for a folder that cannot be used, `ConfigError`, `DataError` and `ModelError` for what the
    configuration asks, `DivergedError` when the loss becomes NaN or infinite, and `RunError` when the system refuses to
    write, as on a full disk, or kills a process that prepares batches or trains along.

    ::

        config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
        run = fit(config, "runs/digits")
    """
    config = with_absolute_paths(config)
    _check_device(config)
    keep_memory()
    with launch(config) as processes:
        if not processes.first:
            reporter = Quiet()
        return _fit(config, Path(folder), resume or restarted(), dataset, reporter or default_reporter(), processes)


def _fit(
    config: RunConfig,
    folder: Path,
    resume: bool,
    given: Dataset | None,
    reporter: Reporter,
    processes: Processes,
) -> Run:
    """`fit`, in every one of its processes."""
    folder = processes.from_first(lambda: folder)
    processes.from_first(lambda: check_folder(folder, config, resume=resume))
    dataset = shared(lambda: load(config), processes) if given is None else given
    config = settled(config, dataset)
    training = TRAINING[dataset.task]
    columns = training.columns(has_val=dataset.val is not None)
    if processes.first:
        reporter = logged(reporter, config.loggers, config, folder)

    with (
        _held(folder, config, resume, processes),
        seeded(config.seed),
        Interruption() as interruption,
        Feed(dataset.parts, augmentation_of(config, dataset), config.data.workers) as feed,
    ):
        # The network and what trains it.
        network = processes.from_first(lambda: Network.of(config, dataset))
        preprocessing = Preprocessing.from_dict(network.preprocessing)
        fabric = processes.fabric
        module = network.build(dataset.vectors)
        regularise(module, config.model, model_entry(network.name))
        begun = processes.from_first(lambda: (folder / CHECKPOINT).exists())
        if config.fine_tuning.weights and not begun:
            reporter.said(str(load_initial(module, config.fine_tuning.weights)))
        processes.synchronise(module)
        freezing = Freezing(module, config.fine_tuning)
        if not freezing.thaws:
            freezing.apply(0)  # so that the optimiser does without
        # Fused steps are PyTorch's fastest, but they hide the scaling of half-precision gradients from clipping, and in
        # PyTorch 2.13 that of SGD fails where some weights have a momentum and others, just thawed, have none yet.
        fused = config.precision != "16-mixed" and not freezing.thaws and not processes.sharded
        model = fabric.setup_module(module)
        plain_optimizer = build_optimizer(config.optimizer, module, fused=fused)
        optimizer: Any = fabric.setup_optimizers(plain_optimizer)
        penalty = Penalty(module, l1=config.optimizer.l1, l2=config.optimizer.l2)
        kept_model, kept_optimizer = processes.whole(module, plain_optimizer)
        average = Average(kept_model, config.averaging, epochs=config.epochs)
        trained = model if processes.alone or processes.sharded else processes.here.setup(module)
        averaged = trained if average.copy is None else processes.here.setup(average.copy)
        teaching = config.distillation
        teacher = Teacher(Run.open(teaching.teacher), teaching, dataset, processes.here) if teaching.teacher else None
        bounds = batch_bounds(len(dataset.train), config.batch_size * config.accumulate)
        rate = LearningRate(
            config.schedule, config.optimizer.learning_rate, steps_per_epoch=len(bounds), epochs=config.epochs
        )
        rate_at = average.rates(rate.at, len(bounds))
        patience = Patience(config.early_stopping.metric, config.early_stopping.min_delta)
        precision = fabric.strategy.precision
        data = fingerprint(dataset, preprocessing)
        processes.check_same(data)
        state = TrainingState(kept_model, kept_optimizer, precision, rate, patience, average, data)
        state.progress.sums = Sums(training.score)
        network.try_out(trained, preprocessing, dataset.train, fabric)
        processes.reseed(config.seed)

        # The folder, as the checkpoint left it.
        if begun:
            path = folder / CHECKPOINT
            state.restore(processes.from_first(lambda: read_checkpoint(path)), path, processes.rank)
        progress = state.progress
        records = Records(folder, columns, state, processes)
        records.begin(config, network)
        if progress.finished:
            reporter.said(f"The run in {folder} is finished ({progress.finished}): there is nothing to resume.")
            return processes.from_first(lambda: Run.open(folder))
        if changed := records.enter():
            reporter.said(f"Resumed with other {', '.join(changed)}: the last bits of the result may differ.")
        clock = Clock(progress.seconds)

        def due() -> bool:
            return clock.since_saved() >= config.checkpoint_seconds

        lockstep = Lockstep(processes, interruption, due)

        def save() -> None:
            progress.seconds = clock.seconds()
            records.save(processes.to_first(rng_state())[1:])
            clock.saved()

        def stop() -> StoppedError:
            save()
            return StoppedError(
                f"Stopped by {lockstep.stop} after step {progress.step} (epoch {progress.epoch + 1} of "
                f"{config.epochs}, batch {progress.batch} of {len(bounds)}). The checkpoint is written; go on with "
                f"`striate train --resume {shlex.quote(str(folder))}`."
            )

        def diverged(what: str, found: tuple[float, Tensor] | None, samples: Samples) -> DivergedError:
            records.save_best()  # the checkpoint may be older than these
            # Whoever has found it tells the others.
            loss, indices = next(each for each in processes.gathered(found) if each is not None)
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
            turns = step_turns(
                order,
                keys,
                progress.epoch,
                batch_size=config.batch_size,
                accumulate=config.accumulate,
                first=first,
            )
            return map(processes.piece, turns)

        def validated() -> dict[str, float]:
            found: list[tuple[float, Tensor]] = []

            def watch(turn: Turn, loss: float) -> bool:
                if not math.isfinite(loss):
                    found.append((loss, turn.indices))
                return bool(found or interruption)

            def settle() -> None:
                if dataset.val is not None and processes.any(bool(found)):
                    raise diverged("validation loss", found[0] if found else None, dataset.val)
                if lockstep.agree_to_stop():
                    raise stop()

            if dataset.val is None:
                return {}
            return validate(
                averaged if average.count else trained,
                dataset.val,
                feed,
                network=network,
                preprocessing=preprocessing,
                loss=config.loss,
                processes=processes,
                batch_size=config.batch_size,
                watch=watch,
                settle=settle,
            )

        reporter.started(
            epochs=config.epochs, steps_per_epoch=len(bounds), step=progress.step, seen=progress.sums.count
        )
        try:
            while not progress.finished:
                # One epoch, or what is left of it.
                model.train()
                freezing.apply(progress.epoch)
                clock.epoch_began(feed)
                step_loss, mine, broken = 0.0, lockstep.part_of(progress.sums), None
                for turn, inputs, targets in feed(epoch_turns(progress.batch)):
                    inputs, targets = fabric.to_device((inputs, targets))
                    with processes.batch(model, turn):
                        output, scaled = model(preprocessing(inputs)), network.scaled(targets)
                        if teacher is None:
                            loss = total_loss(config.loss, output, scaled)
                        else:
                            loss = teacher.loss(config.loss, output, scaled, inputs)
                        weight = processes.weight(turn)
                        fabric.backward(loss if weight == 1 else loss * weight)
                    loss_value = loss.item()
                    if not math.isfinite(loss_value):
                        broken = broken or (loss_value, turn.indices)
                    if turn.share:
                        answers = network.unscaled(main_output(output))
                        score = training.count(answers, targets, network.void)
                        mine.add(loss=loss_value, count=len(targets), score=score)
                        step_loss += loss_value * turn.share
                    if not turn.last:
                        continue

                    # A whole step is gathered.
                    step_loss, any_broken = lockstep.agree(progress.sums, mine, step_loss, broken=broken is not None)
                    if any_broken:
                        raise diverged("loss", broken, dataset.train)
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
                        records.draw_step()
                    step_loss, mine = 0.0, lockstep.part_of(progress.sums)
                    reporter.stepped(progress.step, progress.sums)
                    if lockstep.stop:
                        raise stop()
                    if lockstep.due:
                        save()
                clock.epoch_trained(feed, reporter, config.data.workers)

                # Its validation and its row in the table.
                if average.epoch_ended(progress.epoch):
                    with average.learning_norms(), torch.no_grad():
                        for turn, inputs, _ in feed(epoch_turns(0)):
                            with processes.batch(model, turn):
                                averaged(preprocessing(fabric.to_device(inputs)))
                            if lockstep.agree_to_stop():
                                raise stop()
                metrics = {"train_loss": progress.sums.loss, f"train_{training.score}": progress.sums.score}
                row = EpochMetrics(progress.epoch + 1, progress.step, rate_at(progress.step - 1), metrics | validated())

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
                records.epoch_ended(row)
                reporter.epoch_ended(row, best=is_best)
                if progress.finished or processes.from_first(due):
                    save()
        finally:
            reporter.stopped()
            records.close()
        reporter.said(f"Finished after {progress.finished}, in {duration(progress.seconds)}.")
        return processes.from_first(lambda: Run.open(folder))


def resume(
    folder: str | PathLike[str],
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Continue the run in ``folder`` with the settings it was started with; see `fit`.

    ``changes`` are settings that a run may go on with others of: ``devices``, ``nodes``, ``strategy``. Raises
    `CheckpointError` if there is no run.
    """
    config = RunConfig.from_toml(config_of(Path(folder)))
    if changes:
        config = RunConfig.from_dict(config.model_dump(exclude_none=True) | dict(changes))
    return fit(config, folder, resume=True, dataset=dataset, reporter=reporter)


def _held(folder: Path, config: RunConfig, resume: bool, processes: Processes) -> AbstractContextManager[None]:
    """The folder, held by the first process."""
    if not processes.first:
        return nullcontext()
    return claimed(folder, config, resume=resume, wait_seconds=_ENDING_SECONDS if restarted() else 0.0)


def load(config: RunConfig, reading: Mapping[str, Any] | None = None) -> Dataset:
    """Load the data that a configuration names, if given as data of that ``reading`` is. Raises `DataError`."""
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
        shortest=shortest_text(config.model),
        reading=reading,
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


def _check_device(config: RunConfig) -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise ConfigError(
            "a device that PyTorch finds", f"device={config.device!r}", "Use 'auto' or 'cpu', or mend its drivers."
        )
