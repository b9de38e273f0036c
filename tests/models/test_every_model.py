"""The battery that every registered network takes, in every rank it claims.

Cases that cost much, or that repeat what another showed, are among the slow tests. The rest is: on meta tensors, which
have shapes and no values, every network in its usual rank, and the smallest of each family in all ranks; with values
the same, if it has at most LIGHT parameters and takes at most QUICK multiply-accumulates; exported, the smallest of
each family in its usual rank.
"""

import copy
import math
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

from striate.errors import GeometryError, InputError, ModelError
from striate.insight import summary
from striate.models import ModelEntry, create_model, list_models, model_entry
from striate.models.outputs import main_output

LIGHT = 4_000_000
LAYERED = 5_000_000_000  # macs of networks that are deep as well as wide, which take long to count
QUICK = 2_000_000_000
WIDEST = {1: 2**20, 2: 320, 3: 48}  # by rank: a volume as wide as the usual image is a thousand times its work
BEGIN_ALIKE = ("context_basic", "fcn8s", "fcn16s", "fcn32s")  # as the identity, or with scores of 0
CASES = [(name, rank) for name in list_models() for rank in model_entry(name).spatial_dims]


def size_of(entry, rank, which):
    """The usual or smallest size per axis; of a large input a part, if the network takes any size."""
    usual, least = entry.usual_size(rank), entry.smallest_size(rank)
    if which == "smallest":
        return least
    if "input_size" in entry.options:
        return usual
    return tuple(max(low, min(size, WIDEST[rank])) for low, size in zip(least, usual, strict=True))


def smallest_of_family(entry):
    family = [each for each in map(model_entry, list_models()) if each.family is entry.family]
    return entry.name == min(family, key=lambda each: (each.macs, each.name)).name


def slow(name, rank, which="smallest"):
    """Whether a case is left to the slow tests."""
    entry = model_entry(name)
    macs = entry.macs * math.prod(size_of(entry, rank, which)) // math.prod(entry.usual_size())
    if entry.task == "generation" and rank > entry.usual_rank:
        return True  # the size is that of the noise, and says nothing of the picture's
    return entry.parameters > LIGHT or macs > QUICK or repeats(name, rank)


def repeats(name, rank):
    """Whether a case differs only in size and rank from one that is tested."""
    entry = model_entry(name)
    return rank != entry.usual_rank and not smallest_of_family(entry)


def deep(name, rank):
    """Whether a case is left to the slow tests where every layer costs much, however small it is."""
    entry = model_entry(name)
    return slow(name, rank) or rank != entry.usual_rank or not smallest_of_family(entry)


def large_in_another_rank(name, rank, which):
    """Whether a case is left to the slow tests where the smallest input shows what a network does in other ranks."""
    return slow(name, rank, which) or (which == "usual" and rank != model_entry(name).usual_rank)


def by_weight(cases, slow=slow):
    """Cases of (name, rank) or (name, rank, which), the costly ones marked slow."""
    return [pytest.param(*case, marks=[pytest.mark.slow] if slow(*case) else []) for case in cases]


def built(name, rank, which, in_channels=2, num_classes=3, samples=2):
    """The network for its usual or smallest input, and a batch of such inputs."""
    entry = model_entry(name)
    size = size_of(entry, rank, which)
    options = {"input_size": size} if "input_size" in entry.options else {}
    model = create_model(name, spatial_dims=rank, in_channels=in_channels, num_classes=num_classes, **options)
    if name in BEGIN_ALIKE:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return model, entry.example((samples, in_channels, *size))


def one_sample_or_all(model, x):
    """What goes through, and its output: all of a batch where batch norm would learn from one value per channel.

    Two samples are not enough: through a hundred layers of batch norm on two values gradients overflow.
    """
    try:
        return x[:1], model(x[:1])
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        return x, model(x)


def check_shape(entry, output, x, num_classes=3):
    """Check what the task says of the output's shape."""
    if entry.task in ("classification", "multi-label"):
        assert output.shape == (len(x), num_classes)
    elif entry.task == "segmentation":
        assert output.shape == (len(x), num_classes, *x.shape[2:])
    elif entry.task == "reconstruction":
        assert output.shape == x.shape


def smallest(name, rank):
    return built(name, rank, "smallest")


class Drawn(NamedTuple):
    """A network on meta tensors, and a batch of its smallest inputs."""

    entry: ModelEntry
    rank: int
    model: torch.nn.Module
    x: torch.Tensor


@pytest.fixture(scope="module")
def drawn(request):
    """One network after the other, for all tests that need no values."""
    name, rank = request.param
    with torch.device("meta"):
        return Drawn(model_entry(name), rank, *smallest(name, rank))


def drawn_cases(suits=lambda entry: True):
    cases = [case for case in CASES if suits(model_entry(case[0]))]
    marked = [
        pytest.param(case, marks=[pytest.mark.slow] if repeats(*case) else [], id=f"{case[0]}-{case[1]}")
        for case in cases
    ]
    return pytest.mark.parametrize("drawn", marked, indirect=True)


