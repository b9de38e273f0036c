"""Samples a second that reach a network: Striate's reading beside a plain PyTorch Dataset and DataLoader, same files.

    python bench/reading.py --data PATH_TO_DATA_SETS
    python bench/reading.py --only wav --quick

For every kind of source a small set is written to a temporary folder (bench/reading_files.py), or taken from a real one
in the folder ``--data``, and read in shuffled batches, decoded and scaled to what a network takes:

- striate: `load_data`, `Preprocessing` and the feed that training uses
- plain: what a PyTorch user writes (bench/plain_reading.py), with ``DataLoader(shuffle=True)`` and its own collation;
  it is given mean and deviation, and checks nothing

"first" is from the path to the end of the first epoch: opening, checking every file and learning mean and deviation are
Striate's part of it. "later" is every epoch after that. Sets are read as they come, "memory" where they fit, and again
as "files", with a limit on memory that they do not fit into, in one process and with two workers on both sides. The
sides take turns; figures are medians and quartiles. Ratios are the plain way's time over ours: 1 is as fast. Before any
timing both must give the same numbers. Threads that spin take the processors from workers, and more from ours, whose
batches are scaled by the process that waits for them: the results name OMP_WAIT_POLICY, which "passive" mends.
``--only`` and ``--quick`` (few samples and rounds) write no results.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plain_reading as plain
import reading_files as files
import torch
from machine import result_file, write_results
from torch.utils.data import DataLoader

from striate.data import Dataset, Preprocessing, load_data
from striate.data.shards.packing import pack
from striate.train.feed import Feed, step_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCH = 32
WAYS = (("memory", 0, "later"), ("files", 0, "later"), ("files", 2, "later"), ("memory", 0, "first"))
"""What is summed up: where the set is held, by how many workers it is read, and which epochs."""

HEADINGS = (
    "source", "data", "samples", "shape", "held", "workers", "epoch", "way",
    "samples_per_second", "lower", "upper", "ratio", "difference",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of source: how it is written, the plain way, what lies where, and what Striate is told.

    ``tolerance`` is by how much values may differ, in units of their deviation; ``data`` says whose they are.
    """

    name: str
    count: int
    write: Callable[[Path, int], object]
    plain: Callable[..., plain.Plain]
    inside: str = "."
    told: dict[str, Any] = field(default_factory=dict)
    from_files: bool = True
    tolerance: float = 1e-4
    data: str = "made"


def write_shards(folder: Path, count: int) -> None:
    """Photographs in tar files."""
    source = folder.with_name("to-pack")
    files.write_photographs(source, count)
    pack(source, folder)


SECOND = {"options": {"seconds": 1.0}}
LOG_MEL = {"options": {"seconds": 1.0, "features": "log_mel", "mels": 40}}
WORDS = {"options": {"tokeniser": "spaces", "lowercase": False, "encoding": "latin-1"}}

KINDS = (
    Kind("png", 1500, files.write_digits, plain.Images),
    Kind("jpeg", 1500, files.write_photographs, plain.Images),
    # Pillow resizes the width first and rounds in between; a step of 255 is a sixtieth of the deviation.
    Kind(
        "jpeg, resized",
        400,
        partial(files.write_photographs, size=(256, 192)),
        partial(plain.Images, size=(96, 96)),
        told={"image_size": 96},
        tolerance=0.05,
    ),
    Kind("tar shards", 1500, write_shards, plain.TarredImages),
    Kind("idx", 4000, files.write_idx, plain.Idx, from_files=False),
    Kind(
        "csv, one table",
        100,
        files.write_long_table,
        plain.LongTable,
        "signals.csv",
        {"options": {"window": 100}},
        from_files=False,
    ),
    Kind("csv, one per recording", 600, files.write_tables, plain.Tables, from_files=False),
    Kind("ts", 1000, files.write_series, plain.Series, "Walks.ts", from_files=False),
    Kind("wav", 1500, files.write_sounds, plain.Sounds, told=SECOND),
    Kind("flac", 1000, partial(files.write_sounds, suffix=".flac"), plain.Sounds, told=SECOND),
    Kind("log-mel", 1000, files.write_sounds, plain.Spectrograms, told=LOG_MEL, tolerance=1e-3),
    Kind("sentences", 4000, files.write_sentences, plain.Sentences, "lines.train", WORDS, from_files=False),
    Kind("dna", 3000, files.write_dna, plain.Dna, "sites.fa", from_files=False),
    Kind("nifti with masks", 60, files.write_volumes, plain.Volumes),
    Kind("dicom", 40, files.write_dicom, plain.Scans),
    Kind("png with masks", 300, files.write_masks, plain.Pairs),
    Kind("video", 80, files.write_videos, plain.Clips),
    Kind("npy, row by row", 4000, files.write_array, plain.Mapped, "x.npy"),
)


