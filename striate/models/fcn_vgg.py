"""FCN-32s, 16s and 8s: VGG-16 made fully convolutional, with finer and finer scores added on the way back up.

The dense layers become convolutions of the same weights, so that VGG gives a map of scores 32 times coarser than the
input. FCN-32s enlarges it at once. FCN-16s doubles it and adds scores made from the fourth pool, FCN-8s doubles the sum
and adds scores from the third: deep layers know what, shallow ones where.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import ModelError
from striate.models.dense import crop
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, conv_transpose_class, dropout_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor

# Convolutions and channels of VGG-16's groups.
_GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# With a padding of 100 in the first layer, where the input begins in the enlarged scores, and where the enlarged deeper
# scores begin in those from a pool.
_INPUT_BEGINS = {32: 19, 16: 27, 8: 31}
_SCORES_BEGIN = {4: 5, 3: 9}


class FCN(nn.Module):
    """VGG-16 whose scores are enlarged ``stride`` times at last: (N, C, *spatial) -> (N, classes, *spatial).

    ``width`` are the channels of the first group, ``hidden`` those in place of the dense layers. Raises `ModelError`
    for a stride other than 8, 16 or 32, and when called with an input of another rank or other channels.

    >>> FCN(1, 2, 5, 8, width=2, hidden=4)(torch.zeros(1, 2, 50)).shape
    torch.Size([1, 5, 50])
    """

    stages = ("pool1", "pool2", "pool3", "pool4", "pool5")

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        stride: int,
        *,
        width: int = 64,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if stride not in _INPUT_BEGINS:
            raise ModelError("a stride of 8, 16 or 32", f"{stride!r}", "8 is the finest.")
        self.spatial_dims, self.in_channels, self.stride = spatial_dims, in_channels, stride
        conv, transposed = conv_class(spatial_dims), conv_transpose_class(spatial_dims)
        channels, padding = in_channels, 100
        for group, (depth, base) in enumerate(_GROUPS, 1):
            wider = base * width // 64
            for number in range(1, depth + 1):
                self.add_module(f"conv{group}_{number}", conv(channels, wider, 3, padding=padding))
                self.add_module(f"relu{group}_{number}", nn.ReLU())
                channels, padding = wider, 1
            self.add_module(f"pool{group}", pool_class("max", spatial_dims)(2, 2, ceil_mode=True))
        self.fc6 = conv(channels, hidden, 7)
        self.relu6, self.drop6 = nn.ReLU(), dropout_layer(dropout)
        self.fc7 = conv(hidden, hidden, 1)
        self.relu7, self.drop7 = nn.ReLU(), dropout_layer(dropout)
        self.score_fr = conv(hidden, num_classes, 1)
        if stride < 16:
            self.score_pool3 = conv(_GROUPS[2][1] * width // 64, num_classes, 1)
        if stride < 32:
            self.score_pool4 = conv(channels, num_classes, 1)
            self.upscore2 = transposed(num_classes, num_classes, 4, stride=2, bias=False)
        last = transposed(num_classes, num_classes, 2 * stride, stride=stride, bias=False)
        # Scores are enlarged class by class, so that the number of classes is that of several layers.
        self.head = f"upscore{stride if stride < 32 else ''}"
        self.add_module(self.head, last)
        if stride < 16:
            self.upscore_pool4 = transposed(num_classes, num_classes, 4, stride=2, bias=False)
        initialise(self, {transposed: bilinear_, conv: _initialise})
        for name, layer in self.named_children():
            if name.startswith("score"):
                nn.init.zeros_(layer.get_parameter("weight"))
        # The paper fixes the last enlargement and lets those between learn.
        last.weight.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to the logits of every position."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        maps, pooled = input, []
        for group, (depth, _) in enumerate(_GROUPS, 1):
            for number in range(1, depth + 1):
                maps = self._run(f"conv{group}_{number} relu{group}_{number}", maps)
            maps = self._run(f"pool{group}", maps)
            pooled.append(maps)
        scores = self._run("fc6 relu6 drop6 fc7 relu7 drop7 score_fr", maps)
        if self.stride < 32:
            scores = self._add_scores(4, pooled[3], self.upscore2(scores))
        if self.stride < 16:
            scores = self._add_scores(3, pooled[2], self.upscore_pool4(scores))
        return crop(self._run(self.head, scores), input.shape[2:], start=_INPUT_BEGINS[self.stride])

    def _add_scores(self, group: int, pooled: Tensor, deeper: Tensor) -> Tensor:
        scores = self._run(f"score_pool{group}", pooled)
        return crop(scores, deeper.shape[2:], start=_SCORES_BEGIN[group]) + deeper

    def _run(self, names: str, maps: Tensor) -> Tensor:
        for name in names.split():
            maps = self.get_submodule(name)(maps)
        return maps


@torch.no_grad()
def bilinear_(layer: Any) -> None:
    """Start a transposed convolution as linear interpolation of each channel by itself.

    >>> layer = conv_transpose_class(1)(1, 1, 4, stride=2, bias=False)
    >>> bilinear_(layer)
    >>> layer.weight.flatten().tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    length, like = layer.kernel_size[0], layer.weight
    distances = (torch.arange(length, dtype=like.dtype, device=like.device) - (length - 1) / 2).abs()
    ramp = 1 - distances / ((length + 1) // 2)
    kernel = ramp
    for _ in layer.kernel_size[1:]:
        kernel = kernel[..., None] * ramp
    nn.init.zeros_(like)
    for channel in range(min(like.shape[:2])):
        like[channel, channel] = kernel


def _initialise(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


def fcn_vgg(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    stride: int,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> FCN:
    """FCN-32s, 16s or 8s on VGG-16: logits for every position, in the size of the input.

    As in the authors' program the first convolution is padded by 100, so that inputs of any size leave something for
    the 7-wide layer in place of VGG's first dense one; what belongs to the padding is cut off at last. In 3-D so wide a
    border would be nearly all of the volume, hence only 1-D and 2-D. Tensors bear the names of the authors' program.

    The paper starts from VGG-16's weights, which `VGG` describes: here all but the score layers follow He's rule.
    Scores start at 0 and enlargements as linear interpolation; the last one stays so, and is no parameter that learns.
    Options: ``width``, the channels of the first group; ``hidden``, those in place of the dense layers; ``dropout``.

    Paper: Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015. Raises
    `ModelError` and `GeometryError`.

    >>> network = fcn_vgg(2, 3, 21, stride=8, width=2, hidden=8)
    >>> network(torch.zeros(1, 3, 30, 45)).shape
    torch.Size([1, 21, 30, 45])
    """
    return FCN(spatial_dims, in_channels, num_classes, stride, width=width, hidden=hidden, dropout=dropout)


# Stride, parameters that learn, macs, mean IoU of table 3 on the validation set of Pascal VOC 2011.
_SIZES = (
    (32, 134_346_581, 62_787_564_288, "59.4"),
    (16, 134_364_410, 62_826_561_792, "62.4"),
    (8, 134_376_863, 62_860_657_728, "62.7"),
)

for _stride, _parameters, _macs, _accuracy in _SIZES:
    register(
        name=f"fcn{_stride}s",
        summary=f"FCN-{_stride}s: VGG-16 made convolutional, scores at 1/{_stride} of the input's size",
        paper="Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation",
        year=2015,
        spatial_dims=(1, 2),
        task="segmentation",
        input_size=224,
        min_input_size=1,
        in_channels=3,
        num_classes=21,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Paper: mean IoU {_accuracy} % on part of Pascal VOC 2011 validation.",
    )(functools.partial(fcn_vgg, stride=_stride))
