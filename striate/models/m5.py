"""Very deep networks on raw sound: no spectrogram, a first layer as wide as a filter bank's, then only 3-wide ones."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from torch import nn

from striate.models.field import check_batch
from striate.models.registry import register
from striate.models.time_series import initialise_as_keras
from striate.nn import ConvBlock, MaxPool1d, pool_class

if TYPE_CHECKING:
    from torch import Tensor


class RawAudioNet(nn.Module):
    """Stages of 3-wide convolutions with pools of 4 between, the mean over time, dense; (N, C, L) -> (N, classes).

    ``groups`` gives for each stage the number of channels and of convolutions. The first stage is one convolution of 80
    samples with stride 4. Four pools at most: what is left of 32,000 samples then are 32 steps. Raises `ModelError`
    when called with an input of another rank or other channels.

    >>> import torch
    >>> RawAudioNet(1, 10, ((8, 1), (8, 2)))(torch.zeros(2, 1, 1000)).shape
    torch.Size([2, 10])
    """

    head = "fc"

    def __init__(self, in_channels: int, num_classes: int, groups: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential()
        channels = in_channels
        for number, (width, count) in enumerate(groups):
            stage = nn.Sequential()
            for _ in range(count):
                kernel_size, stride = (3, 1) if number else (80, 4)
                stage.append(ConvBlock(1, channels, width, kernel_size, stride, padding="same"))
                channels = width
            if number < 4:
                # Sizes are rounded up, as the paper's 125 -> 32 shows.
                stage.append(MaxPool1d(4, padding="same"))
            self.features.append(stage)
        self.pool = pool_class("global_avg", 1)(keepdim=False)
        self.fc = nn.Linear(channels, num_classes)
        self.stages = tuple(f"features.{number}" for number in range(len(groups)))
        initialise_as_keras(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, 1, self.in_channels)
        output: Tensor = self.fc(self.pool(self.features(input)))
        return output


def raw_audio_net(
    spatial_dims: int, in_channels: int, num_classes: int, *, groups: tuple[tuple[int, int], ...]
) -> RawAudioNet:
    """A very deep network on raw sound: a wide first convolution, then pools of 4 and only 3-wide convolutions.

    The first convolution spans 80 samples, 10 ms at 8 kHz, with stride 4, enough to become a bank of band-pass filters;
    after the first pool the sound is 16 times shorter, which makes depth affordable. The number in the name counts
    convolutions and the dense layer. All convolutions have batch norm and no bias, and initial weights are Glorot's.
    The small M5 of tutorials (32 channels, first stride 16) is another network.

    Paper: Dai, Dai, Qu, Li and Das, Very Deep Convolutional Neural Networks for Raw Waveforms, 2017. The residual M34
    is left out, since the paper does not say how its shortcuts change the number of channels.
    """
    return RawAudioNet(in_channels, num_classes, groups)


_SIZES: dict[str, tuple[tuple[tuple[int, int], ...], int, int, str]] = {
    "m3": (((256, 1), (256, 1)), 220_682, 557_058_560, "56.12"),
    "m5": (((128, 1), (128, 1), (256, 1), (512, 1)), 558_090, 278_533_120, "63.42"),
    "m11": (((64, 1), (64, 2), (128, 2), (256, 3), (512, 2)), 1_784_202, 226_169_856, "69.07"),
    "m18": (((64, 1), (64, 4), (128, 4), (256, 4), (512, 4)), 3_679_882, 399_381_504, "71.68"),
}

for _name, (_groups, _parameters, _macs, _accuracy) in _SIZES.items():
    register(
        name=_name,
        summary=f"Raw sound, {_name[1:]} layers with weights: 80 samples wide at first, 3 wide after",
        paper="Dai, Dai, Qu, Li, Das: Very Deep Convolutional Neural Networks for Raw Waveforms",
        year=2017,
        input_size=32_000,
        min_input_size=1,
        spatial_dims=(1,),
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Paper: UrbanSound8k {_accuracy} %.",
    )(functools.partial(raw_audio_net, groups=_groups))
