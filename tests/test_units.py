"""Sizes as people read them."""

from striate.units import readable_bytes


def test_readable_bytes():
    assert [readable_bytes(n) for n in (0, 1023, 1024, 5 * 2**20, 2**60)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "1024.0 PiB",
    ]
