"""One layer measured by itself: the compiled kernels beside PyTorch's operator, in time and in error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.nn.changed import channels_last, convolve, convolve_transposed, uses_kernels_already
from striate.nn.layer_problem import LayerProblem
from striate.nn.timing import Times, interleaved
from striate.ops.compiled import route
from striate.ops.native import TRANSPOSED
from striate.ops.settings import use_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from striate.compiler.problem import Layout, Pass
    from striate.nn.fusion import Chain
    from striate.ops.compiled import Route

    Call = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Forward, and backward where gradients are needed: ours, PyTorch's in the model's layout and in its better one."""

    ours: Times
    torch_in_layout: Times
    torch_best: Times
    error: float
    torch_error: float


def routes(
    module: nn.Module, problem: LayerProblem, layout: Layout, input_grad: bool, weight_grad: bool
) -> dict[Pass, Route]:
    """What computes each pass of a layer, and why."""
    layer: Any = module
    passes: list[Pass] = ["forward"]
    passes += ["grad_input"] if input_grad else []
    passes += ["grad_weight"] if weight_grad else []
    x = torch.empty(problem.input_shape)
    if layout == "channels_last":
        x = channels_last(x)
    spec = problem.convolution.spec
    return {
        pass_: route(
            x,
            layer.weight,
            layer.bias,
            stride=spec.stride,
            pads=problem.convolution.pads,
            dilation=spec.dilation,
            groups=spec.groups,
            output_padding=problem.output_padding if problem.transposed else None,
            pass_=pass_,
        )
        for pass_ in passes
    }


def layer_times(
    module: nn.Module, shape: Sequence[int], layout: Layout, input_grad: bool, train: bool, rounds: int
) -> LayerTimes:
    """Measure a layer on random inputs of a shape, with the weights it has."""
    layer: Any = module
    random = torch.Generator().manual_seed(0)
    x = torch.randn(tuple(shape), generator=random)
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    places = "stride padding output_padding groups dilation" if layer.transposed else "stride padding dilation groups"
    window: tuple[Any, ...] = tuple(getattr(layer, name) for name in places.split())
    if not layer.transposed:
        window = (*window, layer.padding_mode)
    needs = input_grad, train and layer.weight.requires_grad, train and bias is not None and layer.bias.requires_grad

    own_forward: Call = layer._conv_forward  # noqa: SLF001  # what its forward calls, with weights that it is given
    transpose: Any = TRANSPOSED[len(layer.kernel_size)]

    def ours(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if layer.transposed:
            return convolve_transposed(x, weight, bias, *window)
        if uses_kernels_already(module):
            return own_forward(x, weight, bias)
        return convolve(x, weight, bias, *window)

    def theirs(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if uses_kernels_already(module):  # its paddings may be beyond PyTorch's operators
            with use_compiled(False):
                return ours(x, weight, bias)
        if layer.transposed:
            return transpose(x, weight, bias, *window)  # type: ignore[no-any-return]
        return own_forward(x, weight, bias)

    batched = x.dim() == weight.dim()
    x_last = channels_last(x) if batched else x
    weight_last = weight.contiguous(memory_format=_FORMATS[weight.dim()]) if weight.dim() in _FORMATS else weight
    sides: dict[str, tuple[Call, Tensor, Tensor]] = {
        "ours": (ours, x_last if layout == "channels_last" else x, weight),
        "contiguous": (theirs, x, weight),
        "channels_last": (theirs, x_last, weight_last),
    }
    exact = _passes(theirs, x.double(), weight.double(), None if bias is None else bias.double(), needs)()
    runs = {name: _passes(call, x, weight, bias, needs) for name, (call, x, weight) in sides.items()}
    errors = {name: _error(run(), exact) for name, run in runs.items()}
    times = interleaved(runs, rounds=rounds)
    return LayerTimes(
        times["ours"],
        times[layout],
        min(times["contiguous"], times["channels_last"], key=lambda each: each.median),
        errors["ours"],
        errors["contiguous"],
    )


def following_time(chain: Chain, input_shape: Sequence[int], layout: Layout, rounds: int) -> float:
    """The seconds that batch norm and ReLU behind a convolution take in inference, by themselves."""
    problem = LayerProblem.of_layer(chain.convolution, input_shape, layout)
    output = torch.randn(problem.output_shape)
    if layout == "channels_last":
        output = channels_last(output)
    norm: Any = chain.norm

    def follow() -> Tensor:
        y = output
        if norm is not None:
            y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return y if chain.relu is None else F.relu(y)

    with torch.no_grad():
        return interleaved({"following": follow}, rounds=rounds)["following"].median


def _passes(
    call: Call, x: Tensor, weight: Tensor, bias: Tensor | None, needs: tuple[bool, bool, bool]
) -> Callable[[], list[Tensor]]:
    """The layer as a function without arguments, which gives the output and the gradients that are needed."""
    x, weight = x.detach().requires_grad_(needs[0]), weight.detach().requires_grad_(needs[1])
    bias = None if bias is None else bias.detach().requires_grad_(needs[2])
    leaves = [each for each in (x, weight, bias) if each is not None and each.requires_grad]
    with torch.no_grad():
        # As uneven as a real gradient, the same for every side whatever its layout.
        like = call(x, weight, bias)
        upstream = torch.randn(like.shape, generator=torch.Generator().manual_seed(1)).to(like.dtype)
        upstream = torch.empty_like(like).copy_(upstream)

    def run() -> list[Tensor]:
        with torch.set_grad_enabled(bool(leaves)):
            output = call(x, weight, bias)
            gradients = torch.autograd.grad(output, leaves, upstream) if leaves else ()
        return [output.detach(), *gradients]

    return run


def _error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest difference, relative to the largest value of the array it is in."""
    errors = [
        (ours.double() - right).abs().max().item() / max(right.abs().max().item(), 1e-300)
        for ours, right in zip(found, exact, strict=True)
        if right.numel()
    ]
    return math.nan if any(map(math.isnan, errors)) else max(errors, default=0.0)
