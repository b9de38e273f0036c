"""Convolutional Boltzmann machines beside sums over all their states, and what a stack of them learns."""

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch.nn import functional as F

from striate.data import load_data
from striate.errors import ModelError
from striate.insight import filters
from striate.insight.figures import filter_figure
from striate.models import create_model, model_entry
from striate.models.belief import cdbn
from striate.models.conv_rbm import ConvRBM


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks as small as these gain nothing from threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(visible="binary", pool=2, size=1.0):
    """A machine on 5 units in a row that has 2 groups of 4 hidden units, in double precision."""
    machine = ConvRBM(1, 1, 2, 2, pool=pool, visible=visible).double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(3)) * size)
    return machine


def rows(length):
    """All rows of this many bits, (2 ** length, length)."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=length))).double()


def states(pool):
    """All allowed states of 2 groups of 4 hidden units: at most one on in every block."""
    every = rows(8).view(-1, 2, 4)
    return every[(every.unflatten(-1, (4 // pool, pool)).sum(-1) <= 1).all(-1).all(-1)]


def joint(machine, pool):
    """exp(-E) of all pairs, (visible states, hidden states), and the states."""
    v, h = rows(5).view(-1, 1, 5), states(pool)
    first, second = len(v), len(h)
    pairs = machine.energy(v.repeat_interleave(second, 0), h.repeat(first, 1, 1))
    return torch.exp(-pairs).view(first, second), v, h


@pytest.mark.parametrize("top_down", [None, 0.7])
def test_probabilistic_max_pooling_is_a_choice_among_the_units_of_a_block_and_none(top_down):
    machine = ConvRBM(2, 1, 1, 2, pool=2).double()
    signal = torch.randn(1, 1, 2, 2, generator=seeded()).double()
    told = None if top_down is None else torch.full((1, 1, 1, 1), top_down).double()
    # The five states of a block: none on, or one of four, which the signals from below and above favour.
    on = [torch.zeros(4).double(), *torch.eye(4).double()]
    weights = torch.stack([torch.exp((state * (signal.flatten() + (top_down or 0.0))).sum()) for state in on])
    expected = weights[1:] / weights.sum()
    hidden = machine.hidden(signal, told)
    torch.testing.assert_close(hidden.flatten(), expected)
    torch.testing.assert_close(machine.pooled(hidden).item(), 1 - (weights[0] / weights.sum()).item())


def test_blocks_lie_where_pooling_would_have_them_in_every_rank():
    for rank in (1, 2, 3):
        machine = ConvRBM(rank, 1, 3, 1, pool=2)
        h = torch.zeros(1, 3, *(6,) * rank)
        h[(0, 1, *(3,) * rank)] = 1
        assert machine.pooled(h)[(0, 1, *(1,) * rank)] == 1
        assert machine.pooled(h).sum() == 1
        x = torch.randn(2, 3, *(6,) * rank)
        assert torch.equal(machine._unblocked(machine._by_block(x)), x)
        expected = F.max_pool3d if rank == 3 else F.max_pool2d if rank == 2 else F.max_pool1d
        assert torch.equal(machine._by_block(x).amax(-1), expected(x, 2))


@pytest.mark.parametrize("pool", [1, 2])
def test_conditionals_are_those_of_the_joint_distribution(pool):
    machine = tiny(pool=pool)
    weights, v, h = joint(machine, pool)
    given_v = weights / weights.sum(1, keepdim=True)
    expected = (given_v @ h.flatten(1)).view(-1, 2, 4)
    torch.testing.assert_close(machine.hidden(machine.signal(v)), expected)
    pooled = expected.unflatten(-1, (4 // pool, pool)).sum(-1)
    torch.testing.assert_close(machine(v), pooled)
    torch.testing.assert_close(machine.pooled(expected), pooled)
    given_h = weights / weights.sum(0, keepdim=True)
    torch.testing.assert_close(machine.mean_visible(h, (5,)), (given_h.T @ v.flatten(1)).view(-1, 1, 5))
    torch.testing.assert_close(machine.free_energy(v), -weights.sum(1).log())


def test_gaussian_units_have_the_mean_and_free_energy_of_their_energy():
    machine = tiny("gaussian")
    v = torch.randn(3, 1, 5, generator=seeded()).double()
    h = states(2)
    energies = torch.stack([machine.energy(v, state.expand(3, 2, 4)) for state in h])
    torch.testing.assert_close(machine.free_energy(v), -torch.logsumexp(-energies, 0))
    # A Gaussian of unit variance: its mean is where the energy is least, and that grows by half the square around it.
    mean = machine.mean_visible(h, (5,))
    away = torch.randn(mean.shape, generator=seeded()).double()
    growth = machine.energy(mean + away, h) - machine.energy(mean, h)
    torch.testing.assert_close(growth, 0.5 * away.square().flatten(1).sum(1))
    drawn = machine.sample_visible(torch.full((20000, 1, 1), 3.0), seeded())
    assert (drawn.mean().item(), drawn.std().item()) == pytest.approx((3.0, 1.0), abs=0.03)


def test_samples_have_the_probabilities_they_are_drawn_from():
    machine = ConvRBM(2, 1, 1, 1, pool=2)
    probability = torch.tensor([[0.1, 0.5], [0.0, 0.2]]).expand(20000, 1, 2, 2)
    drawn = machine.sample_hidden(probability, seeded())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.flatten(1).sum(1).max() == 1
    torch.testing.assert_close(drawn.mean(0), probability[0], atol=0.02, rtol=0)
    p = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(20000, 1, 1, 2)
    spread = machine.unpooled(p, seeded())
    assert torch.equal(machine.pooled(spread), p)
    torch.testing.assert_close(spread[..., :2].mean((0, 1)), torch.full((2, 2), 0.25), atol=0.02, rtol=0)


def exact_gradient(machine, data, pool=2):
    """The gradient of the mean log-likelihood of the data, by summing over all states."""
    copied = copy.deepcopy(machine).requires_grad_()
    free = copied.free_energy(rows(5).view(-1, 1, 5))
    likelihood = -copied.free_energy(data).mean() - torch.logsumexp(-free, 0)
    gradients = torch.autograd.grad(likelihood, list(copied.parameters()))
    # `contrast` gives means over the 4 hidden and the 5 visible places.
    return [gradients[0] / 4, gradients[1] / 4, gradients[2] / 5], likelihood.item()


def test_contrastive_divergence_goes_up_the_likelihood():
    machine = tiny(size=0.7)
    data = rows(5).view(-1, 1, 5)[[3, 6, 12, 24]]
    exact, _ = exact_gradient(machine, data)
    generator = seeded()

    def likeness(steps):
        found = machine.contrast(data.repeat(4000, 1, 1), steps=steps, generator=generator)
        ours, theirs = (torch.cat([part.flatten() for part in parts]) for parts in (found, exact))
        return F.cosine_similarity(ours, theirs, dim=0).item()

    assert likeness(1) > 0.8
    # Many steps forget the data: what remains is the gradient itself.
    assert likeness(30) > 0.97


def test_learning_raises_the_exact_likelihood_and_reaches_the_sparsity_asked_for():
    machine = tiny(size=0.1)
    data = rows(5).view(-1, 1, 5)[[3, 6, 12, 24]].repeat(10, 1, 1)
    _, before = exact_gradient(machine, data)
    machine.fit(data, epochs=60, sparsity_target=None, learning_rate=0.5, generator=seeded())
    _, after = exact_gradient(machine, data)
    assert after > before + 0.5
    told = []
    sparse = tiny(size=0.1)
    sparse.fit(
        data,
        epochs=60,
        sparsity_target=0.05,
        sparsity_rate=20.0,
        generator=seeded(),
        progress=lambda *facts: told.append(facts),
    )
    assert told[-1][0] == 60
    assert told[-1][2] == pytest.approx(0.05, abs=0.02)
    assert sparse.hidden(sparse.signal(data)).mean().item() == pytest.approx(told[-1][2], abs=0.02)


def test_units_that_fill_no_block_are_not_there():
    machine = ConvRBM(2, 1, 3, 2, pool=2)
    v = torch.rand(2, 1, 6, 7, generator=seeded())
    assert machine.signal(v).shape == (2, 3, 4, 6)
    h = machine.hidden(machine.signal(v))
    again = machine.mean_visible(h, (6, 7))
    assert again.shape == v.shape
    assert (again[:, :, 5] == 0.5).all()
    assert machine.contrast(v).weight.shape == machine.weight.shape
    assert machine.reconstruction_error(v).shape == (2,)


def test_layers_and_their_sizes():
    network = cdbn(2, 1, 10)
    first, second = network.pooled(torch.rand(1, 1, 28, 28))
    assert first.shape == (1, 40, 8, 8)
    assert second.shape == (1, 40, 1, 1)
    assert network.layer(1).weight.shape == (40, 1, 12, 12)
    assert network.layer(2).weight.shape == (40, 40, 6, 6)
    entry = model_entry("cdbn")
    assert entry.year == 2009
    assert "contrastive divergence" in entry.description
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["classifier.weight", "classifier.bias"]


def placed_digits(part, count, generator):
    """Scanned digits of 12 x 12 somewhere in 16 x 16."""
    images, labels = part.fetch(range(count))
    images = F.interpolate(images.float() / 16, size=(12, 12), mode="bilinear", align_corners=False)
    places = torch.randint(0, 5, (count, 2), generator=generator).tolist()
    return torch.stack([F.pad(i, (x, 4 - x, y, 4 - y)) for i, (x, y) in zip(images, places, strict=True)]), labels


def test_features_learned_without_labels_serve_an_svm_better_than_pixels():
    data, generator = load_data("digits"), seeded(1)
    images, labels = placed_digits(data.train, 1000, generator)
    unseen, truth = placed_digits(data.test, 300, generator)
    network = cdbn(2, 1, 10, input_size=16, groups=(24, 40), kernel_sizes=(5, 3))
    fresh = copy.deepcopy(network)
    told = []
    settings = {"epochs": 3, "sparsity_target": 0.1, "sparsity_rate": 1.0, "generator": generator}
    network.learn(images[:600], progress=lambda *facts: told.append(facts), **settings)
    assert [facts[:2] for facts in told] == [(layer, epoch) for layer in (1, 2) for epoch in (1, 2, 3)]
    assert told[2][2] < 0.5 * fresh.layer(1).reconstruction_error(images).mean()

    def accuracy(describe):
        table, test = describe(images), describe(unseen)
        middle = table.mean(0)
        return SVC(kernel="linear", C=10).fit(table - middle, labels).score(test - middle, truth)

    by_pixels, by_features = accuracy(lambda x: x.flatten(1).numpy()), accuracy(network.features)
    assert by_pixels < 0.72
    assert by_features > 0.78
    assert accuracy(fresh.features) < by_features - 0.2
    drawing = filter_figure(torch.from_numpy(network.first_layer_features()), "rbm1")
    assert len(drawing.axes) >= 24
    np.testing.assert_array_equal(filters(network)["rbm1"].numpy(), network.first_layer_features())


def test_a_layer_is_taught_with_those_below_fixed_and_follows_the_generator():
    images = torch.rand(20, 1, 12, 12, generator=seeded())
    network = cdbn(2, 1, 3, input_size=12, groups=(3, 4), kernel_sizes=(3, 3))
    before, twin = copy.deepcopy(network.state_dict()), copy.deepcopy(network)
    network.fit_layer(images, 2, epochs=2, generator=seeded())
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["rbm2.weight", "rbm2.hidden_bias", "rbm2.visible_bias"]
    twin.fit_layer(images, 2, epochs=2, generator=seeded())
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    assert torch.equal(network.sample(2, steps=3, generator=seeded()), twin.sample(2, steps=3, generator=seeded()))


def test_samples_look_like_the_images_learned():
    """Images of a few bright columns: samples, too, vary far more between columns than along them."""
    generator = seeded()
    columns = (torch.rand(200, 1, 1, 12, generator=generator) < 0.3).float()
    images = columns.expand(200, 1, 12, 12)
    network = cdbn(2, 1, 2, input_size=12, groups=(8, 8), kernel_sizes=(3, 3))
    network.learn(images, epochs=15, generator=generator)
    drawn = network.sample(50, steps=30, generator=generator)
    assert drawn.shape == (50, 1, 12, 12)
    inner = drawn[..., 2:-2, 2:-2]
    assert inner.diff(dim=2).abs().mean() < 0.7 * inner.diff(dim=3).abs().mean()


def test_the_layer_above_fills_in_what_is_missing():
    network = cdbn(1, 1, 2, input_size=12, groups=(3, 4), kernel_sizes=(3, 3))
    images = torch.rand(2, 1, 12, generator=seeded())
    below, above = network.layer(1), network.layer(2)
    alone = below.hidden(below.signal(images))
    torch.testing.assert_close(network.hidden_with_context(images, 1, rounds=0), alone)
    with torch.no_grad():
        above.weight.zero_()
    torch.testing.assert_close(network.hidden_with_context(images, 1), alone)
    with torch.no_grad():
        above.weight.fill_(1.0)
        above.hidden_bias.fill_(5.0)
    favoured = network.hidden_with_context(images, 1, rounds=1)
    assert below.pooled(favoured).mean() > below.pooled(alone).mean()
    assert (below.pooled(favoured) <= 1 + 1e-6).all()
    top = above.hidden(above.signal(below.pooled(alone)))
    torch.testing.assert_close(network.hidden_with_context(images, 2), top)


def test_features_of_the_second_layer_are_sums_of_those_below():
    network = cdbn(1, 1, 2, input_size=12, groups=(3, 4), kernel_sizes=(3, 2))
    low, high = network.layer(1).weight, network.layer(2).weight
    expected = torch.zeros(4, 1, 6)
    for k, group, place, tap in itertools.product(range(4), range(3), range(2), range(3)):
        expected[k, 0, 2 * place + tap] += high[k, group, place] * low[group, 0, tap]
    np.testing.assert_allclose(network.layer_features(2), expected.detach(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank):
    network = create_model(
        "cdbn", spatial_dims=rank, in_channels=2, input_size=8, groups=(3,), kernel_sizes=(3,), visible="gaussian"
    )
    images = torch.randn(6, 2, *(8,) * rank, generator=seeded())
    network.learn(images, epochs=1, learning_rate=0.01, generator=seeded())
    assert network.features(images).shape == (6, 3 * 3**rank)
    assert network.sample(2, steps=2, generator=seeded()).shape == (2, 2, *(8,) * rank)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ConvRBM(2, 1, 3, 3, visible="ternary"), 'visible units "binary" or "gaussian"'),
        (lambda: ConvRBM(2, 1, 3, 3, pool=0), "pool to be an integer of 1 or more"),
        (
            lambda: ConvRBM(2, 1, 3, 3).fit(torch.full((1, 1, 8, 8), 2.0)),
            "values from 0 to 1 as visible units are binary",
        ),
        (lambda: ConvRBM(2, 1, 3, 3).fit(torch.zeros(0, 1, 8, 8)), "one or more images"),
        (lambda: ConvRBM(2, 1, 3, 3)(torch.zeros(1, 1, 3, 8)), "at least 4 per axis"),
        (lambda: cdbn(2, 1, 3, groups=(4, 4), kernel_sizes=(3,)), "as many kernel_sizes as groups"),
        (lambda: cdbn(2, 1, 3, input_size=24), "an input_size of at least 25 per axis"),
        (lambda: cdbn(2, 1, 3).layer(3), "a layer from 1 to 2"),
        (lambda: cdbn(2, 1, 3).features(torch.zeros(1, 1, 28, 28), (0,)), "a layer from 1 to 2"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ModelError, match=message):
        wrong()
