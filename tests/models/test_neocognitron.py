"""The neocognitron: its equations beside loops, its competition, and that it learns what the paper says it learns."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from striate.data import load_data
from striate.errors import ModelError
from striate.insight import filters
from striate.insight.figures import filter_figure
from striate.models import create_model, model_entry
from striate.models.neocognitron import CellClasses, CLayer, Neocognitron, SLayer, Stage, neocognitron

DRAWN = (
    ".####. #....# #....# #....# #....# #....# #....# .####.",
    "..#... .##... ..#... ..#... ..#... ..#... ..#... .####.",
    ".####. #....# .....# ....#. ...#.. ..#... .#.... ######",
    "#####. .....# .....# ..###. .....# .....# .....# #####.",
    "....#. ...##. ..#.#. .#..#. #...#. ###### ....#. ....#.",
)
# Horizontal, vertical and diagonal bars.
SHAPES = torch.stack(
    [
        torch.eye(5)[2].view(5, 1).expand(5, 5),
        torch.eye(5)[2].expand(5, 5),
        torch.eye(5),
        torch.eye(5).flip(0),
    ]
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Layers of a few cells, one pattern at a time, gain nothing from threads, which must wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(digit, top, left):
    """One of five drawn digits, somewhere in a field of 16 x 16."""
    strokes = torch.tensor([[float(pixel == "#") for pixel in row] for row in DRAWN[digit].split()])
    field = torch.zeros(1, 16, 16)
    field[0, top : top + 8, left : left + 6] = strokes
    return field


def bars(count, generator):
    """Bars of four orientations at random places, and their orientation."""
    kinds = torch.arange(count) % 4
    images = torch.zeros(count, 1, 16, 16)
    for image, kind in zip(images, kinds, strict=True):
        top, left = torch.randint(0, 12, (2,), generator=generator).tolist()
        image[0, top : top + 5, left : left + 5] = SHAPES[kind]
    return images, kinds


def digits(part, count):
    """Scanned digits of 12 x 12 in the middle of 16 x 16."""
    images, labels = part.fetch(range(count))
    images = F.interpolate(images.float() / 16, size=(12, 12), mode="bilinear", align_corners=False)
    return F.pad(images, (2, 2, 2, 2)), labels


def test_layers_have_the_sizes_of_the_paper():
    network = neocognitron(2, 1, 10)
    x = torch.rand(1, 1, 16, 16)
    assert [tuple(network.cells(x, layer).shape[1:]) for layer in (1, 2, 3)] == [(24, 10, 10), (24, 6, 6), (24, 1, 1)]
    sizes = [tuple(network.s_layer(layer)(network.cells(x, layer - 1)).shape[1:]) for layer in (1, 2, 3)]
    assert sizes == [(24, 16, 16), (24, 8, 8), (24, 2, 2)]
    assert [network.s_layer(layer).a.numel() for layer in (1, 2, 3)] == [25 * 24, 25 * 24 * 24, 25 * 24 * 24]
    assert [network.s_layer(layer).b.numel() for layer in (1, 2, 3)] == [24] * 3
    assert [network.s_layer(layer).selectivity for layer in (1, 2, 3)] == [4.0, 1.5, 1.5]
    assert [network.s_layer(layer).rate for layer in (1, 2, 3)] == [1.0, 16.0, 16.0]
    entry = model_entry("neocognitron")
    assert entry.year == 1980
    assert "without a teacher" in entry.description
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_s_and_c_cells_compute_the_equations_of_the_paper():
    layer = SLayer(2, 2, 3, 3, padding=1, selectivity=1.5, rate=1.0, column=3).double()
    with torch.no_grad():
        layer.a.uniform_()
        layer.b.uniform_()
    torch.testing.assert_close(layer.c.sum(), torch.tensor(1.0).double())
    assert layer.c[0, 0, 1, 1] > layer.c[0, 0, 0, 1] > layer.c[0, 0, 0, 0] > 0
    u = torch.rand(1, 2, 4, 5).double()
    padded = F.pad(u, (1, 1, 1, 1))[0]
    output, r = layer(u), 1.5
    for k, y, x in itertools.product(range(3), range(4), range(5)):
        seen = padded[:, y : y + 3, x : x + 3]
        v = (layer.c[0] * seen**2).sum().sqrt()
        ratio = (1 + (layer.a[k] * seen).sum()) / (1 + 2 * r / (1 + r) * layer.b[k] * v)
        torch.testing.assert_close(output[0, k, y, x], r * (ratio - 1).clamp(min=0))

    pooling = CLayer(2, 5).double()
    pooled = pooling(output)
    assert pooled.shape == (1, 3, 4, 4)
    padded = F.pad(output, (3, 4, 3, 4))[0]
    for y, x in itertools.product(range(4), range(4)):
        sums = [(pooling.d[0, 0] * padded[k, 2 * y : 2 * y + 5, 2 * x : 2 * x + 5]).sum() for k in range(3)]
        for k in range(3):
            beyond = ((1 + sums[k]) / (1 + sum(sums) / 3) - 1).clamp(min=0)
            torch.testing.assert_close(pooled[0, k, y, x], beyond / (0.5 + beyond))


@pytest.mark.parametrize("column", [1, 3, None])
def test_representatives_are_the_strongest_of_every_column_and_then_of_every_plane(column):
    layer = SLayer(2, 1, 4, padding=2, selectivity=1.0, rate=1.0, column=column)
    output = torch.rand(4, 6, 7, generator=seeded()).sub(0.3).clamp(min=0)
    height, width = (column, column) if column else (6, 7)
    candidates = set()
    for y, x in itertools.product(range(6 - height + 1), range(7 - width + 1)):
        cells = output[:, y : y + height, x : x + width]
        k, dy, dx = np.unravel_index(int(cells.argmax()), cells.shape)
        candidates.add((float(cells.max()), int(k), (y + int(dy), x + int(dx))))
    expected = {}
    for value, plane, place in sorted(candidates, reverse=True):
        if value > 0:
            expected.setdefault(plane, place)
    assert layer.representatives(output) == expected
    assert layer.representatives(torch.zeros(4, 6, 7)) == {}


def test_reinforcement_adds_what_the_representative_saw_to_its_plane_alone():
    layer = SLayer(2, 2, 3, padding=2, selectivity=4.0, rate=2.0, column=None)
    u = torch.rand(2, 6, 6, generator=seeded())
    ((plane, (y, x)),) = layer.representatives(layer(u[None])[0]).items()
    a, b, v = layer.a.clone(), layer.b.clone(), layer.inhibition(u[None])[0, 0]
    assert layer.reinforce(u) == 1
    seen = F.pad(u, (2, 2, 2, 2))[:, y : y + 5, x : x + 5]
    a[plane] += 2.0 * layer.c[0] * seen
    b[plane] += 1.0 * v[y, x]
    torch.testing.assert_close(layer.a.data, a)
    torch.testing.assert_close(layer.b.data, b)


def test_a_taught_plane_answers_by_similarity_above_a_threshold_that_selectivity_sets():
    """With strong synapses the answer is (1 + r) s - r for the similarity s, so none below r / (1 + r)."""
    r = 4.0
    layer = SLayer(1, 3, 1, 1, padding=0, selectivity=r, rate=1e6, column=None).double()
    layer.reinforce(torch.tensor([1.0, 0.0, 0.0]).double().view(3, 1))
    for similarity in (1.0, 0.95, 0.85, 0.75, 0.2):
        u = torch.tensor([similarity, (1 - similarity**2) ** 0.5, 0.0]).double().view(1, 3, 1)
        assert float(layer(u)) == pytest.approx(max(0.0, (1 + r) * similarity - r), abs=1e-3)


def test_planes_come_to_prefer_orientations():
    network = neocognitron(2, 1, 4, planes=80)
    network.fit_layer(bars(80, seeded())[0], 1, generator=seeded())
    # What the cells in the middle of a bar answer to each orientation, (orientation, plane).
    bar = F.pad(SHAPES[:, None], (6, 5, 6, 5))
    answers = network.s1(bar)[:, :, 8, 8]
    preferred = answers.argmax(1).tolist()
    assert len(set(preferred)) == 4
    for orientation, plane in enumerate(preferred):
        others = [other for other in range(4) if other != orientation]
        assert answers[orientation, plane] > 3 * answers[others, plane].max()
    drawing = filter_figure(torch.from_numpy(network.first_layer_features()), "s1")
    assert len(drawing.axes) >= 64
    np.testing.assert_array_equal(filters(network)["s1"].numpy(), network.first_layer_features())


@pytest.mark.parametrize("together", [False, True])
def test_each_drawn_digit_comes_to_have_a_cell_wherever_it_stands(together):
    """The paper's first experiment: five patterns, each presented 20 times, at random places, with its parameters."""
    network = neocognitron(2, 1, 5)
    places = torch.randint(1, 7, (20, 5, 2), generator=seeded()).tolist()
    shown = torch.stack([drawn(digit, *row[digit]) for row in places for digit in range(5)])
    told = []
    network.learn(
        shown, presentations=1, together=together, generator=seeded(), progress=lambda *facts: told.append(facts[:2])
    )
    network.name_cells(shown, torch.arange(5).repeat(20))
    assert told == [(1, 1), (2, 1), (3, 1)]
    everywhere = torch.stack([drawn(d, top, left) for top in range(1, 8) for left in range(1, 9) for d in range(5)])
    digit = torch.arange(5).repeat(56)
    assert (network(everywhere).argmax(1) == digit).float().mean() > 0.9
    winner = network.features(everywhere).argmax(1)
    main = [np.bincount(winner[digit.numpy() == d]).argmax() for d in range(5)]
    assert len(set(main)) == 5


