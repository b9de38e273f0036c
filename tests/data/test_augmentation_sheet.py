"""The sheet of originals and versions, and what augmentation reads off a data set."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Dataset, TensorSamples, load_data
from striate.data.augmentation import Facts, augmented_sheet, preset
from striate.errors import ConfigError, DataError


def data_set(inputs, targets, **others):
    facts = {"kind": "k", "classes": ("a", "b", "c"), "value_scale": 1.0} | others
    samples = TensorSamples(inputs, targets)
    return Dataset(
        source="s", reason="r", train=samples, val=None, test=None, official=(), stored_sizes={}, **facts
    )  # fmt: skip


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_facts_are_the_data_sets():
    facts = Facts.of(load_data("digits"))
    assert facts == Facts(size=(8, 8), channels=1, value_scale=16.0, outputs=10)
    masks = torch.zeros(3, 4, 5).long()
    scans = data_set(torch.rand(3, 2, 4, 5), masks, task="segmentation", void=2)
    assert Facts.of(scans) == Facts(size=(4, 5), channels=2, task="segmentation", void=2, outputs=3)


def test_spectrograms_and_bases_have_presets_of_their_own():
    labels = torch.zeros(3).long()
    sound = data_set(torch.randn(3, 1, 8, 9), labels, reading={"features": "log_mel"})
    assert Facts.of(sound).content == "spectrograms"
    assert [table["name"] for table in preset("standard", Facts.of(sound))] == ["spec_augment"]
    bases = data_set(torch.rand(3, 4, 20), labels, kind="dna")
    assert Facts.of(bases).content == "bases"
    assert [table["name"] for table in preset("standard", Facts.of(bases))] == ["base_dropout"]
    assert Facts.of(dataclasses.replace(bases, kind="npz")).content == ""


def test_the_sheet_shows_originals_and_versions(tmp_path):
    inputs = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    inputs[:, :, 0, 0], inputs[:, :, 0, 1] = 0, 255
    dataset = data_set(inputs, torch.arange(20) % 3, value_scale=255.0)
    settings = [{"name": "flip", "p": 1.0}]
    pixels = pixels_of(augmented_sheet(dataset, settings, tmp_path / "a.png", rows=2, versions=3))
    side, step = 72, 76
    assert pixels.shape == (2 * step + 4, 4 * step + 8, 3)
    for row, sample in enumerate((0, 19)):
        line = pixels[4 + step * row :][:side]
        original = line[:, 4 : 4 + side]
        enlarged = inputs[sample].numpy().transpose(1, 2, 0).repeat(9, 0).repeat(9, 1)
        assert np.array_equal(original, enlarged)
        for version in range(1, 4):
            assert np.array_equal(line[:, 8 + step * version :][:, :side], original[:, ::-1])


LABELS = torch.zeros(5).long()
WORDS = tuple(f"word{index}" for index in range(9))


@pytest.mark.parametrize(
    "dataset",
    [
        data_set(torch.randn(5, 7, 40), LABELS),
        data_set(torch.randn(5, 2, 150, 100), LABELS),
        data_set(torch.randn(5, 1, 12, 40), LABELS, reading={"features": "log_mel"}),
        data_set(torch.eye(4)[torch.randint(0, 4, (5, 60))].mT.contiguous(), LABELS, kind="dna"),
        data_set(torch.randn(5, 1, 6, 10, 12), LABELS),
        data_set(torch.randn(5, 1, 6, 10, 12), torch.randint(0, 9, (5, 6, 10, 12)), task="segmentation"),
        data_set(torch.randint(2, 9, (5, 30)), LABELS, input_kind="tokens", vocabulary=WORDS),
    ],
    ids=["signals", "images", "spectrograms", "bases", "volumes", "masked volumes", "texts"],
)
def test_every_kind_has_a_sheet(dataset, tmp_path):
    plain = augmented_sheet(dataset, [], tmp_path / "plain.png", rows=3, versions=4, seed=1)
    strong = augmented_sheet(dataset, ["strong"], tmp_path / "strong.png", rows=3, versions=4, seed=1)
    again = augmented_sheet(dataset, ["strong"], tmp_path / "again.png", rows=3, versions=4, seed=1)
    assert pixels_of(plain).std() > 0
    assert pixels_of(plain).shape == pixels_of(strong).shape
    assert not np.array_equal(pixels_of(plain), pixels_of(strong))
    assert np.array_equal(pixels_of(again), pixels_of(strong))


def test_a_sheet_needs_rows_transforms_and_a_place(tmp_path):
    dataset = data_set(torch.randn(3, 1, 8), torch.zeros(3).long())
    with pytest.raises(DataError) as caught:
        augmented_sheet(dataset, [], tmp_path / "a.png", rows=0)
    assert str(caught.value) == "Expected at least one row and one version; received rows=0, versions=7. Use 8 and 7."
    with pytest.raises(ConfigError, match="images or volumes for 'rotate'"):
        augmented_sheet(dataset, ["rotate"], tmp_path / "a.png")
    with pytest.raises(DataError, match="a place where the picture can be written") as caught:
        augmented_sheet(dataset, [], tmp_path / "missing" / "a.png")
    assert str(caught.value).endswith("Create the folder first.")
