"""The ten networks of PERFORMANCE.md, written with `torch.nn` alone, as their papers and torchvision have them.

`NETWORKS` gives for each how it is built, its number of parameters where that is published (torchvision's for the
images and for ResNet3D-18), and the shape of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Network:
    """A network of the bench."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    parameters: int | None = None
    """As published; None where nobody says."""


def lenet() -> nn.Module:
    """LeNet-5 as it is taught today: ReLU, maxima, dense layers of 120 and 84."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """``act(body(x) + shortcut(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.act(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def conv_norm(
    dims: int, c: int, o: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> list[nn.Module]:
    """A convolution without bias that keeps the size, batch norm, and an activation if there is one."""
    conv = _CONV[dims](c, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, _NORM[dims](o), *([act] if act is not None else [])]


def residual_network(dims: int, bottleneck: bool, depths: tuple[int, ...], stem: list[nn.Module]) -> nn.Module:
    """ResNets (He and others, 2016): four stages of basic or bottleneck blocks."""
    layers, width, c = stem, 64, 64
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            o = width * (4 if bottleneck else 1)
            if bottleneck:
                body = [
                    *conv_norm(dims, c, width, 1, act=nn.ReLU(inplace=True)),
                    *conv_norm(dims, width, width, 3, stride, act=nn.ReLU(inplace=True)),
                    *conv_norm(dims, width, o, 1),
                ]
            else:
                body = [
                    *conv_norm(dims, c, o, 3, stride, act=nn.ReLU(inplace=True)),
                    *conv_norm(dims, o, o, 3),
                ]
            shortcut = nn.Sequential(*conv_norm(dims, c, o, 1, stride)) if stride > 1 or c != o else nn.Identity()
            layers.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU(inplace=True)))
            c = o
        width *= 2
    pool = nn.AdaptiveAvgPool3d(1) if dims == 3 else nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(c, 400 if dims == 3 else 1000))


def _image_stem() -> list[nn.Module]:
    return [*conv_norm(2, 3, 64, 7, 2, act=nn.ReLU(inplace=True)), nn.MaxPool2d(3, 2, 1)]


def resnet18() -> nn.Module:
    """ResNet-18."""
    return residual_network(2, False, (2, 2, 2, 2), _image_stem())


def resnet50() -> nn.Module:
    """ResNet-50, with the stride in the 3x3 layer."""
    return residual_network(2, True, (3, 4, 6, 3), _image_stem())


def resnet3d18() -> nn.Module:
    """ResNet3D-18 of torchvision (Tran and others, 2018): a stem of 3x7x7, kernels 3x3x3, 400 classes."""
    stem = [
        nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU(inplace=True),
    ]  # fmt: skip
    return residual_network(3, False, (2, 2, 2, 2), stem)


def vgg16() -> nn.Module:
    """VGG-16 (Simonyan and Zisserman, 2015), without batch norm."""
    layers: list[nn.Module] = []
    c = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU(inplace=True)]
            c = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.Flatten(),
        nn.Linear(512 * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 1000),
    )  # fmt: skip


