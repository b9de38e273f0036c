"""Sizes as people read them."""

from striate.units import readable_bytes, readable_count


def test_readable_bytes():
    assert [readable_bytes(n) for n in (0, 1023, 1024, 5 * 2**20, 2**60)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "1024.0 PiB",
    ]


def test_readable_count():
    counts = (0, 999, 1000, 9_994, 9_996, 99_949, 99_951, 999_499, 999_500, 10**12, 10**18)
    assert [readable_count(n) for n in counts] == [
        "0", "999", "1.00 K", "9.99 K", "10.0 K", "99.9 K", "100 K", "999 K", "1.00 M", "1.00 T", "1000 P"
    ]  # fmt: skip
