"""Rows, counts and memory of summaries against hand counts and PyTorch's own flop counter."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from striate.errors import ModelError
from striate.insight import feature_maps, summary
from striate.models import create_model


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def test_lenet_by_hand():
    found = summary(lenet(), (1, 32, 32))
    assert found.parameters == found.trainable == 61_706
    assert found.parameter_bytes == 4 * 61_706
    rows = {row.name: row for row in found.rows}
    assert rows["0"].macs == 6 * 25 * 28 * 28 == 117_600
    assert rows["3"].macs == 16 * 6 * 25 * 10 * 10
    assert rows["7"].macs == 400 * 120
    assert found.macs == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert found.flops == 2 * found.macs
    assert [row.output_shape for row in found.rows[:3]] == [(1, 6, 28, 28), (1, 6, 28, 28), (1, 6, 14, 14)]
    assert rows["3"].input_shape == (1, 6, 14, 14)
    assert rows["0"].activation_bytes == 4 * 6 * 28 * 28
    # In place and a view: no memory of their own.
    assert rows["4"].activation_bytes == rows["6"].activation_bytes == 0
    kept = 2 * 6 * 28 * 28 + 6 * 14 * 14 + 16 * 10 * 10 + 16 * 5 * 5 + 2 * (120 + 84) + 10
    assert found.activation_bytes == 4 * kept
    assert found.training_bytes == 4 * (32 * 32 + kept + 4 * 61_706)
    assert found.output_shape == (1, 10)
    assert found.notes == ()


def test_a_batch_scales_the_work_and_not_the_parameters():
    one, eight = summary(lenet(), (1, 1, 32, 32)), summary(lenet(), torch.zeros(8, 1, 32, 32))
    assert eight.macs == 8 * one.macs
    assert eight.activation_bytes == 8 * one.activation_bytes
    assert eight.parameters == one.parameters


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(4, 2, 3, 3)), nn.Parameter(torch.ones(1), requires_grad=False)
        self.head = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(F.conv2d(x, self.weight, padding=1))
        y = F.max_pool2d(torch.cat([y, y * self.gain], 1) + 1, 2)
        return self.head(y.flatten(1))


def test_functions_are_listed_beside_layers():
    found = summary(Functional(), (1, 2, 8, 8))
    assert [(row.name, row.kind, row.macs) for row in found.rows] == [
        ("Functional", "Functional (own)", 0),
        ("conv2d", "conv2d()", 4 * 2 * 9 * 64),
        ("relu", "relu()", 0),
        ("mul", "mul()", 0),
        ("cat", "cat()", 0),
        ("add", "add()", 0),
        ("max_pool2d", "max_pool2d()", 0),
        ("flatten", "flatten()", 0),
        ("head", "Linear", 128 * 5),
    ]
    assert (found.rows[0].parameters, found.rows[0].trainable, found.rows[0].fixed) == (73, 72, 1)
    assert found.parameters == sum(row.parameters for row in found.rows) == 73 + 645
    assert found.fixed == 1


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.alias, self.never = (
            nn.Conv1d(2, 2, 3, padding=1),
            nn.Conv1d(2, 2, 3, padding=1),
            nn.Linear(3, 4),
        )
        self.alias.weight = self.conv.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.alias(self.conv(self.conv(x)))


def test_shared_repeated_and_uncalled_layers():
    found = summary(Twice(), (1, 2, 10))
    assert [(row.name, row.call, row.parameters, row.macs) for row in found.rows] == [
        ("conv", 1, 14, 120),
        ("conv", 2, 0, 120),
        ("alias", 1, 2, 120),
        ("never", 0, 16, 0),
    ]
    assert found.parameters == sum(p.numel() for p in Twice().parameters()) == 32
    assert found.rows[3].output_shape is None
    assert "conv [2]" in str(found)
    assert "not called" in str(found)


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.conv, self.qkv = fused, nn.Conv1d(4, 8, 3), nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.conv(x).transpose(1, 2)).chunk(3, -1)
        if self.fused:
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return torch.einsum("nqk,nkc->nqc", (q @ k.transpose(1, 2)).softmax(-1), v)


def grouped() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(4, 8, 5, 2, dilation=2, groups=2), nn.ConvTranspose1d(8, 6, 4, 2, groups=2))


MODELS = {
    "lenet": (lenet, (2, 1, 32, 32)),
    "functional": (Functional, (3, 2, 8, 8)),
    "1-D": (grouped, (2, 4, 30)),
    "3-D": (lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(2)), (2, 1, 6, 7, 8)),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 4, 1)), (2, 6, 9, 9)),
    "attention": (lambda: Attention(False), (2, 4, 12)),
    "fused attention": (lambda: Attention(True), (2, 4, 12)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "weight norm": (lambda: torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), (1, 2, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_flops_are_those_of_the_flop_counter(name):
    build, shape = MODELS[name]
    model = build().eval()
    # The counter leaves out fused attention on the CPU.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.rand(shape))
    found = summary(model, torch.rand(shape))
    assert found.flops == counter.get_total_flops() > 0
    assert sum(row.flops for row in found.rows) == found.flops
    assert sum(row.parameters for row in found.rows) == sum(p.numel() for p in model.parameters())
    assert found.notes == ()
    with torch.no_grad():
        assert found.output_shape == tuple(model(torch.rand(shape)).shape)


def test_recurrent_layers_by_hand():
    found = summary(nn.LSTM(3, 5, batch_first=True), (2, 7, 3))
    assert found.macs == 2 * 7 * (4 * 5 * 3 + 4 * 5 * 5)


def test_weights_that_are_always_zero_are_said_to_be_counted():
    found = summary(create_model("lenet5"), (2, 1, 32, 32))
    # 60 of the 96 pairs of maps are connected, by 5x5 kernels at 10x10 positions.
    assert {row.name: row.macs for row in found.rows}["c3"] == 2 * 96 * 25 * 100
    assert found.notes == ("c3: 180,000 of 480,000 macs multiply weights that are always zero",)
    assert found.macs // 2 - 90_000 == 325_680


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_fields_of_recurrent_layers_are_known(cell):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.cell = nn.Conv1d(2, 4, 3), cell(4, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cell(self.conv(x).transpose(1, 2))[0][:, -1]

    found = summary(Recurrent(), (1, 2, 9))
    assert found.notes == ()
    assert [axis and (axis.size, axis.offset) for axis in found.receptive_field] == [(9, 4)]


def test_a_weight_normed_layer_is_one_row():
    found = summary(MODELS["weight norm"][0](), (1, 2, 8, 8))
    assert [(row.kind, row.parameters) for row in found.rows] == [("Conv2d", 3 * 18 + 3 + 3)]


def test_nothing_is_computed():
    # 2**46 outputs would neither fit nor end.
    found = summary(nn.Conv2d(1, 64, 3, padding=1), (1, 1, 2**20, 2**20))
    assert found.macs == 64 * 9 * 2**40


class Valued(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) if x.sum().item() == 0 else x


class OwnTensors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv1d(1, 2, 3), torch.arange(6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x) + self.table
        canvas = torch.zeros(x.shape, device="cpu")
        canvas += x
        steps = torch.arange(4).tolist()
        return canvas[:, :, : len(steps)]


def test_models_that_ask_for_values_are_run_for_real_and_that_is_said():
    found = summary(Valued(), (1, 8, 8))
    assert found.notes == ("the model does not run on shapes alone (it asks for values), so it was run for real, once",)
    assert found.macs == 9 * 36


def test_tensors_that_a_model_makes_for_itself():
    found = summary(OwnTensors(), (1, 1, 8))
    assert found.notes == ()
    assert found.output_shape == (1, 2, 4)
    assert found.receptive_field[0].size == 3


def test_tokens():
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.conv = nn.Embedding(50, 8), nn.Conv1d(8, 4, 3)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.conv(self.embedding(tokens).transpose(1, 2))

    found = summary(Text(), torch.zeros(2, 20, dtype=torch.long))
    assert found.receptive_field[0].size == 3
    assert found.output_shape == (2, 4, 18)


def test_half_precision_takes_half_the_memory():
    found = summary(lenet().bfloat16(), (1, 32, 32))
    assert found.parameter_bytes == 2 * 61_706
    assert found.activation_bytes * 2 == summary(lenet(), (1, 32, 32)).activation_bytes


def test_json():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(288, 3))
    found = summary(net, (1, 14, 14)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    axis = {"size": 3, "stride": 2, "offset": 1}
    assert found["layers"][0] == {
        "name": "0", "kind": "Conv2d", "call": 1, "input_shape": [1, 1, 14, 14], "output_shape": [1, 2, 6, 6],
        "parameters": 20, "trainable": 20, "fixed": 0, "macs": 648, "flops": 1296, "activation_bytes": 288,
        "receptive_field": [axis, axis],
    }  # fmt: skip
    assert found["layers"][1]["receptive_field"][0] == {"size": 3, "stride": 1, "offset": 0.5}
    assert found["receptive_field"][0]["size"] == "all"
    assert found["totals"]["flops"] == 2 * found["totals"]["macs"]


def test_the_table():
    text = str(summary(nn.Sequential(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.Flatten()), (1, 12, 12)))
    assert text.splitlines()[2:6] == [
        "layer  kind       output   parameters   macs   flops   memory  field  stride  offset",
        "------------------------------------------------------------------------------------",
        "0      Conv2d     1x6x8x8         156  9,600  19,200  1.5 KiB      5       1       2",
        "1      MaxPool2d  1x6x4x4                               384 B      6       2     2.5",
    ]
    assert "parameters         156 (156 trainable, 0 fixed)" in text
    assert "macs               9,600" in text
    assert "flops              19,200 (two per mac)" in text
    assert "activation memory  1.9 KiB (all outputs of one forward pass)" in text


# Input that does not fit ---------------------------------------------------------------------------------------------


def refused(model: object, given: object) -> str:
    with pytest.raises(ModelError) as caught:
        summary(model, given)  # type: ignore[arg-type]
    return str(caught.value)


def test_wrong_channels():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Conv2d(9, 8, 3))
    assert refused(net, (2, 1, 28, 28)) == (
        "Expected an input of (N, 3, size, size) at layer '0.0' (Conv2d); received (2, 1, 28, 28). "
        "Give inputs with 3 channels there, or build the model for 1."
    )
    assert refused(net, (2, 3, 28, 28)) == (
        "Expected an input of (N, 9, size, size) at layer '1' (Conv2d); received (2, 8, 26, 26) there, from a model "
        "input of (2, 3, 28, 28). Give inputs with 9 channels there, or build the model for 8."
    )


def test_wrong_size():
    assert refused(lenet(), (1, 28, 28)) == (
        "Expected 400 features at layer '7' (Linear); received (1, 256) there, from a model input of (1, 1, 28, 28). "
        "Give inputs of the size that the model was built for, or build it for this size."
    )
    assert refused(nn.Sequential(nn.Conv1d(1, 1, 5)), (1, 1, 3)) == (
        "Expected an input that layer '0' (Conv1d) can take; received (1, 1, 3), which it refuses: Calculated padded "
        "input size per channel: (3). Kernel size: (5). Kernel size can't be greater than actual input size. "
        "Give inputs of the shape and type that the model was built for."
    )
    assert refused(nn.Linear(3, 2), (1, 4)).startswith("Expected 3 features at the model (Linear); received (1, 4). ")


def test_wrong_things():
    assert refused(len, (1, 1)) == (
        "Expected a torch.nn.Module; received builtin_function_or_method. Wrap a function in a Module's forward."
    )
    assert refused(nn.LazyLinear(3), (1, 4)) == (
        "Expected a model whose layers know their sizes; received the lazy parameter 'weight'. "
        "Run the model once on an example, which settles them."
    )
    for given in ((), (1, 0, 3), "1x1", (1.0, 2), (True, 3)):
        assert refused(nn.Linear(3, 2), given) == (
            f"Expected an input tensor, or its shape (N, C, *spatial) in positive integers; received {given!r}. "
            "For one colour image of 32 x 32 pixels give (1, 3, 32, 32)."
        )


def test_several_inputs():
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    remedy = "For a model of several inputs give a Module of one, whose forward supplies the others."
    assert refused(Two(), (torch.ones(1, 2), torch.ones(1, 2))) == (
        "Expected an input tensor, or its shape (N, C, *spatial) in positive integers; received 2 tensors in a tuple. "
        + remedy
    )
    message = refused(Two(), (1, 2))
    assert message.startswith("Expected an input that the model (Two) can take; received (1, 2), which it refuses: ")
    assert message.endswith(f"missing 1 required positional argument: 'y'. {remedy}")
    with pytest.raises(ModelError) as caught:
        feature_maps(Two(), [torch.ones(1, 2), torch.ones(1, 2)])
    assert str(caught.value) == (f"Expected an input tensor (N, C, *spatial); received 2 tensors in a list. {remedy}")


def test_a_bug_in_a_model_is_not_taken_for_a_wrong_input():
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.missing(x)

    with pytest.raises(AttributeError):
        summary(Broken(), (1, 1))


def test_infinite_fields_are_numbers_in_python():
    assert summary(nn.Sequential(nn.AdaptiveAvgPool1d(1)), (1, 1, 4)).receptive_field[0].size == math.inf
