"""AlexNet: the network that won ImageNet in 2012, as published, and the single tower that is taught and used today.

Both are five convolutions and three dense layers. In 2012 two GPUs each held half of every layer and exchanged maps
only before the third convolution and the dense layers, hence two groups. In 2014 Krizhevsky drew it as one tower,
narrower in front and without response normalisation.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import LocalResponseNorm, conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 63
# Positions per axis before the dense layers, by rank: 6 x 6 as published, and in volumes about as many in all.
_POOLED = (6, 6, 3)


class AlexNet(nn.Module):
    """Five convolutions in one tower, a pool to a fixed size, three dense layers; (N, C, *spatial) -> (N, classes).

    ``pooled`` is what the pool leaves per axis, ``hidden`` the width of the dense layers. Raises `ModelError` when
    called with an input of another rank, other channels, or less than 63 per axis.

    >>> import torch
    >>> AlexNet(1, 2, 5, hidden=16)(torch.zeros(3, 2, 80)).shape
    torch.Size([3, 5])
    """

    stages = ("features.2", "features.5", "features.12")
    head = "classifier.6"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        hidden: int = 4096,
        pooled: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        conv, pool = conv_class(spatial_dims), pool_class("max", spatial_dims)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        positions = _POOLED[spatial_dims - 1] if pooled is None else pooled
        self.features = nn.Sequential(
            conv(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            pool(3, 2),
            conv(64, 192, 5, padding=2),
            nn.ReLU(),
            pool(3, 2),
            conv(192, 384, 3, padding=1),
            nn.ReLU(),
            conv(384, 256, 3, padding=1),
            nn.ReLU(),
            conv(256, 256, 3, padding=1),
            nn.ReLU(),
            pool(3, 2),
        )
        self.avgpool = pool_class("adaptive_avg", spatial_dims)(positions)
        self.classifier = nn.Sequential(
            dropout_layer(dropout),
            nn.Linear(256 * positions**spatial_dims, hidden),
            nn.ReLU(),
            dropout_layer(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)).flatten(1))
        return logits


def response_norm() -> LocalResponseNorm:
    """Response normalisation with the constants of section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75.

    Each value is divided by (k + alpha * the sum of squares of the five channels around it) ** beta. PyTorch takes the
    mean of the squares where the paper takes the sum, so its alpha is five times as large.

    >>> response_norm()
    LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
    """
    return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet2012(Chain):
    """AlexNet with two groups and response normalisation, layers named as in Caffe; (N, C, *spatial) -> (N, classes).

    ``pooled``, ``hidden`` and errors as in `AlexNet`; ``groups=1`` lets every map see all others.

    >>> import torch
    >>> AlexNet2012(1, 2, 5, hidden=16)(torch.zeros(3, 2, 80)).shape
    torch.Size([3, 5])
    """

    stages = ("pool1", "pool2", "pool5")
    head = "fc8"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        groups: int = 2,
        hidden: int = 4096,
        pooled: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        conv, pool = conv_class(spatial_dims), pool_class("max", spatial_dims)
        positions = _POOLED[spatial_dims - 1] if pooled is None else pooled
        super().__init__(
            OrderedDict(
                conv1=conv(in_channels, 96, 11, stride=4, padding=2),
                relu1=nn.ReLU(),
                norm1=response_norm(),
                pool1=pool(3, 2),
                conv2=conv(96, 256, 5, padding=2, groups=groups),
                relu2=nn.ReLU(),
                norm2=response_norm(),
                pool2=pool(3, 2),
                conv3=conv(256, 384, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=conv(384, 384, 3, padding=1, groups=groups),
                relu4=nn.ReLU(),
                conv5=conv(384, 256, 3, padding=1, groups=groups),
                relu5=nn.ReLU(),
                pool5=pool(3, 2),
                avgpool=pool_class("adaptive_avg", spatial_dims)(positions),
                flatten=nn.Flatten(),
                fc6=nn.Linear(256 * positions**spatial_dims, hidden),
                relu6=nn.ReLU(),
                drop6=dropout_layer(dropout),
                fc7=nn.Linear(hidden, hidden),
                relu7=nn.ReLU(),
                drop7=dropout_layer(dropout),
                fc8=nn.Linear(hidden, num_classes),
            )
        )
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        initialise(self, {_ConvNd: _initialise, nn.Linear: _initialise})
        # Section 5: ones give the rectifiers positive inputs, which makes the first steps of learning fast.
        for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
            nn.init.ones_(getattr(self, name).bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        logits: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return logits


def _initialise(layer: Any) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


@register(
    summary="AlexNet in one tower: five convolutions, three dense layers",
    paper="Krizhevsky: One Weird Trick for Parallelizing Convolutional Neural Networks",
    year=2014,
    input_size=224,
    min_input_size=_SMALLEST,
    in_channels=3,
    num_classes=1000,
    parameters=61_100_840,
    macs=714_188_480,
    accuracy="ImageNet top-1 56.52 % (torchvision's weights).",
)
def alexnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    hidden: int = 4096,
    pooled: int | None = None,
    dropout: float = 0.5,
) -> AlexNet:
    """AlexNet as torchvision has it: 64, 192, 384, 256 and 256 maps in one tower, no response normalisation.

    Tensors bear torchvision's names. An adaptive pool leaves 6 positions per axis before the dense layers, whatever the
    input's size; for an input of 224 it changes nothing. In 3-D it leaves 3, or the first dense layer would have six
    times the weights. ``pooled`` and ``hidden`` make it smaller still. The fourth convolution has 256 maps, as in
    torchvision; the paper has 384. `alexnet_2012` is the network of the competition.

    Paper: Krizhevsky, One Weird Trick for Parallelizing Convolutional Neural Networks, 2014; Krizhevsky, Sutskever and
    Hinton 2012. Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     alexnet(2, 3, 1000)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    return AlexNet(spatial_dims, in_channels, num_classes, hidden=hidden, pooled=pooled, dropout=dropout)


@register(
    summary="AlexNet as published: two groups, response normalisation, three dense layers",
    paper="Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks",
    year=2012,
    input_size=224,
    min_input_size=_SMALLEST,
    in_channels=3,
    num_classes=1000,
    parameters=60_965_224,
    macs=724_406_816,
    accuracy="Paper: ImageNet 2012 validation, one network, ten views: top-1 error 40.7 %, top-5 error 18.2 %.",
)
def alexnet_2012(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    groups: int = 2,
    hidden: int = 4096,
    pooled: int | None = None,
    dropout: float = 0.5,
) -> AlexNet2012:
    """AlexNet of 2012: 96, 256, 384, 384 and 256 maps, the second, fourth and fifth convolution in two groups.

    Layers bear the names of Caffe's form, which has as many parameters. Normalisation comes before pooling as in the
    paper (CaffeNet has it after), dropout after each of the two hidden dense layers, and weights start Gaussian with a
    deviation of 0.01, some biases at 1.

    The paper says 224 per axis and gets 55 positions after the first convolution, which takes a padding of 2, as here;
    Caffe crops 227 and pads nothing there, with the same 55. An adaptive pool makes other sizes fit the dense layers,
    and changes nothing for these; in 3-D it leaves 3 per axis instead of 6. ``groups=1`` is the ungrouped network.

    Paper: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     model = alexnet_2012(2, 3, 1000)
    >>> model.conv2
    Conv2d(96, 256, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), groups=2)
    """
    return AlexNet2012(
        spatial_dims, in_channels, num_classes, groups=groups, hidden=hidden, pooled=pooled, dropout=dropout
    )
