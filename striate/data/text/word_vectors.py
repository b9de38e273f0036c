"""Word vectors learnt elsewhere, from the files of word2vec (text and binary) and GloVe, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import torch

from striate.data.file import is_file
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_DIMENSIONS = 4096
"""The longest vectors that are read."""

_MAX_LINE = 2**17
_MAX_WORD = 2**10


def read_vectors(path: str | Path, vocabulary: Sequence[str], *, seed: int = 0) -> torch.Tensor:
    r"""Read the vectors of the words of a vocabulary, float32 (V, D); a network's embedding starts from them.

    Row 0, padding, is zeros. Words that the file does not have are drawn with ``seed``, uniformly around 0 with the
    variance of those that it has (Kim, Convolutional Neural Networks for Sentence Classification, 2014). Words must be
    spelled alike, capitals included. The file is read once from its beginning to its end, so it may be larger than
    memory. Raises `DataError` for a file that is damaged, or has none of the words.

    >>> _ = Path("vectors.txt").write_text("good 1 2\nbad -1 -2\n")
    >>> read_vectors("vectors.txt", ["<pad>", "<unk>", "bad"])[[0, 2]].tolist()
    [[0.0, 0.0], [-1.0, -2.0]]
    """
    file = Path(path)
    if not is_file(file):
        raise DataError("a file of word vectors", f"{path}, which does not exist", "Check the path.")
    wanted = {word.encode(): number for number, word in enumerate(vocabulary) if number > 1}
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw
            found = _found(stream, wanted, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("a file that can be read", f"{path}: {error}", "Download it again.") from error
    if not found:
        raise DataError(
            "vectors of words of the vocabulary",
            f"{path} with none of its {len(wanted)} words, such as {', '.join(map(repr, list(vocabulary)[2:5]))}",
            "Check the language, and whether words are in small letters in one of them only.",
        )
    known = np.stack(list(found.values()))
    if not np.isfinite(known).all():
        raise DataError("vectors of finite numbers", f"{path} with infinite or missing ones", "Download it again.")
    bound = math.sqrt(3 * float(known.astype(np.float64).var()))
    matrix = np.random.RandomState(seed).uniform(-bound, bound, (len(vocabulary), known.shape[1])).astype(np.float32)
    matrix[0] = 0
    matrix[list(found)] = known
    return torch.from_numpy(matrix)


def _found(stream: BinaryIO, wanted: Mapping[bytes, int], label: str) -> dict[int, npt.NDArray[np.float32]]:
    first = _line(stream, label)
    words = first.split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        count, size = int(words[0]), _checked_size(int(words[1]), label)
        second = stream.read(1)
        # Values in binary have control characters among them, whatever they are.
        rest = second + stream.read(_MAX_WORD + 4 * size)
        if any(byte < 9 or 14 <= byte < 32 for byte in rest):
            return _binary(_Again(rest, stream), count, size, wanted, label)
        lines = _lines(_Again(rest, stream), label)
    else:
        size = _checked_size(len(words) - 1, label)
        lines = _lines(_Again(first + b"\n", stream), label)
    return _text(lines, size, wanted, label)


class _Again:
    """A stream whose beginning was read already."""

    def __init__(self, begun: bytes, stream: BinaryIO) -> None:
        self._begun, self._stream = begun, stream

    def read(self, count: int) -> bytes:
        taken, self._begun = self._begun[:count], self._begun[count:]
        return taken if len(taken) == count else taken + self._stream.read(count - len(taken))


def _checked_size(size: int, label: str) -> int:
    if not 1 <= size <= MAX_DIMENSIONS:
        raise DataError(
            f"words with 1 to {MAX_DIMENSIONS} numbers each",
            f"{label} with {size} in its first line",
            "Give a file of word2vec (.bin or text) or GloVe.",
        )
    return size


def _line(stream: BinaryIO, label: str) -> bytes:
    line = stream.readline(_MAX_LINE)
    if len(line) == _MAX_LINE:
        raise DataError(
            f"lines of less than {_MAX_LINE} bytes", f"{label} with a longer one", "Give a file of word vectors."
        )
    return line.rstrip(b"\r\n")


def _lines(stream: _Again, label: str) -> Iterator[bytes]:
    left = b""
    while chunk := stream.read(2**20):
        *lines, left = (left + chunk).split(b"\n")
        yield from lines
        if len(left) > _MAX_LINE:
            raise DataError(
                f"lines of less than {_MAX_LINE} bytes", f"{label} with a longer one", "Give a file of word vectors."
            )
    if left:
        yield left


def _text(
    lines: Iterator[bytes], size: int, wanted: Mapping[bytes, int], label: str
) -> dict[int, npt.NDArray[np.float32]]:
    found: dict[int, npt.NDArray[np.float32]] = {}
    for place, line in enumerate(lines, 1):
        number = wanted.get(line.partition(b" ")[0])
        if number is None or number in found:
            continue
        # A few words of GloVe hold spaces; the numbers are the last.
        word, *values = line.rstrip().rsplit(b" ", size)
        if wanted.get(word) != number and len(values) == size:
            continue
        try:
            if len(values) != size:
                raise ValueError(f"{len(values)} numbers")  # noqa: TRY301 - one message for all that can be wrong
            found[number] = np.array([float(value) for value in values], dtype=np.float32)
        except ValueError as error:
            raise DataError(
                f"a word and {size} numbers", f"{label}, vector {place}: {error}", "Download it again."
            ) from error
    return found


def _binary(
    stream: _Again, count: int, size: int, wanted: Mapping[bytes, int], label: str
) -> dict[int, npt.NDArray[np.float32]]:
    found: dict[int, npt.NDArray[np.float32]] = {}
    buffer, place, width = b"", 0, 4 * size
    for vector in range(count):
        if len(buffer) - place < _MAX_WORD + width:
            buffer, place = buffer[place:] + stream.read(2**22), 0
        end = buffer.find(b" ", place, place + _MAX_WORD)
        if end < 0 or len(buffer) < end + 1 + width:
            raise DataError(
                f"{count} words and vectors, as the first line says",
                f"{label}, which ends or is damaged at vector {vector + 1}",
                "Download it again.",
            )
        word = buffer[place:end].lstrip(b"\n")
        place = end + 1 + width
        number = wanted.get(word)
        if number is not None and number not in found:
            found[number] = np.frombuffer(buffer, "<f4", size, end + 1).astype(np.float32)
    return found
