"""What moves values: flips, crops, affine maps and deformations, with masks in every rank."""

import itertools
import math

import numpy as np
import pytest
import torch
from augmentation_cases import draws_of, facts_of, positions
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.augmentation import (
    Affine,
    Crop,
    Elastic,
    Flip,
    Permutation,
    ResizedCrop,
    Reverse,
    Rotate,
    Scale,
    Shear,
    TimeWarp,
    Translate,
    WindowSlice,
)
from striate.data.augmentation.affine import backwards, rotations, shears
from striate.data.augmentation.elastic import warped_times
from striate.data.augmentation.fields import smooth_field
from striate.data.augmentation.placing import surrounding
from striate.data.augmentation.transform import Facts
from striate.data.augmentation.warping import affine_places, offsets, warp, warp_affine
from striate.errors import ConfigError

SIZES = st.integers(1, 3).flatmap(lambda rank: st.lists(st.integers(1, 9), min_size=rank, max_size=rank))


def segmentation(size, void=None):
    return facts_of(size, task="segmentation", void=void)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.data())
def test_flip_is_torchs(size, data):
    inputs, masks = positions(6, size)
    axis = data.draw(st.integers(-len(size), len(size) - 1))
    facts = segmentation(size)
    flipped, moved = Flip(axes=(axis,), p=1.0)(inputs, masks, draws_of(6), facts)
    from_end = axis - len(size) if axis >= 0 else axis
    assert torch.equal(flipped, inputs.flip(from_end))
    assert torch.equal(moved, masks.flip(from_end))
    assert Flip(axes=(axis,), p=0.0)(inputs, masks, draws_of(6), facts)[0] is inputs


def test_each_axis_is_flipped_by_its_own_chance():
    inputs, _ = positions(4000, (2, 2))
    flipped, _ = Flip(axes=(0, 1), p=0.25)(inputs, torch.zeros(4000), draws_of(4000), facts_of((2, 2)))
    first = flipped[:, 0, 0, 0].long()  # 1 as it was, 2 mirrored left to right, 3 upside down, 4 both
    shares = first.bincount(minlength=5)[1:] / 4000
    assert torch.allclose(shares, torch.tensor([9, 3, 3, 1]) / 16, atol=0.03)


def test_reverse_plays_backwards():
    signal = torch.arange(8.0).reshape(1, 2, 4)
    assert torch.equal(Reverse(p=1.0)(signal, torch.zeros(1), draws_of(1), facts_of((4,), 2))[0], signal.flip(2))


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(0, 5), st.sampled_from(["zeros", "border", "reflection"]), st.sampled_from([None, 7]))
def test_crop_cuts_a_window_out_of_the_padded_sample(size, padding, mode, void):
    inputs, masks = positions(5, size)
    draws = draws_of(5)
    cut, moved = Crop(padding=padding, padding_mode=mode)(inputs, masks, draws, segmentation(size, void))
    starts = draws.integers("start", 0, 2 * padding + 1, (len(size),))
    pad = {"zeros": "constant", "border": "edge", "reflection": "reflect"}[mode]
    for sample in range(5):
        window = tuple(
            slice(int(start), int(start) + length) for start, length in zip(starts[sample], size, strict=True)
        )
        padded = np.pad(inputs[sample, 0].numpy(), padding, mode=pad)
        assert np.array_equal(cut[sample, 0].numpy(), padded[window])
        filled = {"constant_values": void or 0} if mode == "zeros" else {}
        assert np.array_equal(moved[sample].numpy(), np.pad(masks[sample].numpy(), padding, mode=pad, **filled)[window])
    assert moved.dtype == torch.int64


def test_crop_reaches_every_place_alike():
    inputs, _ = positions(5000, (3, 3))
    cut, _ = Crop(padding=1, padding_mode="border")(inputs, torch.zeros(5000), draws_of(5000), facts_of((3, 3)))
    counts = cut[:, 0, 1, 1].long().bincount()[1:].double()  # the middle shows each of nine places
    assert ((counts - 5000 / 9) ** 2 / (5000 / 9)).sum() < 27


def test_surrounding_is_numpys():
    for length, padding in itertools.product(range(1, 6), range(8)):
        for mode, name in (("border", "edge"), ("reflection", "reflect")):
            assert surrounding(length, padding, mode).tolist() == np.pad(np.arange(length), padding, name).tolist()


