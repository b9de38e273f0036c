"""Sentence classification with one layer of convolutions over word vectors, in the four variants of the paper."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError, did_you_mean
from striate.models.registry import register
from striate.models.tokens import check_tokens
from striate.nn import Conv1d, dropout_layer

if TYPE_CHECKING:
    from torch import Tensor

VARIANTS = ("rand", "static", "nonstatic", "multichannel")
"""Which word vectors are learnt: random and learnt; given and fixed; given and learnt; one set fixed and one learnt."""


class MaxNormLinear(nn.Linear):
    """A dense layer no class of which has a weight vector longer than ``max_norm``; longer ones are scaled down to it.

    Training rescales the stored weights before each use, which is after each step of the optimiser.

    >>> layer = MaxNormLinear(4, 2, max_norm=3.0)
    >>> _ = nn.init.constant_(layer.weight, 5.0)
    >>> _ = layer(torch.zeros(1, 4))
    >>> layer.weight.norm(dim=1).round(decimals=3).tolist()
    [3.0, 3.0]
    """

    def __init__(self, in_features: int, out_features: int, *, max_norm: float = 3.0) -> None:
        super().__init__(in_features, out_features)
        if max_norm <= 0:
            raise ModelError("a max_norm above 0", f"max_norm={max_norm!r}", "The paper has 3.")
        self.max_norm = max_norm

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer with the shortened weights."""
        if self.training:
            with torch.no_grad():
                # .data, because a second pass before the optimiser's step shortens nothing and must not look to
                # autograd like a change of the weights that the first pass used.
                self.weight.data.copy_(self._shortened(self.weight.data))
            return F.linear(input, self.weight, self.bias)
        return F.linear(input, self._shortened(self.weight), self.bias)

    def _shortened(self, weight: Tensor) -> Tensor:
        length = weight.norm(dim=1, keepdim=True)
        shortened: Tensor = weight * (self.max_norm / length.clamp(min=self.max_norm))
        return shortened

    def extra_repr(self) -> str:
        """The sizes and the longest norm."""
        return f"{super().extra_repr()}, max_norm={self.max_norm}"


