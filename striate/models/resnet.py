"""ResNet, ResNeXt and Wide ResNet: stages of blocks that each learn what to add to their input, in any rank.

A block computes ``relu(F(x) + x)``. Plain networks got worse with depth even on their training set, because layers that
should do nothing had to learn the identity; here doing nothing is what F = 0 means. The three papers differ in F alone:

====================  ==============================================  ==========================================
`BasicBlock`          3x3, 3x3                                        ResNet-18 and 34
`Bottleneck`          1x1 down to a quarter, 3x3, 1x1 up again        ResNet-50, 101 and 152
grouped `Bottleneck`  the 3x3 in 32 or 64 groups of 4 or 8 channels   ResNeXt (the paper's form c, "cardinality")
wide `Bottleneck`     the 3x3 between twice as many channels          Wide ResNet
====================  ==============================================  ==========================================

Submodules are named as in the implementation whose weights are published (torchvision's).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import nn

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import Norm, StochasticDepth, conv_class, norm_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Axes

_HE = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition"
_XIE = "Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks"
_ZAGORUYKO = "Zagoruyko, Komodakis: Wide Residual Networks"


class BasicBlock(nn.Module):
    """Two 3-wide convolutions and a shortcut: (N, C_in, *spatial) -> (N, channels, *ceil(spatial / stride)).

    ``shortcut`` brings the input to the output's shape, and is the identity where it has it. ``dilation`` spaces the
    taps of the first convolution and ``out_dilation`` those of the second: they differ where a stride was traded for
    dilation, as the first still reads the finer grid. ``drop`` is the probability of stochastic depth.

    >>> import torch
    >>> BasicBlock(1, 8, 8)(torch.zeros(2, 8, 20)).shape
    torch.Size([2, 8, 20])
    """

    expansion = 1

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: nn.Module | None = None,
        dilation: int = 1,
        out_dilation: int = 1,
        norm: Norm = "batch",
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        self.conv1 = conv(in_channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, channels)
        self.relu = nn.ReLU()
        self.conv2 = conv(channels, channels, 3, padding=out_dilation, dilation=out_dilation, bias=False)
        self.bn2 = norm_layer(norm, spatial_dims, channels)
        self.downsample = nn.Identity() if shortcut is None else shortcut
        self.drop = StochasticDepth(drop)

    @property
    def last_norm(self) -> nn.Module:
        """The norm at the end of the residual branch."""
        return self.bn2

    def forward(self, input: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        residual = self.relu(self.bn1(self.conv1(input)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(self.downsample(input) + self.drop(residual))
        return output


class Bottleneck(nn.Module):
    """1-wide, 3-wide, 1-wide and a shortcut: (N, C_in, *spatial) -> (N, 4 * channels, *ceil(spatial / stride)).

    The convolution in the middle has ``channels * width_per_group / 64`` channels in each of its ``groups``. It carries
    the stride; He and others gave that to the first 1x1, which skips three quarters of its input. Other arguments are
    those of `BasicBlock`; ``out_dilation`` finds no use, since what comes after the strided convolution is 1-wide.

    >>> import torch
    >>> Bottleneck(1, 32, 8)(torch.zeros(2, 32, 20)).shape
    torch.Size([2, 32, 20])
    """

    expansion = 4

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: nn.Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        dilation: int = 1,
        out_dilation: int = 1,
        norm: Norm = "batch",
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        inner = channels * width_per_group // 64 * groups
        outer = channels * self.expansion
        self.conv1 = conv(in_channels, inner, 1, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, inner)
        self.conv2 = conv(inner, inner, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)
        self.bn2 = norm_layer(norm, spatial_dims, inner)
        self.conv3 = conv(inner, outer, 1, bias=False)
        self.bn3 = norm_layer(norm, spatial_dims, outer)
        self.relu = nn.ReLU()
        self.downsample = nn.Identity() if shortcut is None else shortcut
        self.drop = StochasticDepth(drop)

    @property
    def last_norm(self) -> nn.Module:
        """The norm at the end of the residual branch."""
        return self.bn3

    def forward(self, input: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        residual = self.relu(self.bn1(self.conv1(input)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        output: Tensor = self.relu(self.downsample(input) + self.drop(residual))
        return output


Block: TypeAlias = "type[BasicBlock] | type[Bottleneck]"


class ResNetTrunk(nn.Module):
    """The stem and the four stages that `ResNet` and `ResNetBackbone` share; `stage_outputs` runs them.

    The stem divides each axis by 4, and stages 2 to 4 by 2 each. ``depths`` are the blocks per stage, and ``width``,
    ``2 * width``, ``4 * width``, ``8 * width`` the stages' channels, times the block's ``expansion``:
    ``stage_channels``. Options:

    - ``small_stem``: a 3x3 convolution of stride 1 and no max pooling, for images of about 32x32;
    - ``replace_stride_with_dilation``: for stages 2, 3 and 4, whether to keep the grid as fine as it is and to spread
      the kernels after it instead, as dense prediction wants (Chen and others 2017, figure 3);
    - ``stochastic_depth``: the probability of dropping the last block for a sample in training, which rises linearly
      from the input (Huang and others 2016);
    - ``zero_init_residual``: begin with the last norm of each block at 0, so that blocks begin as the identity (Goyal
      and others 2017).

    Raises `ModelError` for options that make no sense, and for an input of another rank or channels.

    >>> import torch
    >>> trunk = ResNetTrunk(1, 2, BasicBlock, (1, 1, 1, 1), 4, replace_stride_with_dilation=(False, True, True))
    >>> [tuple(output.shape) for output in trunk.stage_outputs(torch.zeros(1, 2, 64))]
    [(1, 4, 16), (1, 8, 8), (1, 16, 8), (1, 32, 8)]
    """

    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        block: Block,
        depths: Sequence[int],
        width: int = 64,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        norm: Norm = "batch",
        small_stem: bool = False,
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        stochastic_depth: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        # A group of the bottleneck must have a channel at least.
        check_width(width, usual=64, least=-(-64 // width_per_group))
        check_probability(stochastic_depth)
        _check_replacements(replace_stride_with_dilation)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        conv = conv_class(spatial_dims)
        if small_stem:
            self.conv1 = conv(in_channels, width, 3, padding=1, bias=False)
        else:
            self.conv1 = conv(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small_stem else pool_class("max", spatial_dims)(3, stride=2, padding=1)

        extra: dict[str, Any] = {"norm": norm}
        if block is Bottleneck:
            extra |= {"groups": groups, "width_per_group": width_per_group}
        drops = iter(linear_drops(stochastic_depth, sum(depths)))
        channels, dilation = width, 1
        for number, (name, depth) in enumerate(zip(self.stages, depths, strict=True)):
            inner = width * 2**number
            outer = inner * block.expansion
            stride, out_dilation = (2 if number else 1), dilation
            if number and replace_stride_with_dilation[number - 1]:
                stride, out_dilation = 1, 2 * dilation
            blocks = nn.Sequential()
            for _ in range(depth):
                shortcut = None
                if stride != 1 or channels != outer:
                    shortcut = projection(spatial_dims, channels, outer, stride, norm)
                blocks.append(
                    block(
                        spatial_dims,
                        channels,
                        inner,
                        stride,
                        shortcut=shortcut,
                        dilation=dilation,
                        out_dilation=out_dilation,
                        drop=next(drops),
                        **extra,
                    )
                )
                # Only the first block of a stage changes the channels, the size and the dilation.
                channels, stride, dilation = outer, 1, out_dilation
            self.add_module(name, blocks)
        self.stage_channels = tuple(width * 2**number * block.expansion for number in range(len(self.stages)))
        initialise_residual(self, spatial_dims, zero_init_residual)

    def stem(self, input: Tensor) -> Tensor:
        """What the first stage is given."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(input))))
        return output

    def stage_outputs(self, input: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the stages, shallow to deep."""
        outputs = [self.stem(input)]
        for stage in self.stages:
            outputs.append(self.get_submodule(stage)(outputs[-1]))
        return tuple(outputs[1:])


class ResNetBackbone(ResNetTrunk):
    """A ResNet without its head, for dense prediction: (N, C, *spatial) -> the outputs of its stages, shallow to deep.

    Arguments, attributes and errors are those of `ResNetTrunk`.

    >>> import torch
    >>> deepest = ResNetBackbone(1, 2, BasicBlock, (1, 1, 1, 1), 4)(torch.zeros(1, 2, 64))[-1]
    >>> deepest.shape
    torch.Size([1, 32, 2])
    """

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the stages."""
        return self.stage_outputs(input)


class ResNet(ResNetTrunk):
    """A residual network that classifies: (N, in_channels, *spatial) -> logits (N, num_classes).

    The other arguments, the options and errors are those of `ResNetTrunk`.

    >>> import torch
    >>> ResNet(1, 2, 5, Bottleneck, (1, 1, 1, 1), 4)(torch.randn(2, 2, 64)).shape
    torch.Size([2, 5])
    """

    head = "fc"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        block: Block,
        depths: Sequence[int],
        width: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(spatial_dims, in_channels, block, depths, width, **options)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(self.stage_channels[-1], num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        output = self.stem(input)
        for stage in self.stages:
            output = self.get_submodule(stage)(output)
        logits: Tensor = self.fc(self.avgpool(output))
        return logits


def projection(spatial_dims: int, in_channels: int, out_channels: int, stride: Axes, norm: Norm) -> nn.Sequential:
    """The shortcut of a block that changes the shape: a strided 1-wide convolution and a norm (option B of the paper).

    >>> [tuple(weight.shape) for weight in projection(1, 8, 16, 2, "batch").parameters()]
    [(16, 8, 1), (16,), (16,)]
    """
    conv = conv_class(spatial_dims)(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, norm_layer(norm, spatial_dims, out_channels))


def linear_drops(last: float, blocks: int) -> list[float]:
    """The probabilities of dropping each block: rising to the last one's, as early features serve all later blocks.

    >>> linear_drops(0.5, 4)
    [0.125, 0.25, 0.375, 0.5]
    """
    return [last * (place + 1) / blocks for place in range(blocks)]


def initialise_residual(model: nn.Module, spatial_dims: int, zero_init_residual: bool) -> None:
    """Draw the convolutions so that gradients keep their size on the way back (He and others 2015).

    With ``zero_init_residual`` every residual branch begins at 0. Raises `ModelError` if the norms have no weights.

    >>> block = BasicBlock(1, 8, 8)
    >>> initialise_residual(block, 1, zero_init_residual=True)
    >>> block.bn1.weight.sum().item(), block.bn2.weight.sum().item()
    (8.0, 0.0)
    """
    initialise(model, {conv_class(spatial_dims): _he_normal})
    for module in model.modules() if zero_init_residual else ():
        if hasattr(module, "last_norm"):
            weight = getattr(module.last_norm, "weight", None)
            if weight is None:
                raise ModelError(
                    "a norm with weights, which begin at 0",
                    "zero_init_residual=True with norm=None",
                    'Use norm="batch".',
                )
            nn.init.zeros_(weight)


def _he_normal(conv: Any) -> None:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def check_probability(stochastic_depth: float) -> None:
    """Check that blocks can be dropped with a probability. Raises `ModelError`.

    >>> check_probability(1.0)
    Traceback (most recent call last):
    striate.errors.ModelError: ...
    """
    if isinstance(stochastic_depth, bool) or not 0 <= stochastic_depth < 1:
        raise ModelError(
            "stochastic_depth to be a probability of at least 0 and below 1",
            f"stochastic_depth={stochastic_depth!r}",
            "Use 0 to drop no block.",
        )


def check_width(width: int, usual: int, least: int = 1) -> None:
    """Check a number of channels. Raises `ModelError`.

    >>> check_width(0, usual=16)
    Traceback (most recent call last):
    striate.errors.ModelError: ...
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < least:
        raise ModelError(
            f"width to be an integer of at least {least}", f"width={width!r}", f"The usual one is {usual}."
        )


def _check_replacements(replace_stride_with_dilation: Sequence[bool]) -> None:
    replace = replace_stride_with_dilation
    if not isinstance(replace, list | tuple) or [type(each) for each in replace] != [bool] * 3:
        raise ModelError(
            "replace_stride_with_dilation to be three of True and False, for the stages 2, 3 and 4",
            f"replace_stride_with_dilation={replace!r}",
            "For an output stride of 8 use (False, True, True).",
        )


def resnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    block: Block,
    depths: tuple[int, int, int, int],
    groups: int = 1,
    width_per_group: int = 64,
    width: int = 64,
    norm: Norm = "batch",
    small_stem: bool = False,
    replace_stride_with_dilation: Sequence[bool] = (False, False, False),
    stochastic_depth: float = 0.0,
    zero_init_residual: bool = False,
) -> ResNet:
    """A residual network for inputs of about 224 per axis: a 7-wide convolution, a pool, four stages of blocks, a mean.

    The form is the one whose weights torchvision publishes, down to the names of its tensors. It differs from the
    papers in one thing: a bottleneck's stride is in its 3x3 convolution, not in its first 1x1 ("v1.5", half a point
    better). Shortcuts that change the shape are projections (He's option B).

    Options: ``width``, the channels of the first stage; ``norm``; ``small_stem`` for inputs of about 32 per axis;
    ``replace_stride_with_dilation``, ``stochastic_depth`` and ``zero_init_residual`` as `ResNetTrunk` says.
    Convolutions begin normal with a variance of 2 / fan-out.

    Papers: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2016; Xie and others, Aggregated
    Residual Transformations for Deep Neural Networks, 2017 (ResNeXt: the 3x3 in groups); Zagoruyko and Komodakis, Wide
    Residual Networks, 2016 (the 3x3 between twice the channels). Raises `ModelError`.

    >>> import torch
    >>> network = resnet(2, 3, 10, block=BasicBlock, depths=(2, 2, 2, 2), width=8, small_stem=True)
    >>> network(torch.randn(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ResNet(
        spatial_dims,
        in_channels,
        num_classes,
        block,
        depths,
        width,
        groups=groups,
        width_per_group=width_per_group,
        norm=norm,
        small_stem=small_stem,
        replace_stride_with_dilation=replace_stride_with_dilation,
        stochastic_depth=stochastic_depth,
        zero_init_residual=zero_init_residual,
    )


_SHALLOW, _DEEP, _DEEPER = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3)

# name, paper, year, block, blocks per stage, groups, width per group, parameters, macs, ImageNet top-1 in percent
_SIZES: tuple[tuple[str, str, int, Block, tuple[int, int, int, int], int, int, int, int, str], ...] = (
    ("resnet18", _HE, 2015, BasicBlock, _SHALLOW, 1, 64, 11_689_512, 1_814_073_344, "69.76"),
    ("resnet34", _HE, 2015, BasicBlock, _DEEP, 1, 64, 21_797_672, 3_663_761_408, "73.31"),
    ("resnet50", _HE, 2015, Bottleneck, _DEEP, 1, 64, 25_557_032, 4_089_184_256, "76.13"),
    ("resnet101", _HE, 2015, Bottleneck, _DEEPER, 1, 64, 44_549_160, 7_801_405_440, "77.37"),
    ("resnet152", _HE, 2015, Bottleneck, (3, 8, 36, 3), 1, 64, 60_192_808, 11_513_626_624, "78.31"),
    ("resnext50_32x4d", _XIE, 2017, Bottleneck, _DEEP, 32, 4, 25_028_904, 4_230_479_872, "77.62"),
    ("resnext101_32x8d", _XIE, 2017, Bottleneck, _DEEPER, 32, 8, 88_791_336, 16_414_015_488, "79.31"),
    ("resnext101_64x4d", _XIE, 2017, Bottleneck, _DEEPER, 64, 4, 83_455_272, 15_460_270_080, "83.25"),
    ("wide_resnet50_2", _ZAGORUYKO, 2016, Bottleneck, _DEEP, 1, 128, 68_883_240, 11_398_021_120, "78.47"),
    ("wide_resnet101_2", _ZAGORUYKO, 2016, Bottleneck, _DEEPER, 1, 128, 126_886_696, 22_753_050_624, "78.85"),
)

for _name, _paper, _year, _block, _depths, _groups, _per_group, _parameters, _macs, _accuracy in _SIZES:
    _form = "" if _groups == 1 else f", 3x3 in {_groups} groups"
    _form += ", 3x3 between twice the channels" if _per_group > 64 else ""
    register(
        name=_name,
        summary=f"{'-'.join(map(str, _depths))} {_block.__name__.lower()} residual blocks{_form}",
        paper=_paper,
        year=_year,
        input_size=224,
        min_input_size=1,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(resnet, block=_block, depths=_depths, groups=_groups, width_per_group=_per_group))
