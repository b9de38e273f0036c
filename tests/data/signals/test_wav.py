"""WAV files read without libsndfile: the same numbers as with it, and everything unusual left to it."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.file import File
from striate.data.options import resolve
from striate.data.signals.audio import AUDIO_OPTIONS, decode_audio
from striate.data.signals.wav import PcmFile
from striate.errors import DataError

soundfile = pytest.importorskip("soundfile")


def written(frames=300, channels=1, rate=8000, subtype="PCM_16", seed=0):
    stream = io.BytesIO()
    values = np.random.default_rng(seed).uniform(-1, 1, (frames, channels))
    soundfile.write(stream, values, rate, subtype=subtype, format="WAV")
    return stream.getvalue()


def as_file(data, name="a.wav"):
    return File(name, name, len(data), data)


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def with_chunks(data, before=b"", after=b""):
    """The chunks of a file as libsndfile writes it, with others before the samples and after them."""
    head, samples = data[12:36], data[36:]
    body = b"WAVE" + head + before + samples + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def decoded(data, **given):
    return decode_audio(as_file(data), resolve(given, AUDIO_OPTIONS, "audio"))[0].numpy()


@given(
    frames=st.integers(1, 50),
    channels=st.integers(1, 3),
    tags=st.binary(max_size=9),
    after=st.binary(max_size=9),
    start=st.integers(0, 49),
)
def test_numbers_are_those_of_libsndfile(frames, channels, tags, after, start):
    data = with_chunks(written(frames, channels), chunk(b"LIST", tags), chunk(b"note", after))
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    with PcmFile.open(as_file(data)) as sound:
        assert (sound.frames, sound.channels, sound.samplerate) == (frames, channels, rate)
        assert np.array_equal(sound.read(out=np.zeros((frames, channels), np.float32)), expected)
        start = min(start, frames)
        sound.seek(start)
        assert np.array_equal(sound.read(out=np.zeros((frames - start, channels), np.float32)), expected[start:])


@pytest.mark.parametrize(
    "data",
    [
        written(subtype="PCM_24"),
        written(subtype="FLOAT"),
        written(subtype="PCM_U8"),
        written()[:-1],
        written()[:40],
        written()[:40] + b"\0\0\0\0",
        written(0),
        written(2)[:42],
        with_chunks(written(), chunk(b"LIST", bytes(600))),
        b"RIFX" + written()[4:],
        written()[:8] + b"AVI " + written()[12:],
        b"",
    ],
)
def test_the_unusual_is_left_to_libsndfile(data):
    assert PcmFile.open(as_file(data)) is None


def test_other_extensions_are_not_opened(tmp_path):
    assert PcmFile.open(File("a.flac", str(tmp_path / "missing.flac"), 9)) is None


def test_headers_with_a_wrong_byte_are_read_or_refused_as_by_libsndfile(monkeypatch):
    whole = written(20, 2)
    for place in range(44):
        for value in (0, 1, 2, 0x7F, 0x80, 0xFF):
            data = whole[:place] + bytes([value]) + whole[place + 1 :]
            ours, theirs = outcome(data), None
            with monkeypatch.context() as patched:
                patched.setattr(PcmFile, "open", classmethod(lambda cls, file: None))
                theirs = outcome(data)
            assert ours == theirs, (place, value)


def outcome(data):
    try:
        found = decoded(data, mono=False)
    except DataError:
        return None
    return found.shape, found.tobytes()


@pytest.mark.parametrize("frames", [100, 399, 400, 401, 1000])
@pytest.mark.parametrize("rate", [None, 8000, 4000])
def test_cut_and_filled_up_as_with_libsndfile(monkeypatch, frames, rate):
    data = written(frames, 2)
    ours = decoded(data, seconds=0.05, rate=rate)
    monkeypatch.setattr(PcmFile, "open", classmethod(lambda cls, file: None))
    assert np.array_equal(ours, decoded(data, seconds=0.05, rate=rate))
    assert ours.shape == (1, 200 if rate == 4000 else 400)


def test_a_file_that_has_become_shorter(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(written()[:200])
    file = File("a.wav", str(path), len(written()))
    with pytest.raises(DataError, match="it ends after 78 of 300 frames"):
        decode_audio(file, resolve({}, AUDIO_OPTIONS, "audio"))
