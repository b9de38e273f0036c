"""Sound files as waveforms and spectrograms, and names that hold labels."""

import io
import sys

import numpy as np
import pytest
import torch

from striate.data import load_data, read_input
from striate.data.file import File
from striate.data.file_kinds import file_kind
from striate.data.gathering import SkippedFileWarning
from striate.data.options import resolve
from striate.data.signals.audio import common_rate, decode_audio
from striate.data.signals.log_mel import log_mel
from striate.data.signals.resampling import resample_even
from striate.errors import DataError

soundfile = pytest.importorskip("soundfile")
WHOLE = {"val_fraction": 0, "test_fraction": 0}


def sound(frames=400, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (frames, channels)).astype(np.float32)


def write(path, values, rate=8000, subtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate, subtype=subtype)
    return path


def decoded(path, **given):
    file = File(path.name, str(path), path.stat().st_size)
    return decode_audio(file, resolve(given, file_kind(file.suffix).options, "audio"))


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "FLOAT", 0),
        ("a.wav", "PCM_16", 2**-14),
        ("a.flac", "PCM_24", 2**-22),
        ("a.wav", "PCM_U8", 2**-6),
    ],
)
def test_values_as_stored(tmp_path, name, subtype, error):
    values = sound(channels=2)
    inputs, scale = decoded(write(tmp_path / name, values, subtype=subtype), mono=False)
    assert (inputs.shape, inputs.dtype, scale) == ((2, 400), torch.float32, 1.0)
    assert np.abs(inputs.numpy() - values.T).max() <= error
    mono, _ = decoded(tmp_path / name)
    assert torch.allclose(mono, inputs.mean(0, keepdim=True))


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_files(tmp_path, name):
    tone = np.sin(np.arange(8000) / 10).astype(np.float32) / 2
    inputs, _ = decoded(write(tmp_path / name, tone), seconds=0.5)
    assert inputs.shape == (1, 4000)
    assert 0.3 < inputs.abs().max() < 0.7


def test_the_middle_is_cut_and_silence_fills_up(tmp_path):
    values = sound(1000)
    path = write(tmp_path / "a.wav", values, subtype="FLOAT")
    assert np.array_equal(decoded(path, seconds=0.05)[0][0], values[300:700, 0])
    long = decoded(path, seconds=0.25)[0][0]
    assert np.array_equal(long[500:1500], values[:, 0])
    assert not long[:500].any()
    assert not long[1500:].any()


def test_rate_and_features(tmp_path):
    values = sound(4410)
    path = write(tmp_path / "a.wav", values, 44100, "FLOAT")
    wave = resample_even(torch.from_numpy(values.T.copy()), 44100, 16000)
    assert torch.equal(decoded(path, rate=16000)[0], wave)
    made, scale = decoded(path, rate=16000, features="log_mel", mels=20, f_min=100, window_ms=32, mel_scale="htk")
    assert torch.equal(made, log_mel(wave, 16000, mels=20, f_min=100, window_ms=32, scale="htk"))
    assert (made.shape, scale) == ((1, 20, 11), 1.0)


def spoken(root, rate=8000):
    for digit in range(2):
        for speaker in ("ann", "bob", "cid"):
            for index in range(4):
                write(root / f"{digit}_{speaker}_{index}.wav", sound(300 + 10 * index, seed=index), rate)
    return root


def test_sounds_for_a_network_of_another_rate(tmp_path):
    options = {"name_pattern": r"(?P<label>\d)_.*", "seconds": 0.05}
    reading = load_data(spoken(tmp_path / "slow", 4000), **WHOLE, options=options).reading
    other = load_data(spoken(tmp_path / "quick", 8000), **WHOLE, options=options, reading=reading)
    assert (reading["rate"], other.reading["rate"], other.train.item_shape) == (4000, 4000, (1, 200))
    asked = load_data(tmp_path / "quick", **WHOLE, options=options | {"rate": 4000})
    assert torch.equal(other.train.fetch([0, 5])[0], asked.train.fetch([0, 5])[0])


def test_labels_subjects_and_parts_from_names(tmp_path):
    options = {"name_pattern": r"(?P<label>\d)_(?P<subject>\w+)_\d+", "test_pattern": "_0$", "seconds": 0.05}
    dataset = load_data(spoken(tmp_path), val_fraction=0, options=options)
    assert (dataset.kind, dataset.classes, dataset.official) == ("named-files", ("0", "1"), ("train", "test"))
    assert (len(dataset.train), len(dataset.test), dataset.train.item_shape) == (18, 6, (1, 400))
    for part in dataset.parts.values():
        for index in range(len(part)):
            digit, speaker, _ = part.name(index).split("_")
            assert dataset.classes[int(part.labels[index])] == digit
            assert int(part.groups[index]) == ["ann", "bob", "cid"].index(speaker)
    spectrograms = load_data(tmp_path, options=options | {"features": "log_mel", "mels": 16})
    assert (spectrograms.train.item_shape, spectrograms.spatial_dims) == ((1, 16, 6), 2)
    assert spectrograms.reading["mels"] == 16


def test_classes_from_folders_and_the_rest_from_names(tmp_path):
    for label in ("no", "yes"):
        for index in range(4):
            write(tmp_path / label / f"p{index}.wav", sound())
    dataset = load_data(tmp_path, **WHOLE, options={"name_pattern": "(?P<subject>p.)"})
    assert (dataset.kind, dataset.classes) == ("class-folder", ("no", "yes"))
    assert dataset.train.groups.tolist() == [0, 1, 2, 3] * 2
    assert len(load_data(tmp_path, **WHOLE, options={"select": "p[01]$"}).train) == 4
    plain = load_data(tmp_path, **WHOLE)
    assert (len(plain.train), plain.train.item_shape) == (8, (1, 400))


