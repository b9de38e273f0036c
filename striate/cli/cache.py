"""``striate cache``: the compiled kernels that are kept on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.app import command
from striate.cli.printing import print_facts, print_json, say
from striate.units import readable_bytes


@command(
    """
    striate cache
    striate cache --clear
    """
)
def cache_command(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all kernels and measurements.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where compiled kernels are kept, how many and how large; or remove them."""
    from striate.compiler import tuning
    from striate.compiler.cache import DiskCache, folder

    disk = DiskCache(folder())
    removed = {"kernels": disk.clear(), "measurements": tuning.forget()} if clear else None
    if as_json:
        values = {
            "folder": str(disk.folder),
            "kernels": len(disk.entries()),
            "bytes": disk.size_bytes(),
            "limit_bytes": disk.limit_bytes,
            "measurements": len(tuning.measured()),
        }
        print_json({**values, "removed": removed} if removed else values)
    elif removed:
        counts = " and ".join(f"{count:,} {what if count != 1 else what[:-1]}" for what, count in removed.items())
        say(f"Removed {counts} from {disk.folder}.")
    else:
        print_facts(
            [
                ("folder", str(disk.folder)),
                ("kernels", f"{len(disk.entries()):,}"),
                ("size", f"{readable_bytes(disk.size_bytes())} of at most {readable_bytes(disk.limit_bytes)}"),
                ("measurements", f"{len(tuning.measured()):,}"),
            ]
        )