def test_pieces_change_places_and_none_is_lost():
    inputs, masks = positions(300, (11,))
    facts = segmentation((11,))
    moved, labels = Permutation(segments=3)(inputs, masks, draws_of(300), facts)
    assert torch.equal(moved.sort(dim=2).values, inputs)
    assert torch.equal(moved[:, 0].long(), labels)
    pieces = [[1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    allowed = {tuple(itertools.chain(*order)) for order in itertools.permutations(pieces)}
    assert {tuple(row) for row in labels.tolist()} == allowed


# Affine maps


def turned(inputs, targets, facts, degrees):
    rank = facts.spatial_dims
    planes = rank * (rank - 1) // 2
    angles = np.tile(np.array(degrees, dtype=float).reshape(1, planes), (len(inputs), 1))
    matrix, shift = backwards(rotations(angles, rank), np.zeros((len(inputs), rank)), facts.size)
    return warp_affine(inputs, targets, matrix, shift, "zeros", facts)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("side", [5, 6])
def test_quarter_turns_of_images_are_rot90(quarters, side):
    inputs, masks = positions(2, (side, side))
    moved, labels = turned(inputs, masks, segmentation((side, side)), [90 * quarters])
    torch.testing.assert_close(moved, torch.rot90(inputs, quarters, (2, 3)), atol=1e-3, rtol=0)
    assert torch.equal(labels, torch.rot90(masks, quarters, (1, 2)))


@pytest.mark.parametrize(("plane", "axes"), [(0, (1, 2)), (1, (1, 3)), (2, (2, 3))])
def test_quarter_turns_of_volumes_are_rot90_in_each_plane(plane, axes):
    inputs, masks = positions(2, (4, 4, 4))
    angles = [90.0 if place == plane else 0.0 for place in range(3)]
    moved, labels = turned(inputs, masks, segmentation((4, 4, 4)), angles)
    assert torch.equal(labels, torch.rot90(masks, 1, axes))
    torch.testing.assert_close(moved[:, 0], torch.rot90(inputs[:, 0], 1, axes), atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.data())
def test_whole_steps_of_translation_are_shifts(size, data):
    steps = [data.draw(st.integers(-length, length)) for length in size]
    inputs, masks = positions(1, size)
    void = 99
    forward = np.eye(len(size))[None]
    matrix, shift = backwards(
        forward, np.array([[step / length for step, length in zip(steps, size, strict=True)]]), size
    )
    moved, labels = warp_affine(inputs, masks, matrix, shift, "zeros", segmentation(size, void))
    expected, kept = masks[0], torch.ones(tuple(size), dtype=torch.bool)
    for axis, step in enumerate(steps):
        expected = expected.roll(step, axis)
        place = torch.arange(size[axis]).reshape([-1 if other == axis else 1 for other in range(len(size))])
        kept = kept & (place >= step) & (place < size[axis] + step)
    assert torch.equal(labels[0], torch.where(kept, expected, void))
    torch.testing.assert_close(moved[0, 0], torch.where(kept, expected, 0).float(), atol=2e-2, rtol=0)


def interpolated(sample, places):
    """Linear interpolation of an N-d array at a place, with zeros outside, by plain loops in float64."""
    total = 0.0
    floors = [math.floor(place) for place in places]
    for corner in itertools.product((0, 1), repeat=len(places)):
        index = tuple(floor + step for floor, step in zip(floors, corner, strict=True))
        weight = math.prod(1 - abs(place - at) for place, at in zip(places, index, strict=True))
        if all(0 <= at < length for at, length in zip(index, sample.shape, strict=True)):
            total += weight * sample[index]
    return total


@pytest.mark.parametrize("size", [(7,), (5, 6), (4, 3, 5)])
def test_affine_maps_are_those_of_plain_loops(size):
    rank = len(size)
    rng = np.random.default_rng(0)
    forward = np.eye(rank) + 0.3 * rng.normal(size=(2, rank, rank))
    translation = 0.2 * rng.normal(size=(2, rank))
    inputs = rng.normal(size=(2, 2, *size))
    matrix, shift = backwards(forward, translation, size)
    moved, _ = warp_affine(
        torch.from_numpy(inputs).float(), torch.zeros(2), matrix, shift, "zeros", facts_of(size, channels=2)
    )
    centre = (np.array(size) - 1) / 2
    for sample, channel in itertools.product(range(2), range(2)):
        for output in itertools.product(*map(range, size)):
            # The forward map takes an input place to centre + forward @ (input - centre) + translation * size.
            back = np.linalg.solve(forward[sample], np.array(output) - centre - translation[sample] * size) + centre
            truth = interpolated(inputs[sample, channel], back)
            assert moved[sample, channel][output].item() == pytest.approx(truth, abs=1e-4)


def test_rotation_turns_and_shear_slants_as_said():
    right = np.array([0.0, 1.0])  # on a picture: nothing down, one to the right
    assert np.allclose(rotations(np.array([[90.0]]), 2)[0] @ right, [-1, 0])  # up
    assert np.allclose(rotations(np.array([[30.0]]), 2)[0] @ right, [-0.5, math.sqrt(3) / 2])
    matrices = rotations(np.random.default_rng(0).uniform(-180, 180, (50, 3)), 3)
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(matrices), 1)
    assert shears(np.arange(6.0).reshape(1, 6), 3)[0].tolist() == [[1, 0, 1], [2, 1, 3], [4, 5, 1]]


def test_a_map_without_an_inverse_shows_the_sample_as_it_is():
    matrix, shift = backwards(np.ones((1, 2, 2)), np.zeros((1, 2)), (4, 4))
    assert torch.equal(matrix[0], torch.eye(2))
    assert torch.equal(shift, torch.zeros(1, 2))


def test_offsets_are_the_places_themselves():
    (places,) = affine_places(torch.eye(1)[None], torch.zeros(1, 1), (5,))
    assert torch.equal(places[0], offsets(5))


STILL = [
    Affine(degrees=0, scale=(1, 1), shear=0, translate=0),
    Rotate(degrees=0),
    Scale(scale=(1, 1)),
    Translate(translate=0),
    Shear(shear=0),
    ResizedCrop(area=(1, 1), ratio=1),
    WindowSlice(area=(1, 1)),
    Crop(padding=0),
    Elastic(strength=0),
    TimeWarp(strength=0),
]


@pytest.mark.parametrize("transform", STILL, ids=lambda transform: transform.name)
def test_nothing_to_do_leaves_every_bit(transform):
    for rank in transform.ranks:
        size = (9, 6, 5)[:rank]
        facts = segmentation(size)
        inputs, masks = torch.randn(4, 2, *size), torch.randint(0, 3, (4, *size))
        moved, labels = transform(inputs, masks, draws_of(4), facts)
        assert torch.equal(moved, inputs)
        assert torch.equal(labels, masks)


def test_parameters_bound_what_is_drawn(monkeypatch):
    seen = {}

    def remember(inputs, targets, matrix, shift, padding_mode, facts):
        seen["forward"] = torch.linalg.inv(matrix.double())
        seen["translation"] = -(seen["forward"] @ shift.double().unsqueeze(2)).squeeze(2) / torch.tensor(facts.size)
        return inputs, targets

    monkeypatch.setattr("striate.data.augmentation.affine.warp_affine", remember)
    inputs, facts = torch.zeros(3000, 1, 4, 6), facts_of((4, 6))

    Rotate(degrees=40)(inputs, torch.zeros(3000), draws_of(3000), facts)
    angles = torch.rad2deg(torch.atan2(seen["forward"][:, 1, 0], seen["forward"][:, 0, 0]))
    assert 38 < angles.max() <= 40.001
    assert -40.001 <= angles.min() < -38
    assert torch.allclose(torch.linalg.det(seen["forward"]), torch.ones(3000).double(), atol=1e-5)

    Scale(scale=(0.5, 2))(inputs, torch.zeros(3000), draws_of(3000), facts)
    factors = seen["forward"][:, 0, 0]
    assert 0.499 < factors.min() < 0.51
    assert 1.95 < factors.max() < 2.001
    assert abs((factors > 1).double().mean() - 0.5) < 0.03  # even on a logarithmic scale

    Translate(translate=0.3)(inputs, torch.zeros(3000), draws_of(3000), facts)
    assert 0.29 < seen["translation"].abs().max() <= 0.3001

    Shear(shear=0.7)(inputs, torch.zeros(3000), draws_of(3000), facts)
    slopes = seen["forward"][:, 0, 1]
    assert 0.68 < slopes.max() < 0.7001


@pytest.mark.parametrize("size", [(40,), (30, 40), (12, 10, 8)])
def test_resized_crops_lie_inside_and_have_the_area(monkeypatch, size):
    seen = {}

    def remember(inputs, targets, matrix, shift, padding_mode, facts):
        side = matrix.diagonal(dim1=1, dim2=2)
        seen["side"], seen["start"] = side, shift / torch.tensor(size) + 0.5 - side / 2
        return inputs, targets

    monkeypatch.setattr("striate.data.augmentation.affine.warp_affine", remember)
    ResizedCrop(area=(0.2, 0.6), ratio=1.5)(
        torch.zeros(2000, 1, *size), torch.zeros(2000), draws_of(2000), facts_of(size)
    )
    side, start = seen["side"], seen["start"]
    assert bool((start > -1e-5).all())
    assert bool((start + side < 1 + 1e-5).all())
    area = side.prod(1)
    assert 0.199 < area.min() < 0.22
    assert 0.57 < area.max() < 0.601
    assert bool((side.amax(1) / side.amin(1) < 1.5001).all())


def test_a_window_slice_shows_a_stretched_window():
    signal = torch.linspace(0, 1, 101).reshape(1, 1, 101).repeat(50, 1, 1)
    sliced, _ = WindowSlice(area=(0.5, 0.5))(signal, torch.zeros(50), draws_of(50), facts_of((101,)))
    steps = sliced.diff(dim=2)[:, 0, 5:-5]
    torch.testing.assert_close(steps, torch.full_like(steps, 0.005), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "transform",
    [Affine(padding_mode="reflection"), Elastic(), ResizedCrop(), Rotate(), Affine(scale=(0.5, 0.6), degrees=90)],
    ids=lambda transform: transform.name,
)
@pytest.mark.parametrize("size", [(24,), (24, 20), (12, 14, 10)])
def test_masks_go_where_their_inputs_go(transform, size):
    rank = len(size)
    if rank not in transform.ranks:
        return
    void = 255
    # A ramp along each axis, so that what a position shows says where it came from, and ones, which stay ones where
    # all neighbours lie inside.
    ramps = torch.stack(torch.meshgrid(*[torch.arange(float(length)) for length in size], indexing="ij"))
    inputs = torch.cat([ramps, torch.ones(1, *size)]).unsqueeze(0).repeat(3, *(1,) * (rank + 1))
    facts = facts_of(size, channels=rank + 1, task="segmentation", void=void)
    for axis in range(rank):
        masks = ramps[axis].long().expand(3, *size).contiguous()
        moved, labels = transform(inputs, masks, draws_of(3), facts)
        inner = moved[:, -1] > 0.99999
        assert inner.float().mean() > 0.02
        assert not torch.equal(labels, masks)
        assert ((moved[:, axis] - labels).abs()[inner] <= 0.5 + 1e-3).all()
        # Linear interpolation shows half of the outside exactly where the nearest label is the outside's.
        outside = labels == void
        assert bool((moved[:, -1][outside] <= 0.5 + 1e-4).all())


def test_what_enters_a_mask_is_void_or_background():
    inputs, masks = torch.ones(1, 1, 4, 4), torch.full((1, 4, 4), 3)
    for void, entering in ((None, 0), (7, 7)):
        matrix, shift = backwards(np.eye(2)[None], np.array([[0.0, 0.5]]), (4, 4))
        moved, labels = warp_affine(inputs, masks, matrix, shift, "zeros", segmentation((4, 4), void))
        assert labels[0, 0].tolist() == [entering, entering, 3, 3]
        assert moved[0, 0, 0].round().tolist() == [0, 0, 1, 1]


def test_large_labels_stay_exact():
    masks = torch.full((1, 3, 3), 70000)
    matrix, shift = backwards(np.eye(2)[None], np.array([[1 / 3, 0.0]]), (3, 3))
    _, labels = warp_affine(torch.ones(1, 1, 3, 3), masks, matrix, shift, "zeros", segmentation((3, 3), 65535))
    assert labels[0].tolist() == [[65535] * 3, [70000] * 3, [70000] * 3]


# Deformations


def test_smooth_fields_pass_through_their_points_and_keep_lines_straight():
    control = torch.randn(2, 3, 4, 5)
    field = smooth_field(control, (13, 9))
    assert field.shape == (2, 3, 13, 9)
    torch.testing.assert_close(field[:, :, ::4, ::2], control)
    line = torch.linspace(-1, 2, 6).reshape(1, 1, 6)
    inner = smooth_field(line, (51,))[0, 0, 10:41]
    torch.testing.assert_close(inner, torch.linspace(-1, 2, 51)[10:41])


def test_the_elastic_field_has_its_strength_and_is_read_backwards():
    size = (32, 32)
    draws = draws_of(400)
    facts = facts_of(size)
    ramp = torch.arange(32.0).reshape(1, 1, 1, 32).repeat(400, 1, 32, 1)
    moved, _ = Elastic(points=3, strength=0.05, padding_mode="border")(ramp, torch.zeros(400), draws, facts)
    field = smooth_field(draws.normal("field", 0, 0.05 * 32, (2, 3, 3)), size)
    truth = (ramp[:, 0] + field[:, 1]).clamp(0, 31)
    torch.testing.assert_close(moved[:, 0], truth, atol=1e-3, rtol=0)
    assert abs(field[:, :, 0, 0].std() - 1.6) < 0.1


def test_warped_time_never_runs_backwards_and_keeps_its_ends():
    times = warped_times(2 * torch.randn(200, 1, 6), 50)
    assert bool((times.diff(dim=1) > 0).all())
    torch.testing.assert_close(times[:, 0], torch.zeros(200))
    torch.testing.assert_close(times[:, -1], torch.full((200,), 49.0))
    speeds = warped_times(torch.tensor([[[0.0, 1.0]]]), 101)[0].diff()
    assert speeds[-1] / speeds[0] == pytest.approx(math.e, rel=1e-3)


def test_time_warp_shows_the_signal_at_warped_times():
    signal = torch.arange(60.0).reshape(1, 1, 60).repeat(20, 1, 1)
    draws = draws_of(20)
    moved, _ = TimeWarp(strength=0.5)(signal, torch.zeros(20), draws, facts_of((60,)))
    times = warped_times(draws.normal("speed", 0, 0.5, (1, 4)), 60)
    torch.testing.assert_close(moved[:, 0], times, atol=1e-4, rtol=0)
    assert (times - torch.arange(60)).abs().max() > 1


def test_a_border_or_reflection_lets_no_label_enter():
    masks = torch.randint(1, 4, (8, 16, 16))
    for mode in ("border", "reflection"):
        transform = Affine(degrees=180, translate=0.4, padding_mode=mode)
        _, labels = transform(torch.zeros(8, 1, 16, 16), masks, draws_of(8), segmentation((16, 16), 9))
        assert set(labels.unique().tolist()) <= {1, 2, 3}


REFLECTION = (
    "Expected crop.padding below the smallest side, 4, to reflect; received padding=4. "
    "Pad by less, or use padding_mode='border'."
)


@pytest.mark.parametrize(
    ("transform", "facts", "message"),
    [
        (
            Flip(axes=(0, -2)),
            facts_of((4, 4)),
            "Expected flip.axes of the 2 of images, each once; received axes=(0, -2). Count them from 0 to 1.",
        ),
        (
            Flip(axes=(2,)),
            facts_of((4, 4)),
            "Expected flip.axes of the 2 of images, each once; received axes=(2,). Count them from 0 to 1.",
        ),
        (
            Crop(padding=4, padding_mode="reflection"),
            facts_of((9, 4)),
            REFLECTION,
        ),
    ],
)
def test_what_cannot_be_moved_is_refused(transform, facts, message):
    with pytest.raises(ConfigError) as caught:
        transform.check(facts)
    assert str(caught.value) == message


def test_warp_leaves_other_targets_alone():
    targets = torch.tensor([3])
    facts = Facts(size=(4,), channels=1)
    _, same = warp(torch.ones(1, 1, 4), targets, [offsets(4)[None]], "zeros", facts)
    assert same is targets
