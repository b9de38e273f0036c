"""RandAugment and TrivialAugment: which operations, how often, how strong."""

import numpy as np
import pytest
import torch
from augmentation_cases import batch_of, draws_of, facts_of

from striate.data.augmentation import Augmentation, RandAugment, TrivialAugment, colour, policies
from striate.data.augmentation.affine import backwards, rotations
from striate.data.augmentation.policies import operations
from striate.data.augmentation.warping import warp_affine

RGB = facts_of((12, 12), 3, value_scale=255.0)
PAPERS = {
    "identity", "autocontrast", "equalize", "rotate", "solarize", "saturation", "posterize", "contrast", "brightness",
    "sharpness", "shear 0", "shear 1", "translate 0", "translate 1",
}  # fmt: skip


def test_operations_are_the_papers_as_far_as_they_have_meaning():
    assert set(operations(RGB)) == PAPERS
    assert set(operations(facts_of((8, 8), 1, value_scale=255.0))) == PAPERS - {"saturation"}
    unlimited = {"identity", "brightness", "contrast", "sharpness", "translate 0"}
    assert set(operations(facts_of((8,), 3))) == unlimited
    volumes = unlimited | {"translate 1", "translate 2", "shear 0", "shear 1", "shear 2", "rotate"}
    assert set(operations(facts_of((8, 8, 8)))) == volumes


@pytest.mark.parametrize(
    "facts",
    [
        facts_of((18, 18), 3, value_scale=255.0),
        facts_of((20, 19), 1, value_scale=255.0),
        facts_of((20,), 4),
        facts_of((7, 8, 9), 2),
        facts_of((9, 9), 3),
    ],
    ids=["rgb", "grey", "signal", "volume", "floats"],
)
def test_every_operation_happens_as_often_as_any_other(facts):
    inputs, targets, _ = batch_of(facts, 2800)
    names = operations(facts)
    choice = draws_of(2800).integers("operation", 0, len(names))
    counts = choice.bincount(minlength=len(names)).double()
    mean = 2800 / len(names)
    assert ((counts - mean) ** 2 / mean).sum() < 40
    # From dark to bright, but neither black nor white, and with more places than levels: else autocontrast and equalize
    # find nothing to do.
    values = 0.1 + 0.7 * inputs.float() / facts.value_scale if facts.bounded else inputs
    changed, _ = TrivialAugment()(values, targets, draws_of(2800), facts)
    alike = (changed == values).flatten(1).all(1)
    assert bool(alike[choice == names.index("identity")].all())
    for place, name in enumerate(names[1:], start=1):
        # At the lowest levels little happens: rounded to nothing, and one level in 31 is none at all.
        assert alike[choice == place].float().mean() < 0.4, name


@pytest.mark.parametrize("facts", [RGB, facts_of((20,), 2), facts_of((6, 6, 6))], ids=["images", "signals", "volumes"])
def test_level_nought_changes_tone_and_place_of_nothing(facts, monkeypatch):
    monkeypatch.setattr(policies, "operations", lambda facts: tuple(
        name for name in operations(facts) if name not in ("autocontrast", "equalize")  # these have no level
    ))  # fmt: skip
    inputs, targets, _ = batch_of(facts, 200)
    values = inputs.float() / facts.value_scale
    changed, _ = RandAugment(magnitude=0, ops=3)(values, targets, draws_of(200), facts)
    assert torch.equal(changed, values)


def test_rand_augment_is_its_operations_at_its_level(monkeypatch):
    inputs, targets, _ = batch_of(RGB, 40)
    values = inputs.float() / 255
    draws = draws_of(40)
    level, turn = 18 / 30, draws.named("turn 0")
    sign = turn.chance("sign", 0.5).float() * 2 - 1
    plenty = torch.full((40,), level)

    def moved(forward, translation):
        return warp_affine(values, targets, *backwards(forward, translation, (12, 12)), "zeros", RGB)[0]

    eye, none = np.tile(np.eye(2), (40, 1, 1)), np.zeros((40, 2))
    signed = (plenty * sign).double().numpy()
    slanted, across = eye.copy(), none.copy()
    slanted[:, 0, 1], across[:, 1] = 0.3 * signed, 150 / 331 * signed
    truths = {
        "identity": values,
        "brightness": colour.adjust_brightness(values, 1 + 0.9 * level * sign, RGB),
        "contrast": colour.adjust_contrast(values, 1 + 0.9 * level * sign, RGB),
        "saturation": colour.adjust_saturation(values, 1 + 0.9 * level * sign, RGB),
        "sharpness": colour.adjust_sharpness(values, 1 + 0.9 * level * sign, RGB),
        "posterize": colour.posterize(values, torch.tensor([6] * 40)),  # 8 - round(4 * 0.6)
        "solarize": colour.solarize(values, 1 - plenty),
        "autocontrast": colour.autocontrast(values),
        "equalize": colour.equalize(values),
        "rotate": moved(rotations(30 * signed[:, None], 2), none),
        "shear 0": moved(slanted, none),
        "translate 1": moved(eye, across),
    }
    for name, truth in truths.items():
        monkeypatch.setattr(policies, "operations", lambda facts, name=name: (name,))
        changed, _ = RandAugment(ops=1, magnitude=18)(values, targets, draws, RGB)
        torch.testing.assert_close(changed, truth, atol=1e-5, rtol=0, msg=name)


def test_masks_follow_what_moves_and_stay_with_what_does_not():
    facts = facts_of((16, 16), 1, task="segmentation", value_scale=255.0, void=200)
    masks = (torch.arange(256).reshape(1, 16, 16) // 16).repeat(300, 1, 1)
    inputs = masks.unsqueeze(1).float() / 255
    _, labels = TrivialAugment()(inputs, masks, draws_of(300), facts)
    names = operations(facts)
    choice = draws_of(300).integers("operation", 0, len(names))
    same = (labels == masks).flatten(1).all(1)
    for place, name in enumerate(names):
        moving = name.split()[0] in ("rotate", "shear", "translate")
        assert bool(same[choice == place].all()) != moving, name


def test_ops_are_drawn_anew_each_turn():
    inputs, targets, indices = batch_of(RGB, 500)
    one = Augmentation([RandAugment(ops=1)], RGB, seed=0)(inputs, targets, indices, 0)[0]
    two = Augmentation([RandAugment(ops=2)], RGB, seed=0)(inputs, targets, indices, 0)[0]
    changed = (one != two).flatten(1).any(1).float().mean()
    assert 0.8 < changed < 0.97  # thirteen of fourteen operations change something, at that level nearly always
