"""TextCNN: its variants, padding and the longest weight vectors."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import TextCNN, create_model
from striate.models.text_cnn import VARIANTS, MaxNormLinear


def small(**options):
    return TextCNN(20, 3, **{"embedding_dim": 6, "filters": 4, **options})


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_beside_the_vectors(variant):
    with torch.device("meta"):
        model = create_model(f"text_cnn_{variant}", spatial_dims=1, in_channels=1000, num_classes=2)
    named = dict(model.named_parameters())
    vectors = {name for name in named if name in ("embedding.weight", "fixed.weight")}
    assert sum(value.numel() for name, value in named.items() if name not in vectors) == 360_902
    assert all(named[name].shape == (1000, 300) for name in vectors)


def test_which_vectors_are_learnt():
    assert "embedding.weight" in trained(small(variant="rand"))
    assert "embedding.weight" not in trained(small(variant="static"))
    assert "embedding.weight" in trained(small(variant="nonstatic"))
    both = small(variant="multichannel")
    assert "embedding.weight" in trained(both)
    assert "fixed.weight" not in trained(both)


@pytest.mark.parametrize("variant", ["static", "nonstatic", "multichannel"])
def test_given_vectors_are_used_and_padding_is_zero(variant):
    vectors = torch.randn(20, 6)
    model = small(variant=variant, vectors=vectors)
    assert torch.equal(model.embedding.weight[1:], vectors[1:])
    assert not model.embedding.weight[0].any()
    if variant == "multichannel":
        assert torch.equal(model.fixed.weight, model.embedding.weight)
        assert model.fixed.weight.data_ptr() != model.embedding.weight.data_ptr()


def test_every_filter_sees_both_channels():
    model = small(variant="multichannel", filters=2).eval()
    torch.nn.init.normal_(model.embedding.weight)
    tokens = torch.randint(20, (2, 9))
    first, second = (each(tokens).transpose(1, 2) for each in (model.embedding, model.fixed))
    strongest = []
    for conv in model.convs:
        plain = torch.nn.functional.conv1d(second, conv.weight, None, padding=4)
        strongest.append((conv(first) + plain).relu().amax(2))
    torch.testing.assert_close(model(tokens), model.fc(torch.cat(strongest, 1)))


def test_padding_changes_nothing_and_one_word_is_enough():
    model = small().eval()
    words = torch.tensor([[3, 1, 4, 1, 5]])
    expected = model(words)
    torch.testing.assert_close(model(torch.nn.functional.pad(words, (2, 6))), expected)
    assert model(words[:, :1]).shape == (1, 3)
    # Padding gets no gradient.
    model(torch.tensor([[0, 3, 0]])).sum().backward()
    assert not model.embedding.weight.grad[0].any()


def test_weight_vectors_stay_within_the_longest():
    torch.manual_seed(0)
    layer = MaxNormLinear(8, 3, max_norm=3.0)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 8))
        layer.weight[0] *= 9 / layer.weight[0].norm()
        layer.weight[1] *= 2 / layer.weight[1].norm()
    before = layer.weight.detach().clone()
    x = torch.randn(4, 8)
    evaluated = layer.eval()(x)
    assert torch.equal(layer.weight, before)
    first, second = layer.train()(x), layer(x)
    torch.testing.assert_close(first, evaluated)
    torch.testing.assert_close(layer.weight.norm(dim=1)[:2], torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(layer.weight[1], before[1])
    # Two passes before one step: neither hurts the other's gradient.
    (first.sum() + second.sum()).backward()
    torch.testing.assert_close(layer.weight.grad, 2 * x.sum(0).expand(3, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "statik"}, "Expected a variant of rand, static, nonstatic, multichannel; received 'statik'"),
        ({"vectors": torch.ones(20, 5)}, "one vector per token, of shape .20, 6.; received vectors of shape .20, 5."),
        ({"max_norm": 0}, "a max_norm above 0; received max_norm=0"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ModelError, match=message):
        small(**options)
