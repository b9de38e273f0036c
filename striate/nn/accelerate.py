"""`accelerate`: make an existing model use the compiled kernels, and say what that did.

The convolutions of the model get another class (`striate.nn.changed` says how and why); nothing else about it changes,
not even the memory format of its parameters: kernels take weights as they lie. Every changed layer hands on its output
in channels-last order, and takes an input in another order into it, so that activations keep that order from the first
convolution to the last; PyTorch's layers between preserve it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils._pytree import tree_leaves, tree_map

from striate import memory
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.workers import prepare
from striate.errors import ModelError
from striate.nn.acceleration import Acceleration, LayerReport, undo
from striate.nn.changed import (
    Changed,
    changed_class,
    fusible,
    is_convolution,
    obstacle,
    plain_between,
    uses_kernels_already,
)
from striate.nn.fusion import Chain, Fusion, Scope, chains
from striate.nn.layer_problem import LayerProblem
from striate.nn.layer_times import LayerTimes, following_time, layer_times, routes
from striate.nn.timing import Times, interleaved
from striate.ops.compiled import obstacle as torch_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from striate.compiler.algorithm import Algorithm
    from striate.compiler.problem import Layout, Pass, Spec
    from striate.ops.compiled import Route

Example: TypeAlias = "Tensor | Sequence[int] | Sequence[Any] | Mapping[str, Any]"
_LAYOUTS = ("auto", "channels_last", "contiguous")


@dataclass
class _Layer:
    """A convolution of the model, how it was called, and what is to become of it."""

    name: str
    module: nn.Module
    reason: str | None
    calls: dict[tuple[tuple[int, ...], bool], int]
    """How often it was called, by shape of the input and whether that needs gradients."""
    reports: list[LayerReport]


def accelerate(
    model: nn.Module,
    example_input: Example,
    *,
    train: bool | None = None,
    layout: Literal["auto", "channels_last", "contiguous"] = "auto",
    keep_slower: bool = False,
    measure: bool = True,
    rounds: int = 5,
    fuse: bool = True,
    keep_memory: bool = True,
) -> Acceleration:
    """Make the convolutions of ``model`` use the compiled kernels, in place, and report what that gains.

    ``example_input`` is a batch as the model will get it, its shape, a tuple of several arguments, or a mapping of
    named ones. The model runs on it a few times, and is then as it was except that its convolutions have another class:
    same objects, parameters, buffers, hooks, state_dict. `Acceleration.undo` takes it back.

    With ``train`` (None: as ``model.training`` says) the gradients are measured as well. ``layout`` is what activations
    are kept in between layers; ``auto`` takes the faster one, and ``contiguous`` where the model insists on it, say by
    calling ``view``. A layer for which PyTorch's operator was measured to be faster keeps it, unless ``keep_slower``.
    Without ``measure`` nothing is timed or compared, and every layer that can be is compiled. ``rounds`` is the number
    of measurements a time is the median of. With ``fuse`` convolutions compute the zero padding of a layer before them,
    and in inference the batch norm and the ReLU behind them, where a run of the model shows that nothing else sees what
    is in between (`striate.nn.fusion`). With ``keep_memory`` the process keeps the memory that it frees from now on
    (`striate.keep_memory`).

    Raises `ModelError` for a model that has lazy layers left or is TorchScript; whatever it raises, and whatever the
    model does when it is run, the model is then as it was.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    >>> report = accelerate(model, (1, 3, 16, 16), keep_slower=True)
    >>> [layer.name for layer in report.layers], report.layers[0].problem
    (['0', '2'], '2d n1 c3 o8 i16 k3 s1 p0 bias')
    >>> report.undo()
    >>> type(model[0]) is nn.Conv2d
    True
    """
    _check(model, layout)
    if any(isinstance(module, Changed) for module in model.modules()):
        undo(model)  # what was accelerated for another input is looked at afresh
    if keep_memory:
        memory.keep_memory()
    train = model.training if train is None else train
    args, kwargs = _arguments(model, example_input)
    forward, step = _forward(model, args, kwargs, train), _step(model, args, kwargs, train)
    few = _forward(model, *_few(args, kwargs), train)
    notes: list[str] = []
    try:
        with _as_found(model):
            layers = _called(model, forward)
            found = _chains(model, layers, (few, forward), notes) if fuse else {}
            _compile(layers, {} if train else found, layout, train)
            chosen = _choose_layout(model, layers, (few, forward), step if measure else None, layout, notes)
            for layer in layers:
                _look_at(layer, found.get(layer.module), chosen, train, measure, keep_slower, rounds)
            changes = _changes(model, layers, chosen)
            between = sum(not is_convolution(module) for module, _, _ in changes)
            changes += _fuse(model, [found[m] for m, _, _ in changes if m in found], changes, chosen, notes)
            before_after = _whole(step, changes, rounds) if measure and changes else None
        _apply(changes)
    except BaseException:
        undo(model)
        raise
    if between:
        notes.append(f"{between} layers between 1-D convolutions compute in 2-D, which keeps channels-last order")
    own = sum(uses_kernels_already(layer.module) for layer in layers)
    if own:
        notes.append(f"{own} of the layers are Striate's own: they used the kernels before, and keep them")
    report = Acceleration(
        model, tuple(row for layer in layers for row in layer.reports), chosen, train, notes=tuple(notes)
    )
    if before_after is None:
        return report
    difference, before, after = before_after
    return replace(report, difference=difference, times_before=before, times=after)


def _check(model: object, layout: str) -> None:
    if not isinstance(model, nn.Module):
        raise ModelError("a torch.nn.Module", f"{type(model).__name__}", "Give the model itself.")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError("a model in Python", "a TorchScript model", "Accelerate the model it was made from.")
    if layout not in _LAYOUTS:
        raise ModelError(f"layout to be one of {', '.join(_LAYOUTS)}", f"layout={layout!r}", "Pick one.")
    lazy = [name for name, module in model.named_modules() if isinstance(module, LazyModuleMixin)]
    if lazy:
        raise ModelError("layers whose sizes are known", f"a lazy layer, {lazy[0]!r}", "Call the model once first.")


def _arguments(model: nn.Module, example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    given = tuple(example)
    if given and all(isinstance(size, int) for size in given):
        floating = [p for p in model.parameters() if p.is_floating_point()]
        options: dict[str, Any] = {"dtype": floating[0].dtype, "device": floating[0].device} if floating else {}
        # Out of the way of the caller's random numbers.
        return (torch.randn(given, generator=torch.Generator().manual_seed(0)).to(**options),), {}
    return given, {}


def _few(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the first two samples only, which show as well what calls what and what fails."""
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
    batch = len(leaves[0]) if leaves else 0

    def cut(leaf: Any) -> Any:
        return leaf[:2] if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == batch else leaf

    few: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(cut, (args, kwargs))
    return few


