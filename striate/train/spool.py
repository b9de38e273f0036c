"""Data that is read once per machine, whatever the number of processes there.

The first process of each machine loads the data set and writes its tensors to files in the temporary directory, which
the others map into memory: all share the same pages, and copy one only if they write to it. The files are unlinked as
soon as all have them, so that nothing is left behind however a run ends. What surrounds the tensors (names, decoders of
files that are read on demand) goes from process to process by pickle, which is safe between processes of one run.

A data set that cannot be sent so is loaded by every process.
"""

from __future__ import annotations

import io
import math
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from striate.data import TensorSamples
from striate.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from striate.data import Dataset
    from striate.train.processes import Processes

_WORTH_A_FILE = 2**16  # bytes; less is sent


def shared(load: Callable[[], Dataset], processes: Processes) -> Dataset:
    """Load a data set once per machine, and share it among the processes there.

    Raises what ``load`` raises, and `RunError` where the temporary directory cannot hold the data.
    """
    if processes.alone:
        return load()
    content: bytes | None = None
    folder: Path | None = None
    try:
        if processes.local_rank == 0:
            dataset = load()
            folder = Path(tempfile.mkdtemp(prefix="striate-"))
            content = packed(dataset, folder)
        packages = processes.gathered(content)
        content = packages[processes.rank - processes.local_rank]
        if content is not None:
            dataset = unpacked(content)
        elif processes.local_rank > 0:
            dataset = load()
        processes.gathered(None)  # all have what they need
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return dataset


def packed(dataset: Dataset, folder: Path) -> bytes | None:
    """Write the tensors of a data set to files, and return what is around them; None for what cannot be sent.

    Raises `RunError` where the system refuses to write.
    """
    stream = io.BytesIO()
    try:
        _Packer(stream, folder).dump(dataset)
    except OSError as error:
        raise RunError(
            f"The data cannot be written for the other processes to {folder}: {error.strerror or error}. Make room "
            "there, or name another temporary directory in TMPDIR."
        ) from error
    except (pickle.PicklingError, TypeError, AttributeError):
        return None
    return stream.getvalue()


def unpacked(content: bytes) -> Dataset:
    """Put together what `packed` gave, in a process that finds its files.

    >>> from striate.data import load_data
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content = packed(load_data("digits28"), Path(folder))
    ...     len(unpacked(content or b"").train)
    1258
    """
    dataset: Dataset = pickle.loads(content)  # noqa: S301 - made by `packed` in another process of this run
    return dataset


class _Packer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, folder: Path) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._folder, self._count = folder, 0

    def reducer_override(self, obj: Any) -> Any:
        """Tensors as files, and names, which samples make by functions, as texts."""
        if type(obj) is torch.Tensor and obj.device.type == "cpu" and obj.nbytes >= _WORTH_A_FILE:
            path = self._folder / str(self._count)
            self._count += 1
            obj.detach().contiguous().view(-1).view(torch.uint8).numpy().tofile(path)
            return _mapped, (str(path), obj.dtype, tuple(obj.shape))
        if type(obj) is TensorSamples:
            return _samples, (obj.inputs, obj.targets, [obj.name(index) for index in range(len(obj))], obj.groups)
        return NotImplemented


def _mapped(path: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_file(path, shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def _samples(inputs: Tensor, targets: Tensor, names: list[str], groups: Tensor | None) -> TensorSamples:
    return TensorSamples(inputs, targets, names.__getitem__, groups=groups)
