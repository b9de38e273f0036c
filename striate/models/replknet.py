"""RepLKNet: few depthwise convolutions with kernels as large as 31x31, instead of many small ones.

While it trains, each large kernel has a small one beside it, which learns the fine detail that a large kernel finds
hard to learn. Both are linear, so that afterwards `RepLKNet.reparameterize` adds the small kernel to the middle of the
large one, and the network computes the same with one convolution.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models.field import check_batch
from striate.models.registry import register
from striate.nn import StochasticDepth, conv_class, norm_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.conv import _ConvNd

_PAPER = "Ding, Zhang, Zhou, Han, Ding, Sun: Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in CNNs"


def _conv_norm(
    rank: int, in_channels: int, out_channels: int, size: int, stride: int = 1, *, groups: int = 1, relu: bool = False
) -> nn.Sequential:
    """A centred convolution ``conv``, batch norm ``bn`` and, if wished, ReLU ``nonlinear``: the authors' names."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv_class(rank)(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False),
        bn=norm_layer("batch", rank, out_channels),
    )
    if relu:
        layers["nonlinear"] = nn.ReLU()
    return nn.Sequential(layers)


class LargeKernel(nn.Module):
    """A depthwise convolution with a large kernel and a parallel small one, both normalised; the shape is kept.

    Kernel sizes are odd. ``merged`` makes the form that `reparameterize` leaves behind: one convolution with a bias.
    Raises `ModelError`.

    >>> LargeKernel(1, 4, 9, 3)(torch.zeros(2, 4, 20)).shape
    torch.Size([2, 4, 20])
    """

    def __init__(
        self, spatial_dims: int, channels: int, kernel_size: int, small_kernel: int, *, merged: bool = False
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or small_kernel % 2 == 0 or small_kernel > kernel_size:
            raise ModelError(
                "odd kernel sizes, the small one at most as large as the large one",
                f"kernel_size={kernel_size} with small_kernel={small_kernel}",
                "Use 31 and 5, for example, so that both have the same middle.",
            )
        self.spatial_dims = spatial_dims
        if merged:
            self.lkb_reparam = self._plain(channels, kernel_size)
        else:
            self.lkb_origin = _conv_norm(spatial_dims, channels, channels, kernel_size, groups=channels)
            self.small_conv = _conv_norm(spatial_dims, channels, channels, small_kernel, groups=channels)

    @property
    def merged(self) -> bool:
        """Whether the two branches have become one."""
        return hasattr(self, "lkb_reparam")

    def _plain(self, channels: int, kernel_size: int) -> _ConvNd:
        return conv_class(self.spatial_dims)(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer."""
        if self.merged:
            return cast("Tensor", self.lkb_reparam(input))
        return cast("Tensor", self.lkb_origin(input) + self.small_conv(input))

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace the branches by the one convolution that computes what they compute in evaluation."""
        if self.merged:
            return
        weight, bias = _fold(self.lkb_origin)
        small_weight, small_bias = _fold(self.small_conv)
        margin = (weight.shape[-1] - small_weight.shape[-1]) // 2
        weight += F.pad(small_weight, (margin, margin) * self.spatial_dims)
        plain = self._plain(len(weight), weight.shape[-1]).to(weight)
        plain.weight.copy_(weight)
        cast("Tensor", plain.bias).copy_(bias + small_bias)
        del self.lkb_origin, self.small_conv
        self.lkb_reparam = plain.train(self.training)


def _fold(branch: nn.Sequential) -> tuple[Tensor, Tensor]:
    """The weight and bias of the convolution that equals a convolution and the batch norm behind it."""
    conv, norm = cast("_ConvNd", branch.conv), cast("_BatchNorm", branch.bn)
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = norm.weight / (variance + norm.eps).sqrt()
    return conv.weight * scale.view(-1, *(1,) * (conv.weight.ndim - 1)), norm.bias - mean * scale


class LargeKernelBlock(nn.Module):
    """The spatial half of a pair of blocks: norm, 1x1, large kernel, 1x1; the input is added.

    >>> LargeKernelBlock(1, 4, 9, 3)(torch.zeros(2, 4, 20)).shape
    torch.Size([2, 4, 20])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        kernel_size: int,
        small_kernel: int,
        drop: float = 0.0,
        *,
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.pw1 = _conv_norm(spatial_dims, channels, channels, 1, relu=True)
        self.pw2 = _conv_norm(spatial_dims, channels, channels, 1)
        self.large_kernel = LargeKernel(spatial_dims, channels, kernel_size, small_kernel, merged=merged)
        self.lk_nonlinear = nn.ReLU()
        self.prelkb_bn = norm_layer("batch", spatial_dims, channels)
        self.drop_path = StochasticDepth(drop)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        branch = self.large_kernel(self.pw1(self.prelkb_bn(input)))
        return cast("Tensor", input + self.drop_path(self.pw2(self.lk_nonlinear(branch))))


class FeedForwardBlock(nn.Module):
    """The channel half of a pair of blocks: norm, 1x1 to four times the channels, GELU, 1x1; the input is added.

    >>> FeedForwardBlock(1, 4)(torch.zeros(2, 4, 20)).shape
    torch.Size([2, 4, 20])
    """

    def __init__(self, spatial_dims: int, channels: int, drop: float = 0.0) -> None:
        super().__init__()
        self.drop_path = StochasticDepth(drop)
        self.preffn_bn = norm_layer("batch", spatial_dims, channels)
        self.pw1 = _conv_norm(spatial_dims, channels, 4 * channels, 1)
        self.pw2 = _conv_norm(spatial_dims, 4 * channels, channels, 1)
        self.nonlinear = nn.GELU()

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        branch = self.pw2(self.nonlinear(self.pw1(self.preffn_bn(input))))
        return cast("Tensor", input + self.drop_path(branch))


class Stage(nn.Module):
    """Pairs of a large-kernel and a feed-forward block, one pair for each of ``drops``; the shape is kept.

    >>> Stage(1, 4, 9, 3, [0.0, 0.1])(torch.zeros(2, 4, 20)).shape
    torch.Size([2, 4, 20])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        kernel_size: int,
        small_kernel: int,
        drops: list[float],
        *,
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for drop in drops:
            self.blocks.append(LargeKernelBlock(spatial_dims, channels, kernel_size, small_kernel, drop, merged=merged))
            self.blocks.append(FeedForwardBlock(spatial_dims, channels, drop))

    def forward(self, input: Tensor) -> Tensor:
        """Apply the blocks."""
        return cast("Tensor", self.blocks(input))


class RepLKNet(nn.Module):
    """A stem that quarters the size, and four stages with large kernels: (N, C, *spatial) -> (N, classes).

    ``widths``, ``depths`` (in pairs of blocks) and ``kernel_sizes`` are those of the stages, between which the size
    halves. Raises `ModelError`, also
    when called with an input of another rank or other channels.

    The submodules have the authors' names. As ``stages`` and ``head`` are among those, the names of the stages and of
    the final layer stand in ``stage_names`` and ``head_name`` here.

    >>> network = RepLKNet(1, 2, 5, widths=(4, 8, 8, 8), depths=(1, 1, 1, 1), kernel_sizes=(9, 7, 5, 5))
    >>> network(torch.zeros(2, 2, 40)).shape
    torch.Size([2, 5])
    """

    stage_names = tuple(f"stages.{index}" for index in range(4))
    head_name = "head"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        kernel_sizes: tuple[int, int, int, int],
        small_kernel: int = 5,
        stochastic_depth: float = 0.3,
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        rank, first = spatial_dims, widths[0]
        self.stem = nn.Sequential(
            _conv_norm(rank, in_channels, first, 3, 2, relu=True),
            _conv_norm(rank, first, first, 3, groups=first, relu=True),
            _conv_norm(rank, first, first, 1, relu=True),
            _conv_norm(rank, first, first, 3, 2, groups=first, relu=True),
        )
        last = max(sum(depths) - 1, 1)
        drops = [stochastic_depth * pair / last for pair in range(sum(depths))]
        self.stages, self.transitions = nn.ModuleList(), nn.ModuleList()
        for index, (channels, depth, kernel_size) in enumerate(zip(widths, depths, kernel_sizes, strict=True)):
            if index > 0:
                before = widths[index - 1]
                self.transitions.append(
                    nn.Sequential(
                        _conv_norm(rank, before, channels, 1, relu=True),
                        _conv_norm(rank, channels, channels, 3, 2, groups=channels, relu=True),
                    )
                )
            mine, drops = drops[:depth], drops[depth:]
            self.stages.append(Stage(rank, channels, kernel_size, small_kernel, mine, merged=merged))
        self.norm = norm_layer("batch", rank, widths[-1])
        self.avgpool = pool_class("global_avg", rank)()
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        output = self.stem(input)
        for index, stage in enumerate(self.stages):
            output = stage(self.transitions[index - 1](output) if index else output)
        return cast("Tensor", self.head(self.avgpool(self.norm(output)).flatten(1)))

    def reparameterize(self) -> RepLKNet:
        """Fold every small kernel, and the norms of both branches, into the large kernel beside it; return the network.

        The outputs in evaluation stay the same up to rounding, and the state_dict becomes that of ``merged=True``. It
        cannot be undone: do it once training is over.

        >>> network = RepLKNet(1, 2, 5, widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), kernel_sizes=(9, 7, 5, 5)).eval()
        >>> before = network(torch.ones(1, 2, 40))
        >>> torch.allclose(network.reparameterize()(torch.ones(1, 2, 40)), before, atol=1e-5)
        True
        """
        for module in self.modules():
            if isinstance(module, LargeKernel):
                module.reparameterize()
        return self


@register(
    name="replknet_31b",
    summary="RepLKNet-31B: depthwise kernels of 31, 29, 27 and 13 with a parallel 5, 128 to 1024 channels",
    paper=_PAPER,
    year=2022,
    input_size=224,
    min_input_size=1,
    in_channels=3,
    num_classes=1000,
    parameters=79_864_168,
    macs=15_431_298_048,
    accuracy="ImageNet top-1 83.5 % (paper, table 5: trained on ImageNet alone, 224 per axis).",
)
def replknet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    widths: tuple[int, int, int, int] = (128, 256, 512, 1024),
    depths: tuple[int, int, int, int] = (2, 2, 18, 2),
    kernel_sizes: tuple[int, int, int, int] = (31, 29, 27, 13),
    small_kernel: int = 5,
    stochastic_depth: float = 0.3,
    merged: bool = False,
) -> RepLKNet:
    """RepLKNet-31B: depthwise convolutions of up to 31x31, each with a 5x5 branch that is folded in after training.

    2, 2, 18 and 2 pairs of a large-kernel block and a feed-forward block with 128, 256, 512 and 1024 channels. The
    form that trains is built, with both branches; ``merged`` builds the form that `RepLKNet.reparameterize` leaves, so
    that its weights can be loaded. Names and shapes of the tensors are those of the authors' code, whose weights start
    as PyTorch's layers do.

    Paper: Ding, Zhang, Zhou, Han, Ding and Sun, Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in
    CNNs, 2022. Raises `ModelError` and `GeometryError`.

    >>> with torch.device("meta"):
    ...     replknet(2, 3, 1000)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    return RepLKNet(
        spatial_dims,
        in_channels,
        num_classes,
        widths=widths,
        depths=depths,
        kernel_sizes=kernel_sizes,
        small_kernel=small_kernel,
        stochastic_depth=stochastic_depth,
        merged=merged,
    )
