"""Sound files as samples: waveforms (channels, frames), or log-mel spectrograms (channels, mels, frames).

soundfile (libsndfile) reads WAV, FLAC, Ogg and MP3, but for the plainest of WAV files, which `wav` reads. The order is:
the middle ``seconds`` of the file, the mean of its channels, the rate, the exact length, then the features.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.conversion import pad_or_crop
from striate.data.extras import extra
from striate.data.file_kinds import DamagedFileError, FileKind, register_file_kind
from striate.data.options import Option, number, one_of, whole_number, yes_or_no
from striate.data.signals.log_mel import log_mel
from striate.data.signals.resampling import resample_even
from striate.data.signals.wav import PcmFile
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from striate.data.file import File

MAX_VALUES = 2**28
"""A file that would decode to more values than this is refused before it is decoded, unless ``seconds`` cuts it."""

AUDIO_OPTIONS = (
    Option("rate", None, "frames per second to resample to; without it all files must have one", *whole_number(1)),
    Option("seconds", None, "the length to cut from the middle, or to fill up to with zeros", *number(1e-3)),
    Option("mono", True, "whether the channels are averaged to one", *yes_or_no()),
    Option("features", "waveform", "what the network gets", *one_of("waveform", "log_mel")),
    Option("window_ms", 25.0, "milliseconds in a frame of the spectrogram", *number(0.1, 10_000)),
    Option("hop_ms", 10.0, "milliseconds from one frame to the next", *number(0.1, 10_000)),
    Option("mels", 64, "bands of the spectrogram", *whole_number(1, 1024)),
    Option("f_min", 0.0, "the lowest frequency in Hz", *number(0)),
    Option("f_max", None, "the highest frequency in Hz, by default half the rate", *number(1)),
    Option("mel_scale", "slaney", "how bands are spaced", *one_of("slaney", "htk")),
)
"""Options of sound files."""

# A WAV file that was written to a pipe does not know its length.
_UNKNOWN_SIZES = frozenset((0, 2**31 - 1, 2**32 - 1, 2**32 - 37))
_SHORTENED = re.compile(r"^\s*data : (\d+) \(should be (\d+)\)", re.MULTILINE)


def decode_audio(file: File, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
    """Decode one file to (C, frames) in [-1, 1], or (C, mels, frames) in decibels, and the value 1.0.

    Raises `DamagedFileError` for a file that is broken, empty, or has samples that are not finite.
    """
    waveform, rate = _read(file, options["seconds"], options["rate"])
    if options["mono"] and len(waveform) > 1:
        waveform = waveform.mean(0, keepdim=True)
    wanted = options["rate"] or rate
    waveform = resample_even(waveform, rate, wanted)
    if options["seconds"] is not None:
        waveform = pad_or_crop(waveform, (max(round(options["seconds"] * wanted), 1),))
    if options["features"] == "waveform":
        return waveform, 1.0
    settings = {name: options[name] for name in ("window_ms", "hop_ms", "mels", "f_min", "f_max")}
    return log_mel(waveform, wanted, scale=options["mel_scale"], **settings), 1.0


def common_rate(files: Sequence[File], options: Mapping[str, Any]) -> dict[str, Any]:
    """The rate that all files have, so that new files are brought to it; empty if the caller has named one.

    Raises `DataError` if files differ. Damaged ones are passed over here.
    """
    if options.get("rate") is not None:
        return {}
    first: tuple[int, File] | None = None
    for file in files:
        try:
            with _opened(file) as sound:
                rate = int(sound.samplerate)
        except DamagedFileError:
            continue
        if first is None:
            first = rate, file
        if rate != first[0]:
            raise DataError(
                f"sounds of one sampling rate, {first[0]} Hz as {first[1].label}",
                f"{file.label} with {rate} Hz",
                f"Bring all to one with the option rate, for example rate={min(rate, first[0])}.",
            )
    return {} if first is None else {"rate": first[0]}


def _opened(file: File) -> Any:
    soundfile = extra("soundfile", "audio", file.label)
    if not file.size:
        raise _damaged(file, "it is empty")
    plain = PcmFile.open(file)
    if plain is not None:
        return plain
    try:
        return soundfile.SoundFile(file.label if file.content is None else io.BytesIO(file.content))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise _damaged(file, str(error)) from error


def _read(file: File, seconds: float | None, wanted_rate: int | None) -> tuple[torch.Tensor, int]:
    """The middle of a file as (C, frames), and its rate; with silence around it if no resampling is to come."""
    soundfile = extra("soundfile", "audio", file.label)
    with _opened(file) as sound:
        rate, frames, channels = int(sound.samplerate), int(sound.frames), int(sound.channels)
        known = isinstance(sound, PcmFile) or not sound.format.startswith("WAV")
        cut = None if known else _SHORTENED.search(sound.extra_info)
        if cut is not None and int(cut[1]) > int(cut[2]) and int(cut[1]) not in _UNKNOWN_SIZES:
            raise _damaged(file, f"it ends after {cut[2]} of {cut[1]} bytes")
        if not frames:
            raise _damaged(file, "it has no frames")
        wanted = frames if seconds is None else min(frames, round(seconds * rate))
        if wanted * channels > MAX_VALUES:
            raise DamagedFileError(
                f"a sound of at most {MAX_VALUES} values",
                f"{file.label} with {wanted * channels}",
                "Cut it with the option seconds, or leave it out.",
            )
        # Read to where they will lie, samples are not moved again.
        filled = seconds is not None and wanted_rate in (None, rate)
        values = np.zeros((max(wanted, round((seconds or 0) * rate)) if filled else wanted, channels), np.float32)
        start = (len(values) - wanted) // 2
        try:
            if wanted < frames:
                sound.seek((frames - wanted) // 2)
            found = len(sound.read(out=values[start : start + wanted]))
        except (soundfile.SoundFileError, OSError) as error:
            raise _damaged(file, str(error)) from error
    if found != wanted:
        raise _damaged(file, f"it ends after {found} of {wanted} frames")
    if not np.isfinite(values).all():
        raise _damaged(file, "it has samples that are NaN or infinite")
    return torch.from_numpy(np.ascontiguousarray(values.T)), rate


def _damaged(file: File, reason: str) -> DamagedFileError:
    return DamagedFileError("a complete sound file", f"{file.label}: {reason}", "Replace or remove it.")


AUDIO = register_file_kind(
    FileKind("audio", (".wav", ".flac", ".ogg", ".mp3"), decode_audio, AUDIO_OPTIONS, agree=common_rate)
)
