"""The chain: the same for every batch, settings and presets, and errors."""

import pickle
import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
import torch
from augmentation_cases import batch_of, facts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.augmentation import (
    PRESETS,
    Augmentation,
    Crop,
    Flip,
    Rotate,
    expand,
    list_transforms,
    parse_augmentation,
    preset,
    register,
)
from striate.data.augmentation.transform import _TRANSFORMS, make_transform
from striate.errors import ConfigError, DataError

KINDS = {
    "signals": facts_of((37,), 3),
    "bases": facts_of((20,), 4),
    "labelled signals": facts_of((33,), 2, task="segmentation", void=9),
    "grey": facts_of((13, 17), 1, value_scale=16.0),
    "rgb": facts_of((14, 15), 3, value_scale=255.0),
    "floats": facts_of((9, 12), 2),
    "masks": facts_of((15, 13), 1, task="segmentation", value_scale=255.0, void=255),
    "volumes": facts_of((7, 9, 8), 1),
    "masked volumes": facts_of((8, 7, 9), 2, task="segmentation"),
    "texts": facts_of((11,), 50, input_kind="tokens"),
    "labels": facts_of((16,), 1, task="multi-label"),
    "numbers": facts_of((9, 9), 3, task="regression", value_scale=255.0),
    "faces": facts_of((12, 10), 1, task="verification", value_scale=255.0),
}
MIXES = ("mixup", "cutmix")


def applicable(facts):
    names = []
    for entry in list_transforms():
        try:
            make_transform({"name": entry.name}).check(facts)
        except ConfigError:
            continue
        names.append(entry.name)
    return names


CASES = [(name, kind) for kind, facts in KINDS.items() for name in [*applicable(facts), *PRESETS] if name not in MIXES]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_samples_result_depends_on_no_other(name, kind):
    facts = KINDS[kind]
    inputs, targets, indices = batch_of(facts, 9)
    before = inputs.clone(), targets.clone()
    augment = Augmentation.from_settings([name], facts, seed=3)
    whole, moved = augment(inputs, targets, indices, 5)
    assert whole.shape == inputs.shape
    assert moved.shape == targets.shape
    assert moved.dtype == targets.dtype
    assert whole.dtype == (torch.int64 if kind == "texts" else torch.float32)
    assert bool(torch.isfinite(whole).all())
    if facts.bounded:
        assert whole.min() >= 0
        assert whole.max() <= facts.value_scale * (1 + 1e-6)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled, shuffled_targets = augment(inputs[order], targets[order], indices[order], 5)
    assert torch.equal(shuffled, whole[order])
    assert torch.equal(shuffled_targets, moved[order])
    for piece in (slice(0, 1), slice(3, 4), slice(4, 6), slice(2, 9)):
        part, part_targets = augment(inputs[piece], targets[piece], indices[piece].tolist(), 5)
        assert torch.equal(part, whole[piece])
        assert torch.equal(part_targets, moved[piece])
    again = pickle.loads(pickle.dumps(augment))  # noqa: S301  # of an object made here, as workers receive it
    assert torch.equal(again(inputs, targets, indices, 5)[0], whole)
    assert torch.equal(inputs, before[0])
    assert torch.equal(targets, before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_epoch_change_the_result(kind):
    facts = KINDS[kind]
    inputs, targets, indices = batch_of(facts, 40)
    strong = Augmentation.from_settings(["strong"], facts, seed=0)
    usual = strong(inputs, targets, indices, 0)[0]
    assert torch.equal(strong(inputs, targets, indices, 0)[0], usual)
    assert not torch.equal(strong(inputs, targets, indices, 1)[0], usual)
    assert not torch.equal(Augmentation.from_settings(["strong"], facts, seed=1)(inputs, targets, indices, 0)[0], usual)
    assert not torch.equal(strong(inputs, targets, indices + 1, 0)[0], usual)


@pytest.mark.parametrize("kind", KINDS)
def test_no_samples_are_no_problem(kind):
    facts = KINDS[kind]
    inputs, targets, indices = batch_of(facts, 2)
    names = applicable(facts)
    empty, none = Augmentation.from_settings(names, facts)(inputs[:0], targets[:0], indices[:0], 0)
    assert empty.shape == (0, *inputs.shape[1:])
    assert len(none) == 0


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 3).flatmap(lambda rank: st.lists(st.integers(1, 8), min_size=rank, max_size=rank)),
    st.integers(1, 4),
    st.sampled_from([1.0, 255.0]),
    st.sampled_from(["classification", "segmentation"]),
    st.integers(1, 5),
)
def test_every_transform_takes_every_shape(size, channels, value_scale, task, count):
    facts = facts_of(size, channels, task=task, value_scale=value_scale)
    inputs, targets, indices = batch_of(facts, count)
    for name in applicable(facts):
        changed, moved = Augmentation.from_settings([name], facts, seed=0)(inputs, targets, indices, 0)
        assert changed.shape == inputs.shape, name
        assert moved.shape[:1] == targets.shape[:1], name
        assert bool(torch.isfinite(changed).all()), name


