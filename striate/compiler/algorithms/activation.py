"""What becomes of sums in registers before they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.values import Vector


def activated(k: Kernel, spec: Spec, value: Vector) -> Vector:
    """The vector after the activation that the spec names; NaN stays NaN."""
    if spec.activation is None:
        return value
    value = value.maximum(k.constant(0.0, value.lanes))
    return value.minimum(k.constant(6.0, value.lanes)) if spec.activation == "relu6" else value
