"""Loading weights that others have published, into a network that need not be quite the one they were made for.

Files are taken for untrusted: only tensors are read, nothing in a file is run, and every tensor is compared with the
network before the first is copied. What can be carried over exactly is: other numbers of input channels, and kernels
of another rank. A final layer for other outputs starts fresh. All else that does not fit is refused.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.errors import CheckpointError, ModelError
from striate.models.features import head_name
from striate.models.heads import output_layers
from striate.models.weight_files import read_weights

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

logger = logging.getLogger("striate.models")

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""

_OLD_NAMES = (re.compile(r"\.(norm|conv)\.([12])\."), r".\1\2.")
"""torchvision's published DenseNets were saved when layers could still have dots in their names."""

_LISTED = 10


class WeightsMismatchError(CheckpointError):
    """Weights that do not fit a network; ``missing``, ``unexpected`` and ``misshapen`` list all tensors concerned."""

    def __init__(
        self, path: Path, missing: Collection[str], unexpected: Collection[str], misshapen: Collection[str]
    ) -> None:
        self.missing, self.unexpected, self.misshapen = tuple(missing), tuple(unexpected), tuple(misshapen)
        lists = (("missing", self.missing), ("unexpected", self.unexpected), ("misshapen", self.misshapen))
        found = "; ".join(f"{len(names)} {word}: {_shortened(names)}" for word, names in lists if names)
        super().__init__(
            "the weights of this network",
            f"{path}, with tensors {found}",
            "Build the network that they belong to, of the same width and input size.",
        )


def _shortened(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What `load_weights` did: the number of tensors taken as they were, and in words what was changed or left fresh.

    >>> print(WeightsReport("a.pth", 60, ("conv1.weight: 3 input channels became 1",), ("fc: 10 outputs, not 1000",)))
    60 tensors of a.pth taken as they are
    changed: conv1.weight: 3 input channels became 1
    left fresh: fc: 10 outputs, not 1000
    """

    path: str
    loaded: int
    changed: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.loaded} tensors of {self.path} taken as they are",
                *(f"changed: {line}" for line in self.changed),
                *(f"left fresh: {line}" for line in self.fresh),
            ]
        )


def load_weights(
    model: nn.Module, path: str | os.PathLike[str], *, adapt: bool = True, max_bytes: int = 8 * 2**30
) -> WeightsReport:
    """Load a file of weights into a network, in place, and say what had to be changed.

    ``path`` is a file of safetensors, or one of ``torch.save`` (``.pth``, ``.pt``, ``.bin``, ``.ckpt``, ``.tar``) that
    holds a state_dict, also within ``{"state_dict": ...}`` or ``{"model": ...}`` and with ``module.`` before all names.
    The network keeps its types and device. With ``adapt`` the following is done, reported, and logged as a warning:

    - A network with other input channels: the file's channels and the network's belong together if their numbers are
      equal modulo the smaller count. Where several of the file's fall on one of the network's, they are added; where
      one of the file's falls on several, these share it equally. So a grey network sees a picture as the colour
      network sees it in three equal channels; of four channels the first and last share what red had.
    - A network of higher rank: kernels are repeated along the new first axes and divided by their length, so that a
      still video gives what its picture gives, borders aside (Carreira and Zisserman 2017). For a lower rank they are
      summed over the first axes, as if the input did not change along these.
    - Other outputs, or another head: the final layer, and those of auxiliary heads, keep their fresh weights.

    Convolutions in groups or under weight norm are not adapted to other input channels. Batch norms' counters of
    batches may be missing, as in old files. Raises `CheckpointError` for files that are
    missing, damaged, or larger than ``max_bytes``, and `WeightsMismatchError` with a list of all missing, unexpected
    and misshapen tensors; the network is then unchanged.

    >>> import tempfile
    >>> from striate.models import create_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "colour.pth")
    ...     torch.save(create_model("lenet", in_channels=3).state_dict(), path)
    ...     report = load_weights(create_model("lenet"), path)
    >>> report.changed
    ('conv1.weight: 3 input channels became 1, those that fall together added',)
    """
    source = Path(path)
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.is_meta:
            raise ModelError("a network with memory for its weights", f"{name} on the meta device", "Build it anew.")
    given = _matching_names(read_weights(source, max_bytes), state)
    plan = _Plan(model, state, given, adapt)
    if plan.missing or plan.unexpected or plan.misshapen:
        raise WeightsMismatchError(source, plan.missing, plan.unexpected, plan.misshapen)
    with torch.no_grad():
        for name, tensor in plan.tensors.items():
            state[name].copy_(tensor)
    report = WeightsReport(str(source), len(plan.tensors) - len(plan.changed), tuple(plan.changed), tuple(plan.fresh))
    logger.log(logging.WARNING if report.changed or report.fresh else logging.INFO, "%s", report)
    return report


def _matching_names(given: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Take prefixes off the file's names that all of them have and none of the network's has, and mend old names."""
    prefix: str | None = ""
    while prefix is not None and given:
        given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
        prefix = next(
            (
                each
                for each in _PREFIXES
                if all(name.startswith(each) for name in given) and not any(name.startswith(each) for name in wanted)
            ),
            None,
        )
    pattern, replacement = _OLD_NAMES
    return {
        mended if name not in wanted and (mended := pattern.sub(replacement, name)) in wanted else name: tensor
        for name, tensor in given.items()
    }


