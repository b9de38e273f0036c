"""The parameters of a network by stage, shallow to deep, for freezing and for rates that fall towards the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.errors import ModelError
from striate.models.features import head_name, stage_names

if TYPE_CHECKING:
    from torch import nn

HEAD = "head"


def parameters_by_stage(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names of a network's parameters by the stage they belong to, in order; what comes after the last is ``head``.

    A stage reaches from the end of the one before it to the end of the module it is named after, in the order in which
    modules were put into the network. Raises `ModelError` for a network that tells no stages.

    >>> from striate.models import create_model
    >>> {stage: names[0] for stage, names in parameters_by_stage(create_model("lenet")).items()}
    {'pool1': 'conv1.weight', 'pool2': 'conv2.weight', 'head': 'fc1.weight'}
    """
    stages = stage_names(model)
    if not stages:
        raise ModelError(
            "a network that names its stages in an attribute `stages`",
            type(model).__name__,
            "Name layers by patterns in fine_tuning.freeze, and leave optimizer.layer_decay at 1.",
        )
    names = [name for name, _ in model.named_modules()]
    place = {name: index for index, name in enumerate(names)}
    ends: list[int] = []
    for stage in stages:
        inside = [index for index, name in enumerate(names) if name == stage or name.startswith(f"{stage}.")]
        ends.append(max([0, *inside, *ends[-1:]]))
    try:
        head = f"{head_name(model)}."
    except ModelError:
        head = "\0"  # stands in no name
    found: dict[str, list[str]] = {stage: [] for stage in (*stages, HEAD)}
    for name, _ in model.named_parameters():
        owner = place[name.rpartition(".")[0]]
        reached = (stage for stage, end in zip(stages, ends, strict=True) if owner <= end)
        found[HEAD if name.startswith(head) else next(reached, HEAD)].append(name)
    return {stage: tuple(inside) for stage, inside in found.items()}