def real(kinds: tuple[Kind, ...], data: Path) -> tuple[Kind, ...]:
    """The same kinds, with real data sets for those of which there is one in the folder ``data``."""
    size = (48, 64, 48)
    spoken = {"data": "fsdd", "write": partial(files.take_spoken_digits, data / "fsdd" / "fsdd_recordings.tar.xz")}
    pictures = partial(files.take_pictures, data / "cifar10_jpeg" / "cifar10_jpeg.tar.gz")
    known: dict[str, dict[str, Any]] = {
        "jpeg": {"data": "cifar10_jpeg", "write": pictures},
        "idx": {"data": "mnist", "count": 60_000, "write": partial(files.take, data / "mnist", "train-*.gz")},
        "wav": spoken,
        "log-mel": spoken,
        "sentences": {
            "data": "sentences",
            "write": partial(files.take, data / "sentences", "TREC.train.all"),
            "inside": "TREC.train.all",
        },
        "nifti with masks": {
            "data": "hippocampus3d",
            "write": partial(files.take, data / "hippocampus3d", "*/*_0*.nii.gz"),
            "plain": partial(plain.Volumes, size=size),
            "told": {"image_size": size, "fit": "pad"},
        },
        "png with masks": {
            "data": "isbi2012_em",
            "write": partial(files.take_membranes, data / "isbi2012_em" / "train"),
            "plain": partial(plain.Pairs, white=255),
        },
    }
    found = {name: changed for name, changed in known.items() if (data / changed["data"]).exists()}
    return tuple(replace(kind, **found.get(kind.name, {})) for kind in kinds)


class Striate:
    """Reading as training does it."""

    def __init__(self, kind: Kind, path: Path, workers: int, memory_limit: int | None) -> None:
        self.dataset = opened(kind, path, memory_limit)
        self.preprocessing = Preprocessing.fit(self.dataset)
        self.feed = Feed({"train": self.dataset.train}, workers=workers)
        self.epochs = 0

    def epoch(self) -> None:
        """Read all samples once."""
        self.epochs += 1
        order = torch.randperm(len(self.dataset.train))
        for _, inputs, _ in self.feed(step_turns(order, None, self.epochs, batch_size=BATCH)):
            self.preprocessing(inputs)

    def close(self) -> None:
        """End the workers."""
        self.feed.__exit__(None, None, None)


class Plain:
    """Reading as a PyTorch user writes it."""

    def __init__(self, kind: Kind, path: Path, workers: int, scaled: Callable[[Tensor], Tensor]) -> None:
        self.samples = kind.plain(path, scaled)
        self.loader: Any = DataLoader(
            self.samples, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )

    def epoch(self) -> None:
        """Read all samples once."""
        for _ in self.loader:
            pass

    def close(self) -> None:
        """End the workers, and close files."""
        self.loader = None
        self.samples.close()


def opened(kind: Kind, path: Path, memory_limit: int | None = None) -> Dataset:
    """The set with all samples in its training part."""
    return load_data(path, val_fraction=0, test_fraction=0, memory_limit=memory_limit, **kind.told)