class _Plan:
    """Which tensor goes where, and what does not fit."""

    def __init__(self, model: nn.Module, state: dict[str, Tensor], given: dict[str, Tensor], adapt: bool) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.changed: list[str] = []
        self.fresh: list[str] = []
        self.missing: list[str] = []
        self.misshapen: list[str] = []
        self._modules = dict(model.named_modules())
        self._adapt = adapt
        self._channels = self._input_channels(given) if adapt else None
        heads = _heads(model) if adapt else ()
        beneath = {name: head for head in heads for name in {**state, **given} if name.startswith(f"{head}.")}
        for head in heads:
            self._take_head(head, [name for name in state if beneath.get(name) == head], state, given, beneath)
        for name, wanted in state.items():
            if name not in beneath:
                self._take(name, wanted, given)
        self.unexpected = [name for name in given if name not in state and name not in beneath]

    def _input_channels(self, given: dict[str, Tensor]) -> tuple[int, int] | None:
        """How many channels the file's and the network's first convolution take, where these differ."""
        for name, module in self._modules.items():
            if isinstance(module, _ConvNd):
                weight = given.get(f"{name}.weight")
                if weight is None or weight.ndim < 2 or isinstance(module, _ConvTransposeNd) or module.groups > 1:
                    return None
                pair = (weight.shape[1], module.in_channels)
                return pair if pair[0] != pair[1] else None
        return None

    def _take(self, name: str, wanted: Tensor, given: dict[str, Tensor]) -> None:
        if name not in given:
            # Files of before 2018 lack the counters, which only matter for momentum=None.
            if not name.endswith("num_batches_tracked"):
                self.missing.append(name)
            return
        tensor, change = self._fitted(name, wanted, given[name])
        if tensor is None:
            self.misshapen.append(f"{name} of {_shape(given[name])} instead of {_shape(wanted)}")
            return
        self.tensors[name] = tensor
        if change:
            self.changed.append(f"{name}: {change}")

    def _take_head(
        self,
        head: str,
        names: list[str],
        state: dict[str, Tensor],
        given: dict[str, Tensor],
        beneath: dict[str, str],
    ) -> None:
        """Take the final layer if all of it fits, and else none of it."""
        fitted = {name: self._fitted(name, state[name], given[name]) for name in names if name in given}
        offered = {name for name in given if beneath.get(name) == head}
        if set(names) == offered and all(tensor is not None for tensor, _ in fitted.values()):
            for name, (tensor, change) in fitted.items():
                if tensor is not None:
                    self.tensors[name] = tensor
                if change:
                    self.changed.append(f"{name}: {change}")
            return
        mine = ", ".join(f"{name} of {_shape(state[name])}" for name in names)
        theirs = ", ".join(f"{name} of {_shape(given[name])}" for name in sorted(offered))
        self.fresh.append(f"{mine}, where the file has {theirs or 'nothing'}")

    def _fitted(self, name: str, wanted: Tensor, tensor: Tensor) -> tuple[Tensor | None, str]:
        """The tensor as the network wants it, or None, and what was done to it."""
        if tensor.is_floating_point() != wanted.is_floating_point() or tensor.is_complex():
            return None, ""
        if tensor.shape == wanted.shape:
            return tensor, ""
        if not self._adapt:
            return None, ""
        changes = []
        module = self._modules.get(name.rpartition(".")[0])
        if isinstance(module, _ConvNd) and name.endswith("weight"):
            if tensor.ndim != wanted.ndim:
                before = tensor.ndim - 2
                tensor = _with_rank(tensor, wanted, module)
                changes.append(f"kernels of rank {before} became kernels of rank {wanted.ndim - 2}")
            if (tensor.shape[1], wanted.shape[1]) == self._channels and module.groups == 1:
                how = "added" if tensor.shape[1] > wanted.shape[1] else "shared"
                changes.append(
                    f"{tensor.shape[1]} input channels became {wanted.shape[1]}, those that fall together {how}"
                )
                tensor = _with_channels(tensor, wanted.shape[1])
        elif tensor.ndim != wanted.ndim and _trimmed(tensor) == _trimmed(wanted):
            tensor = tensor.reshape(wanted.shape)
            changes.append("axes of length 1 added or left out")
        return (tensor, "; ".join(changes)) if tensor.shape == wanted.shape else (None, "")


