"""Segmentation of whole images: what is measured by tiles, and masks that are written for files."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.data import SkippedFileWarning, load_data
from striate.errors import DataError
from striate.models.registry import register, unregister
from striate.train import Quiet, Run, RunConfig, evaluate, fit, predict, save_evaluation, segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Bright(nn.Module):
    """Says class 1 where its input is above a half; with ``frame`` everywhere along the edges of what it sees."""

    def __init__(self, frame: bool) -> None:
        super().__init__()
        self.frame, self.shift = frame, nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        above = 8 * (inputs[:, :1] - 0.5)
        if self.frame:
            inner = torch.full_like(above, 8.0)
            inner[..., 1:-1, 1:-1] = above[..., 1:-1, 1:-1]
            above = inner
        # The same for both classes: whatever is learned changes no probability.
        return torch.cat((-above, above), dim=1) + self.shift


def bright(spatial_dims: int, in_channels: int, num_classes: int, *, frame: bool = False) -> nn.Module:
    return Bright(frame)


@pytest.fixture(autouse=True)
def bright_model() -> Iterator[None]:
    register(
        summary="Says what is bright", paper="", year=2000, input_size=8, min_input_size=2, spatial_dims=(1, 2, 3),
        task="segmentation",
    )(bright)  # fmt: skip
    yield
    unregister("bright")


SIZES = ((20, 17), (9, 30), (5, 6), (12, 8), (21, 11), (16, 16))


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, SIZES[number], np.uint8)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Pictures of several sizes, whose masks are right for nine places in ten."""
    for what in ("images", "masks"):
        (tmp_path / "cells" / what).mkdir(parents=True)
    for number in range(len(SIZES)):
        image = picture(number)
        wrong = np.random.default_rng(9).random(image.shape) < 0.1
        Image.fromarray(image).save(tmp_path / "cells" / "images" / f"{number}.png")
        Image.fromarray(((image > 127) ^ wrong).astype(np.uint8) * 255).save(tmp_path / f"cells/masks/{number}.png")
    return tmp_path / "cells"


def run_on(source: Path, folder: Path, options: dict[str, Any], frame: bool = False, **data: Any) -> Run:
    settings = {
        "model": {"name": "bright", "options": {"frame": frame}},
        "data": {"source": str(source), "options": options, "normalise": "none"} | data,
        "epochs": 1, "batch_size": 4, "device": "cpu", "loss": "cross_entropy",
    }  # fmt: skip
    return fit(RunConfig.from_dict(settings), folder, reporter=Quiet())


def test_whole_images_are_measured(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8}, test_fraction=0.4)
    evaluation = evaluate(run, bootstrap=50)
    dataset = load_data(cells, options={"patch": 8}, test_fraction=0.4)
    names = sorted({dataset.test.name(index).partition("[")[0] for index in range(len(dataset.test))})
    assert evaluation.count == len(names) < len(dataset.test)
    hits = said = true = right = positions = 0
    for name in names:
        image, mask = (np.asarray(Image.open(cells / what / name[7:])) for what in ("images", "masks"))
        given, truth = image > 127, mask > 0
        hits += (given & truth).sum()
        said, true = said + given.sum(), true + truth.sum()
        right, positions = right + (given == truth).sum(), positions + mask.size
    assert evaluation.metrics["mean_dice"] == pytest.approx(2 * hits / (said + true))
    assert evaluation.metrics["pixel_accuracy"] == pytest.approx(right / positions)
    assert sum(map(sum, evaluation.confusion)) == positions
    assert evaluation.regions[1].support == true
    assert {each.name for each in evaluation.worst} <= set(names)
    for each in evaluation.worst:
        assert each.truth.shape == each.said.shape == each.input.shape[1:] == picture(int(each.name[7])).shape
    assert evaluate(run, bootstrap=0, tta=True).metrics["mean_dice"] == pytest.approx(2 * hits / (said + true))
    assert save_evaluation(evaluation, run, tmp_path / "pictures")[0].name == "evaluation.json"
    assert evaluate(run, source=cells, bootstrap=0).metrics == evaluation.metrics


def test_tiles_overlap_and_their_edges_count_for_little(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "dark").mkdir()
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "dark" / "a.png")
    run = run_on(cells, tmp_path / "run", {"patch": 16, "overlap": 0}, frame=True)
    for overlap in (0.0, 0.5):
        segment(run, tmp_path / "dark", tmp_path / "masks", overlap=overlap)
        mask = np.asarray(Image.open(tmp_path / "masks" / "a.png"))
        # The edges of the image itself are seen by nothing but edges of tiles.
        assert mask[[0, -1]].all()
        assert mask[[15, 16, 31, 32]].all() == (overlap == 0)
        assert mask[1:-1, 1:-1].any() == (overlap == 0)


