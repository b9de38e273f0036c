"""The processes that train one network together: who they are, what each does, and what they tell each other.

This is the one place that knows about ranks. Lightning Fabric starts the processes (each runs the same command or
script again) unless ``torchrun`` has, and adds the gradients; a run of one process passes through here untouched.

The first process, rank 0, alone writes to the run's folder and tells what happens. Nobody waits for a process that is
gone: with its connections closed the others' exchanges fail, the first learns from the group's store why, and raises
that error as its own.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import random
import re
import sys
import traceback
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from striate.errors import ConfigError, DataError, InputError, RunError, StriateError
from striate.nn.synchronised import synchronise, uncounted
from striate.train.feed import piece_of
from striate.train.workers import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from lightning_fabric.strategies.parallel import ParallelStrategy
    from torch.distributed import ProcessGroup
    from torch.optim import Optimizer

    from striate.train.config import RunConfig
    from striate.train.feed import Turn

T = TypeVar("T")

_FAILED = "striate/failed"
_PARENT = "STRIATE_PARENT"  # in the environment: who starts the others
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|TCPStore|ProcessGroup", re.IGNORECASE)


def launched_counts(config: RunConfig) -> tuple[int, int]:
    """How many processes there are per node, and nodes: torchrun's numbers where it runs, else the configuration's."""
    if dist.is_available() and dist.is_torchelastic_launched():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    return config.devices, config.nodes


def restarted() -> bool:
    """Whether ``torchrun --max-restarts`` has started this process again after one has died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def follows() -> bool:
    """Whether this process trains along with a first one, which does the telling."""
    return dist.is_available() and dist.is_initialized() and dist.get_rank() > 0


def launch(config: RunConfig) -> Processes:
    """Start the processes that a configuration asks for, or join those that are started.

    Returns in every one of them. Raises `ConfigError` for devices that are not there, and where processes cannot be
    started because there is no script that they could run.
    """
    devices, nodes = launched_counts(config)
    _check_group(devices * nodes)
    if devices * nodes == 1:
        fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        return Processes(fabric, fabric)
    _check_devices(config, devices)
    _check_script(devices * nodes)
    strategy = _strategy(config, devices * nodes)
    # Its notes on how processes find each other are for those who develop it.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=config.device, strategy=strategy, devices=devices, num_nodes=nodes, precision=config.precision
    )
    if restarted():
        _join_again(fabric)
    with _watched():
        fabric.launch()
    device = fabric.device
    own: Any = [device.index] if device.type == "cuda" else 1
    here = Fabric(accelerator=device.type, devices=own, precision=config.precision)
    if isinstance(strategy, DDPStrategy):
        _hush(device)
    return Processes(fabric, here, *_groups())


@functools.cache
def _groups() -> tuple[ProcessGroup | None, ProcessGroup]:
    """Groups of all processes beside the usual one, made once, because a script may train several times.

    One is for values that are not on GPUs, None where the usual group serves. The other keeps the sums of batch norms
    apart from those of gradients, which overlap with them.
    """
    on_gpus = dist.get_backend() != "gloo"
    return dist.new_group(backend="gloo") if on_gpus else None, dist.new_group()


def _join_again(fabric: Fabric) -> None:
    """Meet the others apart from what the processes before a restart have left in torchrun's store: their addresses."""
    from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():
        return
    store, rank, size = next(rendezvous("env://"))
    apart = dist.distributed_c10d.PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "nccl" if fabric.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=apart, rank=rank, world_size=size)


@functools.cache
def _hush(device: torch.device) -> None:
    """Let PyTorch say once, where nobody hears it, that looking for unused parameters takes time: it has no filter."""
    with torch.random.fork_rng(devices=[]):
        model = DistributedDataParallel(nn.Linear(1, 1).to(device), find_unused_parameters=True)
    heard, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        model(torch.zeros(1, 1, device=device)).sum().backward()
    finally:
        os.dup2(heard, 2)
        os.close(heard)
        os.close(nowhere)


@contextmanager
def _watched() -> Iterator[None]:
    """While processes look for each other, those that this one starts end if it does: they would wait for half an hour.

    Later their connections tell them.
    """
    ours = os.environ.setdefault(_PARENT, str(os.getpid())) == str(os.getppid())
    if ours:
        end_with_parent()
    try:
        yield
    finally:
        os.environ.pop(_PARENT, None)
        if ours:
            end_with_parent(False)


