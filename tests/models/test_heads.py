"""Heads for other tasks: what is replaced, that grouped heads are separate ones, and the losses."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models import HEAD_LOSSES, MultiTaskHead, create_model, replace_head
from striate.models.heads import L2Normalize, multi_label_loss, output_layers, regression_loss, triplet_loss
from striate.models.outputs import main_output


def picture(count=4):
    return torch.rand(count, 1, 28, 28)


@pytest.mark.parametrize("kind", ["classification", "multi_label", "regression"])
def test_a_head_of_other_outputs_leaves_the_rest(kind):
    model = create_model("lenet").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert replace_head(model, 7, kind) is model
    assert model(picture()).shape == (4, 7)
    assert not model.fc3.training
    for name, tensor in model.state_dict().items():
        assert name.startswith("fc3.") or torch.equal(tensor, before[name])
    HEAD_LOSSES["regression"](model(picture()), torch.rand(4, 7)).backward()
    assert model.fc3.weight.grad.any()
    assert model.conv1.weight.grad.any()


def test_a_head_takes_type_and_device_of_the_old_one():
    assert replace_head(create_model("lenet").double(), 3).fc3.weight.dtype == torch.float64
    with torch.device("meta"):
        model = create_model("lenet")
    assert replace_head(model, 3, "multi_task", tasks=2).fc3.heads.weight.is_meta
    assert replace_head(create_model("lenet5"), 3)(picture()).shape == (4, 3)


def test_embeddings_have_length_one():
    model = replace_head(create_model("lenet"), 16, "embedding")
    torch.testing.assert_close(model(picture()).norm(dim=1), torch.ones(4))
    again = replace_head(copy.deepcopy(create_model("squeezenet1_1")), 16, "embedding").eval()
    torch.testing.assert_close(again(torch.rand(2, 1, 64, 64)).norm(dim=1), torch.ones(2))


def test_activations_behind_the_head_stay_for_classes_only():
    def fresh():
        return create_model("squeezenet1_1").eval()

    x = torch.rand(2, 1, 64, 64)
    assert isinstance(replace_head(fresh(), 5).classifier[2], nn.ReLU)
    model = replace_head(fresh(), 5, "regression")
    assert isinstance(model.classifier[2], nn.Identity)
    model.classifier[1].bias.data.fill_(-100)
    assert (model(x) < 0).all()
    assert replace_head(fresh(), (3, 2), "multi_task")(x).shape == (2, 5)


def test_auxiliary_heads_follow():
    with torch.device("meta"):
        model = replace_head(create_model("googlenet"), 4)
        output = model(torch.zeros(2, 1, 64, 64))
    assert [tuple(each.shape) for each in (output.output, *output.auxiliary)] == [(2, 4)] * 3
    assert output_layers(model) == ("fc", "aux1.fc2", "aux2.fc2")
    assert main_output(output) is output.output


def test_final_convolutions_stay_convolutions():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, 1, 2, 2))
    assert replace_head(model, 6, layer="2")(picture()).shape == (4, 6, 28, 28)
    with pytest.raises(ModelError, match="a final convolution of size and stride 1 for several tasks"):
        replace_head(model, (1, 2), "multi_task", layer="2")
    model[2] = nn.Conv2d(4, 2, 1)
    maps = replace_head(model, 3, "multi_task", tasks=2, layer="2")(picture())
    assert maps.shape == (4, 6, 28, 28)
    replace_head(model, 3, "embedding", layer="0")
    assert isinstance(model[-1], L2Normalize)


# Several tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("outputs", [(4, 4, 4), (10, 2, 3), (1,)])
def test_one_grouped_convolution_is_as_many_separate_heads(rank, outputs):
    head = MultiTaskHead(6, outputs, spatial_dims=rank)
    assert head.heads.groups == len(outputs)
    x = torch.randn(5, 6, *(3,) * rank)
    parts = head.split(head(x))
    weights = head.heads.weight.flatten(1).view(len(outputs), max(outputs), 6)
    biases = head.heads.bias.view(len(outputs), max(outputs))
    for part, weight, bias, count in zip(parts, weights, biases, outputs, strict=True):
        separate = F.linear(x.movedim(1, -1), weight[:count], bias[:count]).movedim(-1, 1)
        torch.testing.assert_close(part, separate)


def test_tasks_with_hidden_units_do_not_see_each_other():
    head = MultiTaskHead(6, (3, 2), hidden=5)
    x = torch.randn(4, 6)
    first, second = head.split(head(x))
    first.sum().backward()
    hidden, last = head.hidden[0].weight.grad, head.heads.weight.grad
    assert hidden[:5].any()
    assert last[:3].any()
    assert not hidden[5:].any()
    assert not last[3:].any()
    separate = F.relu(F.linear(x, head.hidden[0].weight[5:, :, 0], head.hidden[0].bias[5:]))
    torch.testing.assert_close(second, F.linear(separate, head.heads.weight[3:5, :, 0], head.heads.bias[3:5]))


def test_the_loss_of_several_tasks_leaves_out_missing_labels():
    head = MultiTaskHead(6, (3, 2))
    output = torch.randn(4, 5)
    labels = torch.tensor([[0, 1], [2, -100], [1, 0], [0, -100]])
    first = F.cross_entropy(output[:, :3], labels[:, 0])
    second = F.cross_entropy(output[[0, 2], 3:], labels[[0, 2], 1])
    torch.testing.assert_close(head.loss(output, labels), (first + second) / 2)
    labels[:, 1] = -100
    torch.testing.assert_close(head.loss(output, labels), first / 2)


def test_a_network_of_many_tasks_learns_and_is_exported():
    model = replace_head(create_model("lenet"), 2, "multi_task", tasks=40)
    x, labels = picture(8), torch.randint(2, (8, 40))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        losses.append(model.fc3.loss(model(x), labels))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.02
    model.eval()
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(model, (x,), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(x[:3]), model(x[:3]))
    twin = replace_head(create_model("lenet"), (2,) * 40, "multi_task").eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))


# Losses --------------------------------------------------------------------------------------------------------------


def test_losses_take_targets_as_people_have_them():
    output = torch.tensor([[2.0], [-1.0]])
    torch.testing.assert_close(regression_loss(output, torch.tensor([1, 1])), torch.tensor(2.5))
    chances = output.sigmoid()
    expected = -(chances[0].log() + (1 - chances[1]).log()).mean() / 2
    torch.testing.assert_close(multi_label_loss(output, torch.tensor([[1], [0]])), expected)


def test_triplets_compare_the_farthest_fellow_with_the_nearest_stranger():
    points = F.normalize(torch.randn(12, 4, dtype=torch.float64), dim=1).requires_grad_()
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 5])
    expected = []
    for anchor in range(9):
        distance = (points[anchor] - points).norm(dim=1)
        fellows = labels == labels[anchor]
        expected.append((distance[fellows].max() - distance[~fellows].min() + 0.2).clamp(min=0))
    loss = triplet_loss(points, labels)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    loss.backward()
    assert points.grad.isfinite().all()
    for lonely in (torch.arange(12), torch.zeros(12)):
        points.grad = None
        loss = triplet_loss(points, lonely)
        assert loss == 0
        loss.backward()
        assert not points.grad.any()


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, "classify"), "kind to be one of classification"),
        ((0,), "positive numbers of outputs"),
        ((True,), "positive numbers of outputs"),
        (((3, 2), "regression"), 'Use kind="multi_task" for several tasks.'),
        ((3, "multi_task"), "the number of tasks, or the outputs of each"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ModelError) as error:
        replace_head(create_model("lenet"), *arguments)
    assert message in str(error.value)


def test_wrong_layers_are_refused_before_anything_changes():
    model = create_model("lenet")
    with pytest.raises(ModelError, match="a final layer that is dense or a convolution; received 'pool1'"):
        replace_head(model, 3, layer="pool1")
    with pytest.raises(ModelError, match="the name of the layer to replace; received 'fc9'"):
        replace_head(model, 3, layer="fc9")
    with pytest.raises(ModelError, match="names its final layer"):
        replace_head(nn.Sequential(nn.Linear(2, 2)), 3)
    with pytest.raises(ModelError, match="outputs for each of one or more tasks"):
        MultiTaskHead(4, ())
    with pytest.raises(ModelError, match="hidden units per task"):
        MultiTaskHead(4, (2,), hidden=-1)
    assert model(picture()).shape == (4, 10)
