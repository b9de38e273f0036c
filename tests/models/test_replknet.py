"""RepLKNet: its size, and that folding the small kernels into the large ones changes no output."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from striate.errors import ModelError
from striate.models import RepLKNet, create_model
from striate.models.replknet import LargeKernel

SMALL = {"widths": (4, 8, 8, 8), "depths": (1, 2, 1, 1), "kernel_sizes": (9, 7, 5, 5), "small_kernel": 3}


def shaken(network):
    """The network with norms that have seen something, so that folding them is no formality."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return network


def total(network):
    return sum(each.numel() for each in network.parameters())


def test_size_is_that_of_the_paper_before_and_after_folding():
    with torch.device("meta"):
        network = create_model("replknet_31b", in_channels=3, num_classes=1000)
        merged = create_model("replknet_31b", in_channels=3, num_classes=1000, merged=True)
    assert total(network) == 79_864_168
    # A small kernel of 5x5 and two norms per large-kernel block become one bias.
    channels = 2 * 128 + 2 * 256 + 18 * 512 + 2 * 1024
    assert total(network) - total(merged) == channels * (25 + 4 - 1)
    assert int(total(merged) / 1e6) == 79
    sizes = [stage.blocks[0].large_kernel.lkb_origin.conv.kernel_size for stage in network.stages]
    assert sizes == [(31, 31), (29, 29), (27, 27), (13, 13)]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_folding_changes_no_output(rank):
    network = shaken(RepLKNet(rank, 2, 3, **SMALL)).double().eval()
    x = torch.randn(2, 2, *(16,) * rank, dtype=torch.float64)
    expected = network(x)
    assert network.reparameterize() is network
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)
    merged = RepLKNet(rank, 2, 3, **SMALL, merged=True).double().eval()
    merged.load_state_dict(network.state_dict())
    torch.testing.assert_close(merged(x), expected, rtol=1e-10, atol=1e-10)
    network.reparameterize()
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)


def test_the_small_kernel_goes_to_the_middle():
    layer = shaken(LargeKernel(1, 2, 7, 3)).eval()
    large = layer.lkb_origin.conv.weight.detach().clone()
    scale = layer.lkb_origin.bn.weight / (layer.lkb_origin.bn.running_var + 1e-5).sqrt()
    layer.reparameterize()
    difference = layer.lkb_reparam.weight - large * scale.view(-1, 1, 1)
    assert difference[..., [0, 1, 5, 6]].abs().max() < 1e-6
    assert difference[..., 2:5].abs().min() > 0
    assert list(layer.state_dict()) == ["lkb_reparam.weight", "lkb_reparam.bias"]


def test_folding_works_without_memory_and_keeps_the_mode():
    with torch.device("meta"):
        network = RepLKNet(2, 3, 10, **SMALL).reparameterize()
    assert network.stages[0].blocks[0].large_kernel.lkb_reparam.training
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_tensors_have_the_authors_names():
    names = list(RepLKNet(2, 3, 10, **SMALL).state_dict())
    assert names[0] == "stem.0.conv.weight"
    for name in (
        "stages.1.blocks.2.large_kernel.lkb_origin.bn.running_var",
        "stages.1.blocks.2.large_kernel.small_conv.conv.weight",
        "stages.0.blocks.0.prelkb_bn.weight",
        "stages.0.blocks.1.preffn_bn.weight",
        "transitions.0.1.conv.weight",
        "norm.weight",
        "head.bias",
    ):
        assert name in names


def test_a_large_kernel_sees_as_far_as_its_size():
    layer = LargeKernel(1, 1, 31, 5).eval()
    x = torch.zeros(1, 1, 101, requires_grad=True)
    layer(x)[0, 0, 50].backward()
    reached = x.grad[0, 0].nonzero().flatten()
    assert (reached[0].item(), reached[-1].item()) == (35, 65)


@pytest.mark.parametrize(("large", "small"), [(8, 3), (9, 4), (3, 5)])
def test_kernels_without_a_common_middle_are_refused(large, small):
    with pytest.raises(ModelError, match="odd kernel sizes, the small one at most as large"):
        LargeKernel(2, 4, large, small)
