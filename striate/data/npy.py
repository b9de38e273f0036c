"""One NumPy array from an untrusted .npy stream: no objects, and no allocation before its size is known to be true."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = "biuf"
TEXTS = "US"

_HEADERS: dict[tuple[int, int], Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(stream: BinaryIO, size: int, label: str, take: Callable[[int, str], None]) -> npt.NDArray[Any]:
    """Read an array of numbers or texts whose file has ``size`` bytes; ``take`` may refuse the memory.

    Raises `DataError` for other contents: objects (pickles) and records are never read.

    >>> import io
    >>> file = io.BytesIO()
    >>> np.save(file, np.arange(3))
    >>> read_npy(io.BytesIO(file.getvalue()), len(file.getvalue()), "x.npy", lambda count, name: None)
    array([0, 1, 2])
    """
    shape, fortran, dtype = read_npy_header(stream, label)
    if dtype.kind not in NUMBERS + TEXTS or dtype.itemsize == 0:
        raise DataError(
            "an array of real numbers or texts",
            f"{label} of dtype {dtype}",
            "Save it as a plain numeric array; objects are never unpickled.",
        )
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or expected != size - stream.tell():
        raise DataError(
            f"{expected} bytes for an array of shape {shape} and dtype {dtype}",
            f"{label} with {size - stream.tell()}",
            "The file is cut off or damaged: write or download it again.",
        )
    take(expected, label)
    data = bytearray(stream.read(expected))
    if len(data) != expected:
        raise DataError(f"{expected} bytes of values", f"{label} with {len(data)}", "Write or download it again.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def read_npy_header(stream: BinaryIO, label: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the shape of an array, whether it is in Fortran's order, and its type; the values come next in the stream.

    Raises `DataError` for what is no .npy file.
    """
    try:
        return _HEADERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, EOFError, SyntaxError, TypeError, KeyError) as error:
        raise DataError(
            "a NumPy array file", f"{label}: {error}", "Write it with numpy.save or numpy.savez."
        ) from error