def scaling(dataset: Dataset, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """What the plain way does to the values of one sample, in the usual words."""
    if dataset.normalise == "sample":
        return lambda values: (values - values.mean()) / values.std(correction=0)
    shape = (-1, *(1,) * dataset.spatial_dims)
    mean, std = torch.tensor(preprocessing.mean).view(shape), torch.tensor(preprocessing.std).view(shape)
    if dataset.value_scale == 1:
        return lambda values: (values - mean) / std
    return lambda values: (values.float() / dataset.value_scale - mean) / std


def difference(kind: Kind, dataset: Dataset, preprocessing: Preprocessing, theirs: plain.Plain) -> float:
    """The largest difference between values of 200 samples. Ends the script if it is too large, or targets differ."""
    train, places = dataset.train, {name: place for place, name in enumerate(theirs.names)}
    if len(train) != len(theirs):
        raise SystemExit(f"{kind.name}: {len(train)} samples and {len(theirs)}")
    worst = 0.0
    for index in range(0, len(train), max(len(train) // 200, 1)):
        inputs, targets = train.fetch([index])
        name = train.name(index)
        other, label = theirs[places.get(name, places.get(name.partition(".")[0], index))]
        if not torch.equal(targets[0], torch.as_tensor(label)):
            raise SystemExit(f"{kind.name}: other targets of {name}")
        worst = max(worst, float((preprocessing(inputs)[0] - other).abs().max()))
    if worst > kind.tolerance:
        raise SystemExit(f"{kind.name}: values differ by {worst:g}, and not by {kind.tolerance:g} at most")
    return worst


def measure(kind: Kind, path: Path, rounds: int, epochs: int) -> list[tuple[object, ...]]:
    """The rows of one kind of source."""
    dataset = opened(kind, path)
    preprocessing = Preprocessing.fit(dataset)
    scaled = scaling(dataset, preprocessing)
    theirs = kind.plain(path, scaled)
    worst = difference(kind, dataset, preprocessing, theirs)
    theirs.close()
    samples, shape = len(dataset.train), dataset.train.item_shape
    too_little = samples * math.prod(shape) * dataset.train.dtype.itemsize // 2
    settings: list[tuple[str, int, int | None]] = [("memory", 0, None)]
    if kind.from_files:
        settings += [("files", 0, too_little), ("files", 2, too_little)]
    rows: list[tuple[object, ...]] = []
    for held, workers, limit in settings:
        if held == "files" and opened(kind, path, limit).in_memory:
            raise SystemExit(f"{kind.name} is held in memory in spite of a limit of {limit} bytes")
        sides: dict[str, Callable[[], Any]] = {
            "striate": partial(Striate, kind, path, workers, limit),
            "plain": partial(Plain, kind, path, workers, scaled),
        }
        for epoch, seconds in timed(sides, rounds, epochs).items():
            ratio = statistics.median(t / o for o, t in zip(seconds["striate"], seconds["plain"], strict=True))
            told = []
            for way, values in seconds.items():
                quartiles = statistics.quantiles(values, n=4, method="inclusive")
                upper, middle, lower = (samples / value for value in quartiles)
                told.append(f"{way} {middle:9,.0f} ({lower:,.0f} to {upper:,.0f})")
                speeds = (f"{value:.1f}" for value in (middle, lower, upper))
                size = "x".join(map(str, shape))
                what = (kind.name, kind.data, samples, size, held, workers, epoch, way)
                rows.append((*what, *speeds, f"{ratio:.3f}", f"{worst:.2g}"))
            where = f"{kind.name}, {held}, {workers} workers, {epoch}"
            print(f"{where:45} samples/s: {', '.join(told)}  {ratio:.2f}x", flush=True)
    return rows


def timed(sides: dict[str, Callable[[], Any]], rounds: int, epochs: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of first and later epochs of each side, which take turns; an unmeasured round warms up."""
    seconds: dict[str, dict[str, list[float]]] = {when: {way: [] for way in sides} for when in ("first", "later")}
    for turn in range(rounds + 1):
        ready = {}
        for way, start in sides.items():
            began = time.perf_counter()
            ready[way] = start()
            ready[way].epoch()
            if turn:
                seconds["first"][way].append(time.perf_counter() - began)
        for _ in range(epochs):
            for way, side in ready.items():
                began = time.perf_counter()
                side.epoch()
                if turn:
                    seconds["later"][way].append(time.perf_counter() - began)
        for side in ready.values():
            side.close()
    return seconds


def summary(rows: list[tuple[object, ...]]) -> list[str]:
    """The mean and the least ratio of each way of reading."""
    lines = [
        f"batches of {BATCH}; ratio: the plain way's time over ours, so that 1 is as fast and more is faster",
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'active, as it is by default')}",
    ]
    for way in WAYS:
        found = [dict(zip(HEADINGS, row, strict=True)) for row in rows]
        ratios = {
            str(row["source"]): float(str(row["ratio"]))
            for row in found
            if (row["held"], row["workers"], row["epoch"], row["way"]) == (*way, "striate")
        }
        if ratios:
            held, workers, epoch = way
            least = min(ratios, key=lambda name: ratios[name])
            lines.append(
                f"{held}, {workers} workers, {epoch} epochs: mean {statistics.geometric_mean(ratios.values()):.2f}x of "
                f"{len(ratios)}, least {ratios[least]:.2f}x ({least}); "
                f"target {'each 1x' if epoch == 'later' else 'none'}"
            )
    return lines


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of real data sets, to be used where there is one")
    parser.add_argument("--only", action="append", default=[], help="kinds whose names begin so (repeatable)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, two rounds, no results file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="later epochs in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kinds = KINDS if arguments.data is None else real(KINDS, arguments.data)
    chosen = [kind for kind in kinds if not arguments.only or kind.name.startswith(tuple(arguments.only))]
    if not chosen:
        parser.error(f"no kind begins with {' or '.join(arguments.only)}; there are {', '.join(k.name for k in KINDS)}")
    rows = []
    rounds, epochs = (2, 2) if arguments.quick else (arguments.rounds, arguments.epochs)
    for kind in chosen:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "set"
            kind.write(folder, max(kind.count // 10, 20) if arguments.quick else kind.count)
            rows += measure(kind, folder / kind.inside, rounds, epochs)
    notes = summary(rows)
    print("\n".join(["", *notes]))
    if not arguments.quick and not arguments.only:
        write_results(result_file("reading", arguments.threads), notes, HEADINGS, rows)


if __name__ == "__main__":
    main()
