"""Networks by name: `create_model` builds one, `list_models` and `model_entry` tell what there is.

>>> import torch
>>> model = create_model("lenet", in_channels=1, num_classes=10)
>>> model(torch.zeros(1, 1, 28, 28)).shape
torch.Size([1, 10])
"""

from striate.models.lenet import LeNet
from striate.models.lenet5 import LeNet5
from striate.models.registry import ModelEntry, create_model, list_models, model_entry, register
from striate.models.two_conv import TwoConv

__all__ = [
    "LeNet",
    "LeNet5",
    "ModelEntry",
    "TwoConv",
    "create_model",
    "list_models",
    "model_entry",
    "register",
]
