"""What tasks other than classification need of data sets: targets, subjects, splits, normalisation."""

import pytest
import torch

from striate.data import Preprocessing, SkippedFileWarning, TensorSamples, load_data, register_reader
from striate.data.dataset import SkippedFile
from striate.data.options import Option, whole_number
from striate.data.reader import ArrayPart, Collection
from striate.errors import DataError

pytestmark = pytest.mark.usefixtures("restored_readers")


class MadeReader:
    """Gives the collection that a test wants."""

    kind = "made"
    summary = "a file that ends in .made"
    options = (Option("window", 4, "samples in a window", *whole_number(1)),)

    def __init__(self, collection):
        self.collection = collection

    def recognises(self, source):
        return "its extension" if source.files and source.files[0].suffix == ".made" else None

    def read(self, source, options):
        self.told = options
        return self.collection


@pytest.fixture
def made(tmp_path):
    (tmp_path / "a.made").write_text("x")

    def load(parts, classes=("a", "b"), *, options=None, seed=0, fold=None, normalise=None, **facts):
        reader = register_reader(MadeReader(Collection("made", classes, parts, **facts)))
        dataset = load_data(tmp_path / "a.made", options=options, seed=seed, fold=fold, normalise=normalise)
        return dataset, reader

    return load


def part(targets, groups=None, length=5):
    inputs = torch.arange(len(targets) * 2.0 * length).reshape(-1, 2, length)
    return ArrayPart(inputs, targets, str, groups)


def test_subjects_stay_together(made):
    groups = torch.arange(12).repeat_interleave(5)
    dataset, _ = made({"train": part(torch.arange(60) % 2, groups)})
    sides = [set(samples.groups.tolist()) for samples in dataset.parts.values()]
    assert sum(map(len, sides)) == 12
    assert [len(samples) for samples in dataset.parts.values()] == [40, 5, 15] or all(sides)


def test_folds_of_subjects_leave_each_out_once(made):
    groups = torch.tensor([5, 5, 2, 2, 9, 9])
    tested = []
    for k in range(3):
        dataset, _ = made_again(made, {"train": part(torch.arange(6) % 2, groups)}, fold=(k, 3))
        tested.append(set(dataset.test.groups.tolist()))
        assert not tested[-1] & set(dataset.train.groups.tolist())
    assert set().union(*tested) == {2, 5, 9}


def made_again(made, parts, **options):
    from striate.data import registry

    registry._READERS[:] = [reader for reader in registry._READERS if reader.kind != "made"]
    return made(parts, **options)


@pytest.mark.parametrize("fold", [(2, 2), (0, 1.0), 3, (-1, 2), (True, 2)])
def test_a_fold_that_is_none(made, fold):
    with pytest.raises(DataError) as caught:
        made({"train": part(torch.arange(6) % 2)}, fold=fold)
    assert str(caught.value) == (
        f"Expected fold to be (k, n), the k-th of n folds from 0; received fold={fold!r}. "
        "Use (0, 5) for the first of five."
    )


@pytest.mark.parametrize("task", ["regression", "multi-label"])
def test_targets_of_several_numbers(made, task):
    dataset, _ = made({"train": part(torch.rand(20, 3))}, ("x", "y", "z"), task=task)
    _, targets = dataset.train.fetch([1, 0])
    assert targets.shape == (2, 3)
    assert targets.dtype == torch.float32
    assert dataset.outputs == 3
    assert [len(samples) for samples in dataset.parts.values()] == [14, 2, 4]


def test_masks_come_with_fetch_alone(made):
    masks = torch.randint(0, 3, (20, 5), dtype=torch.uint8)
    samples = TensorSamples(torch.zeros(20, 1, 5), masks)
    dataset, _ = made({"train": samples}, ("a", "b", "c"), task="segmentation", void=2)
    assert dataset.train.labels.shape == (len(dataset.train), 0)
    _, targets = dataset.train.fetch([0])
    assert targets.shape == (1, 5)
    assert targets.dtype == torch.int64
    assert dataset.void == 2


