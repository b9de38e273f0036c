"""The sheet of originals and versions, and what augmentation reads off a data set."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from striate.data import Dataset, TensorSamples, load_data
from striate.data.augmentation import Augmentation, Facts, augmented_sheet, preset, sheet
from striate.data.overview.pictures import View
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
    font = ImageFont.load_default(14)
    # The names of the classes stand at the left, and those of the epochs above.
    left, above = math.ceil(max(font.getlength(name) for name in "ab")) + 12, 26
    assert pixels.shape == (above + 2 * step, left + 4 * step + 8, 3)
    assert (pixels[: above - 4, left:] < 128).any()
    for row, sample in enumerate((0, 19)):
        line = pixels[above + step * row :][:side]
        assert (line[:, :left] < 128).any()
        original = line[:, left : left + side]
        enlarged = inputs[sample].numpy().transpose(1, 2, 0).repeat(9, 0).repeat(9, 1)
        assert np.array_equal(original, enlarged)
        for version in range(1, 4):
            assert np.array_equal(line[:, left + 8 + step * version :][:, :side], original[:, ::-1])


def test_the_samples_are_those_that_an_order_begins_with(tmp_path):
    inputs = torch.arange(20).float().reshape(20, 1, 1, 1) + torch.tensor([[0.0, 99.0], [0.0, 0.0]])
    dataset = data_set(inputs, torch.zeros(20).long())
    shown = pixels_of(
        augmented_sheet(dataset, [], tmp_path / "a.png", rows=3, order=lambda epoch: torch.arange(19, -1, -1))
    )
    chosen = data_set(inputs[[19, 18, 17]], torch.zeros(3).long())
    assert np.array_equal(shown, pixels_of(augmented_sheet(chosen, [], tmp_path / "b.png", rows=3)))


@pytest.mark.parametrize("transforms", [["mixup", "flip", "jitter"], ["cutmix", {"name": "mixup", "alpha": 0.5}]])
@pytest.mark.parametrize("size", [12, 13])
def test_versions_are_what_training_makes(transforms, size):
    """Mixed samples have the partners that they have in batches of an even size."""
    dataset = data_set(torch.randn(size, 2, 6), torch.arange(size) % 3)
    augment = Augmentation.from_settings(transforms, Facts.of(dataset), seed=7)

    def order(epoch):
        return torch.randperm(size, generator=torch.Generator().manual_seed(epoch))

    indices = order(0)[:5]
    for epoch in range(4):
        inputs, targets = sheet._version(dataset, augment, indices, epoch, order)
        for batch in order(epoch).split(4):
            wanted, labels = augment(*dataset.train.fetch(batch), batch, epoch)
            for place, index in enumerate(batch.tolist()):
                for row in torch.nonzero(indices == index)[:, 0].tolist():
                    assert torch.equal(inputs[row], wanted[place])
                    assert torch.equal(targets[row], labels[place])


def test_mixed_samples_say_of_what_they_are():
    dataset = data_set(torch.randn(4, 1, 6), torch.arange(4) % 3)
    assert sheet._shares(dataset, torch.tensor([0.25, 0.75, 0.0])) == ["b: 75 %", "a: 25 %"]
    assert sheet._shares(dataset, torch.tensor([0.0, 0.0, 1.0])) == []
    assert sheet._shares(dataset, torch.tensor([0.996, 0.004, 0.0])) == []


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ("a dull film indeed", set()),
        ("a <unk> film indeed", {1}),
        ("a film indeed", set()),
        ("film dull a indeed", {0, 2}),
    ],
)
def test_words_that_changed_are_marked(after, changed):
    before = ["a", "dull", "film", "indeed"]
    found = sheet._changed(before, after.split())
    assert len(found) == len(changed)
    if after.startswith("a"):
        assert found == changed


def test_marked_words_are_red(tmp_path):
    view = View("texts", (200, 22))
    plain, marked = (np.asarray(view.write(["one", "two", "three"], places)).astype(int) for places in ((), {1}))
    red = (plain != marked).any(axis=(0, 2))
    font = ImageFont.load_default(14)
    first, last = np.flatnonzero(red)[[0, -1]]
    assert font.getlength("one ") + 3 <= first <= last <= font.getlength("one two ") + 4
    assert (marked[..., 0] - marked[..., 2]).max() > 100
    cut = np.asarray(view.write(["word"] * 50, {49}))
    assert np.array_equal(cut, np.asarray(view.write(["word"] * 50)))
    # One letter a token, and unknown ones between them.
    assert np.array_equal(np.asarray(view.write(["a", "<unk>"])), np.asarray(view.write(["a<unk>"])))


def test_wide_samples_have_fewer_versions(tmp_path):
    dataset = data_set(torch.randn(3, 1, 12, 12, 12), torch.zeros(3).long())
    assert pixels_of(augmented_sheet(dataset, [], tmp_path / "a.png", versions=30)).shape[1] < 1700


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
