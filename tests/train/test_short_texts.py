"""Texts that are shorter than a network takes: filled up where that can be, and refused in words where not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from striate.data import TensorSamples, load_data
from striate.errors import DataError, ModelError
from striate.train import Quiet, Run, RunConfig, evaluate, fit, predict
from striate.train.network import shortest_text

if TYPE_CHECKING:
    from pathlib import Path

LABELLED = [("1", "lovely"), ("0", "dull"), ("1", "lovely"), ("0", "lovely")]
SMALL = {"name": "char_cnn_small", "options": {}}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    words = (("1 lovely", "film"), ("0 dull", "book"))
    lines = [f"{word} {noun} number {number}" for number in range(20) for word, noun in words]
    (tmp_path / "reviews.txt").write_text("\n".join(lines))
    return tmp_path / "reviews.txt"


def config_of(source: Path, model: dict[str, Any], **options: Any) -> RunConfig:
    return RunConfig.from_dict(
        {"model": model, "data": {"source": str(source), "options": options}, "epochs": 1, "device": "cpu"}
    )


@pytest.mark.parametrize(
    ("model", "length"),
    [(SMALL, 123), (SMALL | {"options": {"input_size": [150]}}, 150), (SMALL | {"options": {"input_size": 130}}, 130)],
)
def test_texts_are_filled_up_to_what_the_network_takes(reviews: Path, tmp_path: Path, model: Any, length: int) -> None:
    config = config_of(reviews, model, unit="characters")
    assert shortest_text(config.model) == length
    run = fit(config, tmp_path / "run", reporter=Quiet())
    assert run.item_shape == (length,)
    assert evaluate(run, bootstrap=0).count == 8
    (tmp_path / "new.txt").write_text("a lovely film\n")
    assert predict(run, tmp_path / "new.txt")[0].label in ("0", "1")
    assert Run.open(tmp_path / "run").preprocessing.size == (length,)


def test_longer_texts_stay_as_they_are(reviews: Path) -> None:
    whole = load_data(reviews)
    assert load_data(reviews, shortest=3).input_size == whole.input_size == (5,)
    longer = load_data(reviews, shortest=7, options={"min_length": 6})
    assert longer.input_size == (7,)
    assert load_data(reviews, shortest=6, options={"min_length": 7}).input_size == (7,)
    inputs, _ = longer.train.fetch([0])
    assert inputs[0, 4:].tolist() == [0, 0, 0]


def test_where_it_cannot_be(reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as cut:
        fit(config_of(reviews, SMALL, max_length=50, unit="characters"), tmp_path / "run", reporter=Quiet())
    assert str(cut.value) == (
        "Expected max_length of at least 123, the shortest texts that the network takes; received max_length=50. "
        "Raise it, or choose another network."
    )
    dataset = load_data(reviews, val_fraction=0)
    parts = {name: TensorSamples(*part.fetch(range(len(part)))) for name, part in dataset.parts.items()}
    given = dataclasses.replace(dataset, source="mine", **parts)
    with pytest.raises(ModelError) as short:
        fit(config_of(reviews, SMALL), tmp_path / "run", dataset=given, reporter=Quiet())
    assert str(short.value) == (
        "Expected texts of at least 123 tokens, which char_cnn_small takes; received 5 in mine. "
        "Fill them up (the option min_length=123 of texts), or choose another network."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.txt"]


def test_other_texts_are_read_with_the_vocabulary_of_the_run(reviews: Path, tmp_path: Path) -> None:
    run = fit(config_of(reviews, {"name": "text_cnn_rand", "options": {}}), tmp_path / "run", reporter=Quiet())
    others = tmp_path / "others.txt"
    others.write_text("".join(f"{label} a {word} thing of quite some length\n" for label, word in LABELLED * 3))
    read = load_data(others, val_fraction=0, test_fraction=0, reading=run.preprocessing.reading)
    assert read.vocabulary == run.network.vocabulary
    assert read.input_size == run.preprocessing.size
    known = {token: number for number, token in enumerate(read.vocabulary)}
    inputs, _ = read.train.fetch([0])
    assert inputs[0].tolist() == [1, known["lovely"], 1, 1, 1]
    measured = evaluate(run, "all", source=others, bootstrap=0)
    asked = tmp_path / "asked.txt"
    asked.write_text("".join(f"a {word} thing of quite some length\n" for _, word in LABELLED * 3))
    predicted = [answer.label for answer in predict(run, asked)]
    right = sum(label == found for (label, _), found in zip(LABELLED * 3, predicted, strict=True))
    assert (measured.count, measured.correct) == (12, right)
