"""Processes that prepare batches, through PyTorch's DataLoader, in the order and with the bits of a single process."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from striate.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from striate.train.feed import Source, Turn


_PR_SET_PDEATHSIG = 1  # of linux/prctl.h: the signal that a process gets when its parent dies
_TENSORS = ("indices", "keys")


class Workers:
    """A pool of ``count`` processes that serves epoch after epoch.

    Errors in the data come out as they were raised. Raises `RunError` when a process is killed, as the system does when
    memory runs out. Ctrl-C is left to the process that trains.
    """

    def __init__(self, source: Source, count: int) -> None:
        self._sent: list[Any] = []
        # Where a process can be forked, samples in memory are shared and nothing has to be sent.
        forks = "fork" in multiprocessing.get_all_start_methods()
        with _quietly():
            self._loader: DataLoader[Any] | None = DataLoader(
                _Prepared(source),
                batch_sampler=self._sent,
                num_workers=count,
                collate_fn=_as_it_is,
                persistent_workers=True,
                worker_init_fn=_begin,
                multiprocessing_context="fork" if forks else None,
                # Its own, or starting an epoch would draw from the generator that training draws from.
                generator=torch.Generator(),
            )

    def __call__(self, turns: list[Turn]) -> Iterator[tuple[Turn, Tensor, Tensor]]:
        """Yield (turn, inputs, targets) of each turn."""
        if self._loader is None:
            raise RunError("The processes that prepare batches have ended.")
        # Arrays are sent as they are; tensors would each take a file of shared memory.
        self._sent[:] = [_plain(turn) for turn in turns]
        try:
            with _quietly():
                batches = iter(self._loader)
            for turn, batch in zip(turns, batches, strict=True):
                if isinstance(batch, InputError):
                    raise batch
                yield turn, *batch
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            reason = str(error).splitlines()[0].rstrip(". ")
            raise RunError(
                f"A process that prepares batches has died ({reason}); often memory ran out. Lower data.workers, and "
                "resume the run: its checkpoint is whole."
            ) from error

    def close(self) -> None:
        """End the processes, also where an error still holds the batches that they were making."""
        batches = getattr(self._loader, "_iterator", None)
        if batches is not None:
            batches._shutdown_workers()  # noqa: SLF001 - PyTorch has no public way; Lightning does the same
        self._loader = None


@contextmanager
def _quietly() -> Iterator[None]:
    """Do without two warnings.

    Python warns of forks beside threads, which the children here never wait for, and PyTorch of more processes than
    processors, which is the user's choice.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        yield


class _Prepared(Dataset[Any]):
    """What a worker holds: PyTorch asks it for a turn as if that were a list of indices."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitems__(self, sent: Any) -> Any:
        try:
            return self._source(_turn(sent))
        except InputError as error:
            # PyTorch would build it again of one text, and errors here are built of three.
            return error


def _plain(turn: Turn) -> Any:
    return turn._replace(**{name: getattr(turn, name).numpy() for name in _TENSORS if getattr(turn, name) is not None})


def _turn(sent: Any) -> Turn:
    arrays = {name: getattr(sent, name) for name in _TENSORS if getattr(sent, name) is not None}
    made: Turn = sent._replace(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    return made


def _as_it_is(batch: Any) -> Any:
    return batch


def end_with_parent(wanted: bool = True) -> None:
    """Let the system kill this process when the one that started it is gone, or no longer; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if wanted else 0)


def _begin(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Those of a killed process would notice seconds later, and hold what they inherited until then.
    end_with_parent()