def test_manifests_of_sounds(tmp_path):
    spoken(tmp_path / "sounds")
    names = [f"{digit}_{speaker}_0.wav" for digit in range(2) for speaker in ("ann", "bob")]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"sounds/{name},{name[0]}\n" for name in names))
    dataset = load_data(tmp_path / "list.csv", **WHOLE, options={"seconds": 0.02})
    assert (dataset.kind, dataset.train.item_shape, dataset.train.labels.tolist()) == (
        "manifest",
        (1, 160),
        [0, 0, 1, 1],
    )


def test_archives_and_new_files(tmp_path):
    import tarfile

    spoken(tmp_path / "sounds")
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "sounds", "sounds")
    options = {"name_pattern": r"(?P<label>\d)_.*", "seconds": 0.05}
    packed = load_data(tmp_path / "a.tar.xz", **WHOLE, options=options)
    loose = load_data(tmp_path / "sounds", **WHOLE, options=options)
    assert torch.equal(packed.train.fetch(range(24))[0], loose.train.fetch(range(24))[0])
    assert read_input(tmp_path / "sounds" / "0_ann_0.wav").shape == (1, 300)


def file_of(data, name="a.wav"):
    return File(name, name, len(data), data)


def wav(values, rate=8000, subtype="PCM_16"):
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"RIFF", None),
        (b"not a sound at all" * 20, None),
        (wav(sound(400))[:500], "it ends after 456 of 800 bytes"),
        (wav(sound(0)), "it has no frames"),
        (wav(np.array([0, np.nan, 1], np.float32), subtype="FLOAT"), "it has samples that are NaN or infinite"),
    ],
    # Named, as libsndfile writes the time into the last one.
    ids=["empty", "a beginning", "text", "cut off", "no frames", "not finite"],
)
def test_damaged_files(data, reason):
    with pytest.raises(DataError) as error:
        decode_audio(file_of(data), resolve({}, file_kind(".wav").options, "audio"))
    message = f"Expected a complete sound file; received a.wav: {reason}. Replace or remove it."
    assert str(error.value) == message if reason else str(error.value).startswith("Expected a complete sound file")


def test_damaged_files_are_skipped(tmp_path):
    spoken(tmp_path)
    (tmp_path / "0_ann_9.wav").write_bytes(b"RIFF")
    options = {"name_pattern": r"(?P<label>\d)_.*", "seconds": 0.05}
    with pytest.raises(DataError, match="0_ann_9"):
        load_data(tmp_path, options=options)
    with pytest.warns(SkippedFileWarning, match="1 damaged"):
        dataset = load_data(tmp_path, **WHOLE, options=options, skip_corrupt=True)
    assert (len(dataset.train), dataset.skipped[0].name) == (24, "0_ann_9.wav")


def test_a_flac_file_that_ends_early(tmp_path):
    path = write(tmp_path / "a.flac", sound(20000))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DataError, match="Expected a complete sound file"):
        decoded(path)


def test_one_rate_for_all():
    files = [file_of(wav(sound(), rate), f"{place}.wav") for place, rate in enumerate((8000, 8000, 16000))]
    assert common_rate(files[:2], {}) == {"rate": 8000}
    assert common_rate([file_of(b"RIFF"), files[2]], {}) == {"rate": 16000}
    assert common_rate(files, {"rate": 8000}) == {}
    with pytest.raises(DataError) as error:
        common_rate(files, {})
    assert str(error.value) == (
        "Expected sounds of one sampling rate, 8000 Hz as 0.wav; received 2.wav with 16000 Hz. "
        "Bring all to one with the option rate, for example rate=8000."
    )


def test_too_long_sounds_are_refused(monkeypatch):
    monkeypatch.setattr("striate.data.signals.audio.MAX_VALUES", 300)
    with pytest.raises(DataError) as error:
        decode_audio(file_of(wav(sound(400))), resolve({}, file_kind(".wav").options, "audio"))
    assert str(error.value) == (
        "Expected a sound of at most 300 values; received a.wav with 400. "
        "Cut it with the option seconds, or leave it out."
    )
    inputs, _ = decode_audio(file_of(wav(sound(400))), resolve({"seconds": 0.02}, file_kind(".wav").options, "audio"))
    assert inputs.shape == (1, 160)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError) as error:
        decode_audio(file_of(wav(sound())), resolve({}, file_kind(".wav").options, "audio"))
    assert "pip install 'striate[audio]'" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say where with the option name_pattern."),
        (
            {"name_pattern": "(?P<subject>.*)"},
            (
                "Expected a label in every name, or a folder for every class; received '0_ann_0.wav'. "
                "Put the group (?P<label>...) into name_pattern."
            ),
        ),
        (
            {"name_pattern": r"(?P<label>\d)_(?P<split>\w+)_\d"},
            "Expected a split of train, val or test; received 'ann' in '0_ann_0'. Choose one of: test, train, val.",
        ),
        (
            {"name_pattern": r"(?P<label>\d)_.*", "test_pattern": "."},
            (
                "Expected samples to train on; received {root} with test by their names. "
                "Correct select, test_pattern and val_pattern."
            ),
        ),
    ],
)
def test_refused_names(tmp_path, options, message):
    with pytest.raises(DataError) as error:
        load_data(spoken(tmp_path), options=options)
    assert str(error.value).endswith(message.format(root=tmp_path))
