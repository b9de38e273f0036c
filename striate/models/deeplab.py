"""DeepLab v3: a ResNet, and kernels of several dilations side by side, which see objects of several sizes.

What a pixel belongs to may be told by its surroundings of 50 pixels or of 500. "Atrous spatial pyramid pooling" looks
at the deepest map through 3-wide kernels with 12, 24 and 36 positions between their taps, through a 1-wide one, and
through the mean of the whole image, and mixes what they see.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.errors import ModelError
from striate.models.fcn import FCNHead, SegmentationNetwork, dilated_backbone
from striate.models.parts import conv_norm_act
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, norm_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.nn import Norm


class ImagePooling(Chain):
    """What the whole image has on average, through a 1-wide convolution, at every position; (N, C, *spatial) stays.

    >>> ImagePooling(1, 8, 4).eval()(torch.zeros(2, 8, 5)).shape
    torch.Size([2, 4, 5])
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, norm: Norm = "batch") -> None:
        mean = pool_class("adaptive_avg", spatial_dims)(1)
        super().__init__(mean, *conv_norm_act(spatial_dims, in_channels, out_channels, 1, norm=norm))

    def forward(self, input: Tensor) -> Tensor:
        """Spread the mean over all positions, which is what interpolation of a single value gives."""
        mean: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return mean.expand(*mean.shape[:2], *input.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, C_in, *spatial) -> (N, C_out, *spatial).

    A 1-wide convolution, a 3-wide one for each of the ``rates`` of dilation, and `ImagePooling`, side by side, each to
    C_out channels; then a 1-wide convolution from all of these to C_out, with dropout of a half.

    >>> ASPP(1, 32, 8, rates=(2, 4)).eval()(torch.zeros(2, 32, 20)).shape
    torch.Size([2, 8, 20])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, rates: Sequence[int], norm: Norm = "batch"
    ) -> None:
        super().__init__()
        branch = functools.partial(conv_norm_act, spatial_dims, in_channels, out_channels, norm=norm, bias=False)
        self.convs = nn.ModuleList(
            [
                branch(1),
                *(branch(3, dilation=rate) for rate in rates),
                ImagePooling(spatial_dims, in_channels, out_channels, norm),
            ]
        )
        self.project = conv_norm_act(
            spatial_dims, len(self.convs) * out_channels, out_channels, 1, norm=norm, bias=False
        ).append(dropout_layer(0.5))

    def forward(self, input: Tensor) -> Tensor:
        """Look through all of the branches and mix them."""
        output: Tensor = self.project(torch.cat([branch(input) for branch in self.convs], dim=1))
        return output


class DeepLabHead(Chain):
    """`ASPP`, a 3-wide convolution with norm and ReLU, and a 1-wide one to the classes; (N, C, *spatial) stays.

    >>> DeepLabHead(1, 32, 21, 8, rates=(12, 24, 36)).eval()(torch.zeros(2, 32, 9)).shape
    torch.Size([2, 21, 9])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        channels: int,
        rates: Sequence[int],
        norm: Norm = "batch",
    ) -> None:
        conv = conv_class(spatial_dims)
        super().__init__(
            ASPP(spatial_dims, in_channels, channels, rates, norm),
            conv(channels, channels, 3, padding=1, bias=False),
            norm_layer(norm, spatial_dims, channels),
            nn.ReLU(),
            conv(channels, num_classes, 1),
        )


def deeplabv3_resnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    layers: int,
    width: int = 64,
    norm: Norm = "batch",
    output_stride: int = 8,
    rates: Sequence[int] | None = None,
    auxiliary: bool = True,
) -> SegmentationNetwork:
    """DeepLab v3 on a ResNet with dilated last stages: logits for every position, in the size of the input.

    The form, and the names of its tensors, are torchvision's. The paper differs in dilating the blocks of the last
    stage by 1, 2 and 4 times as much ("multi-grid"), in putting the class scores right behind the pyramid without
    another 3-wide convolution, and in having no auxiliary head. Here such a head on the third stage gives a second
    output in training (see `WithAuxiliary`); without ``auxiliary`` there is none.

    Options: ``width``, the channels of the first stage, with four times as many in the head; ``norm``;
    ``output_stride``, 8, 16 or 32, how much coarser than the input the scores are; ``rates`` of dilation, by default
    12, 24 and 36 for a stride of 8, and half and a quarter of these for 16 and 32, which is the same reach in pixels.
    The backbone starts as `ResNet` does, the heads as torch's convolutions.

    Paper: Chen, Papandreou, Schroff and Adam, Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.
    Raises `ModelError`.

    >>> network = deeplabv3_resnet(2, 3, 21, layers=50, width=4).eval()
    >>> network(torch.zeros(1, 3, 30, 45)).shape
    torch.Size([1, 21, 30, 45])
    """
    backbone = dilated_backbone(spatial_dims, in_channels, layers, width, norm, output_stride)
    if rates is None:
        rates = tuple(96 * step // output_stride for step in (1, 2, 3))
    if not all(isinstance(rate, int) and rate > 0 for rate in rates):
        raise ModelError("rates to be positive integers", f"rates={rates!r}", "The paper has (6, 12, 18).")
    middle, deepest = backbone.stage_channels[-2:]
    return SegmentationNetwork(
        backbone,
        DeepLabHead(spatial_dims, deepest, num_classes, 4 * width, rates, norm),
        FCNHead(spatial_dims, middle, num_classes, norm) if auxiliary else None,
    )


for _layers, _parameters, _macs, _accuracy in (
    (50, 42_004_074, 168_731_205_888, "66.4"),
    (101, 60_996_202, 248_752_300_288, "67.4"),
):
    register(
        name=f"deeplabv3_resnet{_layers}",
        summary=f"ResNet-{_layers} with dilated last stages, and a pyramid of dilations 12, 24 and 36",
        paper="Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation",
        year=2017,
        task="segmentation",
        input_size=520,
        min_input_size=1,
        in_channels=3,
        num_classes=21,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Mean IoU {_accuracy} % on COCO with the 20 classes of Pascal VOC (torchvision's weights).",
    )(functools.partial(deeplabv3_resnet, layers=_layers))
