"""SqueezeNet: the accuracy of AlexNet with a fiftieth of its parameters.

Three rules (section 3.1 of the paper): most filters are 1 wide; the 3-wide ones see few channels, squeezed before; and
pools come late, so that maps stay large.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError, did_you_mean
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = {"1.0": 21, "1.1": 17}

# The first convolution's channels and kernel size; then pools, and fire modules by the channels squeezed to: each
# expands to four times as many 1-wide and as many 3-wide filters.
_PLANS: dict[str, tuple[int, int, tuple[int | str, ...]]] = {
    "1.0": (96, 7, ("pool", 16, 16, 32, "pool", 32, 48, 48, 64, "pool", 64)),
    "1.1": (64, 3, ("pool", 16, 16, "pool", 32, 32, "pool", 48, 48, 64, 64)),
}


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1-wide and 3-wide filters: (N, C, *spatial) -> (N, 2 expanded, *spatial).

    >>> Fire(2, 96, squeezed=16, expanded=64)(torch.zeros(1, 96, 8, 8)).shape
    torch.Size([1, 128, 8, 8])
    """

    def __init__(self, spatial_dims: int, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        self.squeeze = conv(in_channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = conv(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = conv(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        """Return the expanded maps, those of the 1-wide filters first."""
        squeezed = self.squeeze_activation(self.squeeze(input))
        narrow = self.expand1x1_activation(self.expand1x1(squeezed))
        wide = self.expand3x3_activation(self.expand3x3(squeezed))
        return torch.cat([narrow, wide], 1)


class SqueezeNet(nn.Module):
    """A convolution, eight fire modules, and a 1-wide convolution averaged to scores; (N, C, *spatial) -> (N, classes).

    ``version`` is 1.0 or 1.1. Raises `ModelError` when called with an input of another rank, other channels, or less
    than the smallest size.

    >>> SqueezeNet(1, 2, 5)(torch.zeros(3, 2, 40)).shape
    torch.Size([3, 5])
    """

    head = "classifier.1"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        version: str = "1.1",
        *,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if version not in _PLANS:
            raise ModelError("version to be 1.0 or 1.1", f"version={version!r}", did_you_mean(str(version), _PLANS))
        conv = conv_class(spatial_dims)
        self.spatial_dims, self.in_channels, self.smallest = spatial_dims, in_channels, _SMALLEST[version]
        channels, kernel_size, plan = _PLANS[version]
        self.features = nn.Sequential(conv(in_channels, channels, kernel_size, stride=2), nn.ReLU())
        ends = []
        for squeezed in plan:
            if isinstance(squeezed, int):
                self.features.append(Fire(spatial_dims, channels, squeezed, 4 * squeezed))
                channels = 8 * squeezed
            else:
                ends.append(len(self.features) - 1)
                self.features.append(pool_class("max", spatial_dims)(3, 2, ceil_mode=True))
        self.stages = tuple(f"features.{index}" for index in (*ends, len(self.features) - 1))
        scores = conv(channels, num_classes, 1)
        self.classifier = nn.Sequential(
            dropout_layer(dropout), scores, nn.ReLU(), pool_class("adaptive_avg", spatial_dims)(1)
        )
        initialise(self, {_ConvNd: _initialise})
        nn.init.normal_(scores.weight, std=0.01)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits, which are never negative."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        logits: Tensor = self.classifier(self.features(input)).flatten(1)
        return logits


def _initialise(layer: Any) -> None:
    nn.init.kaiming_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def squeezenet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    version: str = "1.1",
    dropout: float = 0.5,
) -> SqueezeNet:
    """SqueezeNet: eight fire modules, which squeeze to few channels and expand by 1-wide and 3-wide filters.

    1.0 is the paper's. 1.1, later published by its authors, has a first convolution of 64 filters of 3 instead of 96
    of 7 and pools earlier, for 2.4 times fewer macs and the same accuracy. Tensors bear torchvision's names. Pools
    reach over the edge, as in the authors' Caffe form, and like there the class maps are rectified before their mean.
    The last convolution starts Gaussian with a deviation of 0.01, the others from He's uniform rule.

    Paper: Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer, SqueezeNet: AlexNet-level Accuracy with 50x Fewer
    Parameters and <0.5MB Model Size, 2016. Raises `ModelError` and `GeometryError`.

    >>> with torch.device("meta"):
    ...     squeezenet(2, 3, 1000)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    return SqueezeNet(spatial_dims, in_channels, num_classes, version, dropout=dropout)


for _version, _parameters, _macs, _accuracy in (
    ("1.0", 1_248_424, 818_924_576, "58.09"),
    ("1.1", 1_235_496, 349_151_936, "58.18"),
):
    register(
        name=f"squeezenet{_version.replace('.', '_')}",
        summary=f"SqueezeNet {_version}: eight fire modules",
        paper="Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: SqueezeNet: AlexNet-level Accuracy with 50x Fewer "
        "Parameters and <0.5MB Model Size",
        year=2016,
        input_size=224,
        min_input_size=_SMALLEST[_version],
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(squeezenet, version=_version))
