"""What a thread has chosen: whether compiled kernels are used, and how exact they must be.

The choices hold for the calling thread, as torch's own switches do, and new threads begin with the defaults. A
convolution keeps those of its forward call for its gradients, whichever thread computes them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from striate.errors import InputError

if TYPE_CHECKING:
    from types import TracebackType

Precision: TypeAlias = Literal["fast", "strict"]
"""``fast`` allows every algorithm; ``strict`` only those whose sums are made of products of inputs and weights."""


class _Choices(threading.local):
    # Attributes of the instance, not of the class: torch.compile guards those, so a traced function sees a change.
    def __init__(self) -> None:
        self.compiled = os.environ.get("STRIATE_COMPILED", "1").strip().lower() not in ("0", "false", "no", "off")
        self.strict = False


chosen = _Choices()
"""The choices of the calling thread."""


class use_compiled:  # noqa: N801  # a function to its users, like torch.no_grad
    """Switch compiled convolutions on or off, from this call on, or for the length of a ``with`` block.

    PyTorch's operators compute convolutions while they are off. The environment variable ``STRIATE_COMPILED=0`` makes
    off the default. The choice is the calling thread's; what was computed before it keeps its gradients.

    >>> with use_compiled(False):
    ...     chosen.compiled
    False
    """

    def __init__(self, on: bool = True) -> None:
        self._before = chosen.compiled
        chosen.compiled = bool(on)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        chosen.compiled = self._before


class precision:  # noqa: N801  # as above
    """Choose how exact compiled convolutions are, from this call on, or for the length of a ``with`` block.

    ``"fast"``, the default, allows algorithms such as Winograd's, which need fewer multiplications and round more;
    ``"strict"`` rules them out. The choice is the calling thread's. Raises `InputError` for another word.

    >>> with precision("strict"):
    ...     chosen.strict
    True
    """

    def __init__(self, word: Precision = "fast") -> None:
        if word not in ("fast", "strict"):
            raise InputError("precision to be fast or strict", f"precision={word!r}", "Pick one.")
        self._before = chosen.strict
        chosen.strict = word == "strict"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        chosen.strict = self._before
