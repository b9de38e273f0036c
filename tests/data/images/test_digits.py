"""The embedded digits are scikit-learn's, and their enlargement is Pillow's bicubic."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from striate.data import Preprocessing, load_data


def test_digits_are_those_of_scikit_learn():
    truth = load_digits()
    dataset = load_data("digits", val_fraction=0, test_fraction=0)
    assert dataset.train.inputs.dtype == torch.uint8
    assert np.array_equal(dataset.train.inputs[:, 0].numpy(), truth.images)
    assert np.array_equal(dataset.train.labels.numpy(), truth.target)
    assert dataset.classes == tuple(str(name) for name in truth.target_names)
    assert (dataset.kind, dataset.value_scale, dataset.val, dataset.test) == ("digits", 16.0, None, None)


def test_digits28_are_pillows_bicubic_enlargement():
    truth = load_digits().images
    found = load_data("digits28", val_fraction=0, test_fraction=0).train.inputs[:, 0].double().numpy()
    for index in range(0, 1797, 150):
        grey = Image.fromarray((truth[index] * (255 / 16)).astype(np.float32))
        wanted = np.asarray(grey.resize((28, 28), Image.Resampling.BICUBIC)).clip(0, 255)
        assert np.abs(found[index] - wanted).max() <= 0.51


def test_digits_are_scaled_by_sixteen():
    dataset = load_data("digits")
    inputs, _ = dataset.train.fetch(range(len(dataset.train)))
    scaled = Preprocessing.fit(dataset)(inputs).double()
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std(correction=0) - 1) < 1e-5
    assert Preprocessing.fit(dataset).value_scale == 16
