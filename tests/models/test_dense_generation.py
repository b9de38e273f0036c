"""The context module, DCGAN, the autoencoder and ESPCN."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models import create_model
from striate.models.context import BASIC, LARGE, ContextModule
from striate.models.espcn import SubPixel, icnr_


def count(model):
    return sum(each.numel() for each in model.parameters())


# Context module ------------------------------------------------------------------------------------------------------


def test_context_sees_67_positions_and_no_more():
    torch.manual_seed(0)
    module = ContextModule(1, 2, 2).double()
    assert module.receptive_field == 67
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.01, 0.2)  # so that no ReLU stops a gradient
    x = torch.rand(1, 2, 201, dtype=torch.double, requires_grad=True)
    module(x)[0, 0, 100].backward()
    seen = x.grad[0].abs().sum(0).nonzero().flatten()
    assert (seen[0], seen[-1], len(seen)) == (100 - 33, 100 + 33, 67)


@pytest.mark.parametrize("layers", range(1, 8))
def test_fields_of_the_layers_are_those_of_table_1(layers):
    module = ContextModule(1, 1, 1)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    x = torch.ones(1, 1, 101, requires_grad=True)
    module[: 2 * layers](x)[0, 0, 50].backward()
    assert x.grad.ne(0).sum() == (3, 5, 9, 17, 33, 65, 67)[layers - 1]


@pytest.mark.parametrize("widths", [BASIC, LARGE])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_context_starts_as_the_identity(widths, rank):
    module = ContextModule(rank, 3, 3, widths)
    x = torch.rand(2, 3, *[6] * rank)
    torch.testing.assert_close(module(x), x)
    noisy = ContextModule(rank, 3, 3, widths, noise=1e-3)
    assert not torch.equal(noisy(x), module(x))


def test_context_counts():
    basic = create_model("context_basic", in_channels=21, num_classes=21)
    assert sum(each.numel() for each in basic.parameters() if each.ndim > 1) == 64 * 21**2
    with torch.device("meta"):
        large = create_model("context_large", in_channels=21, num_classes=21)
    assert [layer.out_channels // 21 for layer in large if hasattr(layer, "out_channels")] == [*LARGE, 1]
    assert create_model("context_basic", in_channels=3, num_classes=5)(torch.rand(1, 3, 4, 7)).shape == (1, 5, 4, 7)


@pytest.mark.parametrize("widths", [(1,) * 6, (1, 1, 1, 0, 1, 1, 1)])
def test_bad_widths_of_context_are_refused(widths):
    with pytest.raises(ModelError):
        ContextModule(1, 2, 2, widths)


# DCGAN ---------------------------------------------------------------------------------------------------------------


def test_dcgan_counts_and_sizes():
    generator = create_model("dcgan_generator", in_channels=100, num_classes=3)
    discriminator = create_model("dcgan_discriminator", in_channels=3, num_classes=1)
    assert (count(generator), count(discriminator)) == (3_576_704, 2_765_568)
    with torch.no_grad():
        pictures = generator(torch.randn(2, 100, 1, 1))
        assert pictures.shape == (2, 3, 64, 64)
        assert pictures.abs().max() <= 1
        assert discriminator(pictures).shape == (2, 1)


def test_dcgan_weights_begin_with_a_deviation_of_one_fiftieth():
    torch.manual_seed(0)
    for name in ("dcgan_generator", "dcgan_discriminator"):
        model = create_model(name, in_channels=3, num_classes=3)
        for key, parameter in model.state_dict().items():
            if parameter.ndim > 1:
                assert parameter.mean().abs() < 2e-3, key
                assert parameter.std() == pytest.approx(0.02, rel=0.05), key
            elif key.endswith(".weight"):
                assert parameter.mean() == pytest.approx(1, abs=0.01), key
                assert parameter.std() == pytest.approx(0.02, rel=0.3), key
            elif key.endswith(".bias"):
                assert not parameter.any(), key


@pytest.mark.parametrize(("rank", "size"), [(1, 16), (2, 32), (3, 8)])
def test_dcgan_other_pictures(rank, size):
    options = {"spatial_dims": rank, "width": 2, "picture_size": size}
    generator = create_model("dcgan_generator", in_channels=5, num_classes=2, **options).eval()
    discriminator = create_model("dcgan_discriminator", in_channels=2, num_classes=1, **options).eval()
    noise = torch.randn(3, 5)
    pictures = generator(noise)
    assert pictures.shape == (3, 2, *[size] * rank)
    assert torch.equal(pictures, generator(noise[(..., *[None] * rank)]))
    # Of a larger picture every place counts.
    larger = torch.cat([pictures, pictures], -1)
    assert discriminator(larger).shape == discriminator(pictures).shape == (3, 1)
    with pytest.raises(ModelError, match=f"at least {size}"):
        discriminator(pictures[..., 1:])
    with pytest.raises(ModelError):
        generator(torch.randn(3, 4))


@pytest.mark.parametrize("options", [{"width": 0}, {"picture_size": 48}, {"picture_size": 4}])
def test_bad_options_of_dcgan_are_refused(options):
    for name in ("dcgan_generator", "dcgan_discriminator"):
        with pytest.raises(ModelError):
            create_model(name, **options)


# Autoencoder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("size", [(1,), (29,), (28, 17), (5, 8, 6)])
def test_autoencoder_gives_its_input_s_shape(tied, size):
    model = create_model("autoencoder", spatial_dims=len(size), in_channels=2, num_classes=4, tied=tied)
    x = torch.randn(3, 2, *size)
    assert model(x).shape == x.shape
    assert model.encode(x).shape == (3, 4, *(-(-length // 8) for length in size))


def test_tied_decoder_is_the_transpose_of_the_encoder():
    torch.manual_seed(0)
    model = create_model("autoencoder", in_channels=2, num_classes=3, widths=(), tied=True)
    assert count(model) == 2 * 3 * 9 + 3 + 2
    x, code = torch.randn(1, 2, 7, 8), torch.randn(1, 3, 4, 4)
    encoder, decoder = model.encoder["conv1"], model.decoder["conv1"]
    there = (encoder(x) * code).sum()
    back = (x * decoder(code, output_size=(7, 8))).sum()
    assert there.item() == pytest.approx(back.item(), rel=1e-4)


def test_autoencoder_learns_to_draw():
    torch.manual_seed(0)
    model = create_model("autoencoder", in_channels=1, num_classes=4)
    pictures = torch.zeros(8, 1, 16, 16)
    for number, picture in enumerate(pictures):
        picture[:, number : number + 8, 4:12] = 1
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = F.mse_loss(model(pictures), pictures)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_bad_widths_of_autoencoder_are_refused():
    with pytest.raises(ModelError):
        create_model("autoencoder", widths=(8, 0))


# ESPCN ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
def test_espcn_enlarges(upscale):
    model = create_model("espcn", num_classes=1, upscale=upscale)
    assert count(model) == 64 * 26 + 32 * (64 * 9 + 1) + upscale**2 * (32 * 9 + 1)
    assert model(torch.zeros(2, 1, 5, 8)).shape == (2, 1, 5 * upscale, 8 * upscale)


def test_sub_pixels_are_torch_s_in_the_plane_and_blocks_elsewhere():
    planes = torch.randn(2, 18, 4, 5)
    assert torch.equal(SubPixel(3)(planes), F.pixel_shuffle(planes, 3))
    volume = torch.randn(2, 8, 2, 3, 4)
    large = SubPixel(2)(volume)
    assert large.shape == (2, 1, 4, 6, 8)
    assert torch.equal(large[:, :, ::2, ::2, ::2], volume[:, :1])
    assert torch.equal(large[:, :, 1::2, ::2, 1::2], volume[:, 5:6])
    with pytest.raises(ModelError):
        SubPixel(2)(torch.zeros(1, 3, 4))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_icnr_begins_without_a_chequered_pattern(rank):
    torch.manual_seed(0)
    options = {"spatial_dims": rank, "num_classes": 2, "upscale": 2}
    x = torch.randn(1, 1, *[4] * rank)
    smooth = create_model("espcn", icnr=True, **options)(x)
    copied = F.interpolate(smooth[(..., *[slice(None, None, 2)] * rank)], scale_factor=2)
    torch.testing.assert_close(smooth, copied)
    apart = create_model("espcn", **options)(x)
    assert not torch.allclose(apart, F.interpolate(apart[(..., *[slice(None, None, 2)] * rank)], scale_factor=2))
    weight = torch.empty(2**rank * 500, 8, *[3] * rank)
    icnr_(weight, 2)
    assert weight.std() == pytest.approx((8 * 3**rank) ** -0.5, rel=0.1)


@pytest.mark.parametrize("options", [{"upscale": 0}, {"widths": (0, 4)}])
def test_bad_options_of_espcn_are_refused(options):
    with pytest.raises(ModelError):
        create_model("espcn", **options)
