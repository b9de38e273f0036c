"""Tiny files of every kind, for the tests of the readers."""

import gzip
import io
import struct
import tarfile

import numpy as np
from PIL import Image


def idx_bytes(array, magic=None):
    codes = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
    head = bytes([0, 0, codes[str(array.dtype)], array.ndim]) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder, prefix, images, labels, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for content, array in (("images", images), ("labels", labels)):
        data = idx_bytes(array)
        name = f"{prefix}{content}-idx{array.ndim}-ubyte"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


def digits_like(count, seed=0, size=(5, 4), classes=3):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *size), np.uint8), np.arange(count, dtype=np.uint8) % classes


def png_bytes(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, kind)
    return stream.getvalue()


def write_png(path, seed=0, size=(6, 5), channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.write_bytes(png_bytes(pixels))
    return pixels


def class_folder(root, classes=("cat", "dog"), count=6, channels=1, size=(6, 5)):
    for label, name in enumerate(classes):
        for index in range(count):
            write_png(root / name / f"{index}.png", 1000 * label + index, size, channels)
    return root


def tar_of(folder, path, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, folder.name)
    return path
