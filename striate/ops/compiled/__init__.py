"""Convolutions by compiled kernels, as far as PyTorch can see them.

`conv` and `conv_transpose` take normalised arguments, one entry per spatial axis. `obstacle` says which tensors they
are not for, `route` what would compute a call and why.

::

    layouts.py          how tensors lie in memory
    plans.py            which kernel computes a call, remembered
    passes.py           the three passes on plain tensors
    differentiable.py   with their derivatives
    operators.py        as operators of torch
    routes.py           what would be used, and why
    repeated.py         calls that were made before
"""

from striate.ops.compiled import operators
from striate.ops.compiled.repeated import again, finished, remember
from striate.ops.compiled.routes import Route, conv, conv_transpose, obstacle, route

__all__ = ["Route", "again", "conv", "conv_transpose", "finished", "obstacle", "operators", "remember", "route"]
