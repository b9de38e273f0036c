"""Networks by name: `create_model` builds one, `list_models` and `model_entry` tell what there is.

>>> import torch
>>> model = create_model("lenet", in_channels=1, num_classes=10)
>>> model(torch.zeros(1, 1, 28, 28)).shape
torch.Size([1, 10])
"""

from striate.models.activity_cnn import ActivityCNN
from striate.models.alexnet import AlexNet, AlexNet2012
from striate.models.autoencoder import ConvAutoencoder
from striate.models.belief import ConvDBN
from striate.models.c3d import C3D
from striate.models.char_cnn import CharCNN
from striate.models.context import ContextModule
from striate.models.conv_rbm import ConvRBM
from striate.models.convnext import ConvNeXt
from striate.models.dcgan import Discriminator, Generator
from striate.models.deep_sea import DeepSEA
from striate.models.deeplab import ASPP, DeepLabHead
from striate.models.densenet import DenseNet
from striate.models.efficientnet import EfficientNet
from striate.models.espcn import ESPCN, SubPixel
from striate.models.fcn import FCNHead, SegmentationNetwork
from striate.models.fcn_vgg import FCN
from striate.models.features import feature_table, features
from striate.models.googlenet import GoogLeNet
from striate.models.heads import HEAD_LOSSES, MultiTaskHead, replace_head
from striate.models.inception import InceptionV3
from striate.models.inception_time import InceptionTime
from striate.models.lenet import LeNet
from striate.models.lenet5 import LeNet5
from striate.models.m5 import RawAudioNet
from striate.models.mobilenet_v1 import MobileNetV1
from striate.models.mobilenet_v2 import MobileNetV2
from striate.models.mobilenet_v3 import MobileNetV3
from striate.models.neocognitron import Neocognitron
from striate.models.nin import NetworkInNetwork
from striate.models.registry import ModelEntry, create_model, list_models, model_entry, register
from striate.models.replknet import RepLKNet
from striate.models.resnet import ResNet, ResNetBackbone
from striate.models.resnet_cifar import CifarResNet
from striate.models.shufflenet_v1 import ShuffleNetV1
from striate.models.shufflenet_v2 import ShuffleNetV2
from striate.models.squeezenet import SqueezeNet
from striate.models.tcn import TCN
from striate.models.text_cnn import TextCNN
from striate.models.time_series import FCNTimeSeries, ResNetTimeSeries
from striate.models.two_conv import TwoConv
from striate.models.unet import UNet
from striate.models.vgg import VGG
from striate.models.video_resnet import VideoResNet
from striate.models.vnet import VNet, dice_loss
from striate.models.voxnet import VoxNet
from striate.models.wavenet import WaveNet
from striate.models.weights import WeightsReport, load_weights
from striate.models.zfnet import ZFNet

__all__ = [
    "ASPP",
    "C3D",
    "ESPCN",
    "FCN",
    "HEAD_LOSSES",
    "TCN",
    "VGG",
    "ActivityCNN",
    "AlexNet",
    "AlexNet2012",
    "CharCNN",
    "CifarResNet",
    "ContextModule",
    "ConvAutoencoder",
    "ConvDBN",
    "ConvNeXt",
    "ConvRBM",
    "DeepLabHead",
    "DeepSEA",
    "DenseNet",
    "Discriminator",
    "EfficientNet",
    "FCNHead",
    "FCNTimeSeries",
    "Generator",
    "GoogLeNet",
    "InceptionTime",
    "InceptionV3",
    "LeNet",
    "LeNet5",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "ModelEntry",
    "MultiTaskHead",
    "Neocognitron",
    "NetworkInNetwork",
    "RawAudioNet",
    "RepLKNet",
    "ResNet",
    "ResNetBackbone",
    "ResNetTimeSeries",
    "SegmentationNetwork",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SqueezeNet",
    "SubPixel",
    "TextCNN",
    "TwoConv",
    "UNet",
    "VNet",
    "VideoResNet",
    "VoxNet",
    "WaveNet",
    "WeightsReport",
    "ZFNet",
    "create_model",
    "dice_loss",
    "feature_table",
    "features",
    "list_models",
    "load_weights",
    "model_entry",
    "register",
    "replace_head",
]
