"""Video files as clips (C, T, H, W), sampled by time, so that files of different or varying frame rates give the same.

A clip has ``frames`` frames at equal distances in time: over the whole video, over its middle ``seconds``, or at
``fps`` frames per second around its middle. What is taken for a moment is the frame that is shown then, by the time
stamps of the file; where a clip is longer than the video its last frame stays. Rotation noted in a file is not applied.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.decoding import MAX_PIXELS
from striate.data.extras import extra
from striate.data.file_kinds import DamagedFileError, FileKind, register_file_kind
from striate.data.options import Option, number, whole_number
from striate.data.volumes.volume import check_voxels
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.file import File

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")

_SHORT = 0.05
"""A file whose frames end earlier than it promises by more than this part, and three frames, is cut off."""


def decode_video(file: File, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
    """Decode a clip to (3, T, H, W) uint8, and 255.

    Raises `DamagedFileError` for a file that is broken, cut off or without frames, and `DataError` for options that
    contradict each other.
    """
    frames, seconds, fps = options["frames"], options["seconds"], options["fps"]
    if seconds is not None and fps is not None:
        raise DataError(
            "seconds or fps, for frames decides the other", f"seconds={seconds}, fps={fps}", "Give one of them."
        )
    av = extra("av", "video", file.label)
    data = file.read()
    try:
        end = _end(av, data, file)
        span = seconds if seconds is not None else frames / fps if fps is not None else end
        start = max(end - span, 0) / 2
        moments = start + (np.arange(frames) + 0.5) * (span / frames)
        clip = _shown(av, data, moments, file)
    except DataError:
        raise
    except (av.FFmpegError, OSError, EOFError, ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
        raise DamagedFileError(
            "a complete video file", f"{file.label}, which cannot be decoded: {error}", "Replace or remove it."
        ) from error
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2))), 255.0


def _end(av: Any, data: bytes, file: File) -> float:
    """When the last frame of a video has been shown, in seconds from the first; by the packets, without decoding."""
    with av.open(io.BytesIO(data)) as container:
        if not container.streams.video:
            raise DamagedFileError("a file with moving pictures", f"{file.label} without any", "Remove it.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise DamagedFileError("a video in a known format", f"{file.label} in another", "Convert it to H.264.")
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            raise DamagedFileError(f"frames of at most {MAX_PIXELS} pixels", file.label, "Shrink it first.")
        packets = [
            (float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base))
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size
        ]
        promised = stream.frames
        duration = float(stream.duration * stream.time_base) if stream.duration else None
        if duration is None and container.duration and len(container.streams) == 1:
            duration = container.duration / av.time_base
    if not packets:
        raise DamagedFileError("a video with frames", f"{file.label} without any", "Replace or remove it.")
    last, length = max(packets)
    shown = last - min(packets)[0]
    length = length or (shown / (len(packets) - 1) if len(packets) > 1 else 1.0)
    end = shown + length
    if promised > len(packets) or (duration is not None and end < duration * (1 - _SHORT) - 3 * length):
        what = f"{len(packets)} of {promised}" if promised > len(packets) else f"{end:.2f} of {duration:.2f} seconds"
        raise _cut_off(file, what)
    return end


def _cut_off(file: File, what: str) -> DamagedFileError:
    return DamagedFileError(
        "a whole video, as long as its header says", f"{file.label} with {what}", "It is cut off: copy it again."
    )


def _shown(av: Any, data: bytes, moments: np.ndarray, file: File) -> np.ndarray:
    """The frames that are shown at these moments, in seconds from the first frame: (T, H, W, 3) uint8."""
    taken: list[np.ndarray] = []
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        first: float | None = None
        last = None
        for frame in container.decode(stream):
            time = frame.time
            if time is None:
                raise DamagedFileError("a time stamp on every frame", f"{file.label} without", "Convert it again.")
            first = time if first is None else first
            while last is not None and len(taken) < len(moments) and time - first > moments[len(taken)]:
                taken.append(_pixels(last, taken, len(moments), file))
            if len(taken) == len(moments):
                break
            last = frame
    if last is None:
        raise DamagedFileError("a video with frames", f"{file.label} without any", "Replace or remove it.")
    while len(taken) < len(moments):
        taken.append(_pixels(last, taken, len(moments), file))
    return np.stack(taken)


def _pixels(frame: Any, taken: list[np.ndarray], count: int, file: File) -> np.ndarray:
    if not taken:
        check_voxels((count, frame.height, frame.width, 3), file.label)
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    if taken and taken[0].shape != pixels.shape:
        raise DamagedFileError(
            f"frames of one size, {taken[0].shape[1]} x {taken[0].shape[0]}",
            f"{file.label} with {pixels.shape[1]} x {pixels.shape[0]}",
            "Convert it to one size.",
        )
    return pixels


VIDEOS = register_file_kind(
    FileKind(
        "video",
        SUFFIXES,
        decode_video,
        (
            Option("frames", 16, "frames in a clip", *whole_number(1)),
            Option("seconds", None, "seconds that a clip lasts, around the middle of its video", *number(1e-3)),
            Option("fps", None, "frames per second of a clip, around the middle of its video", *number(1e-3)),
        ),
    )
)
