"""C3D: VGG for video, with convolutions 3 wide in time as in space.

The first pool leaves time alone, so that motion is not mixed away before the second convolution has seen it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1
# Frames, rows and columns that 16 frames of 112 x 112 leave for the dense layers.
_POOLED = (1, 4, 4)
_GROUPS = (("1a", 64), ("2a", 128), ("3a", 256), ("3b", 256), ("4a", 512), ("4b", 512), ("5a", 512), ("5b", 512))


class C3D(Chain):
    """Eight convolutions, five pools and three dense layers: (N, C, frames, rows, columns) -> (N, classes).

    ``width`` multiplies all channels, ``hidden`` is the width of the dense layers. Raises `ModelError` when called with
    an input of another rank or other channels.

    >>> import torch
    >>> C3D(3, 10, width=0.125, hidden=16)(torch.zeros(2, 3, 8, 32, 32)).shape
    torch.Size([2, 10])
    """

    stages = ("pool1", "pool2", "pool3", "pool4", "pool5")
    head = "fc8"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: float = 1.0,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        conv, pool = conv_class(3), pool_class("max", 3)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = in_channels
        for name, base in _GROUPS:
            channels = max(1, round(base * width))
            layers[f"conv{name}"] = conv(before, channels, 3, padding=1)
            layers[f"relu{name}"] = nn.ReLU()
            if name in ("1a", "2a", "3b", "4b", "5b"):
                window = (1, 2, 2) if name == "1a" else (2, 2, 2)
                layers[f"pool{name[0]}"] = pool(window, ceil_mode=True)
            before = channels
        frames, rows, columns = _POOLED
        layers["avgpool"] = pool_class("adaptive_avg", 3)(_POOLED)
        layers["flatten"] = nn.Flatten()
        layers["fc6"] = nn.Linear(before * frames * rows * columns, hidden)
        layers["relu6"] = nn.ReLU()
        layers["drop6"] = dropout_layer(dropout)
        layers["fc7"] = nn.Linear(hidden, hidden)
        layers["relu7"] = nn.ReLU()
        layers["drop7"] = dropout_layer(dropout)
        layers["fc8"] = nn.Linear(hidden, num_classes)
        super().__init__(layers)
        self.in_channels = in_channels
        initialise(self, {_ConvNd: _initialise, nn.Linear: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch of clips to logits."""
        check_batch(input, 3, self.in_channels)
        check_smallest(input, _SMALLEST)
        logits: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return logits


def _initialise(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


@register(
    summary="C3D: VGG for clips of 16 frames, convolutions of 3 x 3 x 3",
    paper="Tran, Bourdev, Fergus, Torresani, Paluri: Learning Spatiotemporal Features with 3D Convolutional Networks",
    year=2015,
    input_size=(16, 112, 112),
    min_input_size=_SMALLEST,
    spatial_dims=(3,),
    in_channels=3,
    num_classes=487,
    parameters=79_991_015,
    macs=38_548_959_232,
    accuracy="Paper: Sports-1M, trained from scratch, hit@1 of clips 44.9 %, of videos 60.0 %.",
)
def c3d(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    width: float = 1.0,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> C3D:
    """C3D: 64, 128, 256, 256, 512, 512, 512 and 512 maps of 3 x 3 x 3, then 4096, 4096 and num_classes units.

    The clips of the paper are 16 frames of 112 x 112, of which 1 x 4 x 4 positions are left for the dense layers; an
    adaptive pool makes other lengths and sizes fit, and changes nothing for these. Pools reach over the edge, as in the
    authors' Caffe (the last one makes 4 of 7); ports to PyTorch often pad the last pool by one instead, which has the
    same shapes but other windows. The paper does not say how weights start; here they follow He's rule.

    Paper: Tran, Bourdev, Fergus, Torresani and Paluri, Learning Spatiotemporal Features with 3D Convolutional Networks,
    2015. Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     c3d(3, 3, 487)(torch.zeros(1, 3, 16, 112, 112)).shape
    torch.Size([1, 487])
    """
    return C3D(in_channels, num_classes, width=width, hidden=hidden, dropout=dropout)
