"""``striate evaluate`` and ``striate predict`` for runs of segmentation: whole images, and masks of files."""

import csv
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """Pictures of two sizes with masks, and a run of a small U-Net on tiles of them."""
    from striate.train import Quiet, RunConfig, fit

    root = tmp_path_factory.mktemp("segmented")
    random = np.random.default_rng(0)
    for what in ("images", "masks"):
        (root / "cells" / what).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((24, 20 + 4 * (number % 2)), np.uint8)
        mask[number : number + 9, 5:15] = 1
        Image.fromarray(mask).save(root / "cells" / "masks" / f"{number}.png")
        noisy = mask * 150 + random.integers(0, 99, mask.shape, np.uint8)
        Image.fromarray(noisy.astype(np.uint8)).save(root / "cells" / "images" / f"{number}.png")
    (root / "cells" / "classes.csv").write_text("ground,0\ncell,1\n")
    model = {"name": "unet", "options": {"width": 2, "depth": 1}}
    data = {"source": str(root / "cells"), "options": {"patch": 8}, "test_fraction": 0.3}
    config = RunConfig.from_dict({"model": model, "data": data, "epochs": 1, "device": "cpu"})
    return fit(config, root / "run", reporter=Quiet()), root / "cells"


def test_whole_images_are_counted(striate, segmented, tmp_path):
    run, _ = segmented
    done = striate("evaluate", run.folder, "--bootstrap", 0, "--json", "--out", tmp_path, "--overlap", 0.25)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["count"] == 2
    assert sum(map(sum, told["confusion"])) in (24 * 20 * 2, 24 * 24 * 2, 24 * 20 + 24 * 24)


def test_masks_are_written(striate, segmented, tmp_path):
    run, cells = segmented
    done = striate("predict", run.folder, cells / "images", "--out", "masks")
    assert done.exit_code == 0, done.output
    assert "cell" in done.stdout
    assert "masks/0.png" in done.stdout
    for number in range(6):
        mask = np.asarray(Image.open(tmp_path / "masks" / f"{number}.png"))
        assert mask.shape == (24, 20 + 4 * (number % 2))
        assert set(np.unique(mask)) <= {0, 1}
    told = json.loads(striate("predict", run.folder, cells / "images" / "0.png", "--out", "one", "--json").stdout)
    assert told[0]["mask"] == "one/0.png"
    assert sum(told[0]["shares"].values()) == pytest.approx(1)
    assert striate("predict", run.folder, cells / "images", "--csv", "masks.csv").exit_code == 0
    with (tmp_path / "masks.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", "mask", "share_ground", "share_cell"]
    assert rows[1][1] == str(run.folder / "masks" / "0.png")


def test_options_of_the_other_tasks_are_refused(refused, segmented, run):
    cells = segmented[1] / "images"
    assert refused("predict", segmented[0].folder, cells, "--calibrated") == (
        "Expected options for masks; received --calibrated with a run of segmentation. Leave it out."
    )
    assert refused("predict", segmented[0].folder, cells, "--top-k", 2) == (
        "Expected options for masks; received --top-k with a run of segmentation. Leave it out."
    )
    assert refused("predict", run, cells, "--out", "masks") == (
        "Expected options for classes; received --out with a run of classification. Leave it out."
    )
    assert refused("evaluate", segmented[0].folder, "--overlap", 2).startswith("Expected an overlap from 0 to 0.9")
