"""Voxels in the binvox format: a text header, then runs of equal voxels as pairs of bytes, value and length.

Voxels are stored with height running fastest, then depth, then width. They become (1, D, H, W), 0 or 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.file_kinds import DamagedFileError, FileKind, register_file_kind
from striate.data.volumes.volume import check_voxels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.file import File

_MAX_HEADER = 1024


def decode_binvox(file: File, options: Mapping[str, Any] | None = None) -> tuple[torch.Tensor, float]:
    r"""Decode a file to (1, D, H, W) uint8 of 0 and 1, and 1 for full. Raises `DamagedFileError`.

    >>> from striate.data.file import File
    >>> data = b"#binvox 1\ndim 1 2 2\ndata\n" + bytes([0, 3, 1, 1])
    >>> decode_binvox(File("a.binvox", "a.binvox", len(data), data))[0].tolist()
    [[[[0], [0]], [[0], [1]]]]
    """
    header, mark, runs = file.read().partition(b"data\n")
    width, depth, height = size = _size(header, file.label)
    voxels = check_voxels(size, file.label)
    pairs = np.frombuffer(runs[: len(runs) // 2 * 2], np.uint8).reshape(-1, 2)
    if not mark or len(runs) % 2 or int(pairs[:, 1].sum(dtype=np.int64)) != voxels or (pairs[:, 0] > 1).any():
        raise DamagedFileError(
            f"runs of 0 and 1 that add up to {voxels} voxels",
            f"{file.label} with {int(pairs[:, 1].sum(dtype=np.int64))}",
            "It is cut off or damaged: replace or remove it.",
        )
    filled = np.repeat(pairs[:, 0], pairs[:, 1]).reshape(width, depth, height).transpose(1, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(filled)).unsqueeze(0), 1.0


def _size(header: bytes, label: str) -> tuple[int, int, int]:
    lines = header[:_MAX_HEADER].split(b"\n")
    words = next((line.split()[1:] for line in lines if line.startswith(b"dim")), [])
    if not lines[0].startswith(b"#binvox") or len(words) != 3 or not all(w.isdigit() and len(w) < 9 for w in words):
        raise DamagedFileError(
            "a binvox file with a line of three sizes",
            f"{label}, whose header is another",
            "Replace or remove it.",
        )
    width, depth, height = (int(word) for word in words)
    return width, depth, height


BINVOX = register_file_kind(FileKind("binvox", (".binvox",), decode_binvox))