def test_scanned_digits_are_told_apart_without_labels_and_though_shifted():
    data = load_data("digits")
    images, labels = digits(data.train, 250)
    unseen, truth = digits(data.test, 200)
    network = neocognitron(2, 1, 10, selectivity=(8.0, 2.5, 1.5))
    network.learn(images, presentations=2, generator=seeded()).name_cells(images, labels)

    def by_cells(shown):
        return (network(shown).argmax(1) == truth).float().mean().item()

    def by_nearest_pixels(shown):
        nearest = torch.cdist(shown.flatten(1), images.flatten(1)).argmin(1)
        return (labels[nearest] == truth).float().mean().item()

    assert by_cells(unseen) > 0.7
    shifted = torch.roll(unseen, (2, 2), dims=(2, 3))
    assert by_nearest_pixels(shifted) < 0.3
    assert by_cells(shifted) > 0.5
    # The last C-cells' answers and those below are features for other learners too.
    assert network.features(images, layers=(1, 3)).shape == (250, 24 * 100 + 24)


def test_learning_is_layer_by_layer_and_follows_the_generator():
    images, _ = bars(12, seeded())
    network = neocognitron(2, 1, 4, planes=(6, 5, 4))
    before = copy.deepcopy(network)
    twin = copy.deepcopy(network)
    network.fit_layer(images, 2, presentations=2, generator=seeded())
    changed = [
        name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before.state_dict()[name])
    ]
    assert changed == ["s2.a", "s2.b"]
    twin.fit_layer(images, 2, presentations=2, generator=seeded())
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    network.name_cells(images, torch.arange(12) % 4)
    fresh = neocognitron(2, 1, 4, planes=(6, 5, 4))
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(images), network(images))


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes_are_learned_too(rank):
    network = create_model("neocognitron", spatial_dims=rank, num_classes=2, planes=4)
    images = torch.zeros(2, 1, *(16,) * rank)
    images[0, 0, ..., 5:8], images[1, 0, ..., 4:12:2] = 1, 1
    labels = torch.tensor([0, 1])
    network.learn(images, presentations=3, generator=seeded()).name_cells(images, labels)
    assert network(images).argmax(1).tolist() == [0, 1]
    shifted = torch.roll(images, 1, dims=-1)
    assert network(shifted).argmax(1).tolist() == [0, 1]


