"""``striate pack``: a data set as tar shards."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from striate.cli.app import command
from striate.cli.printing import say
from striate.cli.settings import parse_setting
from striate.errors import InputError
from striate.units import readable_bytes

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@command(
    """
    striate pack photos/ shards/
    striate pack scans/ shards/ --shard-size 1GiB --data-option spacing=1.0
    """
)
def pack_command(
    source: Annotated[str, typer.Argument(help="digits, digits28, or a file or folder.")],
    out: Annotated[str, typer.Argument(help="A new folder for the shards.")],
    shard_size: Annotated[str, typer.Option(help="The most bytes of a shard, such as 256MiB or 1GB.")] = "256MiB",
    data_option: Annotated[
        list[str] | None,
        typer.Option("--data-option", metavar="KEY=VALUE", help="An option of the data's reader; repeatable."),
    ] = None,
) -> None:
    """Write a data set as WebDataset tar shards, which are read without its many small files."""
    limit = parse_size(shard_size)
    from striate.data.shards.packing import pack

    packed = pack(source, out, shard_bytes=limit, options=dict(map(parse_setting, data_option or [])))
    for split, count in packed.samples.items():
        shards = packed.shards[split]
        say(f"{split}: {count:,} samples in {shards} {'shard' if shards == 1 else 'shards'}")
    say(f"{readable_bytes(packed.nbytes)} in {out}")


def parse_size(text: str) -> int:
    """Read an amount of bytes with its unit. Raises `InputError`.

    >>> parse_size("256MiB"), parse_size("1.5 kB")
    (268435456, 1500)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or float(match[1]) * unit < 1:
        raise InputError("an amount of bytes such as 256MiB or 1GB", repr(text), "Write a number and a unit.")
    return int(float(match[1]) * unit)
