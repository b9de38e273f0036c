"""Loading weights of others: formats, names, adaptation that keeps outputs, refusals, and files made to do harm."""

import json
import logging
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from striate.errors import CheckpointError, ModelError
from striate.models import ConvNeXt, create_model, load_weights, replace_head
from striate.models.weights import WeightsMismatchError


def lenet(**options):
    return create_model("lenet", **options).eval()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture
def saved(tmp_path):
    """Save a network's weights under a name, in the form that its ending says, and give the path."""

    def save(content, name="weights.pth", **options):
        path = tmp_path / name
        state = content.state_dict() if isinstance(content, nn.Module) else content
        save_file(state, path) if name.endswith(".safetensors") else torch.save(state, path, **options)
        return path

    return save


# Formats -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt", "a.bin"])
def test_formats(saved, name, caplog):
    source, target = lenet(), lenet()
    path = saved(source, name)
    with caplog.at_level(logging.INFO, "striate.models"):
        report = load_weights(target, str(path))
    assert same(source, target)
    assert (report.loaded, report.changed, report.fresh) == (10, (), ())
    assert str(report) == f"10 tensors of {path} taken as they are"
    assert caplog.records[0].levelno == logging.INFO
    assert str(report) in caplog.text


def test_the_format_of_before_2020(saved):
    source, target = lenet(), lenet()
    load_weights(target, saved(source, _use_new_zipfile_serialization=False))
    assert same(source, target)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state, "format": 1},
        lambda state: {"model": {"state_dict": state}},
        lambda state: state,
    ],
)
def test_wrappers_and_prefixes(saved, prefix, wrap):
    source, target = lenet(), lenet()
    load_weights(target, saved(wrap({prefix + name: tensor for name, tensor in source.state_dict().items()})))
    assert same(source, target)


def test_types_and_counters(saved):
    source, target = create_model("resnet20"), create_model("resnet20")
    state = {name: tensor for name, tensor in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(target, saved({name: tensor.bfloat16() for name, tensor in state.items()}))
    assert target.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(target.conv1.weight, source.conv1.weight, rtol=0.01, atol=0.01)


def test_old_names_of_densenets(saved):
    source, target = create_model("densenet_bc_100_12"), create_model("densenet_bc_100_12")
    old = {}
    for name, tensor in source.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[name] = tensor
    assert set(old) != set(source.state_dict())
    load_weights(target, saved(old))
    assert same(source, target)


# Adapting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("theirs", "mine"), [(3, 1), (1, 3), (3, 4), (3, 2), (4, 3), (3, 6), (6, 3)])
def test_other_input_channels_see_what_the_file_saw(saved, theirs, mine, caplog):
    source, target = lenet(in_channels=theirs), lenet(in_channels=mine)
    report = load_weights(target, saved(source))
    x = torch.rand(2, min(theirs, mine), 28, 28)
    repeated = [x[:, torch.arange(channels) % x.shape[1]] for channels in (theirs, mine)]
    torch.testing.assert_close(target(repeated[1]), source(repeated[0]))
    how = "added" if theirs > mine else "shared"
    assert report.changed == (f"conv1.weight: {theirs} input channels became {mine}, those that fall together {how}",)
    assert report.loaded == 9
    assert caplog.records[0].levelno == logging.WARNING
    assert "input channels became" in caplog.text


class TwoBranches(nn.Module):
    """Two convolutions and an auxiliary head side by side on the input."""

    head = "fc"
    auxiliary_modules = ("aux",)

    def __init__(self, in_channels, num_classes=2):
        super().__init__()
        self.conv, self.shortcut = nn.Conv1d(in_channels, 4, 3, padding=1), nn.Conv1d(in_channels, 4, 1)
        self.aux = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, num_classes))
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc((self.conv(x).relu() + self.shortcut(x)).mean(2))


def test_a_branch_beside_the_first_convolution_is_adapted_too(saved):
    source, target = TwoBranches(3), TwoBranches(1)
    report = load_weights(target, saved(source))
    x = torch.rand(2, 1, 50)
    torch.testing.assert_close(target(x), source(x.expand(2, 3, 50)))
    assert len(report.changed) == 2


