"""The register: what it lists, what it builds, how it answers to what it does not know, and whether it is complete."""

import pytest
import torch

from striate.errors import GeometryError, ModelError
from striate.models import create_model, list_models, model_entry
from striate.models.features import head_name, stage_names
from striate.models.registry import register, unregister

# The catalogue, family by family.
FAMILIES = {
    "LeNet": ["lenet", "lenet_drawn", "lenet5", "two_conv"],
    "AlexNet": ["alexnet_2012", "alexnet"],
    "ZFNet": ["zfnet"],
    "VGG": [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")],
    "Network in Network": ["nin", "nin_imagenet"],
    "Inception": ["googlenet", "inception_v3"],
    "ResNet": [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)],
    "ResNeXt": ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"],
    "Wide ResNet": ["wide_resnet50_2", "wide_resnet101_2"],
    "CIFAR ResNet": [f"resnet{depth}" for depth in (20, 32, 44, 56, 110)],
    "DenseNet": [*(f"densenet{depth}" for depth in (121, 161, 169, 201)), "densenet_bc_100_12"],
    "SqueezeNet": ["squeezenet1_0", "squeezenet1_1"],
    "MobileNet": ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"],
    "ShuffleNet v1": [f"shufflenet_v1_g{groups}" for groups in (1, 2, 3, 4, 8)],
    "ShuffleNet v2": [f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")],
    "EfficientNet": [f"efficientnet_b{size}" for size in range(8)],
    "ConvNeXt": [f"convnext_{size}" for size in ("tiny", "small", "base", "large")],
    "RepLKNet": ["replknet_31b"],
    "time series": ["fcn_ts", "resnet_ts", "inception_time", "tcn", "activity_cnn"],
    "sound": ["wavenet", "m3", "m5", "m11", "m18"],
    "text": [f"text_cnn_{kind}" for kind in ("rand", "static", "nonstatic", "multichannel")],
    "characters": ["char_cnn_small", "char_cnn_large"],
    "DNA": ["deep_sea"],
    "video": ["c3d", "r3d_18", "mc3_18", "r2plus1d_18"],
    "volumes": ["voxnet"],
    "segmentation": [
        *(f"{kind}_resnet{depth}" for kind in ("fcn", "deeplabv3") for depth in (50, 101)),
        *("fcn32s", "fcn16s", "fcn8s", "unet", "unet_3d", "vnet", "context_basic", "context_large"),
    ],
    "pictures": ["dcgan_generator", "dcgan_discriminator", "autoencoder", "espcn"],
    "historic": ["neocognitron", "cdbn"],
}
NAMES = [name for family in FAMILIES.values() for name in family]


@pytest.fixture
def dense():
    """A network that is registered for one test only."""

    @register(summary="One layer", paper="", year=1958, input_size=8, min_input_size=1, spatial_dims=(1,), task="other")
    def dense_only(spatial_dims, in_channels, num_classes, *, bias=True):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_channels * 8, num_classes, bias=bias))

    yield dense_only
    unregister("dense_only")


def test_lists_are_sorted_and_filtered(dense):
    assert list_models() == sorted([*list_models(task="other"), *(n for n in list_models() if n != "dense_only")])
    assert list_models(task="other") == ["dense_only"]
    assert list_models(task="other", spatial_dims=2) == []
    assert {"lenet", "voxnet"} <= set(list_models(spatial_dims=3))
    assert {"lenet5", "m5"}.isdisjoint(list_models(spatial_dims=3))


def test_the_catalogue_is_complete():
    assert len(NAMES) == len(set(NAMES))
    assert sorted(NAMES) == list_models()


@pytest.mark.parametrize("name", list_models())
def test_entries_are_complete(name):
    entry = model_entry(name)
    assert entry.name == name
    assert entry.summary
    assert entry.paper
    assert 1979 <= entry.year <= 2026
    assert entry.task
    assert set(entry.spatial_dims) <= {1, 2, 3}
    assert entry.input_kind in ("values", "tokens")
    for rank in entry.spatial_dims:
        sizes = zip(entry.smallest_size(rank), entry.usual_size(rank), strict=True)
        assert all(1 <= least <= size for least, size in sizes)
    assert f"{entry.year}. {entry.parameters:,} parameters and {entry.macs:,} macs for one " in entry.description
    assert entry.docstring in entry.description


