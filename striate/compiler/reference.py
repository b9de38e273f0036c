"""The definition: every pass of a convolution as plain loops in float64. All kernels answer to this file.

With zero padding, and indices ``o`` over output positions, ``k`` over kernel taps and ``i = o * stride + k * dilation -
before``, for every sample and every channel of the same group::

    output[n, oc, o]       += input[n, ic, i] * weight[oc, ic, k]              forward
    grad_input[n, ic, i]   += grad_output[n, oc, o] * weight[oc, ic, k]        grad_input
    grad_weight[oc, ic, k] += grad_output[n, oc, o] * input[n, ic, i]          grad_weight

Taps outside the input are left out. Arrays are ``(N, C, *spatial)``, weights ``(C_out, C_in // groups, *kernel_size)``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from striate.compiler.problem import ConvProblem
    from striate.geometry import Size

    Array = NDArray[Any]

ALL = slice(None)


def forward(problem: ConvProblem, input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return the output ``(N, C_out, *output_size)``, with scale, bias and activation where the problem has them.

    The scales of a problem that has some are the second half of ``bias``.

    >>> from striate.compiler.problem import ConvProblem
    >>> problem = ConvProblem.parse("1d n1 c1 o1 i6 k3 s1 p1")
    >>> forward(problem, np.arange(1.0, 7.0).reshape(1, 1, 6), np.full((1, 1, 3), 2.0))
    array([[[ 6., 12., 18., 24., 30., 22.]]])
    """
    output = np.zeros((problem.batch, problem.spec.out_channels, *problem.output_size))
    for oc, ic in _groups(problem):
        for o, k, i in _taps(problem):
            output[_at(ALL, oc, o)] += input[_at(ALL, ic, i)] @ weight[_at(oc, ALL, k)].T
    if bias is not None:
        shifts, scales = (*np.split(bias, 2),) if problem.spec.scale else (bias, np.ones(()))
        each = (-1, *[1] * problem.spec.spatial_dims)
        output = output * scales.reshape(each) + shifts.reshape(each)
    return activated(problem.spec.activation, output)


def activated(activation: str | None, output: Array) -> Array:
    """The output after an activation.

    >>> activated("relu6", np.array([-1.0, 2.0, 8.0]))
    array([0., 2., 6.])
    """
    if activation is None:
        return output
    return np.maximum(output, 0) if activation == "relu" else np.clip(output, 0, 6)


def grad_input(problem: ConvProblem, grad_output: Array, weight: Array) -> Array:
    """Return the gradient of the input, ``(N, C_in, *input_size)``; also a transposed convolution's forward."""
    gradient = np.zeros((problem.batch, problem.spec.in_channels, *problem.input_size))
    for oc, ic in _groups(problem):
        for o, k, i in _taps(problem):
            gradient[_at(ALL, ic, i)] += grad_output[_at(ALL, oc, o)] @ weight[_at(oc, ALL, k)]
    return gradient


def grad_weight(problem: ConvProblem, grad_output: Array, input: Array) -> Array:
    """Return the gradient of the weight, ``(C_out, C_in // groups, *kernel_size)``."""
    spec = problem.spec
    gradient = np.zeros((spec.out_channels, spec.group_in_channels, *spec.kernel_size))
    for oc, ic in _groups(problem):
        for o, k, i in _taps(problem):
            gradient[_at(oc, ALL, k)] += grad_output[_at(ALL, oc, o)].T @ input[_at(ALL, ic, i)]
    return gradient


def _at(first: slice, second: slice, position: Size) -> tuple[slice | int, ...]:
    return (first, second, *position)


def _groups(problem: ConvProblem) -> Iterator[tuple[slice, slice]]:
    """The output and input channels of each group."""
    outs, ins = problem.spec.group_out_channels, problem.spec.group_in_channels
    for g in range(problem.spec.groups):
        yield slice(g * outs, (g + 1) * outs), slice(g * ins, (g + 1) * ins)


def _taps(problem: ConvProblem) -> Iterator[tuple[Size, Size, Size]]:
    """Every output position with every kernel tap that lands inside the input, and where it lands."""
    spec = problem.spec
    for o in itertools.product(*map(range, problem.output_size)):
        for k in itertools.product(*map(range, spec.kernel_size)):
            i = tuple(
                p * s + t * d - before
                for p, t, s, d, (before, _) in zip(o, k, spec.stride, spec.dilation, problem.pads, strict=True)
            )
            if all(0 <= p < size for p, size in zip(i, problem.input_size, strict=True)):
                yield o, k, i
