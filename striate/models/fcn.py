"""Fully convolutional networks on a ResNet: a class for every pixel.

A classifier's dense layers are convolutions that see the whole map; made into convolutions that slide, they give a
coarse map of class scores, which is resized to the input (Long and others 2015). Here the ResNet's last two stages keep
the grid of the second, an eighth of the input, and spread their kernels instead. `striate.models.fcn_vgg` has the
networks of the 2015 paper itself.

`SegmentationNetwork` is what this family and DeepLab share. Submodules are named as in the implementation whose weights
are published (torchvision's).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from torch import nn

from striate import ops
from striate.errors import ModelError
from striate.models.outputs import WithAuxiliary
from striate.models.registry import register
from striate.models.resnet import Bottleneck, ResNetBackbone
from striate.nn import conv_class, dropout_layer, norm_layer
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

    from striate.nn import Norm

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks per stage of the ResNets of 50 and 101 layers."""

_STRIDES = {8: (False, True, True), 16: (False, False, True), 32: (False, False, False)}


class FCNHead(Chain):
    """3-wide convolution to a quarter of the channels, norm, ReLU, dropout of 0.1, 1-wide convolution to the classes.

    (N, C, *spatial) -> (N, classes, *spatial).

    >>> import torch
    >>> FCNHead(1, 64, 21)(torch.zeros(2, 64, 9)).shape
    torch.Size([2, 21, 9])
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int, norm: Norm = "batch") -> None:
        conv, channels = conv_class(spatial_dims), in_channels // 4
        super().__init__(
            conv(in_channels, channels, 3, padding=1, bias=False),
            norm_layer(norm, spatial_dims, channels),
            nn.ReLU(),
            dropout_layer(0.1),
            conv(channels, num_classes, 1),
        )


class SegmentationNetwork(nn.Module):
    """A backbone, a classifier of positions, and linear resizing: (N, C, *spatial) -> (N, classes, *spatial).

    ``classifier`` sees the deepest stage. In training the result is `WithAuxiliary`, if there is an ``aux_classifier``:
    it sees the last stage but one, and its loss weighs a half. The output has the input's size, whatever that is.
    Raises `ModelError` when called with an input of another rank or other channels.

    >>> import torch
    >>> backbone = ResNetBackbone(1, 2, Bottleneck, (1, 1, 1, 1), 4)
    >>> SegmentationNetwork(backbone, FCNHead(1, 128, 5)).eval()(torch.zeros(2, 2, 50)).shape
    torch.Size([2, 5, 50])
    """

    head = "classifier.4"
    auxiliary_modules = ("aux_classifier",)

    def __init__(
        self, backbone: ResNetBackbone, classifier: nn.Module, aux_classifier: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier
        self.stages = tuple(f"backbone.{stage}" for stage in backbone.stages)

    def forward(self, input: Tensor) -> Tensor | WithAuxiliary:
        """Map a batch to the logits of every position; in training also to those of the auxiliary head."""
        *_, middle, deepest = self.backbone(input)
        size = tuple(input.shape[2:])
        logits = ops.resize(self.classifier(deepest), size, mode="linear")
        if self.training and self.aux_classifier is not None:
            return WithAuxiliary(logits, (ops.resize(self.aux_classifier(middle), size, mode="linear"),), (0.5,))
        return logits


def dilated_backbone(
    spatial_dims: int, in_channels: int, layers: int, width: int, norm: Norm, output_stride: int
) -> ResNetBackbone:
    """The ResNet of 50 or 101 layers whose last stages keep the grid at 1 / ``output_stride``. Raises `ModelError`.

    >>> import torch
    >>> [tuple(stage.shape) for stage in dilated_backbone(1, 1, 50, 4, "batch", 8).eval()(torch.zeros(1, 1, 64))]
    [(1, 16, 16), (1, 32, 8), (1, 64, 8), (1, 128, 8)]
    """
    if output_stride not in _STRIDES:
        raise ModelError(
            "output_stride to be 8, 16 or 32", f"output_stride={output_stride!r}", "8 is finest, 32 cheapest."
        )
    return ResNetBackbone(
        spatial_dims,
        in_channels,
        Bottleneck,
        DEPTHS[layers],
        width,
        norm=norm,
        replace_stride_with_dilation=_STRIDES[output_stride],
    )


def fcn_resnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    layers: int,
    width: int = 64,
    norm: Norm = "batch",
    output_stride: int = 8,
    auxiliary: bool = True,
) -> SegmentationNetwork:
    """A ResNet with dilated last stages, a small convolutional head, and resizing: logits for every position.

    The form, and the names of its tensors, are torchvision's. It differs from the paper in everything but the idea: its
    backbone is a ResNet and not VGG, its grid an eighth of the input through dilation and not through skips, and its
    upsampling fixed. In training an auxiliary head on the third stage gives a second output (see `WithAuxiliary`);
    without ``auxiliary`` there is none.

    Options: ``width``, the channels of the first stage; ``norm``; ``output_stride``, 8, 16 or 32, how much coarser than
    the input the scores are. The backbone starts as `ResNet` does, the heads as torch's convolutions.

    Papers: Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015; for the backbone
    He and others 2016 and Chen and others 2017. Raises `ModelError`.

    >>> import torch
    >>> network = fcn_resnet(2, 3, 21, layers=50, width=4).eval()
    >>> network(torch.zeros(1, 3, 30, 45)).shape
    torch.Size([1, 21, 30, 45])
    """
    backbone = dilated_backbone(spatial_dims, in_channels, layers, width, norm, output_stride)
    middle, deepest = backbone.stage_channels[-2:]
    return SegmentationNetwork(
        backbone,
        FCNHead(spatial_dims, deepest, num_classes, norm),
        FCNHead(spatial_dims, middle, num_classes, norm) if auxiliary else None,
    )


for _layers, _parameters, _macs, _accuracy in (
    (50, 35_322_218, 142_725_772_800, "60.5"),
    (101, 54_314_346, 222_746_867_200, "63.7"),
):
    register(
        name=f"fcn_resnet{_layers}",
        summary=f"ResNet-{_layers} with dilated last stages, a convolutional head, resized to the input",
        paper="Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation",
        year=2015,
        task="segmentation",
        input_size=520,
        min_input_size=1,
        in_channels=3,
        num_classes=21,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Mean IoU {_accuracy} % on COCO with the 20 classes of Pascal VOC (torchvision's weights).",
    )(functools.partial(fcn_resnet, layers=_layers))