@pytest.mark.parametrize("options", [{"patch": 8}, {"patch": [6, 10], "overlap": 0.5}])
def test_a_mask_has_the_size_and_numbers_of_its_kind(cells: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    run = run_on(cells, tmp_path / "run", options)
    found = segment(run, cells / "images", tmp_path / "masks")
    assert [each.path.name for each in found] == [f"{number}.png" for number in range(len(SIZES))]
    for number, each in enumerate(found):
        assert each.mask == tmp_path / "masks" / f"{number}.png"
        mask = np.asarray(Image.open(each.mask))
        assert np.array_equal(mask, (picture(number) > 127) * np.uint8(255))
        assert each.shares == pytest.approx({"0": (mask == 0).mean(), "255": (mask > 0).mean()})
    found.save_csv(tmp_path / "masks.csv")
    lines = (tmp_path / "masks.csv").read_text().splitlines()
    assert lines[0] == "path,mask,share_0,share_255"
    assert len(lines) == 1 + len(SIZES)


def test_files_that_a_run_without_tiles_resizes(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {}, image_size=[8, 8])
    half = np.zeros((30, 50), np.uint8)
    half[:, 25:] = 255
    Image.fromarray(half).save(tmp_path / "half.jpg", quality=95)
    (found,) = segment(run, tmp_path / "half.jpg", tmp_path)
    assert found.mask == tmp_path / "half.png"
    mask = np.asarray(Image.open(found.mask))
    assert mask.shape == (30, 50)
    assert not mask[:, :23].any()
    assert mask[:, 27:].all()


def test_files_that_a_run_resizes_before_they_are_cut(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8}, image_size=[16, 16])
    half = np.zeros((64, 48), np.uint8)
    half[:32] = 255
    np.save(tmp_path / "half.npy", half)
    (found,) = segment(run, tmp_path / "half.npy", tmp_path / "masks")
    mask = np.load(found.mask)
    assert (mask.shape, mask.dtype) == ((64, 48), np.uint8)
    assert np.array_equal(mask[:28], np.full((28, 48), 255))
    assert not mask[36:].any()


def test_files_that_are_cut_and_filled_up_are_seen_by_tiles(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {}, image_size=[8, 8], fit="pad")
    for number, each in enumerate(segment(run, cells / "images", tmp_path / "masks")):
        assert np.array_equal(np.asarray(Image.open(each.mask)) > 0, picture(number) > 127)


AFFINES = (
    np.diag([1.0, 1.0, 1.0, 1.0]),
    np.array([[-0.9, 0, 0, 90], [0, -0.9, 0, 126], [0, 0, 1.5, -72], [0, 0, 0, 1]]),
    np.array([[0, 0, 2.0, -10], [-1.0, 0, 0, 20], [0, 3.0, 0, -30], [0, 0, 0, 1]]),
)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for what in ("images", "labels"):
        (tmp_path / "scans" / what).mkdir(parents=True)
    for number in range(6):
        values = np.random.default_rng(number).random((7 + number, 8, 6)).astype(np.float32)
        affine = AFFINES[number % 3]
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "scans" / "images" / f"{number}.nii.gz")
        labels = nibabel.Nifti1Image((values > 0.5).astype(np.uint8), affine)
        nibabel.save(labels, tmp_path / "scans" / "labels" / f"{number}.nii.gz")
    return tmp_path / "scans"


def test_volumes_come_back_as_they_lie(scans: Path, tmp_path: Path) -> None:
    run = run_on(scans, tmp_path / "run", {"patch": [4, 6, 5]})
    assert evaluate(run, bootstrap=0).metrics["mean_dice"] == 1
    found = segment(run, [scans / "images"], tmp_path / "masks")
    assert len(found) == 6
    for each in found:
        image, mask = nibabel.load(each.path), nibabel.load(each.mask)
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8
        for code in ("sform_code", "qform_code", "xyzt_units"):
            assert mask.header[code] == image.header[code]
        assert np.array_equal(np.asarray(mask.dataobj), (image.get_fdata() > 0.5).astype(np.uint8))
    before = [each.mask.read_bytes() for each in found]
    assert [each.mask.read_bytes() for each in segment(run, scans / "images", tmp_path / "masks")] == before


