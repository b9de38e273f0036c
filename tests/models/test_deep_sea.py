"""DeepSEA: its counts, and its smaller use for splice junctions."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import create_model, model_entry

SPLICE = {"input_size": 60, "channels": (16, 24, 32), "hidden": 32, "pool_size": 2}


def test_parameters():
    with torch.device("meta"):
        model = create_model("deep_sea", spatial_dims=1, in_channels=4, num_classes=919)
    # 1000 bases leave 53 positions: (993 // 4 - 7) // 4 - 7.
    assert model.fc1.in_features == 53 * 960
    convolutions = 320 * (4 * 8 + 1) + 480 * (320 * 8 + 1) + 960 * (480 * 8 + 1)
    assert sum(each.numel() for each in model.parameters()) == convolutions + 925 * (53 * 960 + 1) + 919 * 926
    assert model_entry("deep_sea").task == "multi-label"


def test_a_smaller_network_learns_splice_junctions_by_heart():
    torch.manual_seed(0)
    model = create_model("deep_sea", spatial_dims=1, in_channels=4, num_classes=3, **SPLICE)
    bases = torch.randint(4, (48, 60))
    labels = torch.arange(48) % 3
    bases[labels == 1, 30:32] = torch.tensor([2, 3])  # GT, where an intron begins
    bases[labels == 2, 28:30] = torch.tensor([0, 2])  # AG, where it ends
    x = torch.nn.functional.one_hot(bases, 4).transpose(1, 2).float()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimiser.step()
    assert (model.eval()(x).argmax(1) == labels).float().mean() > 0.9


def test_the_smallest_size_follows_the_options():
    with torch.device("meta"):
        for size, pool, kernel in ((163, 4, 8), (53, 2, 8), (18, 2, 3)):
            options = {"pool_size": pool, "kernel_size": kernel, "channels": (2, 2, 2), "hidden": 2}
            model = create_model("deep_sea", spatial_dims=1, in_channels=4, input_size=size, **options)
            assert model.fc1.in_features == 2
            with pytest.raises(ModelError, match=f"an input_size of at least {size}"):
                create_model("deep_sea", spatial_dims=1, in_channels=4, input_size=size - 1, **options)
