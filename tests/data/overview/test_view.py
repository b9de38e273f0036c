"""What a report says and a contact sheet shows for every kind of samples and targets, against hand counts."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.data import Dataset, TensorSamples, contact_sheet, describe, load_data
from striate.data.overview.pictures import COLOURS, VIEWS, mask_colours, view_of
from striate.data.overview.summaries import Spread
from striate.errors import DataError


def dataset_of(train, val=None, **facts):
    wanted = {
        "source": "x",
        "kind": "test",
        "reason": "",
        "classes": ("a", "b"),
        "train": train,
        "val": val,
        "test": None,
        "value_scale": 1.0,
        "official": (),
        "stored_sizes": {tuple(train.item_shape[1:]): len(train)},
    }
    return Dataset(**{**wanted, **facts})


def plain(report):
    return json.loads(json.dumps(report.to_dict()))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=50))
def test_a_spread_is_that_of_the_sorted_numbers(numbers):
    ordered = sorted(numbers)
    found = Spread.of(Counter(numbers))
    quantiles = np.quantile(ordered, [0.5, 0.95], method="inverted_cdf").tolist()
    assert [found.smallest, found.median, found.most, found.largest] == [ordered[0], *quantiles, ordered[-1]]


def test_texts(tmp_path):
    texts = ["0 a b", "1 a c d", "1 a"] * 8
    (tmp_path / "t.train").write_text("\n".join([*texts, "0 rare"]))
    (tmp_path / "t.test").write_text("0 a new word\n1 a a a a a a a\n1 newer\n0 newest\n")
    report = describe(tmp_path / "t.train", val_fraction=0, options={"min_count": 2, "min_length": 1})
    assert report.sizes == {"train": 25, "test": 4}
    assert report.tokens.vocabulary == 6
    assert report.tokens.most_frequent == (("a", 24), ("b", 8), ("c", 8), ("d", 8))
    # 49 training tokens, of which one is rare; of the long text 3 of 7 are left.
    assert report.tokens.unknown == {"train": 1 / 49, "test": 4 / 8}
    assert (report.tokens.length, report.tokens.cut, report.tokens.with_vectors) == (3, 1, False)
    assert report.lengths == Spread(1, 2, 3, 7)
    assert "1 of 29 texts cut to 3 tokens, the length of the longest training text or max_length." in report.warnings
    # The two unknown words of the test part may be different ones: no duplicates.
    assert report.duplicates == ()
    assert report.repeats == 3
    assert plain(report)["tokens"]["most_frequent"][0] == ["a", 24]


def test_regression():
    values = torch.tensor([[float(number), 5.0] for number in range(21)])
    inputs = torch.rand(21, 1, 9)
    report = describe(
        dataset_of(TensorSamples(inputs, values), task="regression", classes=("age", "same"), normalise="none")
    )
    age = report.numbers["age"]["train"]
    assert (age.smallest, age.median, age.largest, age.mean) == (0, 10, 20, 10)
    assert age.std == pytest.approx(np.arange(21).std())
    assert age.counts == tuple(np.histogram(np.arange(21), 10)[0])
    assert age.edges == tuple(np.linspace(0, 20, 11))
    assert report.numbers["same"]["train"].counts == (21,)
    assert (report.counts, report.sizes) == ({"train": {}}, {"train": 21})
    assert report.warnings == ("same is always 5 in the training part.",)
    assert plain(report)["numbers"]["age"]["train"]["mean"] == 10
    twice = TensorSamples(inputs[:1].repeat(2, 1, 1), torch.tensor([[1.0], [2.5]]))
    report = describe(dataset_of(twice, task="regression", classes=("age",)))
    assert report.duplicates[0].classes == ("age 1", "age 2.5")
    assert "1 sample with several targets." in report.warnings


def test_several_labels():
    held = torch.tensor([[1.0, 0, 0]] * 12 + [[1, 1, 0]] * 10 + [[0, 0, 0]] * 2)
    part = TensorSamples(torch.rand(24, 1, 9), held)
    report = describe(dataset_of(part, part, task="multi-label", classes=("x", "y", "z")))
    assert report.counts["train"] == {"x": 22, "y": 10, "z": 0}
    assert report.labels_held["train"].per_sample == pytest.approx(32 / 24)
    assert report.labels_held["train"].without == 2
    assert report.warnings == (
        "Fewer than 10 training samples in z (0).",
        "No train samples of z.",
        "No val samples of z.",
        "2 training samples without any label.",
        "24 samples also in another part: scores on it will be too good.",
    )
    assert {group.classes[0] for group in report.duplicates} == {"x", "x, y", "no label"}


def test_masks():
    masks = torch.zeros(3, 4, 5, dtype=torch.uint8)
    masks[0, 0] = 1
    masks[1, :2] = 255
    part = TensorSamples(torch.rand(3, 1, 4, 5), masks)
    report = describe(
        dataset_of(part, task="segmentation", classes=("background", "cell", "gone"), void=255, value_scale=255.0)
    )
    mask = report.masks["train"]
    assert mask.shares == {"background": 45 / 50, "cell": 5 / 50, "gone": 0}
    assert mask.samples == report.counts["train"] == {"background": 3, "cell": 1, "gone": 0}
    assert mask.void == 10 / 60
    assert report.warnings == ("No place of gone in the training masks.",)
    assert plain(report)["masks"]["train"]["void"] == 10 / 60


def test_void_among_the_classes():
    masks = torch.tensor([[[0, 1, 2, 2]]])
    part = TensorSamples(torch.rand(1, 1, 1, 4), masks)
    report = describe(dataset_of(part, task="segmentation", classes=("x", "y", "void"), void=2))
    assert report.masks["train"].shares == {"x": 0.5, "y": 0.5}
    assert report.masks["train"].void == 0.5
    assert report.warnings == ()


def test_the_same_subject_on_both_sides():
    inputs, labels = torch.rand(30, 1, 9), torch.arange(30) % 2
    train = TensorSamples(inputs[:20], labels[:20], groups=torch.arange(20) % 4)
    val = TensorSamples(inputs[20:], labels[20:], groups=torch.tensor([3, 3, 3, 7, 7, 7, 7, 7, 2, 9]))
    report = describe(dataset_of(train, val))
    assert [(s.part, s.other, s.subjects, s.samples) for s in report.shared_subjects] == [("val", "train", 2, 4)]
    assert report.subjects["train"].subjects == 4
    assert report.subjects["val"].samples == Spread(1, 1, 5, 5)
    assert report.warnings[0] == (
        "THE SAME SUBJECT ON BOTH SIDES: 2 of the 4 in val, with 4 of its 10 samples, also in train. "
        "Scores on val will be too good: keep all samples of one subject in one part."
    )
    alone = TensorSamples(inputs[20:], labels[20:], groups=torch.full((10,), 8))
    assert describe(dataset_of(train, alone)).shared_subjects == ()


def test_identities():
    train = TensorSamples(torch.rand(6, 1, 9), torch.tensor([0, 0, 1, 1, 2, 2]))
    val = TensorSamples(torch.rand(5, 1, 9), torch.tensor([3, 3, 3, 1, 4]))
    report = describe(dataset_of(train, val, task="verification", classes=("p", "q", "r", "s", "t")))
    assert report.counts["val"] == {"p": 0, "q": 1, "r": 0, "s": 3, "t": 1}
    assert (report.subjects["train"].subjects, report.subjects["val"].subjects) == (3, 3)
    assert len(report.warnings) == 1
    assert report.warnings[0] == (
        "THE SAME IDENTITY ON BOTH SIDES: 1 of the 3 in val, with 1 of its 5 samples, also in train. "
        "Scores on val will be too good: keep all samples of one identity in one part."
    )


# Sheets ---------------------------------------------------------------------------------------------------------------


def sheet(dataset, tmp_path, **options):
    with Image.open(contact_sheet(dataset, tmp_path / "sheet.png", **options)) as image:
        return np.asarray(image.convert("RGB"))


def labels(count):
    return torch.arange(count) % 2


def test_a_volume_is_shown_by_its_three_middle_planes(tmp_path):
    volume = torch.zeros(2, 1, 6, 8, 10)
    volume[:, :, 3] = 1
    dataset = dataset_of(TensorSamples(volume, labels(2)))
    view = view_of(dataset)
    # One voxel is 72 // 10 pixels wide: planes of 8 x 10, 6 x 10 and 6 x 8, with 2 pixels between.
    assert (view.kind, view.size) == ("slices", (70 + 2 + 70 + 2 + 56, 56))
    drawn = np.asarray(view.draw(volume[0], 0.0, 1.0))
    assert (drawn[:, :70] == 255).all()
    assert (drawn[:42, 72:142] == 255).all(-1).sum() == 7 * 70
    assert (drawn[:42, 144:] == 255).all(-1).sum() == 7 * 56


def test_a_clip_is_shown_by_its_frames(tmp_path):
    clips = torch.arange(18).reshape(1, 1, 18, 1, 1).expand(2, 1, 18, 4, 4).float()
    dataset = dataset_of(TensorSamples(clips, labels(2)))
    drawn = np.asarray(view_of(dataset, "clips").draw(clips[0], 0.0, 17.0))
    assert drawn.shape == (72, 6 * 72 + 5 * 2, 3)
    frames = np.linspace(0, 17, 6).round() / 17 * 255
    assert drawn[0, 36::74, 0].tolist() == frames.round().astype(int).tolist()
    assert view_of(dataset_of(TensorSamples(clips, labels(2)), kind="video")).kind == "clips"
    named = TensorSamples(clips, labels(2), lambda index: f"jump/{index}.mp4")
    assert view_of(dataset_of(named, kind="class-folder")).kind == "clips"


def test_low_frequencies_of_spectrograms_are_below():
    loud = torch.zeros(2, 1, 8, 9)
    loud[:, :, 0] = 1
    dataset = dataset_of(TensorSamples(loud, labels(2)), reading={"features": "log_mel"})
    view = view_of(dataset)
    drawn = np.asarray(view.draw(loud[0], 0.0, 1.0)).sum(-1)
    assert view.kind == "spectrograms"
    assert drawn[-8:].min() > 600
    assert drawn[:-8].max() < 10


def test_masks_lie_over_their_inputs(tmp_path):
    mask = torch.zeros(72, 72, dtype=torch.int64)
    mask[:36], mask[40:50], mask[60:] = 1, 2, 255
    inputs = torch.zeros(1, 1, 72, 72)
    inputs[..., 36:] = 1
    part = TensorSamples(inputs, mask[None])
    facts = {"task": "segmentation", "classes": ("background", "cell", "nucleus"), "void": 255}
    drawn = np.asarray(view_of(dataset_of(part, **facts)).draw(inputs[0], 0.0, 1.0, mask, 255)).astype(int)
    for rows, colour in ((slice(0, 36), COLOURS[0]), (slice(40, 50), COLOURS[1]), (slice(60, 72), (128, 128, 128))):
        assert abs(drawn[rows, :36] - 0.45 * np.array(colour)).max() <= 1
        assert abs(drawn[rows, 36:] - (0.45 * np.array(colour) + 0.55 * 255)).max() <= 1
    assert (drawn[36:40, :36] == 0).all()
    pixels = sheet(dataset_of(part, part, **facts), tmp_path)
    # Two rows, and the legend below.
    assert pixels.shape[0] == 2 * 76 + 4 + 22
    for colour in COLOURS[:2]:
        assert (pixels[156:] == colour).all(-1).any()
    signal = TensorSamples(torch.rand(2, 1, 50), torch.tensor([[0] * 25 + [1] * 25] * 2))
    waves = sheet(dataset_of(signal, task="segmentation"), tmp_path, columns=1)
    assert waves.shape[0] == 76 + 4 + 22
    assert mask_colours(np.array([7]), None)[0].tolist() == [list(COLOURS[0])]


def test_bases_and_texts(tmp_path):
    (tmp_path / "a.csv").write_text("sequence,label\n" + "ACGTN-AC,x\nTTTTTTTT,y\n" * 3)
    dataset = load_data(tmp_path / "a.csv", val_fraction=0, test_fraction=0)
    view = view_of(dataset)
    drawn = np.asarray(view.draw(dataset.train.fetch([0])[0][0], 0.0, 1.0))
    assert (view.kind, view.size) == ("bases", (120, 18))
    wanted = [(44, 160, 44), (31, 119, 180), (255, 127, 14), (214, 39, 40)]
    mixed = np.mean(wanted, axis=0).round().astype(int)
    assert drawn[9, 7::15][:6].tolist() == [*map(list, wanted), mixed.tolist(), [255, 255, 255]]
    assert sheet(dataset, tmp_path, columns=2).shape[0] == 2 * (2 * 22 + 8) + 4
    (tmp_path / "t.txt").write_text("0 a short text\n1 " + "long " * 300 + "\n")
    texts = load_data(tmp_path / "t.txt", val_fraction=0, test_fraction=0)
    view = view_of(texts)
    assert (view.kind, view.size) == ("texts", (720, 22))
    short, long = (np.asarray(view.write(words)) for words in (["a", "text"], ["long"] * 300))
    assert (short[:, 60:] == 235).all()
    assert (long[:, 650:712] != 235).any()
    assert (long[:, 716:] == 235).all()
    assert sheet(texts, tmp_path).shape[0] == 2 * 26 + 4


def test_rows_of_numbers_labels_and_identities(tmp_path):
    inputs = torch.rand(20, 1, 12, 12)
    numbers = TensorSamples(inputs, torch.arange(20.0)[:, None])
    assert sheet(dataset_of(numbers, task="regression", classes=("age",)), tmp_path).shape[0] == 5 * 76 + 4
    held = TensorSamples(inputs, torch.tensor([[1.0, 0, 1]] * 20))
    pixels = sheet(dataset_of(held, task="multi-label", classes=("x", "y", "z")), tmp_path, columns=2)
    assert pixels.shape[0] == 3 * 76 + 4
    # Nobody has the second label.
    assert (pixels[80:152, 40:] == 255).all()
    who = TensorSamples(inputs, torch.arange(20) % 4)
    dataset = dataset_of(who, task="verification", classes=tuple("abcdef"))
    assert sheet(dataset, tmp_path).shape[0] == 4 * 76 + 4


def test_samples_that_are_normalised_by_themselves_have_their_own_brightness(tmp_path):
    inputs = torch.stack([torch.eye(12)[None], 1000 * torch.eye(12)[None]])
    for normalise, visible in (("sample", True), ("dataset", False)):
        pixels = sheet(dataset_of(TensorSamples(inputs, labels(2)), normalise=normalise), tmp_path)
        assert (pixels[4:76, -76:-4] == 255).all(-1).any() == visible


@pytest.mark.parametrize(
    ("shape", "view", "text"),
    [
        (
            (1, 9),
            "slices",
            "Expected a view for samples of 1 spatial axes; received view=slices. Use waveforms or bases.",
        ),
        (
            (1, 9),
            "bases",
            "Expected a view for samples of 1 spatial axes; received view=bases. Use waveforms or bases.",
        ),
        (
            (1, 9, 9),
            "pitcures",
            f"Expected a view of {', '.join(VIEWS)}; received 'pitcures'. Did you mean 'pictures'?",
        ),
    ],
)
def test_view_messages(shape, view, text):
    with pytest.raises(DataError) as caught:
        view_of(dataset_of(TensorSamples(torch.rand(2, *shape), labels(2))), view)
    assert str(caught.value) == text
