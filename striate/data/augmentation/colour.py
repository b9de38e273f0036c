"""Brightness, contrast, colour and tone, one strength per sample.

The functions take factors (n,), so that single transforms and policies share them; a factor of 1 leaves every bit as it
is. They follow Pillow's ImageEnhance and ImageOps, without rounding to 256 levels except where levels are the point
(posterize, equalize).
"""

import functools

import torch
from torch import Tensor

from striate.data.augmentation.fields import channel_mean, limited
from striate.data.augmentation.transform import Facts, per_sample

_LUMA = (0.299, 0.587, 0.114)
_WHITE = 255


def blend(inputs: Tensor, towards: Tensor, factor: Tensor, facts: Facts) -> Tensor:
    """``factor`` parts of the inputs and 1 - ``factor`` of something else; above 1 away from it.

    >>> facts = Facts(size=(1,), channels=1)
    >>> blend(torch.tensor([[[4.0]]]), torch.tensor([[[2.0]]]), torch.tensor([0.5]), facts)
    tensor([[[3.]]])
    """
    share = per_sample(factor, inputs)
    return limited(inputs * share + towards * (1 - share), facts)


def luma(inputs: Tensor) -> Tensor:
    """The grey value (n, 1, *spatial) of RGB by ITU-R 601, as Pillow's "L"; of anything else the mean of its channels.

    >>> luma(torch.ones(1, 3, 1, 1)).flatten()
    tensor([1.])
    """
    channels = inputs.unsqueeze(2).unbind(1)
    if len(channels) == 3:
        return channels[0] * _LUMA[0] + channels[1] * _LUMA[1] + channels[2] * _LUMA[2]
    return functools.reduce(torch.add, channels) / len(channels)


def adjust_brightness(inputs: Tensor, factor: Tensor, facts: Facts) -> Tensor:
    """Blend with black.

    >>> facts = Facts(size=(1,), channels=1, value_scale=255.0)
    >>> adjust_brightness(torch.tensor([[[0.5]]]), torch.tensor([1.5]), facts)
    tensor([[[0.7500]]])
    """
    return limited(inputs * per_sample(factor, inputs), facts)


def adjust_contrast(inputs: Tensor, factor: Tensor, facts: Facts) -> Tensor:
    """Blend with the mean: of the grey picture where there is a full white, else of each channel.

    >>> adjust_contrast(torch.tensor([[[0.0, 2.0]]]), torch.tensor([2.0]), Facts(size=(2,), channels=1))
    tensor([[[-1.,  3.]]])
    """
    mean = channel_mean(luma(inputs)) if facts.bounded else channel_mean(inputs)
    return blend(inputs, mean, factor, facts)


def adjust_saturation(inputs: Tensor, factor: Tensor, facts: Facts) -> Tensor:
    """Blend with the grey picture.

    >>> facts = Facts(size=(1, 1), channels=3, value_scale=255.0)
    >>> adjust_saturation(torch.ones(1, 3, 1, 1), torch.zeros(1), facts).flatten()
    tensor([1., 1., 1.])
    """
    return blend(inputs, luma(inputs), factor, facts)


def adjust_hue(inputs: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of RGB within [0, 1] by ``turn`` (n,) of the colour circle.

    The turned channels are ``value - chroma * max(0, min(k, 4 - k, 1))`` with k = (5, 3, 1) + 6 hue, modulo 6.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> adjust_hue(red, torch.tensor([1 / 3])).flatten().round()
    tensor([0., 1., 0.])
    """
    red, green, blue = inputs.unsqueeze(2).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixths = sixths + per_sample(turn, inputs) * 6
    turned = []
    for start in (5, 3, 1):
        k = sixths + start
        # Not remainder: its last bit depends on where in a tensor a value stands.
        k = k - (k / 6).floor() * 6
        turned.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    moved = torch.cat(turned, dim=1)
    return torch.where(per_sample(turn, inputs) == 0, inputs, moved)


def adjust_sharpness(inputs: Tensor, factor: Tensor, facts: Facts) -> Tensor:
    """Blend with a smoothed picture: means of 3 per axis, the middle counted five times; edges stay.

    >>> facts = Facts(size=(3,), channels=1)
    >>> adjust_sharpness(torch.tensor([[[0.0, 7.0, 0.0]]]), torch.tensor([0.0]), facts)
    tensor([[[0., 5., 0.]]])
    """
    rank = inputs.ndim - 2
    if min(inputs.shape[2:]) < 3:
        return inputs
    inner = inputs
    total = inputs
    for axis in range(2, inputs.ndim):
        length = inputs.shape[axis] - 2
        total = total.narrow(axis, 0, length) + total.narrow(axis, 1, length) + total.narrow(axis, 2, length)
        inner = inner.narrow(axis, 1, length)
    smooth = inputs.clone()
    smooth[(slice(None), slice(None), *(slice(1, -1),) * rank)] = (total + inner * 4) / (3**rank + 4)
    return blend(inputs, smooth, factor, facts)


def solarize(inputs: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values from ``threshold`` (n,) on.

    >>> solarize(torch.tensor([[[0.25, 0.75]]]), torch.tensor([0.5]))
    tensor([[[0.2500, 0.2500]]])
    """
    return torch.where(inputs < per_sample(threshold, inputs), inputs, 1 - inputs)


def posterize(inputs: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper ``bits`` (n,) of 8; all 8 leave values as they are.

    >>> posterize(torch.tensor([[[255.0, 100.0]]]) / 255, torch.tensor([1])) * 255
    tensor([[[128.,   0.]]])
    """
    step = per_sample(2 ** (8 - bits), inputs)
    kept = (_levels(inputs) // step * step).float() / _WHITE
    return torch.where(step == 1, inputs, kept)


def autocontrast(inputs: Tensor) -> Tensor:
    """Stretch every channel from its darkest and brightest value to black and white; a flat one stays.

    >>> autocontrast(torch.tensor([[[0.25, 0.5]]]))
    tensor([[[0., 1.]]])
    """
    axes = tuple(range(2, inputs.ndim))
    low, high = inputs.amin(axes, keepdim=True), inputs.amax(axes, keepdim=True)
    flat = high == low
    stretched = ((inputs - low) / torch.where(flat, 1.0, high - low)).clamp(0, 1)
    return torch.where(flat, inputs, stretched)


def equalize(inputs: Tensor) -> Tensor:
    """Spread the 256 levels of every channel so that each range of levels holds as many values.

    >>> equalize(torch.tensor([[[0.0, 0.2, 0.4, 0.6]]]) * 0.1 + 0.5).shape
    torch.Size([1, 1, 4])
    """
    rows = inputs.shape[0] * inputs.shape[1]
    levels = _levels(inputs).reshape(rows, -1)
    counts = torch.zeros(rows, 256, dtype=torch.int64).scatter_add_(1, levels, torch.ones_like(levels))
    brightest = counts.gather(1, levels.amax(1, keepdim=True))
    step = (levels.shape[1] - brightest) // 255
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    spread = table.gather(1, levels).float() / _WHITE
    kept = torch.where(step == 0, inputs.reshape(rows, -1), spread)
    return kept.reshape(inputs.shape)


def _levels(inputs: Tensor) -> Tensor:
    return (inputs * _WHITE).round().clamp(0, _WHITE).long()
