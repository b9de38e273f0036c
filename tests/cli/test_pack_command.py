"""``striate pack``."""

import pytest

import striate.cli.pack
from striate.cli.pack import parse_size
from striate.errors import InputError


def test_sizes():
    assert [parse_size(text) for text in ("1", "2 KiB", "1.5MB", "1gib")] == [1, 2048, 1_500_000, 2**30]
    for text in ("", "MiB", "0", "-1", "3 miles"):
        with pytest.raises(InputError, match="an amount of bytes such as 256MiB or 1GB"):
            parse_size(text)


def test_it_says_what_it_wrote(tmp_path, capsys):
    striate.cli.pack.pack_command("digits", str(tmp_path / "out"), "2MiB", None)
    told = capsys.readouterr().out
    assert "train: 1,797 samples in 2 shards" in told
    assert "MiB in" in told
    assert (tmp_path / "out" / "dataset.json").exists()
