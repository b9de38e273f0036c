"""The character network: its alphabet, its counts and how it starts."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import CharCNN, create_model
from striate.models.char_cnn import ALPHABET, encode_characters
from striate.models.tokens import OneHot


@pytest.mark.parametrize(("size", "features", "hidden"), [("small", 256, 1024), ("large", 1024, 2048)])
def test_parameters(size, features, hidden):
    with torch.device("meta"):
        model = create_model(f"char_cnn_{size}", spatial_dims=1, in_channels=71, num_classes=4)
    # After six layers (1014 - 96) / 27 = 34 frames are left (the paper, section 2.3).
    assert model.fc1.in_features == 34 * features
    convolutions = (70 * 7 + features * 7 + 4 * features * 3) * features + 6 * features
    dense = (34 * features + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * 4
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + dense


def test_alphabet_and_tokens():
    assert len(ALPHABET) == 70
    assert len(set(ALPHABET)) == 69
    assert encode_characters(["az", "", "x" * 9], 4).tolist() == [[26, 1, 0, 0], [0] * 4, [24] * 4]
    # Of a text that is too long the first characters are kept.
    assert encode_characters(["abcdefg"], 3).tolist() == [[3, 2, 1]]
    assert encode_characters(["İİİ"], 3).shape == (1, 3)
    hyphen = encode_characters(["-"], 1)
    assert ALPHABET[hyphen.item() - 1] == "-"


def test_one_hot_with_and_without_a_blank():
    tokens = torch.tensor([[0, 2, 1]])
    assert OneHot(3)(tokens)[0].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert OneHot(2, blank=True)(tokens)[0].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert OneHot(3)(tokens.int(), torch.float64).dtype == torch.float64


def test_weights_start_with_the_papers_deviation():
    torch.manual_seed(0)
    model = create_model("char_cnn_small", spatial_dims=1, in_channels=71, input_size=123)
    assert model.features[0].conv.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert model.fc2.weight.std().item() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((122, 71), "an input_size of at least 123.*received input_size=122"),
        ((123, 1), "at least 2 tokens: 0 for none, and one character; received in_channels=1"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ModelError, match=message):
        CharCNN(*arguments, 4, features=2, hidden=2)