def test_transforms_do_not_change_each_others_draws():
    facts = KINDS["rgb"]
    inputs, targets, indices = batch_of(facts, 30)
    alone = Augmentation([Crop()], facts, seed=0)(inputs, targets, indices, 0)[0]
    after = Augmentation([Flip(p=0), Crop()], facts, seed=0)(inputs, targets, indices, 0)[0]
    assert torch.equal(alone, after)
    twice = Augmentation([Flip(), Flip()], facts, seed=0)(inputs, targets, indices, 0)[0]
    assert not torch.equal(twice, inputs.float())  # the second flip does not undo the first


@pytest.mark.parametrize("value_scale", [16.0, 255.0, 65535.0])
def test_units_there_and_back_keep_whole_numbers(value_scale):
    facts = facts_of((int(value_scale) + 1,), value_scale=value_scale)
    inputs = torch.arange(value_scale + 1).reshape(1, 1, -1)
    changed, _ = Augmentation([], facts, seed=0)(inputs, torch.zeros(1), [0], 0)
    assert torch.equal(changed, inputs)


# Settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_written_out_and_survive_toml(kind, name):
    facts = KINDS[kind]
    written = preset(name, facts)
    assert written
    for table in written:
        names = {entry.name: entry for entry in list_transforms()}
        assert set(table) == {"name", *names[table["name"]].parameters}
    read = tomllib.loads(tomli_w.dumps({"augmentation": written}))["augmentation"]
    assert read == written
    assert Augmentation.from_settings(read, facts).settings == written
    assert expand([name], facts) == written


def test_presets_mirror_colour_but_no_grey_images():
    assert [table["name"] for table in preset("standard", KINDS["rgb"])] == ["flip", "crop"]
    for name in PRESETS:
        assert "flip" not in [table["name"] for table in preset(name, KINDS["grey"])]


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("flip", [{"name": "flip"}]),
        ("flip, crop : padding = 4", [{"name": "flip"}, {"name": "crop", "padding": 4}]),
        (
            "rand_augment:ops=2:magnitude=9,resized_crop:area=0.2/1",
            [{"name": "rand_augment", "ops": 2, "magnitude": 9}, {"name": "resized_crop", "area": [0.2, 1]}],
        ),
        ("flip:axes=0/-1:p=1e-1", [{"name": "flip", "axes": [0, -1], "p": 0.1}]),
        ("erasing:fill=mean", [{"name": "erasing", "fill": "mean"}]),
        ("x:a=true:b=false", [{"name": "x", "a": True, "b": False}]),
    ],
)
def test_the_command_lines_form(text, tables):
    assert parse_augmentation(text) == tables


