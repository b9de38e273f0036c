"""Small tables and recordings, for the tests of the readers of signals."""

import numpy as np


def table_text(columns, separator=","):
    """A CSV text of columns by name."""
    rows = zip(*columns.values(), strict=True)
    return "\n".join([separator.join(columns), *(separator.join(map(str, row)) for row in rows)]) + "\n"


def long_table(lengths=(30, 20, 25, 40), rate=10.0, seed=0):
    """Columns id, time, ax, ay, label, subject of recordings r0, r1, ..., with labels that change half-way."""
    random = np.random.default_rng(seed)
    columns = {name: [] for name in ("id", "time", "ax", "ay", "label", "subject")}
    for index, length in enumerate(lengths):
        columns["id"] += [f"r{index}"] * length
        columns["time"] += (np.arange(length) / rate).tolist()
        columns["ax"] += random.normal(size=length).round(4).tolist()
        columns["ay"] += random.normal(size=length).round(4).tolist()
        columns["label"] += ["walk"] * (length // 2) + ["run"] * (length - length // 2)
        columns["subject"] += [f"p{index // 2}"] * length
    return columns


def save_recordings(path, lengths=(30, 20, 25, 40), channels=3, seed=0, **arrays):
    """An .npz of recordings end to end; by default one label per recording, 0 and 1 in turns."""
    random = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    stored = {
        "x": random.normal(size=(offsets[-1], channels)).astype(np.float32),
        "offsets": offsets,
        "y": np.arange(len(lengths)) % 2,
        "names": np.array([f"s{index // 2}_{index}_{'ab'[index % 2]}" for index in range(len(lengths))]),
    } | arrays
    np.savez(path, **{name: array for name, array in stored.items() if array is not None})
    return {name: array for name, array in stored.items() if array is not None}
