"""Multiply-accumulates of PyTorch's operators, counted from the shapes that they are called with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from striate.geometry import conv_macs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _convolution(call: Mapping[str, Any], output: Any) -> int:
    source, weight, groups = call["input"], call["weight"], call["groups"]
    batch, kernel_size = int(source.shape[0]), tuple(weight.shape[2:])
    if call["transposed"]:
        return batch * conv_macs(
            weight.shape[1] * groups, weight.shape[0], kernel_size, tuple(source.shape[2:]), groups
        )
    return batch * conv_macs(source.shape[1], weight.shape[0], kernel_size, tuple(output.shape[2:]), groups)


def _compiled(call: Mapping[str, Any], output: Any) -> int:
    return _convolution({**call, "transposed": False}, output)


def _transposed(call: Mapping[str, Any], output: Any) -> int:
    # Any pass of a convolution costs what its forward pass costs; the result of this one is the input.
    grad_output, weight, groups = call["grad_output"], call["weight"], call["groups"]
    size, channels = tuple(grad_output.shape[2:]), output.shape[1]
    return int(grad_output.shape[0]) * conv_macs(channels, weight.shape[0], tuple(weight.shape[2:]), size, groups)


def _product(left: str, right: str) -> Callable[[Mapping[str, Any], Any], int]:
    # mm, bmm and their like: every number of the left matrix meets every column of the right one.
    return lambda call, output: int(math.prod(call[left].shape)) * int(call[right].shape[-1])


def _vector_product(left: str) -> Callable[[Mapping[str, Any], Any], int]:
    return lambda call, output: int(math.prod(call[left].shape))


def _linear(call: Mapping[str, Any], output: Any) -> int:
    return int(math.prod(call["input"].shape)) * int(call["weight"].shape[0])


def _attention(call: Mapping[str, Any], output: Any) -> int:
    *batch, queries, width = call["query"].shape
    positions, value_width = call["value"].shape[-2:]
    return int(math.prod(batch) * queries * positions * (width + value_width))


def _recurrent(call: Mapping[str, Any], output: Any) -> int:
    steps, batch = call["input"].shape[:2]
    return int(steps * batch * (math.prod(call["weight0"].shape) + math.prod(call["weight1"].shape)))


ATTENTION = tuple(
    f"aten::_scaled_dot_product_{kind}"
    for kind in (
        "flash_attention",
        "flash_attention_for_cpu",
        "efficient_attention",
        "cudnn_attention",
        "fused_attention_overrideable",
    )
)

_MACS: dict[str, Callable[[Mapping[str, Any], Any], int]] = {
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
    "striate::conv": _compiled,
    "striate::conv_grad_input": _transposed,
    "aten::mm": _product("self", "mat2"),
    "aten::bmm": _product("self", "mat2"),
    "aten::addmm": _product("mat1", "mat2"),
    "aten::_addmm_activation": _product("mat1", "mat2"),
    "aten::baddbmm": _product("batch1", "batch2"),
    "aten::addbmm": _product("batch1", "batch2"),
    "aten::mv": _vector_product("self"),
    "aten::addmv": _vector_product("mat"),
    "aten::dot": _vector_product("self"),
    "aten::linear": _linear,
    "aten::mkldnn_rnn_layer": _recurrent,
    **dict.fromkeys(ATTENTION, _attention),
}


def macs(name: str, arguments: Mapping[str, Any], output: Any) -> int:
    """The multiply-accumulates of one operator call, biases left out; 0 for operators that multiply no matrices.

    ``name`` is the operator's schema name (``"aten::mm"``), ``arguments`` its arguments by name, ``output`` what it
    returned. Padding counts as input. Pools, additions, activations and normalisations count as 0, as usual in this
    field. Raises nothing for operators it does not know; `striate.insight.tracing` names those.

    >>> import torch
    >>> macs("aten::mm", {"self": torch.ones(2, 3), "mat2": torch.ones(3, 5)}, torch.ones(2, 5))
    30
    """
    count = _MACS.get(name)
    return 0 if count is None else int(count(arguments, output[0] if isinstance(output, tuple | list) else output))