@pytest.mark.parametrize("text", ["", "flip,", "flip:p", "flip:p=", "flip:=1", ":p=1", "flip:p=1:p=2"])
def test_another_form_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_augmentation(text)
    part = text.split(",")[-1]
    assert str(caught.value) == (
        f"Expected transforms as name:parameter=value, with commas between them; received {part!r}. "
        "Write, for example, flip,crop:padding=4."
    )


IMAGES, SIGNALS = KINDS["rgb"], KINDS["signals"]
REFUSED = [
    (["flipp"], IMAGES, "the name of a transform or preset; received 'flipp'. Did you mean 'flip'?"),
    (["standart"], IMAGES, "the name of a transform or preset; received 'standart'. Did you mean 'standard'?"),
    ([{"name": "crop", "pading": 2}], IMAGES, "only parameters of 'crop'; received pading=2. Did you mean 'padding"),
    ([{"p": 1}], IMAGES, "augmentation as names, or tables with a name; received {'p': 1}. Write name = "),
    ([3], IMAGES, "augmentation as names, or tables with a name; received 3. Write name = "),
    (
        [{"name": "light", "p": 1}],
        IMAGES,
        "the preset 'light' without parameters; received p=1. List the transforms themselves to set their parameters.",
    ),
    ("flip", IMAGES, "a list of transforms; received 'flip'. Put a text through parse_augmentation first."),
    (["rotate"], SIGNALS, "images or volumes for 'rotate'; received signals. Leave it out."),
    (["time_warp"], IMAGES, "signals for 'time_warp'; received images. Leave it out."),
    (["word_dropout"], SIGNALS, "tokens for 'word_dropout'; received signals. Leave it out."),
    (["jitter"], KINDS["texts"], "signals for 'jitter'; received tokens. Leave it out."),
    (["hue"], KINDS["grey"], "3 channels for 'hue'; received 1. Leave it out, or read in colour."),
    (
        ["equalize"],
        KINDS["floats"],
        "values with a known full white for 'equalize'; received values without limits (a scale of 1). Store images",
    ),
    (
        ["mixup"],
        KINDS["masks"],
        "a task of classification, multi-label, regression, verification for 'mixup'; received the task segmentation.",
    ),
    (
        [{"name": "crop", "padding": -1}],
        IMAGES,
        "crop.padding to be a whole number from 0 to 4096; received padding=-1. Leave it out for the usual 4.",
    ),
    (
        [{"name": "crop", "padding": 1.5}],
        IMAGES,
        "crop.padding to be a whole number from 0 to 4096; received padding=1.5",
    ),
    ([{"name": "flip", "p": 1.5}], IMAGES, "flip.p to be a number from 0 to 1; received p=1.5. Leave it out for"),
    ([{"name": "flip", "p": True}], IMAGES, "flip.p to be a number from 0 to 1; received p=True."),
    ([{"name": "flip", "p": float("nan")}], IMAGES, "flip.p to be a number from 0 to 1; received p=nan."),
    ([{"name": "flip", "p": "often"}], IMAGES, "flip.p to be a number from 0 to 1; received p='often'."),
    (
        [{"name": "flip", "axes": [0, 0]}],
        IMAGES,
        "flip.axes to be spatial axes, each once, from 0 or from the end as -1; received axes=[0, 0].",
    ),
    ([{"name": "flip", "axes": [5]}], IMAGES, "flip.axes to be spatial axes"),
    ([{"name": "flip", "axes": []}], IMAGES, "flip.axes to be spatial axes"),
    ([{"name": "flip", "axes": ["x"]}], IMAGES, "flip.axes to be spatial axes"),
    (
        [{"name": "erasing", "area": [0.5, 0.1]}],
        IMAGES,
        "erasing.area to be two numbers in rising order, from 0 to 1; received area=[0.5, 0.1]. Leave it out",
    ),
    ([{"name": "erasing", "area": 0.5}], IMAGES, "erasing.area to be two numbers in rising order, from 0 to 1"),
    (
        [{"name": "gaussian_noise", "std": [-1, 1]}],
        IMAGES,
        "gaussian_noise.std to be two numbers in rising order, of at least 0; received std=[-1, 1].",
    ),
    (
        [{"name": "erasing", "fill": "black"}],
        IMAGES,
        "erasing.fill to be one of random, mean, zero; received fill='black'. Leave it out for the usual 'random'.",
    ),
    (
        [{"name": "intensity_shift", "strength": -1}],
        IMAGES,
        "intensity_shift.strength to be a number of at least 0; received strength=-1. Leave it out for the usual 0.1.",
    ),
]


