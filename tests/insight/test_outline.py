"""A network divided into its stages."""

import pytest
from torch import nn

from striate.errors import ModelError
from striate.insight import outline, summary


class Branching(nn.Module):
    """A stem of two layers, two branches that are joined, a layer that evaluation leaves out, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.right = nn.Conv2d(4, 8, 1)
        self.aux = nn.Linear(8, 2)
        self.top = nn.ModuleDict({"norm": nn.BatchNorm1d(8), "head": nn.Linear(8, 2)})

    def forward(self, x):
        x = self.stem(x)
        pooled = (self.left(x) + self.right(x)).mean((2, 3))
        return self.top["head"](self.top["norm"](pooled))


STAGES = ("stem", "left", "right", "top.head")


def test_parts_are_stages_and_what_lies_between():
    parts, total = outline(Branching(), (1, 3, 9, 9), STAGES)
    assert [(part.name, part.content) for part in parts] == [
        ("stem", "Conv2d, ReLU"),
        ("left", "2 Conv2d, ReLU"),
        ("right", "Conv2d"),
        ("add, mean, top.norm", ""),
        ("top.head", "Linear"),
    ]
    assert [part.output_shape for part in parts] == [(1, 4, 4, 4), (1, 8, 4, 4), (1, 8, 4, 4), (1, 8), (1, 2)]
    assert [(part.field, part.stride) for part in parts] == [
        ("3", "2"),
        ("11", "2"),
        ("3", "2"),
        ("all", ""),
        ("all", ""),
    ]
    assert [part.parameters for part in parts] == [112, 296 + 584, 40, 16, 18]
    assert sum(part.macs for part in parts) == total.macs == summary(Branching(), (1, 3, 9, 9)).macs
    assert sum(part.parameters for part in parts) + 18 == total.parameters


def test_a_stage_inside_a_stage_is_a_part_of_its_own():
    parts, _ = outline(Branching(), (1, 3, 9, 9), ("left", "left.1"))
    assert [part.name for part in parts] == ["stem", "left", "left.1", "left", "right, add, mean, top"]


def test_the_usual_refusal():
    with pytest.raises(ModelError, match="3, size, size"):
        outline(Branching(), (1, 2, 9, 9), STAGES)