def sized(entry):
    return "input_size" in entry.options


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "rank", "which"),
    by_weight([(*case, which) for case in CASES for which in ("usual", "smallest")], large_in_another_rank),
)
@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_of_one_sample(name, rank, which, training):
    model, x = built(name, rank, which, samples=8)
    model.train(training)
    batch, output = one_sample_or_all(model, x)
    every = [output] if isinstance(output, torch.Tensor) else [output.output, *output.auxiliary]
    assert all(each.isfinite().all() for each in every)
    check_shape(model_entry(name), main_output(output), batch)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        assert model_entry(name).learns_by != "gradients"
        return
    sum(each.square().mean() + each.flatten(1)[:, 0].mean() for each in every).backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if not training and parameter_name.startswith(tuple(getattr(model, "auxiliary_modules", ()))):
            continue
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    touched = sum(bool(parameter.grad.any()) for parameter in model.parameters() if parameter.grad is not None)
    assert touched or not any(each.any() for each in every)  # a last ReLU that closes every way


@pytest.mark.parametrize(("name", "rank"), by_weight(CASES))
def test_copy_and_state(name, rank):
    model, x = smallest(name, rank)
    model.eval()
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    twin, _ = smallest(name, rank)
    assert not torch.equal(twin.eval()(x), expected)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), expected)


@drawn_cases()
def test_can_be_built_without_memory(drawn):
    with torch.device("meta"):
        assert all(tensor.is_meta for tensor in drawn.model.state_dict().values())
        output = main_output(drawn.model(drawn.x))
        assert output.is_meta
        check_shape(drawn.entry, output, drawn.x)


@drawn_cases()
def test_inputs_that_do_not_fit_are_refused(drawn):
    x = drawn.x
    sizes = ", size" * drawn.rank
    if drawn.entry.input_kind == "tokens":
        for wrong in (x[0], x.float(), x[None]):
            with pytest.raises(ModelError, match="a batch of integer tokens of shape"):
                drawn.model(wrong)
        return
    for wrong in (x[0], x[:, :1]):
        with pytest.raises(ModelError) as error:
            drawn.model(wrong)
        assert str(error.value) == (
            f"Expected a batch of shape (N, 2{sizes}); received an input of shape {tuple(wrong.shape)}. "
            "Reshape it, or build the model with other spatial_dims or in_channels."
        )


@drawn_cases(sized)
def test_a_larger_input_is_refused_with_how_to_build_for_it(drawn):
    entry, rank = drawn.entry, drawn.rank
    size = tuple(extent + 1 for extent in entry.usual_size(rank))
    with torch.device("meta"):
        huge = entry.example((1, 2, *size))
        with pytest.raises(ModelError) as error:
            drawn.model(huge)
        assert error.value.remedy == f"Resize the input, or build the model with input_size={size}."
        larger = create_model(entry.name, spatial_dims=rank, in_channels=2, input_size=size)
        assert larger(huge).shape == (1, 10)
    with pytest.raises((ModelError, GeometryError)):
        create_model(entry.name, spatial_dims=rank, input_size=tuple(least - 1 for least in entry.smallest_size(rank)))


@drawn_cases(lambda entry: not sized(entry))
def test_a_smaller_input_is_refused_with_the_smallest(drawn):
    for axis, least in enumerate(drawn.entry.smallest_size(drawn.rank)):
        # Whether a network asks for one position is its own affair: its first layer refuses none.
        expected = pytest.raises(ModelError, match=f"at least {least}") if least > 1 else pytest.raises(InputError)
        with expected:
            drawn.model(drawn.x.narrow(axis - drawn.rank, 0, least - 1))


@pytest.mark.parametrize(("name", "rank"), by_weight(CASES, deep))
def test_batch_is_dynamic_in_export_and_samples_do_not_mix(name, rank):
    model, x = smallest(name, rank)
    model.double().eval()  # through a hundred layers the rounding of one sample and of five differs in float32
    many = model_entry(name).example((5, 2, *x.shape[-rank:]))
    x, many = (each.double() if each.is_floating_point() else each for each in (x, many))
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    torch.testing.assert_close(exported.module()(many), torch.cat([model(one[None]) for one in many]))


@pytest.mark.parametrize(
    "name", by_weight([(name,) for name in list_models()], lambda name: model_entry(name).macs > LAYERED)
)
def test_parameters_and_macs_are_those_registered(name):
    entry = model_entry(name)
    with torch.device("meta"):
        model = entry.usual_form().eval()
        example = entry.example((1, entry.in_channels, *entry.usual_size()))
    # What gradients do not train counts where it is learned in another way.
    learned = [each for each in model.parameters() if each.requires_grad or entry.learns_by != "gradients"]
    assert sum(each.numel() for each in learned) == entry.parameters
    assert summary(model, example).macs == entry.macs
    assert f"{entry.parameters:,} parameters" in entry.description


@pytest.mark.parametrize("name", ["lenet", "lenet5", "lenet_drawn", "two_conv"])
def test_learns_ten_pictures_by_heart(name):
    torch.manual_seed(1)
    model = create_model(name)
    pictures, labels = torch.randn(10, 1, 28, 28), torch.arange(10)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(25):
        optimiser.zero_grad()
        F.cross_entropy(model(pictures), labels).backward()
        optimiser.step()
    assert (model.eval()(pictures).argmax(1) == labels).all()
