"""WaveNet's stack: causal, as far-sighted as the paper says, and its quantisation."""

import pytest
import torch

from striate.errors import ModelError
from striate.insight import summary
from striate.models import WaveNet, create_model
from striate.models.wavenet import GatedLayer, inverse_mu_law, mu_law


def small(**options):
    return WaveNet(8, 8, **{"channels": 4, "skip_channels": 6, "layers": 3, "stacks": 2, **options})


def test_parameters_by_layer():
    model = create_model("wavenet", spatial_dims=1, in_channels=256, num_classes=256)
    layer = 2 * (2 * 32 * 32 + 32) + (32 * 32 + 32) + (32 * 512 + 512)
    ends = (2 * 256 * 32 + 32) + (512 * 512 + 512) + (512 * 256 + 256)
    # The last layer has no next one.
    expected = 30 * layer - (32 * 32 + 32) + ends
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model.dilations == tuple(2**step for step in range(10)) * 3


def test_outputs_do_not_depend_on_later_tokens():
    torch.manual_seed(0)
    model = small().eval()
    tokens = torch.randint(8, (1, 40))
    expected = model(tokens)
    field = model.receptive_field
    for step in (0, 13, 39):
        changed = tokens.clone()
        changed[0, step] = (tokens[0, step] + 1) % 8
        differs = (model(changed) - expected).abs().sum((0, 1)) > 0
        assert differs.nonzero().min() == step
        assert not differs[step + field :].any()


@pytest.mark.parametrize(("layers", "stacks", "kernel_size"), [(10, 1, 2), (10, 3, 2), (4, 2, 3)])
def test_receptive_field(layers, stacks, kernel_size):
    model = small(layers=layers, stacks=stacks, kernel_size=kernel_size)
    # A stack of dilation 1 to 512 sees 1024 samples (section 2.1); the convolution before it adds its own.
    gated = stacks * (kernel_size - 1) * (2**layers - 1) + 1
    assert model.receptive_field == gated + kernel_size - 1
    found = summary(model, torch.zeros(1, 20, dtype=torch.long))
    assert found.receptive_field[0].size == model.receptive_field
    assert found.receptive_field[0].first[1] == 0


def test_a_layer_is_a_gate_times_a_filter():
    layer = GatedLayer(4, 6, 2, 2)
    x = torch.randn(1, 4, 10)
    gated = torch.tanh(layer.filter(x)) * torch.sigmoid(layer.gate(x))
    onward, skipped = layer(x)
    torch.testing.assert_close(onward, x + layer.residual(gated))
    torch.testing.assert_close(skipped, layer.skip(gated))
    assert GatedLayer(4, 6, 2, 2, last=True).residual is None


def test_mu_law_is_fine_around_zero_and_inverts():
    tokens = torch.arange(256)
    assert torch.equal(mu_law(inverse_mu_law(tokens)), tokens)
    steps = inverse_mu_law(tokens).diff()
    assert steps.argmin() in (126, 127, 128)
    assert mu_law(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_generates_and_learns_to_count():
    torch.manual_seed(0)
    model = small(channels=12, skip_channels=12, stacks=1)
    tokens = torch.arange(33).remainder(8)[None]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens)[:, :, :-1], tokens[:, 1:]).backward()
        optimiser.step()
    continued = model.eval().generate(tokens[:, :20], 5)
    assert torch.equal(continued, tokens[:, :25])


def test_arguments_and_tokens_are_checked():
    with pytest.raises(ModelError, match="at least 1 layer in at least 1 stack; received layers=3, stacks=0"):
        small(stacks=0)
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        small()(torch.tensor([[8]]))
