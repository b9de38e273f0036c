"""What a network computes on the way: the outputs of named submodules, and tables of features for other learners."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import ModelError
from striate.models.outputs import WithAuxiliary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray


def stage_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a network's natural feature stages, shallow to deep; none for a network that does not tell them.

    They are its attribute ``stages``, or ``stage_names`` where a submodule of its paper is called ``stages``.

    >>> from striate.models import create_model
    >>> stage_names(create_model("convnext_tiny"))
    ('features.0', 'features.1', 'features.3', 'features.5', 'features.7')
    """
    for told in (getattr(model, "stages", None), getattr(model, "stage_names", None)):
        if isinstance(told, tuple) and all(isinstance(name, str) for name in told):
            return told
    return ()


def head_name(model: nn.Module) -> str:
    """The dotted name of a network's final layer: its attribute ``head``, or ``head_name`` where that is a submodule.

    Raises `ModelError` for a network that does not tell it.

    >>> from striate.models import create_model
    >>> head_name(create_model("convnext_tiny"))
    'classifier.2'
    """
    for told in (getattr(model, "head", None), getattr(model, "head_name", None)):
        if isinstance(told, str):
            return told
    raise ModelError(
        "a network that names its final layer in an attribute `head`",
        type(model).__name__,
        'Set it, as in model.head = "fc", or name the layer in the call where that is possible.',
    )


def features(model: nn.Module, x: Tensor, stages: str | Sequence[str] | None = None) -> dict[str, Tensor]:
    """Run a network once and return what some of its submodules put out, by name.

    ``stages`` are names of submodules in any depth, by default all that `stage_names` tells. The tensors are copies,
    so that layers that write in place do not change them, and carry gradients if the call is made where these are
    recorded. The network runs in the mode it is in: call ``model.eval()`` first for features that do not depend on the
    rest of the batch. Of a submodule that runs several times the last output is given.

    Raises `ModelError` for unknown names, for submodules that did not run, and for those whose output is no tensor.

    >>> from striate.models import create_model
    >>> network = create_model("lenet").eval()
    >>> found = features(network, torch.zeros(1, 1, 28, 28), stages=("pool1", "pool2"))
    >>> {name: tuple(tensor.shape) for name, tensor in found.items()}
    {'pool1': (1, 6, 14, 14), 'pool2': (1, 16, 5, 5)}
    """
    names = _checked_names(model, stages)
    with _outputs_of(model, names) as found:
        model(x)
    for name in names:
        if name not in found:
            raise ModelError(
                "stages that run in a forward pass", f"{name!r}, which did not run", f"Choose another: {_known(model)}"
            )
    return {name: found[name] for name in names}


def _checked_names(model: nn.Module, stages: str | Sequence[str] | None) -> list[str]:
    names = stage_names(model) if stages is None else (stages,) if isinstance(stages, str) else tuple(stages)
    if not names:
        raise ModelError(
            "names of submodules in stages, as this network tells no stages of its own",
            f"stages={stages!r}",
            _known(model),
        )
    every = {name for name, _ in model.named_modules(remove_duplicate=False)}
    for name in names:
        if name not in every:
            near = difflib.get_close_matches(str(name), sorted(every), n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
            raise ModelError("stages to be names of submodules", repr(name), f"{hint}{_known(model)}")
    return list(dict.fromkeys(names))


def _known(model: nn.Module) -> str:
    told = stage_names(model)
    stages = f"Its stages: {', '.join(told)}. " if told else ""
    return f"{stages}Its submodules: {', '.join(name for name, _ in model.named_children())}, and those inside them."


@contextmanager
def _outputs_of(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of submodules while the context lasts."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        tensor = output.output if isinstance(output, WithAuxiliary) else output
        if not isinstance(tensor, Tensor):
            raise ModelError(
                "stages whose output is a tensor", f"a {type(output).__name__} from {name!r}", "Choose one inside it."
            )
        found[name] = tensor.clone()

    modules = dict(model.named_modules(remove_duplicate=False))
    handles = []
    try:
        for name in names:
            handles.append(
                modules[name].register_forward_hook(lambda module, inputs, output, name=name: keep(name, output))
            )
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a layer is given while the context lasts."""
    given: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].clone()))
    try:
        yield given
    finally:
        handle.remove()


@overload
def feature_table(
    model: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    stages: str | Sequence[str] | None = None,
    *,
    labelled: Literal[False] = False,
) -> NDArray[np.floating]: ...
@overload
def feature_table(
    model: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    stages: str | Sequence[str] | None = None,
    *,
    labelled: Literal[True],
) -> tuple[NDArray[np.floating], NDArray[np.generic]]: ...
def feature_table(
    model: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    stages: str | Sequence[str] | None = None,
    *,
    labelled: bool = False,
) -> NDArray[np.floating] | tuple[NDArray[np.floating], NDArray[np.generic]]:
    """Describe samples by a network's features, one row each, for scikit-learn and other learners.

    ``batches`` are inputs (N, C, *spatial), or pairs of inputs and labels, as a loader gives them. The features are
    what the network's final layer sees; with ``stages``, the outputs of these side by side. Positions are averaged, so
    that a map of a channel gives one number. The network runs in evaluation and without gradients, on the device it is
    on, and is left in the mode it was in. Returns an array (samples, features), and with ``labelled`` also the labels,
    in the same order. Raises `ModelError`.

    >>> from striate.models import create_model
    >>> digits = [torch.rand(8, 1, 28, 28), torch.rand(2, 1, 28, 28)]
    >>> feature_table(create_model("lenet"), digits, stages=("conv1", "conv2")).shape
    (10, 22)
    """
    names = None if stages is None else _checked_names(model, stages)
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    rows: list[NDArray[np.floating]] = []
    labels: list[NDArray[np.generic]] = []
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.inference_mode():
            for batch in batches:
                inputs = batch if isinstance(batch, Tensor) else batch[0]
                rows.append(_rows(model, inputs.to(device), names))
                if labelled:
                    if isinstance(batch, Tensor) or len(batch) < 2:
                        raise ModelError(
                            "pairs of inputs and labels", "inputs alone", "Give pairs, or leave out labelled=True."
                        )
                    labels.append(np.asarray(batch[1]))
    finally:
        for module, mode in modes:
            module.training = mode
    if not rows:
        raise ModelError("at least one batch", "none", "Give a list of tensors, or a loader that is not used up.")
    table = np.concatenate(rows)
    return (table, np.concatenate(labels)) if labelled else table


def _rows(model: nn.Module, inputs: Tensor, names: list[str] | None) -> NDArray[np.floating]:
    if names is None:
        with _inputs_of(model.get_submodule(head_name(model))) as given:
            model(inputs)
        found = given[-1:]
    else:
        found = list(features(model, inputs, names).values())
    flat = [tensor.flatten(2).mean(2) if tensor.ndim > 2 else tensor for tensor in found]
    table = torch.cat(flat, dim=1)
    # numpy has no bfloat16, and sums of halves lose too much in other libraries.
    array: NDArray[np.floating] = (table if table.dtype == torch.float64 else table.float()).cpu().numpy()
    return array