def test_gradients_of_an_empty_image_are_numbers():
    network = neocognitron(2, 1, 3)
    network.learn(bars(4, seeded())[0], presentations=1)
    image = torch.zeros(1, 1, 16, 16, requires_grad=True)
    network(image).sum().backward()
    assert image.grad.isfinite().all()


def test_a_class_without_cells_scores_nothing():
    classes = CellClasses(3, 3)
    classes.owner.copy_(torch.tensor([2, -1, 2]))
    torch.testing.assert_close(classes(torch.tensor([[0.2, 0.9, 0.4]])), torch.tensor([[0.0, 0.0, 0.4]]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: neocognitron(2, 1, 3, planes=(4, 4)), "one for each of the three stages"),
        (lambda: neocognitron(2, 1, 3, selectivity=(1.0, 0.0, 1.0)), "selectivity as a positive number"),
        (lambda: Neocognitron(2, 1, 3, [Stage(4, 2, 1.0, 1.0)]), "only it, has pool=None"),
        (lambda: neocognitron(2, 1, 3).learn(torch.full((1, 1, 16, 16), -1.0)), "values of 0 or more"),
        (lambda: neocognitron(2, 1, 3).learn(torch.zeros(0, 1, 16, 16)), "one or more images"),
        (lambda: neocognitron(2, 1, 3).fit_layer(torch.zeros(1, 1, 16, 16), 4), "a layer from 1 to 3"),
        (lambda: neocognitron(2, 1, 3).features(torch.zeros(1, 1, 16, 16), (0,)), "a layer from 1 to 3"),
        (
            lambda: neocognitron(2, 1, 3).name_cells(torch.zeros(1, 1, 16, 16), torch.tensor([3])),
            "a label from 0 to 2 for each of 1 images",
        ),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ModelError, match=message):
        wrong()
