"""Facts and batches that the tests of augmentation share."""

import torch

from striate.data.augmentation import Draws, Facts


def facts_of(size, channels=1, task="classification", value_scale=1.0, void=None, input_kind="values", outputs=5):
    return Facts(
        size=tuple(size),
        channels=channels,
        task=task,
        value_scale=value_scale,
        void=void,
        input_kind=input_kind,
        outputs=outputs,
    )


def batch_of(facts, count, seed=0):
    """Inputs as stored, targets, and places in a training part."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, facts.channels, *facts.size)
    if facts.input_kind == "tokens":
        lengths = torch.randint(1, facts.size[0] + 1, (count, 1), generator=generator)
        tokens = torch.randint(2, 50, (count, *facts.size), generator=generator)
        inputs = torch.where(torch.arange(facts.size[0]) < lengths, tokens, 0)
    elif facts.bounded:
        inputs = torch.randint(0, int(facts.value_scale) + 1, shape, generator=generator).to(torch.uint8)
    else:
        inputs = 3 * torch.randn(shape, generator=generator) + 1
    targets = {
        "classification": lambda: torch.randint(0, facts.outputs, (count,), generator=generator),
        "verification": lambda: torch.randint(0, facts.outputs, (count,), generator=generator),
        "segmentation": lambda: torch.randint(0, facts.outputs, (count, *facts.size), generator=generator),
        "multi-label": lambda: torch.randint(0, 2, (count, facts.outputs), generator=generator).float(),
        "regression": lambda: torch.randn(count, facts.outputs, generator=generator),
    }[facts.task]()
    return inputs, targets, torch.randperm(1000, generator=generator)[:count]


def positions(count, size):
    """Samples whose values, and masks, are the places of a grid counted from 1: (inputs, masks)."""
    places = torch.arange(1, torch.Size(size).numel() + 1).reshape(1, *size).repeat(count, *(1,) * len(size))
    return places.unsqueeze(1).float(), places


def draws_of(count, seed=0, epoch=0):
    return Draws(seed, epoch, torch.arange(count))