def test_volumes_that_are_resampled_come_back_at_their_spacing(tmp_path: Path) -> None:
    half = np.zeros((12, 8, 10), np.float32)
    half[6:] = 1
    for what in ("images", "labels"):
        (tmp_path / "scans" / what).mkdir(parents=True)
        for number in range(4):
            # The first axis runs from right to left.
            volume = nibabel.Nifti2Image(half if what == "images" else half.astype(np.uint8), np.diag([-1.0, 2, 1, 1]))
            nibabel.save(volume, tmp_path / "scans" / what / f"{number}.nii")
    run = run_on(tmp_path / "scans", tmp_path / "run", {"patch": 4, "spacing": 2})
    (found,) = segment(run, tmp_path / "scans" / "images" / "2.nii", tmp_path)
    mask = nibabel.load(found.mask)
    assert isinstance(mask, nibabel.Nifti2Image)
    assert np.array_equal(mask.affine, np.diag([-1.0, 2, 1, 1]))
    assert np.array_equal(np.asarray(mask.dataobj), half)


def test_a_stack_of_pages_comes_back_as_one(tmp_path: Path) -> None:
    for what in ("images", "masks"):
        (tmp_path / "stacks" / what).mkdir(parents=True)
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (5, 7, 9), np.uint8)
        for what, pages in (("images", values), ("masks", (values > 127).astype(np.uint8))):
            first, *rest = (Image.fromarray(page) for page in pages)
            first.save(tmp_path / "stacks" / what / f"{number}.tif", save_all=True, append_images=rest)
    run = run_on(tmp_path / "stacks", tmp_path / "run", {"patch": 4, "pages": "volume"})
    (found,) = segment(run, tmp_path / "stacks" / "images" / "3.tif", tmp_path)
    with Image.open(found.mask) as stack:
        pages = []
        for place in range(stack.n_frames):
            stack.seek(place)
            pages.append(np.array(stack))
    assert np.array_equal(np.stack(pages), values > 127)


def test_where_masks_may_lie(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8})
    files = cells / "images"
    with pytest.raises(DataError) as error:
        segment(run, files, files)
    assert str(error.value) == (
        f"Expected masks that replace no file to segment; received {files}/0.png for {files}/0.png. "
        "Choose another folder."
    )
    Image.fromarray(picture(0)).save(tmp_path / "0.jpg")
    with pytest.raises(DataError) as error:
        segment(run, [files / "0.png", tmp_path / "0.jpg"], tmp_path / "masks")
    assert str(error.value) == (
        f"Expected a mask of its own for every file; received {tmp_path}/masks/0.png for {files}/0.png and for "
        f"{tmp_path}/0.jpg. Segment them one after the other, into folders of their own."
    )
    assert not (tmp_path / "masks").exists()
    (tmp_path / "more" / "deep").mkdir(parents=True)
    Image.fromarray(picture(1)).save(tmp_path / "more" / "deep" / "0.jpg")
    found = segment(run, [files, tmp_path / "more"], tmp_path / "masks")
    assert found[-1].mask == tmp_path / "masks" / "deep" / "0.png"


def test_files_that_cannot_be_read(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8})
    (cells / "images" / "0.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="a complete image file"):
        segment(run, cells / "images", tmp_path / "masks")
    with pytest.warns(SkippedFileWarning, match="0.png was left out"):
        found = segment(run, cells / "images", tmp_path / "masks", skip_corrupt=True)
    assert (len(found), len(found.skipped)) == (len(SIZES) - 1, 1)
    np.save(tmp_path / "volume.npy", np.zeros((3, 4, 5, 6)))
    with pytest.raises(DataError, match="one sample of 1 channels and 2 spatial axes"):
        segment(run, tmp_path / "volume.npy", tmp_path / "masks")


def test_what_is_refused(cells: Path, tmp_path: Path, trained: Any) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8})
    for ask in (lambda: evaluate(run, overlap=1.0), lambda: segment(run, cells, tmp_path, overlap=1.0)):
        with pytest.raises(DataError) as error:
            ask()
        assert str(error.value) == (
            "Expected an overlap from 0 to 0.9, the part of a tile that the next one shares; received overlap=1.0. "
            "Use 0.5."
        )
    with pytest.raises(DataError) as error:
        predict(run, cells)
    assert str(error.value) == (
        "Expected a run that tells classes of files; received one of segmentation. Use segment(), which writes masks."
    )
    with pytest.raises(DataError) as error:
        segment(trained("image")[0], cells, tmp_path)
    assert str(error.value) == "Expected a run of segmentation; received one of classification. Use predict()."


def test_nothing_is_warned_of(cells: Path, tmp_path: Path) -> None:
    run = run_on(cells, tmp_path / "run", {"patch": 8})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment(run, cells / "images" / "1.png", tmp_path / "masks")