def _heads(model: nn.Module) -> tuple[str, ...]:
    try:
        head_name(model)
    except ModelError:
        return ()
    return output_layers(model)


def _with_rank(weight: Tensor, wanted: Tensor, module: _ConvNd) -> Tensor:
    """Kernels of the rank of ``wanted``; as they are where that cannot be."""
    more = wanted.ndim - weight.ndim
    if weight.ndim < 3 or (more > 0 and weight.shape[2:] != wanted.shape[2 + more :]):
        return weight
    # Along each axis, every output of a transposed convolution meets only one in `stride` of the taps.
    shares = module.stride[0] ** abs(more) if isinstance(module, _ConvTransposeNd) else 1
    weight = weight.to(wanted.dtype)
    if more < 0:
        return weight.sum(tuple(range(2, 2 - more))) / shares
    lengths = wanted.shape[2 : 2 + more]
    scaled = weight * (shares / math.prod(lengths))
    return scaled.reshape(*weight.shape[:2], *[1] * more, *weight.shape[2:]).expand(
        *weight.shape[:2], *wanted.shape[2:]
    )


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """Kernels for another number of input channels, which belong together modulo the smaller number."""
    theirs = weight.shape[1]
    partner = torch.arange(max(theirs, channels)) % min(theirs, channels)
    if channels < theirs:
        return weight.new_zeros((len(weight), channels, *weight.shape[2:])).index_add_(1, partner, weight)
    shares = partner.bincount()[partner].to(weight.dtype)
    return weight[:, partner] / shares.view(-1, *[1] * (weight.ndim - 2))


def _trimmed(tensor: Tensor) -> list[int]:
    """The shape without trailing ones."""
    shape = list(tensor.shape)
    while shape and shape[-1] == 1:
        shape.pop()
    return shape


def _shape(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" ({tensor.dtype})".replace("torch.", "")
    return f"{'x'.join(map(str, tensor.shape)) or 'one number'}{kind}"
