"""Text as a raw signal: convolutions over characters, which know no words, in the paper's two sizes."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.errors import ModelError
from striate.geometry import Axes, Size, Window, per_axis
from striate.models.field import check_exact_size
from striate.models.registry import register
from striate.models.tokens import OneHot, check_tokens
from striate.nn import Conv1d, MaxPool1d, dropout_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"
"""The paper's 70 characters. It lists the hyphen twice, so one of the 70 channels is never on."""

_USUAL = 1014
_SMALLEST = 123
_KERNELS = (7, 7, 3, 3, 3, 3)
_POOLED = (1, 2, 6)
_NUMBERS = {character: number for number, character in reversed(list(enumerate(ALPHABET, 1)))}


def encode_characters(texts: Sequence[str], length: int = _USUAL) -> Tensor:
    """Tokens (N, length) of texts, last character first; others than the alphabet's, and what is missing, are 0.

    Reversed as in the paper, so that the latest characters read always lie at the same place for the dense layers; of
    longer texts the first ``length`` characters are read. Capitals count as small letters.

    >>> encode_characters(["Cab é"], 7).tolist()
    [[0, 0, 2, 1, 3, 0, 0]]
    """
    tokens = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in zip(tokens, texts, strict=True):
        numbers = [_NUMBERS.get(character, 0) for character in text[:length].lower()[:length]]
        row[: len(numbers)] = torch.tensor(numbers[::-1], dtype=torch.long)
    return tokens


class CharCNN(nn.Module):
    """Six convolutions over one-hot characters, three pooled by 3, and three dense layers; (N, L) -> (N, classes).

    Tokens are integers below ``in_channels``; 0 stands for no character and becomes zeros. Raises `ModelError` when
    called with anything else or another length than it was built for, and for a vocabulary of padding alone.

    >>> CharCNN(123, 71, 4, features=8, hidden=16)(torch.zeros(2, 123, dtype=torch.long)).shape
    torch.Size([2, 4])
    """

    head = "fc3"

    def __init__(
        self,
        length: int,
        in_channels: int,
        num_classes: int,
        *,
        features: int = 256,
        hidden: int = 1024,
        dropout: float = 0.5,
        deviation: float = 0.05,
    ) -> None:
        super().__init__()
        if in_channels < 2:
            raise ModelError(
                "at least 2 tokens: 0 for none, and one character", f"in_channels={in_channels}", "Use 71."
            )
        if length < _SMALLEST:
            raise ModelError(
                f"an input_size of at least {_SMALLEST}, so that the pools leave something",
                f"input_size={length}",
                "Pad the texts.",
            )
        self.length = length
        self.one_hot = OneHot(in_channels - 1, blank=True)
        self.features = nn.Sequential()
        channels = in_channels - 1
        size: Size = (length,)
        for number, kernel_size in enumerate(_KERNELS, 1):
            stage = nn.Sequential(OrderedDict(conv=Conv1d(channels, features, kernel_size), act=nn.ReLU()))
            channels, size = features, Window.of(1, kernel_size).output_size(size)
            if number in _POOLED:
                stage.add_module("pool", MaxPool1d(3))
                size = Window.of(1, 3, 3).output_size(size)
            self.features.append(stage)
        self.fc1 = nn.Linear(features * size[0], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, num_classes)
        self.dropout = dropout_layer(dropout)
        self.stages = tuple(f"features.{number}" for number in range(len(_KERNELS)))
        for module in self.modules():
            if isinstance(module, Conv1d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, deviation)

    def forward(self, input: Tensor) -> Tensor:
        """Map tokens to logits."""
        check_tokens(input)
        check_exact_size(input[:, None], (self.length,))
        output = self.features(self.one_hot(input, self.fc1.weight.dtype)).flatten(1)
        output = self.dropout(torch.relu(self.fc1(output)))
        output = self.dropout(torch.relu(self.fc2(output)))
        logits: Tensor = self.fc3(output)
        return logits


def char_cnn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    features: int,
    hidden: int,
    deviation: float,
    input_size: Axes | None = None,
    dropout: float = 0.5,
) -> CharCNN:
    """The character network: kernels of 7, 7, 3, 3, 3, 3 without padding, pools of 3 after the first two and the last.

    Integer tokens (N, 1014) -> logits; ``in_channels`` counts the tokens, the paper's 70 characters and 0 for any
    other. `encode_characters` makes tokens of texts. Dense layers with dropout 0.5 after the first two fix the length
    to ``input_size``. Weights start from a normal distribution of deviation 0.05 in the small network and 0.02 in the
    large one.

    Paper: Zhang, Zhao and LeCun, Character-level Convolutional Networks for Text Classification, 2015. Raises
    `ModelError` and `GeometryError`.
    """
    (length,) = per_axis("input_size", _USUAL if input_size is None else input_size, spatial_dims)
    return CharCNN(
        length, in_channels, num_classes, features=features, hidden=hidden, dropout=dropout, deviation=deviation
    )


_SIZES = {"small": (256, 1024, 0.05, 11_339_780, 370_372_608), "large": (1024, 2048, 0.02, 95_940_612, 4_324_696_064)}
_PUBLISHED = {"large": "Paper, with capitals and synonyms: test errors AG's news 9.51 %, DBpedia 1.55 %."}

for _size, (_features, _hidden, _deviation, _parameters, _macs) in _SIZES.items():
    register(
        name=f"char_cnn_{_size}",
        summary=f"Character network, {_size}: six convolutions of {_features}, 1014 characters, {_hidden} dense units",
        paper="Zhang, Zhao, LeCun: Character-level Convolutional Networks for Text Classification",
        year=2015,
        input_kind="tokens",
        input_size=_USUAL,
        min_input_size=_SMALLEST,
        spatial_dims=(1,),
        in_channels=len(ALPHABET) + 1,
        num_classes=4,
        parameters=_parameters,
        macs=_macs,
        accuracy=_PUBLISHED.get(_size, ""),
    )(functools.partial(char_cnn, features=_features, hidden=_hidden, deviation=_deviation))