class Processes:
    """The processes of a run, seen from one of them; with one process everything here does nothing.

    ``rank`` counts all processes, ``local_rank`` those of this node. ``fabric`` adds gradients over all processes;
    ``here`` is for networks that this process computes by itself. While it is entered, an error anywhere ends all.
    """

    def __init__(
        self, fabric: Fabric, here: Fabric, talk: ProcessGroup | None = None, norms: ProcessGroup | None = None
    ) -> None:
        self.fabric, self.here = fabric, here
        self._talk, self._norms = talk, norms
        self.rank, self.local_rank, self.count = fabric.global_rank, fabric.local_rank, fabric.world_size

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    # Exchanges ---------------------------------------------------------------------------------------------------

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them."""
        if self.alone:
            return make()
        sent: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(sent, src=0, group=self._talk)
        made: T = sent[0]
        return made

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order, in all of them."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self._talk)
        return values

    def to_first(self, value: T) -> list[T]:
        """The values of all processes, in their order, in the first; nothing in the others."""
        if self.alone:
            return [value]
        values: list[Any] | None = [None] * self.count if self.first else None
        dist.gather_object(value, values, dst=0, group=self._talk)
        return values or []

    def added(self, numbers: list[float]) -> list[float]:
        """The sums over all processes, the same bits in all of them."""
        if self.alone:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums, group=self._talk)
        return sums.tolist()

    def any(self, said: bool) -> bool:
        """Whether any process says so."""
        return said if self.alone else self.added([float(said)])[0] > 0

    def check_same(self, data: str) -> None:
        """Check that all processes have the same data, by its fingerprint. Raises `DataError`."""
        if len(set(self.gathered(data))) > 1:
            raise DataError(
                "the same data in all processes",
                "samples, labels or classes that differ between them",
                "Copy the data to every machine, or put it where all of them find it.",
            )

    # The network and its batches ---------------------------------------------------------------------------------

    def synchronise(self, module: nn.Module) -> None:
        """Let batch norms use the samples of all processes."""
        if not self.alone:
            synchronise(module, self._norms)

    def reseed(self, seed: int) -> None:
        """Give every process random numbers of its own; the first keeps those that one process would have."""
        if self.rank == 0:
            return
        torch.manual_seed(seed + (self.rank << 32))
        random.seed(f"{seed} {self.rank}")
        np.random.seed(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def piece(self, turn: Turn) -> Turn:
        """The piece of a batch that this process computes."""
        return turn if self.alone else piece_of(turn, self.rank, self.count)

    def places(self, size: int, rank: int | None = None) -> range:
        """A process's samples of a part that is looked at in its own order: as many as the others', in a row."""
        rank = self.rank if rank is None else rank
        return range(*(size * each // self.count for each in (rank, rank + 1)))

    @property
    def sharded(self) -> bool:
        """Whether the weights are spread over the processes, which then have to compute everything in step."""
        return not self.alone and not isinstance(self.fabric.strategy, DDPStrategy)

    def evaluating(self) -> AbstractContextManager[None]:
        """No gradients are computed, in the cheapest way there is."""
        return torch.no_grad() if self.sharded else torch.inference_mode()

    def whole(self, module: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
        """A network and its optimiser, whose states are whole, also where they are spread over the processes."""
        if not self.sharded:
            return module, optimizer
        from striate.train.sharding import WholeModel, WholeOptimizer

        return WholeModel(module), WholeOptimizer(module, optimizer)

    def weight(self, turn: Turn) -> float:
        """What the loss of a piece is multiplied by, so that the mean gradient is that of all samples of the step."""
        return turn.share * self.count

    @contextmanager
    def batch(self, model: nn.Module, turn: Turn) -> Iterator[None]:
        """Compute a piece of a batch: gradients are added at the end of the step, and some samples do not count."""
        if self.alone:
            yield
            return
        with ExitStack() as stack:
            if turn.share == 0:
                stack.enter_context(uncounted())
            if not turn.last:
                stack.enter_context(self.fabric.no_backward_sync(model))  # type: ignore[arg-type]
            yield

    # Errors ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.alone or error is None:
            return
        lost = _is_lost(error)
        if self.first:
            self._end_others()
            if lost:
                raise _published() or RunError(
                    "Another process of this run has died; often memory ran out. The checkpoint is whole: go on with "
                    "`striate train --resume`."
                ) from error
            return
        if not lost and isinstance(error, Exception):
            _publish(error, self)
        self._end_others()
        # The first process tells of it. Fabric would kill that one before it could, if another left with an error.
        code = 2 if isinstance(error, InputError) else 1
        raise SystemExit(code if dist.is_torchelastic_launched() or "SLURM_PROCID" in os.environ else 0) from None

    def _end_others(self) -> None:
        """End the processes that this one has started: all that is left to them is to wait for it."""
        children = getattr(self.fabric.strategy.launcher, "procs", [])
        ours = list(children)
        children.clear()  # Fabric's watch over them, which would kill this process too
        for child in ours:
            child.kill()
        for child in ours:
            child.wait()


# Errors of others ----------------------------------------------------------------------------------------------------


def _is_lost(error: BaseException) -> bool:
    """Whether an exchange has failed because another process is gone."""
    if isinstance(error, StriateError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or bool(_LOST.search(str(error)))


def _publish(error: Exception, processes: Processes) -> None:
    """Leave an error where the first process will look for it."""
    told = "".join(traceback.format_exception(error))
    if dist.get_backend() != "gloo":
        # Exchanges between GPUs do not fail at once when a process is gone, so the first may not come to tell.
        sys.stderr.write(f"Process {processes.rank + 1} of {processes.count}: {error}\n")
    try:
        content = pickle.dumps((processes.rank, error, told))
        pickle.loads(content)  # noqa: S301 - our own, just made: not every exception can be built again
    except Exception:  # of whatever the exception holds
        content = pickle.dumps((processes.rank, RunError(f"{type(error).__name__}: {error}"), told))
    with suppress(RuntimeError):  # the first process is gone, and the store with it
        _store().set(_FAILED, content)


def _published() -> Exception | None:
    """The error that another process has left."""
    try:
        if not _store().check([_FAILED]):
            return None
        rank, error, told = pickle.loads(_store().get(_FAILED))  # noqa: S301 - from a process of this very run
    except RuntimeError:
        return None
    error.add_note(f"In process {rank + 1}:\n{told}")
    made: Exception = error
    return made


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()  # noqa: SLF001 - the only way to the group's own store


# What must be there --------------------------------------------------------------------------------------------------


def _check_group(count: int) -> None:
    """Check that a run has as many processes as those before it in the same script, whose group it uses."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() != count:
        raise ConfigError(
            f"{dist.get_world_size()} processes, as in the runs before it in this script",
            f"a run with {count}",
            "Train it in a script of its own.",
        )