def mobilenet_v2() -> nn.Module:
    """MobileNet v2 (Sandler and others, 2018), width 1."""
    layers, c = conv_norm(2, 3, 32, 3, 2, act=nn.ReLU6(inplace=True)), 32
    for t, o, depth, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(depth):
            stride, inner = first if block == 0 else 1, c * t
            body = conv_norm(2, c, inner, 1, act=nn.ReLU6(inplace=True)) if t > 1 else []
            body += conv_norm(2, inner, inner, 3, stride, inner, nn.ReLU6(inplace=True)) + conv_norm(2, inner, o, 1)
            whole = nn.Sequential(*body)
            layers.append(Residual(whole, nn.Identity(), nn.Identity()) if stride == 1 and c == o else whole)
            c = o
    layers += conv_norm(2, c, 1280, 1, act=nn.ReLU6(inplace=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, layer norm, two dense layers with GELU, scale, and the input again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        inner = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return x + inner.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T (Liu and others, 2022), without stochastic depth."""
    layers: list[nn.Module] = []
    c = 3
    for width, depth in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if c == 3:
            layers += [nn.Conv2d(3, width, 4, 4), ChannelNorm(width, eps=1e-6)]
        else:
            layers += [ChannelNorm(c, eps=1e-6), nn.Conv2d(c, width, 2, 2)]
        layers += [ConvNextBlock(width) for _ in range(depth)]
        c = width
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, pool, ChannelNorm(c, eps=1e-6), nn.Flatten(), nn.Linear(c, 1000))


class Inception(nn.Module):
    """InceptionTime's module: a bottleneck, kernels of 39, 19 and 9, and a pooled branch, side by side."""

    def __init__(self, c: int, width: int = 32) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(c, width, 1, bias=False)
        self.branches = nn.ModuleList(nn.Conv1d(width, width, k, padding=k // 2, bias=False) for k in (39, 19, 9))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(c, width, 1, bias=False))
        self.norm = nn.Sequential(nn.BatchNorm1d(4 * width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module."""
        narrow = self.bottleneck(x)
        joined = torch.cat([*(branch(narrow) for branch in self.branches), self.pooled(x)], 1)
        return self.norm(joined)  # type: ignore[no-any-return]


def inception_time() -> nn.Module:
    """InceptionTime (Ismail Fawaz and others, 2020): six modules, a shortcut over every three."""
    layers, c = [], 6
    for _ in range(2):
        body = nn.Sequential(Inception(c), Inception(128), Inception(128))
        layers.append(Residual(body, nn.Sequential(*conv_norm(1, c, 128, 1)), nn.ReLU()))
        c = 128
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 10))


def temporal_network() -> nn.Module:
    """A TCN (Bai and others, 2018): eight residual blocks of two causal convolutions, dilation doubling."""

    def causal(c: int, o: int, dilation: int) -> list[nn.Module]:
        return [nn.ConstantPad1d((2 * dilation, 0), 0.0), nn.Conv1d(c, o, 3, dilation=dilation), nn.ReLU()]

    layers, c = [], 6
    for level in range(8):
        body = nn.Sequential(*causal(c, 64, 2**level), *causal(64, 64, 2**level))
        layers.append(Residual(body, nn.Conv1d(c, 64, 1) if c != 64 else nn.Identity(), nn.ReLU()))
        c = 64
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10))


class UNet3d(nn.Module):
    """A 3-D U-Net (Cicek and others, 2016): two convolutions a level, concatenated shortcuts, 4 classes a voxel."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()

        def double(c: int, o: int) -> nn.Sequential:
            first, second = (conv_norm(3, a, o, 3, act=nn.ReLU(inplace=True)) for a in (c, o))
            return nn.Sequential(*first, *second)

        self.down = nn.ModuleList(double(c, o) for c, o in zip((1, *widths), widths, strict=False))
        self.pool = nn.MaxPool3d(2)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose3d(c, o, 2, 2) for c, o in pairs)
        self.up = nn.ModuleList(double(2 * o, o) for _, o in pairs)
        self.head = nn.Conv3d(widths[0], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, D, H, W) to (N, 4, D, H, W); sizes are multiples of 8."""
        kept = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            kept.append(x)
        for grow, block, shortcut in zip(self.grow, self.up, reversed(kept[:-1]), strict=True):
            x = block(torch.cat([shortcut, grow(x)], 1))
        return self.head(x)  # type: ignore[no-any-return]


NETWORKS = {
    "lenet": Network(lenet, (64, 1, 28, 28), 61_706),
    "resnet18": Network(resnet18, (8, 3, 224, 224), 11_689_512),
    "resnet50": Network(resnet50, (8, 3, 224, 224), 25_557_032),
    "vgg16": Network(vgg16, (4, 3, 224, 224), 138_357_544),
    "mobilenet_v2": Network(mobilenet_v2, (8, 3, 224, 224), 3_504_872),
    "convnext_tiny": Network(convnext_tiny, (4, 3, 224, 224), 28_589_128),
    "inception_time": Network(inception_time, (32, 6, 512)),
    "tcn": Network(temporal_network, (32, 6, 1000)),
    "resnet3d18": Network(resnet3d18, (4, 3, 64, 64, 64), 33_371_472),
    "unet3d": Network(UNet3d, (2, 1, 64, 64, 64)),
}
