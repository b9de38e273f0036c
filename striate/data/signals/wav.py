"""WAV files of 16 bits, read without a library: a short header, and the samples as they are.

Most sounds in data sets are such files and short, and libsndfile takes longer to open one than its samples take to be
read. Whatever is unusual in a header is left to libsndfile, which says what is wrong with it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from typing import Self

    import numpy.typing as npt

    from striate.data.file import File

_HEAD = 512
"""In how many bytes the header must end; those with long lists of tags before the samples are left to libsndfile."""

_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_PCM, _BITS = 1, 16
_MOST_HZ = 2**31  # libsndfile reads rates as signed


class PcmFile:
    """The samples of an open WAV file, with what is used of the interface of ``soundfile.SoundFile``."""

    def __init__(self, stream: BinaryIO, start: int, frames: int, channels: int, samplerate: int) -> None:
        self._stream, self._start = stream, start
        self.frames, self.channels, self.samplerate = frames, channels, samplerate
        self._place = 0

    @classmethod
    def open(cls, file: File) -> PcmFile | None:
        """Open a file; None for one that is not a whole and plain WAV file of 16 bits. Raises `DataError`."""
        if file.suffix != ".wav":
            return None
        stream = file.open()
        try:
            found = _header(stream.read(_HEAD), file.size)
        except OSError:
            found = None
        if found is None:
            stream.close()
            return None
        return cls(stream, *found)

    def seek(self, frame: int) -> None:
        """Go to a frame."""
        self._place = frame

    def read(self, out: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Read into ``out`` (frames, channels), in [-1, 1), and return what was filled of it."""
        width = 2 * self.channels
        self._stream.seek(self._start + self._place * width)
        data = self._stream.read(len(out) * width)
        whole = out[: len(data) // width]
        # Exact, as libsndfile does it.
        np.multiply(np.frombuffer(data, "<i2", whole.size).reshape(whole.shape), np.float32(2**-15), out=whole)
        self._place += len(whole)
        return whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stream.close()


def _header(head: bytes, size: int) -> tuple[int, int, int, int] | None:
    """The first byte of the samples, frames, channels and rate; None for any other header than the plain one."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    place, channels, rate = 12, 0, 0
    while place + _CHUNK.size <= len(head):
        name, length = _CHUNK.unpack_from(head, place)
        place += _CHUNK.size
        if name == b"data":
            whole = channels > 0 and 0 < length <= size - place and length % (2 * channels) == 0
            return (place, length // (2 * channels), channels, rate) if whole else None
        if name == b"fmt ":
            if length < _FORMAT.size or place + _FORMAT.size > len(head):
                return None
            kind, channels, rate, _, width, bits = _FORMAT.unpack_from(head, place)
            if (kind, bits, width) != (_PCM, _BITS, 2 * channels) or not 0 < rate < _MOST_HZ:
                return None
        place += length + length % 2
    return None
