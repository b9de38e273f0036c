"""Word vectors of word2vec and GloVe: found, drawn where missing, and refused where damaged."""

import gzip
import struct

import numpy as np
import pytest

from striate.data import load_data
from striate.data.text.word_vectors import read_vectors
from striate.errors import DataError

WORDS = [f"w{number}" for number in range(40)]
TABLE = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)


def write_glove(path, words=WORDS):
    rows = (
        f"{word} {' '.join(repr(float(value)) for value in row)}\n" for word, row in zip(words, TABLE, strict=False)
    )
    path.write_text("".join(rows))


def write_word2vec(path, words=WORDS):
    write_glove(path, words)
    path.write_text(f"{len(words)} 7\n" + path.read_text())


def write_binary(path, words=WORDS, end=b"\n"):
    rows = b"".join(w.encode() + b" " + row.astype("<f4").tobytes() + end for w, row in zip(words, TABLE, strict=False))
    path.write_bytes(f"{len(words)} 7\n".encode() + rows)


def write_binary_without_ends(path):
    write_binary(path, end=b"")


def write_gzipped(path):
    write_binary(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("write", [write_glove, write_word2vec, write_binary, write_binary_without_ends, write_gzipped])
def test_every_form(tmp_path, write):
    write(tmp_path / "vectors")
    vocabulary = ["<pad>", "<unk>", "w3", "nowhere", "w39", "w0"]
    vectors = read_vectors(tmp_path / "vectors", vocabulary).numpy()
    assert vectors.dtype == np.float32
    assert vectors.shape == (6, 7)
    assert np.array_equal(vectors[[2, 4, 5]], TABLE[[3, 39, 0]])
    assert (vectors[0] == 0).all()
    assert (vectors[[1, 3]] != 0).all()


def test_missing_words_have_the_variance_of_the_others(tmp_path):
    write_glove(tmp_path / "a.txt")
    vocabulary = ["<pad>", "<unk>", *WORDS, *(f"x{number}" for number in range(5000))]
    vectors = read_vectors(tmp_path / "a.txt", vocabulary, seed=1).numpy()
    drawn, bound = vectors[42:], np.sqrt(3 * TABLE.var())
    assert drawn.var() == pytest.approx(TABLE.var(), rel=0.02)
    assert (abs(drawn) <= bound).all()
    assert abs(drawn).max() > 0.99 * bound
    assert np.array_equal(vectors, read_vectors(tmp_path / "a.txt", vocabulary, seed=1).numpy())
    assert not np.array_equal(drawn, read_vectors(tmp_path / "a.txt", vocabulary, seed=2).numpy()[42:])


def test_words_with_spaces_and_repeated_words(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 1 2\n. . . 3 4\n. 5 6\nthe 7 8\n")
    vectors = read_vectors(path, ["", "", "the", ".", ". . ."])
    assert vectors[2:].tolist() == [[1, 2], [5, 6], pytest.approx(vectors[4].tolist())]


def test_a_network_gets_the_vectors(tmp_path):
    from striate.models.text_cnn import text_cnn

    (tmp_path / "v.txt").write_text("good 1 2\nbad -1 -2\n")
    (tmp_path / "a.txt").write_text("1 good film\n0 bad film\n")
    dataset = load_data(
        tmp_path / "a.txt", val_fraction=0, test_fraction=0, options={"vectors": str(tmp_path / "v.txt")}
    )
    assert dataset.vectors.shape == (5, 2)
    assert dataset.vectors[[dataset.vocabulary.index("good")]].tolist() == [[1, 2]]
    network = text_cnn(1, dataset.in_channels, 2, variant="static", vectors=dataset.vectors, embedding_dim=2)
    assert network.embedding.weight.equal(dataset.vectors)
    assert load_data("digits").vectors is None


def damaged(path, data):
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_vectors(path, ["<pad>", "<unk>", "a", "b"])
    return str(caught.value).replace(str(path), "PATH")


def test_messages(tmp_path):
    path = tmp_path / "v"
    good = b"2 3\na " + struct.pack("<3f", 1, 2, 3) + b"\nb " + struct.pack("<3f", 1, 2, 3)
    assert damaged(path, good[:-1]) == (
        "Expected 2 words and vectors, as the first line says; received PATH, which ends or is damaged at vector 2. "
        "Download it again."
    )
    assert damaged(path, b"a 1 2\nb 1 x\n") == (
        "Expected a word and 2 numbers; received PATH, vector 2: could not convert string to float: b'x'. "
        "Download it again."
    )
    assert damaged(path, b"a 1 2\nb 1\n") == (
        "Expected a word and 2 numbers; received PATH, vector 2: 1 numbers. Download it again."
    )
    assert damaged(path, b"a 1 nan\n") == (
        "Expected vectors of finite numbers; received PATH with infinite or missing ones. Download it again."
    )
    assert damaged(path, b"x 1 2\n") == (
        "Expected vectors of words of the vocabulary; received PATH with none of its 2 words, such as 'a', 'b'. "
        "Check the language, and whether words are in small letters in one of them only."
    )
    assert damaged(path, b"x\n") == (
        "Expected words with 1 to 4096 numbers each; received PATH with 0 in its first line. "
        "Give a file of word2vec (.bin or text) or GloVe."
    )
    for data in (b"x" * 2**18, b"a 1 2\n" + b"x" * 2**18):
        assert damaged(path, data) == (
            "Expected lines of less than 131072 bytes; received PATH with a longer one. Give a file of word vectors."
        )
    assert damaged(path, gzip.compress(good)[:-9]).startswith("Expected a file that can be read; received PATH: ")
    path.unlink()
    with pytest.raises(DataError) as caught:
        read_vectors(path, ["<pad>", "<unk>", "a"])
    assert str(caught.value) == (
        f"Expected a file of word vectors; received {path}, which does not exist. Check the path."
    )