def _forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], train: bool) -> Callable[[], Any]:
    def forward() -> Any:
        with torch.set_grad_enabled(train):
            return model(*args, **kwargs)

    return forward


def _step(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], train: bool) -> Callable[[], Any]:
    """One run of the model, with gradients of all its parameters where it trains; gives the output."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def step() -> Any:
        with torch.set_grad_enabled(train):
            output = model(*args, **kwargs)
            losses = [each.square().mean() for each in _floating(output) if each.requires_grad]
            if losses and parameters:
                # Not `backward`: the gradients that parameters hold are not ours to touch.
                torch.autograd.grad(torch.stack(losses).sum(), parameters, allow_unused=True)
            return output

    return step


def _floating(output: Any) -> list[Tensor]:
    return [each for each in tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()]


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Put back what running a model changes: buffers such as running statistics, training flags, random numbers."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in vars(module)["_buffers"].items()
        if buffer is not None
    ]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, flag in flags:
                module.training = flag
            for module, name, buffer, value in buffers:
                if not torch.equal(buffer, value):
                    with torch.no_grad():
                        buffer.copy_(value)
                vars(module)["_buffers"][name] = buffer


def _called(model: nn.Module, forward: Callable[[], Any]) -> list[_Layer]:
    """The convolutions of a model, with the inputs that a run gives them."""
    layers = [
        _Layer(name, module, obstacle(module), {}, [])
        for name, module in model.named_modules()
        if is_convolution(module)
    ]
    hooks = []
    for layer in layers:

        def note(module: nn.Module, args: Any, kwargs: Any, layer: _Layer = layer) -> None:
            given = args[0] if args else kwargs.get("input")
            if not isinstance(given, Tensor):
                return
            if layer.reason is None:
                own: Any = module
                layer.reason = torch_only(given, own.weight, own.bias)
            key = tuple(given.shape), given.requires_grad
            layer.calls[key] = layer.calls.get(key, 0) + 1

        hooks.append(layer.module.register_forward_pre_hook(note, with_kwargs=True))
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if layer.reason is None and not layer.calls:
            layer.reason = "the example input does not reach it"
    return layers


_Change = tuple[nn.Module, type[nn.Module], type[nn.Module]]


def _changes(model: nn.Module, layers: list[_Layer], layout: Layout) -> list[_Change]:
    """Every layer that gets another class, with that of before and that of after."""
    last = layout == "channels_last"
    able = [layer.module for layer in layers if layer.reason is None]
    if last and any(len(module.kernel_size) == 1 for module in able):  # type: ignore[arg-type]
        able += [module for module in model.modules() if plain_between(module)]
    return [(module, type(module), changed_class(type(module), last)) for module in able]


def _chains(
    model: nn.Module, layers: list[_Layer], runs: Sequence[Callable[[], Any]], notes: list[str]
) -> dict[nn.Module, Chain]:
    """What is around the convolutions and could be computed by them, as the first run that works shows."""
    able = [layer.module for layer in layers if layer.reason is None and fusible(layer.module)]
    if is_convolution(model) or not able:
        return {}
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return {chain.convolution: chain for chain in _first(lambda run: chains(model, able, run), runs)}
    except Exception as error:
        notes.append(f"nothing is fused, because in inference the model fails: {str(error).splitlines()[0]}")
        return {}
    finally:
        for module, flag in flags:
            module.training = flag


def _first(attempt: Callable[[Callable[[], Any]], Any], runs: Sequence[Callable[[], Any]]) -> Any:
    """What the attempt gives with the first run with which it does not fail: a few samples may be too few for it."""
    *early, last = runs
    for run in early:
        with suppress(Exception):
            return attempt(run)
    return attempt(last)


def _compile(layers: list[_Layer], fused: Mapping[nn.Module, Chain], layout: str, train: bool) -> None:
    """Compile side by side all kernels that the layers will use, which otherwise each would when it is called."""
    known = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    order: Layout = "contiguous" if layout == "contiguous" else "channels_last"
    kernels: list[tuple[Algorithm, Spec]] = []
    for layer in layers:
        for (shape, input_grad), _ in layer.calls.items() if layer.reason is None else ():
            problem = LayerProblem.of_layer(layer.module, shape, order)
            for pass_, found in _routes(layer, problem, order, input_grad, train).items():
                if found.algorithm is not None and found.problem is not None:
                    spec, chain = found.problem.spec, fused.get(layer.module)
                    if chain is not None and pass_ == "forward":
                        spec = chain.spec(spec)
                    kernels.append((known[found.algorithm], spec))
    prepare(kernels)


def _routes(layer: _Layer, problem: LayerProblem, layout: Layout, input_grad: bool, train: bool) -> dict[Pass, Route]:
    learns = any(p.requires_grad for p in layer.module.parameters(recurse=False))
    return routes(layer.module, problem, layout, train and input_grad, train and learns)


def _fuse(
    model: nn.Module, found: list[Chain], changes: list[_Change], layout: Layout, notes: list[str]
) -> list[_Change]:
    """Let compiled convolutions compute what follows them in inference; returns the further layers to change."""
    if not found:
        return []
    scope = Scope()
    vars(model)["scope"] = scope
    for chain in found:
        fusion = Fusion(scope, chain)
        vars(chain.convolution)["fusion"] = fusion
        if chain.pad is not None:
            vars(chain.pad)["fusion"] = fusion
    pads = {chain.pad for chain in found if chain.pad is not None}
    norms = {chain.norm for chain in found if chain.norm is not None}
    relus = {chain.relu for chain in found if chain.relu is not None}
    known = {module for module, _, _ in changes}
    last = layout == "channels_last"
    rectified = sum(chain.relu is not None for chain in found)
    if norms or relus:
        notes.append(
            f"in inference convolutions compute {len(norms)} batch norms and {rectified} ReLUs that follow them"
        )
    if pads:
        notes.append(f"convolutions do the padding of {len(pads)} layers before them")
    return [
        (module, type(module), changed_class(type(module), last))
        for module in (*pads, *norms, *relus, model)
        if module not in known
    ]


def _apply(changes: list[_Change], back: bool = False) -> None:
    for module, before, after in changes:
        module.__class__ = before if back else after


def _choose_layout(
    model: nn.Module,
    layers: list[_Layer],
    runs: Sequence[Callable[[], Any]],
    timed: Callable[[], Any] | None,
    layout: str,
    notes: list[str],
) -> Layout:
    """The layout asked for; on ``auto`` the one that the model accepts in ``runs`` and that is faster if ``timed``."""
    if layout != "auto":
        return "channels_last" if layout == "channels_last" else "contiguous"
    plans = {
        "channels_last": _changes(model, layers, "channels_last"),
        "contiguous": _changes(model, layers, "contiguous"),
    }
    try:
        _first(lambda run: _run_changed(run, plans["channels_last"]), runs)
        if timed is None:
            return "channels_last"
        _run_changed(timed, plans["channels_last"])
    except Exception as error:
        notes.append(f"contiguous, because in channels-last order the model fails: {str(error).splitlines()[0]}")
        return "contiguous"
    times = interleaved(
        {name: lambda plan=plan: _run_changed(timed, plan) for name, plan in plans.items()},  # type: ignore[misc]
        rounds=3,
    )
    return "channels_last" if times["channels_last"].median <= times["contiguous"].median else "contiguous"


def _run_changed(step: Callable[[], Any], changes: list[_Change]) -> Any:
    _apply(changes)
    try:
        return step()
    finally:
        _apply(changes, back=True)


def _look_at(
    layer: _Layer, chain: Chain | None, layout: Layout, train: bool, measure: bool, keep_slower: bool, rounds: int
) -> None:
    """Measure a layer, decide whether it is changed, and write its rows; ``chain`` is what it could compute besides."""
    kind = type(layer.module).__name__
    measured: list[tuple[LayerReport, LayerTimes | None, int]] = []
    for (shape, input_grad), count in layer.calls.items():
        if layer.reason is not None:
            row = LayerReport(layer.name, kind, _problem_text(layer, shape, layout), count, {}, layer.reason)
            measured.append((row, None, count))
            continue
        problem = LayerProblem.of_layer(layer.module, shape, layout)
        by = _routes(layer, problem, layout, input_grad, train)
        if not any(found.compiled for found in by.values()) and not uses_kernels_already(layer.module):
            layer.reason = by["forward"].reason
        found = None
        if measure and layer.reason is None:
            found = layer_times(layer.module, shape, layout, train and input_grad, train, rounds)
        told: dict[str, str] = {pass_: each.algorithm or f"PyTorch: {each.reason}" for pass_, each in by.items()}
        row = LayerReport(layer.name, kind, str(problem).replace(" contiguous", ""), count, told, layer.reason)
        if found is not None:
            row = replace(
                row,
                error=found.error,
                torch_error=found.torch_error,
                times=found.ours,
                torch_times=found.torch_best,
            )
        measured.append((row, found, count))
    ours = sum(found.ours.median * count for _, found, count in measured if found)
    theirs = sum(found.torch_in_layout.median * count for _, found, count in measured if found)
    if chain is not None and not train and theirs:
        # What follows costs PyTorch another pass over the output, and ours nothing.
        shapes = [(shape, count) for (shape, _), count in layer.calls.items()]
        theirs += sum(following_time(chain, shape, layout, rounds) * count for shape, count in shapes)
    if ours > theirs and layer.reason is None and not keep_slower and not uses_kernels_already(layer.module):
        layer.reason = f"which was faster ({theirs * 1e3:.3g} ms)"
    rows = [row for row, _, _ in measured] or [LayerReport(layer.name, kind, "", 0, {})]
    layer.reports = [row if layer.reason is None else replace(row, reason=layer.reason, algorithms={}) for row in rows]


def _problem_text(layer: _Layer, shape: tuple[int, ...], layout: Layout) -> str:
    """The text of a layer that is not ours to understand, such as a quantised one; empty where there is none."""
    try:
        return str(LayerProblem.of_layer(layer.module, shape, layout)).replace(" contiguous", "")
    except Exception:
        return ""


def _whole(step: Callable[[], Any], changes: list[_Change], rounds: int) -> tuple[float | None, Times, Times]:
    """The difference of the outputs, and the times of the whole model before and after."""
    state = torch.get_rng_state()
    before = [each.detach().double() for each in _floating(step())]
    torch.set_rng_state(state)
    after = [each.detach().double() for each in _floating(_run_changed(step, changes))]
    differences = [
        ((a - b).abs().max() / a.abs().max().clamp_min(1e-30)).item()
        for a, b in zip(before, after, strict=True)
        if a.numel()
    ]
    times = interleaved({"before": step, "after": lambda: _run_changed(step, changes)}, rounds=rounds)
    return max(differences, default=None), times["before"], times["after"]
