"""Inputs that are integers instead of values: words, characters, quantised sound.

Such a network takes (N, length) and its ``in_channels`` is the number of different tokens, because a token is nothing
else than a one-hot vector of so many channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def check_tokens(input: Tensor) -> None:
    """Check that an input is a batch of integer tokens, (N, length); raises `ModelError`.

    >>> check_tokens(torch.zeros(2, 7, dtype=torch.long))
    """
    if input.ndim != 2 or input.dtype not in (torch.int64, torch.int32):
        raise ModelError(
            "a batch of integer tokens of shape (N, length)",
            f"an input of shape {tuple(input.shape)} and type {input.dtype}",
            "Give every word, character or level its number, and `.long()`.",
        )


class OneHot(nn.Module):
    """Tokens (N, L) to one-hot vectors (N, size, L) of ``dtype`` or torch's default; raises on tokens out of range.

    With ``blank`` token 0 is nobody's: it becomes zeros, and token i the unit vector i - 1.

    >>> OneHot(3, blank=True)(torch.tensor([[0, 1, 3]]))[0]
    tensor([[0., 1., 0.],
            [0., 0., 0.],
            [0., 0., 1.]])
    """

    def __init__(self, size: int, *, blank: bool = False) -> None:
        super().__init__()
        self.size, self.blank = size, blank

    def forward(self, input: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the vectors."""
        vectors = F.one_hot(input.long(), self.size + self.blank)[..., int(self.blank) :]
        return vectors.transpose(1, 2).to(dtype or torch.get_default_dtype())

    def extra_repr(self) -> str:
        """The number of channels, and whether token 0 is blank."""
        return f"{self.size}, blank={self.blank}"