class TextCNN(nn.Module):
    """Filters over 3, 4 and 5 words, their maxima over the sentence, a dense layer; (N, L) -> (N, classes).

    Tokens are integers below ``in_channels``, the size of the vocabulary; 0 is padding, a vector of zeros. Sentences
    are padded so far on both sides that the widest filter sees every word at every place. Raises `ModelError` when
    called with anything else, for an unknown variant, and for vectors of another shape than (in_channels,
    embedding_dim).

    >>> TextCNN(100, 2, embedding_dim=8, filters=4)(torch.tensor([[5, 3, 99, 0]])).shape
    torch.Size([1, 2])
    """

    head = "fc"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        variant: str = "rand",
        vectors: Tensor | None = None,
        embedding_dim: int = 300,
        widths: tuple[int, ...] = (3, 4, 5),
        filters: int = 100,
        dropout: float = 0.5,
        max_norm: float = 3.0,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ModelError(f"a variant of {', '.join(VARIANTS)}", f"{variant!r}", did_you_mean(variant, VARIANTS))
        if vectors is not None and tuple(vectors.shape) != (in_channels, embedding_dim):
            raise ModelError(
                f"one vector per token, of shape ({in_channels}, {embedding_dim})",
                f"vectors of shape {tuple(vectors.shape)}",
                "Set embedding_dim to their length, and in_channels to their number.",
            )
        self.embedding = _word_vectors(in_channels, embedding_dim, vectors, learnt=variant != "static")
        # The fixed channel beside the learnt one.
        self.fixed = (
            _word_vectors(in_channels, embedding_dim, vectors, learnt=False) if variant == "multichannel" else None
        )
        if self.fixed is not None and vectors is None:
            self.fixed.weight.data.copy_(self.embedding.weight.data)
        padding = max(widths) - 1
        self.convs = nn.ModuleList(Conv1d(embedding_dim, filters, width, padding=padding) for width in widths)
        self.dropout = dropout_layer(dropout)
        self.fc = MaxNormLinear(filters * len(widths), num_classes, max_norm=max_norm)
        self.stages = ("embedding", *(f"convs.{number}" for number in range(len(widths))))
        for conv in self.convs:
            nn.init.uniform_(conv.weight, -0.01, 0.01)  # type: ignore[arg-type]  # a ModuleList's members are Modules
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.fc.weight, 0.0, 0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map sentences to logits."""
        check_tokens(input)
        words = self.embedding(input)
        if self.fixed is not None:
            # Every filter is applied to both channels and the results are added, which is to add the channels first.
            words = words + self.fixed(input)
        words = words.transpose(1, 2)
        strongest = [F.relu(conv(words)).amax(2) for conv in self.convs]
        logits: Tensor = self.fc(self.dropout(torch.cat(strongest, dim=1)))
        return logits


def _word_vectors(size: int, dim: int, vectors: Tensor | None, *, learnt: bool) -> nn.Embedding:
    embedding = nn.Embedding(size, dim, padding_idx=0)
    with torch.no_grad():
        if vectors is None:
            embedding.weight.uniform_(-0.25, 0.25)
        else:
            embedding.weight.copy_(vectors)
        embedding.weight[0] = 0
    embedding.weight.requires_grad_(learnt)
    return embedding


def text_cnn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    variant: str,
    vectors: Tensor | None = None,
    embedding_dim: int = 300,
    widths: tuple[int, ...] = (3, 4, 5),
    filters: int = 100,
    dropout: float = 0.5,
    max_norm: float = 3.0,
) -> TextCNN:
    """Kim's network for sentences: 100 filters over 3, 4 and 5 words each, their maxima over time, and a dense layer.

    Integer tokens (N, L) -> logits; ``in_channels`` is the size of the vocabulary, of which 0 is padding. ``vectors``
    (vocabulary, embedding_dim) are word vectors learnt elsewhere, word2vec's in the paper; without them the vectors are
    drawn from -0.25 to 0.25. Four variants: ``rand`` draws and learns them, ``static`` keeps those given, ``nonstatic``
    tunes them, ``multichannel`` has a tuned and a fixed set, to both of which each filter is applied. Beside the
    vectors there are 360,902 parameters for two classes in each variant.

    The last layer is regularised by dropout and by a longest weight vector of ``max_norm`` = 3. The paper scales
    weights at test time where torch scales activations in training, so to limit the same product it would be 1.5; 3
    is what common programs use. The paper does not say how filters start: here, as in those programs, from -0.01 to
    0.01.

    Paper: Kim, Convolutional Neural Networks for Sentence Classification, 2014. Raises `ModelError`.

    >>> network = text_cnn(1, 50, 2, variant="static")
    >>> sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    360902
    """
    return TextCNN(
        in_channels,
        num_classes,
        variant=variant,
        vectors=vectors,
        embedding_dim=embedding_dim,
        widths=tuple(widths),
        filters=filters,
        dropout=dropout,
        max_norm=max_norm,
    )


# Movie reviews: 18,765 words and the padding, two classes, at most 56 words.
_WORDS = 18_766
_ACCURACIES = {"rand": "76.1", "static": "81.0", "nonstatic": "81.5", "multichannel": "81.1"}

for _variant in VARIANTS:
    register(
        name=f"text_cnn_{_variant}",
        summary=f"TextCNN, {_variant}: 100 filters over 3, 4 and 5 words each, maximum over the sentence",
        paper="Kim: Convolutional Neural Networks for Sentence Classification",
        year=2014,
        input_kind="tokens",
        input_size=56,
        min_input_size=1,
        spatial_dims=(1,),
        in_channels=_WORDS,
        num_classes=2,
        parameters=360_902 + (0 if _variant == "static" else 300 * _WORDS),
        macs=21_900_600,
        accuracy=f"Paper: movie reviews (MR) {_ACCURACIES[_variant]} %.",
    )(functools.partial(text_cnn, variant=_variant))