@pytest.mark.parametrize(("given_settings", "facts", "message"), REFUSED)
def test_what_cannot_be_done_is_refused(given_settings, facts, message):
    with pytest.raises(ConfigError) as caught:
        Augmentation.from_settings(given_settings, facts)
    assert str(caught.value).startswith(f"Expected {message}")


def test_an_unknown_preset_or_transform_is_refused():
    with pytest.raises(ConfigError) as caught:
        preset("strnog", IMAGES)
    assert str(caught.value) == "Expected the name of a preset; received 'strnog'. Did you mean 'strong'?"
    with pytest.raises(ConfigError) as caught:
        make_transform({"name": "elastik"})
    assert str(caught.value) == "Expected the name of a transform; received 'elastik'. Did you mean 'elastic'?"


def test_a_name_is_registered_once():
    with pytest.raises(ConfigError) as caught:
        register(Rotate)
    assert str(caught.value) == (
        "Expected a name that no other transform has; received a second transform named 'rotate'. Rename the class."
    )
    assert _TRANSFORMS["rotate"] is Rotate


@pytest.mark.parametrize(
    ("inputs", "targets", "indices", "received"),
    [
        ((4, 1, 14, 15), 4, 4, "inputs of shape (4, 1, 14, 15), 4 targets and 4 indices"),
        ((4, 3, 14, 15), 3, 4, "inputs of shape (4, 3, 14, 15), 3 targets and 4 indices"),
        ((4, 3, 14, 15), 4, 5, "inputs of shape (4, 3, 14, 15), 4 targets and 5 indices"),
    ],
)
def test_another_batch_is_refused(inputs, targets, indices, received):
    augment = Augmentation.from_settings(["flip"], IMAGES)
    with pytest.raises(DataError) as caught:
        augment(torch.zeros(inputs), torch.zeros(targets), range(indices), 0)
    assert str(caught.value) == (
        f"Expected inputs of shape (n, 3, 14, 15) with n targets and n indices; received {received}. "
        "Give what fetch() gave, and the indices it was given."
    )


def test_every_transform_says_what_it_is():
    entries = list_transforms()
    assert len(entries) == len(_TRANSFORMS)
    for entry in entries:
        assert entry.summary.endswith("."), entry
        assert set(entry.spatial_dims) <= {1, 2, 3}
        assert entry.input_kinds
        assert 0 <= entry.parameters["p"] <= 1
        made = make_transform({"name": entry.name})
        assert made.settings() == make_transform(made.settings()).settings()


def test_the_number_of_threads_changes_nothing():
    facts = facts_of((32, 32), 3, value_scale=255.0)
    inputs, targets, indices = batch_of(facts, 64)
    augment = Augmentation.from_settings(["strong", "affine", "gaussian_blur", "gamma", "contrast"], facts, seed=0)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(augment(inputs, targets, indices, 0)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_documentation_lists_every_transform():
    page = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    kinds = {entry.name: entry for entry in list_transforms()}
    assert set(rows) == set(kinds)
    for name, text in rows.items():
        made = _TRANSFORMS[name]
        first, *conditions = text.strip().split(", ")
        listed = [part for part in [first, *conditions] if part.isdigit()]
        assert ("texts" in text) == ("tokens" in made.kinds), name
        if "tokens" not in made.kinds:
            assert tuple(map(int, listed)) == made.ranks, name
        assert ("RGB" in text) == (made.channels == 3), name
        assert ("white" in text) == made.needs_white, name