@pytest.mark.parametrize("name", list_models())
def test_every_network_names_its_stages_and_its_head(name):
    with torch.device("meta"):
        model = model_entry(name).usual_form()
    modules = dict(model.named_modules())
    assert len(stage_names(model)) > 1
    assert len(set(stage_names(model))) == len(stage_names(model))
    assert {*stage_names(model), head_name(model)} <= set(modules)
    # The heads of these compare with drawings or with the cells of known digits, or shuffle, and have no weights.
    assert list(modules[head_name(model)].parameters()) or name in ("lenet5", "neocognitron", "espcn")


def test_sizes_per_axis():
    clip = model_entry("r3d_18")
    assert (clip.usual_size(), clip.smallest_size(3)) == ((16, 112, 112), (1, 1, 1))
    assert "for one 16x112x112 input of 3 channels, 400 classes." in clip.description
    assert model_entry("resnet18").usual_size(1) == (224,)
    with pytest.raises(GeometryError, match="input_size"):
        register(name="x", summary="", paper="", year=1, input_size=(4, 4), min_input_size=1)(lambda: None)
    assert "x" not in list_models()


def test_examples():
    generator = torch.Generator().manual_seed(0)
    sound = model_entry("wavenet").example((3, 5, 100), generator=generator)
    assert (sound.shape, sound.dtype, sound.unique().tolist()) == ((3, 100), torch.int64, [0, 1, 2, 3, 4])
    assert model_entry("lenet").example((3, 5, 7, 8)).shape == (3, 5, 7, 8)


def test_sizes_of_a_family_share_their_builder():
    assert model_entry("resnet50").family is model_entry("resnet18").family
    assert model_entry("lenet").family is model_entry("lenet").builder


def test_options_reach_the_builder(dense):
    assert create_model("dense_only", spatial_dims=1, in_channels=2, bias=False)[1].weight.shape == (10, 16)
    assert model_entry("dense_only").options == {"bias": True}
    assert create_model("lenet", dropout=0.25).dropout.p == 0.25


def register_twice():
    @register(summary="", paper="", year=1998, input_size=1, min_input_size=1)
    def lenet(spatial_dims, in_channels, num_classes):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: create_model("lenett"),
            "Expected the name of a model; received 'lenett'. Did you mean 'lenet' or 'lenet5'?",
        ),
        (
            lambda: model_entry("convnext"),
            (
                "Expected the name of a model; received 'convnext'. Did you mean "
                "'convnext_base' or 'convnext_large' or 'convnext_small' or 'convnext_tiny'?"
            ),
        ),
        (
            lambda: create_model("?"),
            "Expected the name of a model; received '?'. `striate models` and list_models() list them.",
        ),
        (
            lambda: create_model(["lenet"]),
            "Expected the name of a model; received ['lenet']. Did you mean 'lenet' or 'lenet5'?",
        ),
        (
            lambda: create_model("lenet5", scale=float("nan")),
            "Expected scale to be a positive number; received scale=nan. Use 1 for the distances as they are.",
        ),
        (
            lambda: create_model("lenet5", scale="0.1"),
            "Expected scale to be a positive number; received scale='0.1'. Use 1 for the distances as they are.",
        ),
        (
            lambda: create_model("lenet5", spatial_dims=3),
            "Expected lenet5 in 2-D; received spatial_dims=3. `striate models --rank 3` lists the models in 3-D.",
        ),
        (
            lambda: create_model("lenet", spatial_dims=4),
            "Expected lenet in 1-D or 2-D or 3-D; received spatial_dims=4. Networks exist in 1-D, 2-D and 3-D.",
        ),
        (
            lambda: create_model("lenet", num_classes=0),
            "Expected num_classes to be a positive integer; received num_classes=0. Use 1 or more.",
        ),
        (
            lambda: create_model("lenet", in_channels=1.0),
            "Expected in_channels to be a positive integer; received in_channels=1.0. Use 1 or more.",
        ),
        (
            lambda: create_model("two_conv", droput=0.1),
            (
                "Expected options that two_conv takes: input_size=None, dropout=0.5; received droput=0.1. "
                "Did you mean 'dropout'?"
            ),
        ),
        (
            register_twice,
            (
                "Expected a name that no other model has; received a second model named 'lenet'. "
                "Rename the builder function."
            ),
        ),
    ],
)
def test_errors_are_named(call, message):
    with pytest.raises(ModelError) as error:
        call()
    assert str(error.value) == message
