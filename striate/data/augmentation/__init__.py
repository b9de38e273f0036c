"""Augmentation of signals, images, volumes and text, the same for every number of workers and processes."""

from striate.data.augmentation.affine import Affine, ResizedCrop, Rotate, Scale, Shear, Translate, WindowSlice
from striate.data.augmentation.draws import Draws
from striate.data.augmentation.elastic import Elastic, TimeWarp
from striate.data.augmentation.hiding import BaseDropout, ChannelDropout, Erasing, SpecAugment
from striate.data.augmentation.intensity import (
    BiasField,
    GaussianBlur,
    GaussianNoise,
    IntensityScale,
    IntensityShift,
    Jitter,
    MagnitudeWarp,
    Scaling,
)
from striate.data.augmentation.mixing import CutMix, Mixup
from striate.data.augmentation.pipeline import Augmentation
from striate.data.augmentation.placing import Crop, Flip, Permutation, Reverse
from striate.data.augmentation.policies import RandAugment, TrivialAugment
from striate.data.augmentation.presets import PRESETS, expand, parse_augmentation, preset
from striate.data.augmentation.sheet import augmented_sheet
from striate.data.augmentation.tones import (
    Autocontrast,
    Brightness,
    Contrast,
    Equalize,
    Gamma,
    Grey,
    Hue,
    Posterize,
    Saturation,
    Sharpness,
    Solarize,
)
from striate.data.augmentation.transform import Facts, Transform, TransformEntry, list_transforms, register
from striate.data.augmentation.words import WordDeletion, WordDropout, WordSwap

__all__ = [
    "PRESETS",
    "Affine",
    "Augmentation",
    "Autocontrast",
    "BaseDropout",
    "BiasField",
    "Brightness",
    "ChannelDropout",
    "Contrast",
    "Crop",
    "CutMix",
    "Draws",
    "Elastic",
    "Equalize",
    "Erasing",
    "Facts",
    "Flip",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "Grey",
    "Hue",
    "IntensityScale",
    "IntensityShift",
    "Jitter",
    "MagnitudeWarp",
    "Mixup",
    "Permutation",
    "Posterize",
    "RandAugment",
    "ResizedCrop",
    "Reverse",
    "Rotate",
    "Saturation",
    "Scale",
    "Scaling",
    "Sharpness",
    "Shear",
    "Solarize",
    "SpecAugment",
    "TimeWarp",
    "Transform",
    "TransformEntry",
    "Translate",
    "TrivialAugment",
    "WindowSlice",
    "WordDeletion",
    "WordDropout",
    "WordSwap",
    "augmented_sheet",
    "expand",
    "list_transforms",
    "parse_augmentation",
    "preset",
    "register",
]
