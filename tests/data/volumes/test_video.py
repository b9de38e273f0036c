"""Video files: clips by time, and files that are broken or cut off."""

from fractions import Fraction

import av
import numpy as np
import pytest

from striate.data import SkippedFileWarning, load_data
from striate.data.file import File, file_on_disk
from striate.data.volumes.video import decode_video
from striate.errors import DataError

SIZE = (16, 32)
STEP = 4


def write_video(path, times, size=SIZE):
    """Frame i, shown from times[i] on, is a plain grey of 10 + 4 i, so that its level tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = base
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 10 + STEP * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file_on_disk(path, path.name)


def shown(file, **options):
    """The numbers of the frames in a clip."""
    values, scale = decode_video(file, {"frames": 16, "seconds": None, "fps": None, **options})
    assert (values.shape[0], scale) == (3, 255.0)
    assert values.shape[2:] == SIZE
    return [round((level - 10) / STEP) for level in values.float().mean((0, 2, 3)).tolist()]


def at(times, moments):
    """Which frame is shown at each moment."""
    return (np.searchsorted(times, moments, side="right") - 1).clip(0).tolist()


def test_frames_are_chosen_by_time(tmp_path):
    even = [index / 25 for index in range(50)]
    file = write_video(tmp_path / "a.mp4", even)
    assert shown(file, frames=8) == at(even, (np.arange(8) + 0.5) / 4)
    assert shown(file, frames=4, seconds=0.4) == at(even, 0.8 + (np.arange(4) + 0.5) / 10)
    assert shown(file, frames=4, fps=10) == at(even, 0.8 + (np.arange(4) + 0.5) / 10)
    # Beyond the end the last frame stays.
    assert shown(file, frames=4, fps=1) == [12, 37, 49, 49]


def test_a_varying_frame_rate_gives_the_same_times(tmp_path):
    uneven = [index / 25 for index in range(25)] + [1 + index / 5 for index in range(5)]
    found = shown(write_video(tmp_path / "a.mp4", uneven), frames=9, seconds=1.8)
    # The encoder notes that the last frame is shown for as long as the first ones.
    assert found == at(uneven, 0.02 + (np.arange(9) + 0.5) / 5)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov"])
def test_files_that_are_cut_off(tmp_path, suffix):
    file = write_video(tmp_path / f"a{suffix}", [index / 25 for index in range(50)])
    data = file.read()
    for part in (0.02, 0.3):
        content = data[: int(len(data) * part)]
        with pytest.raises(DataError, match=r"complete video|whole video|with frames|known format"):
            decode_video(
                File(file.name, file.label, len(content), content), {"frames": 4, "seconds": None, "fps": None}
            )


def test_what_is_no_video(tmp_path):
    for content in (b"", b"hello" * 100):
        file = File("a.mp4", "a.mp4", len(content), content)
        with pytest.raises(DataError, match=r"received a\.mp4, which cannot be decoded"):
            decode_video(file, {"frames": 4, "seconds": None, "fps": None})
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="a file with moving pictures"):
        decode_video(file_on_disk(path, path.name), {"frames": 4, "seconds": None, "fps": None})


def test_clips_in_folders_of_classes(tmp_path):
    for name, count in (("jump", 50), ("walk", 30)):
        for index in range(3):
            write_video(tmp_path / name / f"{index}.mp4", [place / 25 for place in range(count)])
    dataset = load_data(
        tmp_path, val_fraction=0, test_fraction=0, options={"frames": 5}, image_size=(5, 8, 8), channels=1
    )
    assert dataset.train.item_shape == (1, 5, 8, 8)
    assert dataset.reading["frames"] == 5
    (tmp_path / "jump" / "0.mp4").write_bytes(b"nothing")
    with pytest.warns(SkippedFileWarning, match=r"jump/0\.mp4"):
        assert len(load_data(tmp_path, val_fraction=0, test_fraction=0, skip_corrupt=True).train) == 5
    with pytest.raises(DataError, match="seconds or fps, for frames decides the other"):
        load_data(tmp_path, options={"seconds": 1, "fps": 5})


def test_clips_too_large_for_memory(tmp_path):
    file = write_video(tmp_path / "a.mp4", [0, 0.04, 0.08])
    with pytest.raises(DataError, match="a volume of 1 to"):
        decode_video(file, {"frames": 10**7, "seconds": None, "fps": None})
