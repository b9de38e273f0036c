"""Image files of every kind and mode, damaged ones, and bombs."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from data_files import png_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data.decoding import IMAGES, MAX_PIXELS, Decoder
from striate.data.file import MAX_FILE_BYTES, File
from striate.data.file_kinds import DamagedFileError, sample_suffixes
from striate.errors import DataError

FORMATS = {"png": "PNG", "jpg": "JPEG", "pgm": "PPM", "bmp": "BMP", "gif": "GIF", "tiff": "TIFF", "webp": "WEBP"}


def file(data, suffix="png"):
    return File(f"a.{suffix}", f"a.{suffix}", len(data), data)


def saved(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decode(data, suffix="png", **options):
    return Decoder(**options)(file(data, suffix))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format(suffix):
    pixels = np.linspace(0, 255, 8 * 9).reshape(8, 9).astype(np.uint8)
    data = saved(Image.fromarray(pixels), FORMATS[suffix])
    found = decode(data, suffix, channels=1)
    assert f".{suffix}" in IMAGES.suffixes
    assert found.stored_size == (8, 9)
    assert found.value_scale == 255
    assert np.abs(found.inputs[0].int().numpy() - pixels).max() <= (0 if suffix not in ("jpg", "webp") else 12)


@pytest.mark.parametrize(
    ("mode", "channels", "dtype", "scale"),
    [
        ("1", 1, torch.uint8, 255),
        ("L", 1, torch.uint8, 255),
        ("LA", 1, torch.uint8, 255),
        ("P", 3, torch.uint8, 255),
        ("RGB", 3, torch.uint8, 255),
        ("RGBA", 3, torch.uint8, 255),
        ("CMYK", 3, torch.uint8, 255),
        ("I;16", 1, torch.float32, 65535),
        ("F", 1, torch.float32, 1),
    ],
)
def test_every_mode(mode, channels, dtype, scale):
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    image = grey.convert("RGB").convert(mode) if mode != "I;16" else Image.fromarray(np.full((3, 4), 40000, np.uint16))
    found = decode(saved(image, "TIFF"), "tif")
    assert (found.inputs.shape, found.inputs.dtype, found.value_scale) == ((channels, 3, 4), dtype, scale)
    if mode in ("L", "LA", "RGB", "RGBA"):
        assert np.array_equal(found.inputs[0], np.asarray(grey))
    if mode == "I;16":
        assert (found.inputs == 40000).all()


def test_first_frame_and_palette_with_transparency():
    frames = [Image.fromarray(np.full((3, 4), value, np.uint8)) for value in (10, 200)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, "gif", channels=1).inputs.unique().tolist() == [10]
    palette = Image.fromarray(np.zeros((2, 2), np.uint8)).convert("P")
    assert decode(saved(palette, transparency=b"\0\x80")).inputs.shape == (3, 2, 2)


def test_channels_and_size_are_converted_as_asked():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    found = decode(png_bytes(pixels), channels=1, image_size=(4, 5))
    assert found.inputs.shape == (1, 4, 5)
    assert found.stored_size == (9, 7)


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9460, 9460), (20000, 20000), (60000, 60000)])
def test_bombs_are_refused_before_they_are_decoded(size):
    with pytest.raises(DamagedFileError) as caught:
        decode(png_of_size(*size))
    assert caught.value.expected == f"an image of at most {MAX_PIXELS} pixels"
    assert caught.value.received.startswith("a.png: ")
    assert caught.value.remedy == "Remove it, or cut or shrink it first."


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "it is empty"), (b"hello", "its beginning is that of no known image format")],
)
def test_files_that_are_no_images(data, reason):
    with pytest.raises(DamagedFileError) as caught:
        decode(data)
    assert str(caught.value) == (
        f"Expected a complete image file; received a.png, which cannot be decoded: {reason}. Replace or remove it."
    )


def test_files_that_are_too_large_or_of_another_kind():
    with pytest.raises(DataError) as caught:
        File("a.png", "a.png", MAX_FILE_BYTES + 1, b"").read()
    assert str(caught.value) == (
        "Expected a file of at most 1073741824 bytes per sample; received a.png of 1073741825 bytes. "
        "Leave it out, or cut it into smaller samples."
    )
    with pytest.raises(DataError) as caught:
        decode(b"", "doc")
    assert str(caught.value) == (
        f"Expected a file of one of the kinds {', '.join(sample_suffixes())}; received a.doc. "
        "Convert it to one of them."
    )


def test_a_file_that_has_grown_is_read_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    for noted in (0, 3, 9, 10, 50):
        assert File("a.bin", str(path), noted).read() == b"0123456789"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.PNG", ".png"),
        ("x.y/a", ""),
        ("x/.hidden", ""),
        ("a.b.wav", ".wav"),
        ("a.nii", ".nii"),
        ("A.NII.GZ", ".nii.gz"),
        ("a.tar.gz", ".gz"),
    ],
)
def test_extensions(name, suffix):
    assert File(name, name, 0).suffix == suffix


IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8))
GOOD = {suffix: saved(IMAGE, kind) for suffix, kind in FORMATS.items()}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(sorted(FORMATS)))
def test_damage_is_an_error_that_names_the_file_or_another_picture(data, suffix):
    damaged = bytearray(GOOD[suffix])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    [found] = Decoder(channels=3, image_size=8).each([file(bytes(damaged[:end]), suffix)])
    if isinstance(found, DataError):
        assert isinstance(found, DamagedFileError)
        assert f"a.{suffix}" in found.received
    else:
        assert found.inputs.shape == (3, 8, 8)