def test_another_number_of_classes_keeps_the_fresh_head(saved):
    source, target = lenet(num_classes=10), lenet(num_classes=4)
    head = target.fc3.weight.clone()
    report = load_weights(target, saved(source))
    assert torch.equal(target.fc3.weight, head)
    assert same(source[:-1], target[:-1])
    assert report.fresh == (
        "fc3.weight of 4x84, fc3.bias of 4, where the file has fc3.bias of 10, fc3.weight of 10x84",
    )
    # A replaced head, and a file without one.
    load_weights(replace_head(lenet(), 3, "multi_task", tasks=5), saved(source))
    headless = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("fc3")}
    assert load_weights(lenet(), saved(headless)).fresh[0].endswith("where the file has nothing")


def test_auxiliary_heads_stay_fresh_too(saved):
    source, target = TwoBranches(3, 3), TwoBranches(3, 2)
    report = load_weights(target, saved(source))
    assert [line.split(".weight")[0] for line in report.fresh] == ["fc", "aux.1"]
    assert torch.equal(target.aux[0].weight, source.aux[0].weight)


def still(x, *sizes):
    """Inputs of more axes that do not change along the first ones."""
    return x.reshape(*x.shape[:2], *[1] * len(sizes), *x.shape[2:]).expand(*x.shape[:2], *sizes, *x.shape[2:])


class Valid(nn.Sequential):
    """A network without padding, in which inflated kernels give exactly what the flat ones give."""

    def __init__(self, rank, channels=2):
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
        up = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1]
        super().__init__(conv(channels, 4, 3), norm(4), nn.ReLU(), conv(4, 3, 2), up(3, 2, 2, 2), conv(2, 1, 1))


@pytest.mark.parametrize(("low", "high"), [(2, 3), (1, 2), (1, 3)])
def test_inflated_kernels_give_for_still_inputs_what_the_flat_ones_gave(saved, low, high):
    flat, solid = Valid(low).eval(), Valid(high).eval()
    report = load_weights(solid, saved(flat))
    assert report.changed[0] == f"0.weight: kernels of rank {low} became kernels of rank {high}"
    x = torch.rand(2, 2, *(7,) * low)
    expected = flat(x)
    extra = (7,) * (high - low)
    output = solid(still(x, *extra))
    torch.testing.assert_close(output, still(expected, *output.shape[2 : 2 + len(extra)]))


@pytest.mark.parametrize(("high", "low"), [(3, 2), (2, 1), (3, 1)])
def test_flattened_kernels_do_what_the_solid_ones_did_for_still_inputs(saved, high, low):
    solid, flat = Valid(high).eval(), Valid(low).eval()
    load_weights(flat, saved(solid))
    x = torch.rand(2, 2, *(7,) * low)
    # A transposed convolution has two phases along an axis, of which the flat one is the mean.
    for layer in (solid, flat):
        del layer[4:]
    output = solid(still(x, *(7,) * (high - low)))
    torch.testing.assert_close(output, still(flat(x), *output.shape[2 : 2 + high - low]))