def test_identities_of_the_training_part_come_first(made):
    labels = torch.arange(10).repeat_interleave(4)
    dataset, _ = made({"train": part(labels)}, tuple("abcdefghij"), task="verification")
    assert dataset.outputs == len(set(dataset.train.labels.tolist()))
    assert set(dataset.train.labels.tolist()) == set(range(dataset.outputs))
    assert set(dataset.test.labels.tolist()) & set(range(dataset.outputs)) == set()
    for samples in dataset.parts.values():
        for index in range(len(samples)):
            # The name is the sample's old place, and so tells its identity.
            assert dataset.classes[samples.fetch([index])[1]] == "abcdefghij"[int(samples.name(index)) // 4]


def test_tokens(made):
    words = ("", "?", "good", "bad")
    samples = TensorSamples(torch.randint(0, 4, (30, 7), dtype=torch.int32), torch.arange(30) % 2)
    dataset, _ = made({"train": samples}, input_kind="tokens", vocabulary=words)
    assert (dataset.spatial_dims, dataset.in_channels, dataset.input_size) == (1, 4, (7,))
    inputs, _ = dataset.train.fetch([0, 1])
    assert inputs.dtype == dataset.train.dtype == torch.int64
    preprocessing = Preprocessing.from_dict(Preprocessing.fit(dataset).to_dict())
    assert preprocessing(inputs) is inputs


def test_each_sample_normalised_by_itself(made):
    dataset, _ = made({"train": part(torch.arange(20) % 2)}, normalise="sample")
    preprocessing = Preprocessing.fit(dataset)
    inputs, _ = dataset.train.fetch([0, 1, 2])
    scaled = preprocessing(torch.cat([inputs, torch.full((1, 2, 5), 3.0)]))
    torch.testing.assert_close(scaled[:3].mean(2), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled[:3].std(2, correction=0), torch.ones(3, 2))
    assert (scaled[3] == 0).all()


def test_not_normalised_at_all(made):
    dataset, _ = made({"train": part(torch.arange(20) % 2)}, normalise="none")
    inputs, _ = dataset.train.fetch([3])
    assert torch.equal(Preprocessing.fit(dataset)(inputs), inputs)


def test_a_reader_is_told_its_options_and_they_are_kept(made):
    dataset, reader = made({"train": part(torch.arange(20) % 2)}, options={"window": 9}, reading={"rate": 50})
    assert reader.told.own == {"window": 9}
    assert dict(dataset.reading) == {"kind": "made", "fit": "resize", "window": 9, "rate": 50}


def test_what_a_reader_skipped_is_told(made):
    with pytest.warns(SkippedFileWarning, match="1 damaged files"):
        dataset, _ = made({"train": samples_of(20)}, skipped=(SkippedFile("b", "broken"),))
    assert dataset.skipped == (SkippedFile("b", "broken"),)


def samples_of(count):
    return TensorSamples(torch.zeros(count, 1, 3), torch.arange(count) % 2)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"fit": "cut"}, "Expected fit of 'resize' or 'pad'; received fit='cut'. Leave it out to resize."),
        (
            {"normalise": "all"},
            (
                "Expected normalise to be one of 'dataset', 'sample', 'none'; received normalise='all'. "
                "Leave it out for the usual."
            ),
        ),
    ],
)
def test_words(option, text):
    with pytest.raises(DataError) as caught:
        load_data("digits", **option)
    assert str(caught.value) == text


def test_one_number_to_predict_is_enough_but_not_one_class(made):
    made({"train": part(torch.rand(20, 1))}, ("x",), task="regression")
    with pytest.raises(DataError, match="at least two classes"):
        made_again(made, {"train": part(torch.zeros(20, dtype=torch.int64))}, classes=("a",))