def _check_devices(config: RunConfig, devices: int) -> None:
    on_gpus = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpus and devices > torch.cuda.device_count():
        raise ConfigError(
            f"at most {torch.cuda.device_count()} devices, the GPUs of this machine",
            f"devices={devices}",
            "Use fewer, or device='cpu'.",
        )
    if config.device == "mps" or (config.device == "auto" and torch.backends.mps.is_available()):
        raise ConfigError("one device on Apple's GPUs", f"devices={devices}", "Use devices=1, or device='cpu'.")


def _check_script(count: int) -> None:
    """Check that other processes can run what this one runs."""
    if dist.is_initialized() or dist.is_torchelastic_launched() or "LOCAL_RANK" in os.environ:
        return
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if hasattr(sys, "ps1") or (module is None and not Path(sys.argv[0]).is_file()):
        raise ConfigError(
            f"a command or a script, which {count} processes can run",
            f"{count} processes from a notebook or an interactive session",
            "Put the call into a file and run that, or train with devices=1.",
        )


def _strategy(config: RunConfig, count: int) -> ParallelStrategy:
    if config.strategy == "fsdp":
        from striate.train.sharding import Sharding, check_sharding

        check_sharding(config)
        return Sharding(count)
    # Looking for unused parameters serves networks that freeze or skip layers, and keeps PyTorch from arranging its
    # buckets of gradients anew after the first step, which would change the last bits of a run that is resumed.
    return DDPStrategy(find_unused_parameters=True, forward_sync_buffers=False)