def test_rank_and_channels_together_with_a_scale_of_other_axes(saved):
    small = {"widths": (4, 8, 8, 8), "depths": (1, 1, 1, 1), "layer_scale": 0.5}
    flat, solid = ConvNeXt(2, 3, 5, **small).eval(), ConvNeXt(3, 1, 5, **small).eval()
    report = load_weights(solid, saved(flat))
    assert any("rank 2 became kernels of rank 3; 3 input channels became 1" in line for line in report.changed)
    assert "features.1.0.layer_scale: axes of length 1 added or left out" in report.changed
    assert report.fresh == ()
    torch.testing.assert_close(
        solid.features[0][0].weight[:, 0].sum(1), flat.features[0][0].weight.sum(1), rtol=1e-4, atol=1e-6
    )


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_mismatch_lists_everything_and_changes_nothing(saved):
    state = lenet().state_dict()
    state["extra.weight"] = torch.zeros(2)
    state["fc1.weight"] = torch.zeros(120, 99)
    state["fc2.bias"] = torch.zeros(84, dtype=torch.long)
    del state["conv2.bias"]
    target = lenet()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    path = saved(state)
    with pytest.raises(WeightsMismatchError) as error:
        load_weights(target, path)
    assert error.value.missing == ("conv2.bias",)
    assert error.value.unexpected == ("extra.weight",)
    assert error.value.misshapen == ("fc1.weight of 120x99 instead of 120x400", "fc2.bias of 84 (int64) instead of 84")
    assert str(error.value) == (
        f"Expected the weights of this network; received {path}, with tensors 1 missing: conv2.bias; 1 unexpected: "
        "extra.weight; 2 misshapen: fc1.weight of 120x99 instead of 120x400, fc2.bias of 84 (int64) instead of 84. "
        "Build the network that they belong to, of the same width and input size."
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_long_list_is_shortened_in_the_message_only(saved):
    with pytest.raises(WeightsMismatchError, match="and 3 more; 10 unexpected") as error:
        load_weights(nn.Sequential(*[nn.Conv1d(1, 1, 1, bias=False) for _ in range(13)]), saved(lenet()))
    assert len(error.value.missing) == 13


def test_nothing_is_adapted_against_ones_will(saved):
    for other in (lenet(in_channels=3), lenet(num_classes=3)):
        with pytest.raises(WeightsMismatchError, match="misshapen"):
            load_weights(other, saved(lenet()), adapt=False)
    assert load_weights(lenet(), saved(lenet()), adapt=False).loaded == 10


def test_dense_layers_of_another_rank_are_refused(saved):
    with pytest.raises(WeightsMismatchError, match=r"fc1\.weight of 120x400 instead of 120x2000"):
        load_weights(lenet(spatial_dims=3), saved(lenet()))
    with pytest.raises(WeightsMismatchError, match=r"misshapen: 0\.weight of 4x2x5 instead of 4x2x3x3"):
        load_weights(Valid(2), saved({**Valid(1).state_dict(), "0.weight": torch.zeros(4, 2, 5)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "which holds a list"),
        ({}, "which holds nothing"),
        ({"a": torch.zeros(2), "b": 3}, "where 'b' is a int"),
        ({1: torch.zeros(2)}, "where 1 is a Tensor"),
        ({"a": torch.zeros(1).expand(10**12)}, "'a' of shape (1000000000000,)"),
        ({"a": torch.zeros(9, 9).to_sparse()}, "'a' of shape (9, 9)"),
        ({"a": torch.zeros(9, device="meta")}, "'a' of shape (9,)"),
    ],
)
def test_other_contents_are_refused(saved, content, message):
    with pytest.raises(CheckpointError) as error:
        load_weights(lenet(), saved(content))
    assert message in str(error.value)


class Harm:
    def __reduce__(self):
        return exec, ("raise SystemExit('harm was done')",)


def test_files_made_to_do_harm_are_refused(saved, tmp_path):
    target = lenet()
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps({"a": Harm()}))
    damaged = saved(lenet(), "damaged.pth")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**7)
    empty = tmp_path / "empty.pth"
    empty.touch()
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}).encode()
    lying = tmp_path / "lying.safetensors"
    lying.write_bytes(struct.pack("<Q", len(header)) + header)
    endless = tmp_path / "endless.safetensors"
    endless.write_bytes(struct.pack("<Q", 2**60))
    for path in (saved({"a": Harm()}), bare, damaged, bomb, empty, lying, endless):
        with pytest.raises(CheckpointError, match="a whole file of weights that holds tensors only"):
            load_weights(target, path)


def test_a_pickle_that_claims_more_than_it_holds_is_refused(saved):
    path = saved({"a": torch.zeros(7)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    claim = content.replace(b"K\x07", b"M\xff\xff")
    assert claim != content
    path.write_bytes(claim)
    with pytest.raises(CheckpointError):
        load_weights(lenet(), path)


def test_files_that_are_missing_too_large_or_of_another_kind(saved, tmp_path):
    with pytest.raises(CheckpointError, match="which does not exist"):
        load_weights(lenet(), tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"ending in \.safetensors or one of \.pth"):
        load_weights(lenet(), tmp_path / "weights.npz")
    with pytest.raises(CheckpointError, match="Raise max_bytes"):
        load_weights(lenet(), saved(lenet()), max_bytes=1000)
    with torch.device("meta"):
        model = lenet()
    with pytest.raises(ModelError, match="a network with memory"):
        load_weights(model, saved(lenet()))
