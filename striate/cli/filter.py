"""``striate filter``: one kernel over an image, a signal, or numbers typed in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer.core import TyperCommand

from striate.cli.app import command
from striate.cli.numbers import begins_with_number, format_numbers, parse_numbers, parse_sizes
from striate.cli.outputs import check_output_file
from striate.cli.printing import print_table, say
from striate.errors import InputError
from striate.units import readable_size

if TYPE_CHECKING:
    from typer._click import Context

    from striate.nn import FixedFilter


class _TakesNumbers(TyperCommand):
    """A command to which ``-1 2`` is numbers, not an option."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put a space before what begins like a negative number: Click looks at the first character."""
        return super().parse_args(ctx, [f" {word}" if re.match(r"-\.?\d", word) else word for word in args])


@command(
    """
    striate filter photo.png --kernel sobel_x --out edges.png
    striate filter "1 2 3 4 5 6" --kernel "2 2 2" --padding 1
    striate filter "1 2 3; 4 5 6; 7 8 9" --kernel "1 0; 0 -1"
    striate filter signal.npy --kernel moving_average --out smooth.npy
    striate filter --list
    """,
    cls=_TakesNumbers,
)
def filter_command(
    source: Annotated[
        str | None, typer.Argument(help="An image, a .npy array (C, *spatial), or numbers: '1 2 3' or '1 2; 3 4'.")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", "-k", help="A filter's name (see --list), or numbers: '1 0 -1; 1 0 -1'.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the result here: an image (.png) or an array (.npy).")
    ] = None,
    stride: Annotated[str, typer.Option(help="Step of the window: one number, or one per axis (2x1).")] = "1",
    padding: Annotated[
        str | None,
        typer.Option(help="A number, or valid, same, same_lower, causal (default: same for files, 0 for numbers)."),
    ] = None,
    padding_mode: Annotated[
        Literal["zeros", "reflect", "replicate", "circular"], typer.Option(help="What lies beyond the border.")
    ] = "zeros",
    dilation: Annotated[str, typer.Option(help="Distance between the samples a kernel reads.")] = "1",
    flip: Annotated[
        bool, typer.Option("--flip", help="Flip the kernel: convolution as mathematics defines it.")
    ] = False,
    list_filters: Annotated[bool, typer.Option("--list", help="List the named filters.")] = False,
) -> None:
    """Apply a named or given kernel to every channel of an image, a signal or a volume."""
    if list_filters:
        _print_filters()
        return
    if not source or not kernel:
        missing = "no --kernel" if source else "no source"
        raise InputError("a source and a --kernel", missing, "See `striate filter --help` for examples.")
    check_output_file(out)
    import torch

    from striate.data import read_input

    is_file = not begins_with_number(source)
    values = read_input(source) if is_file else torch.tensor(parse_numbers(source), dtype=torch.float64).unsqueeze(0)
    chosen = padding if padding is not None else ("same" if is_file else "0")
    layer = _layer(kernel, values.ndim - 1, stride, chosen, padding_mode, dilation, flip=flip)
    result = layer.to(torch.float64)(values.to(torch.float64).unsqueeze(0))[0]
    if out is not None:
        from striate.data import write_output

        write_output(result, out)
        say(f"Wrote {out}, of {readable_size(result.shape)}.")
    elif is_file and result.numel() > 4096:
        raise InputError("--out for a large result", f"one of {readable_size(result.shape)}", "Add --out edges.png.")
    else:
        print_channels(result.tolist())


def print_channels(channels: list[object]) -> None:
    """Print each channel's numbers, apart by an empty line."""
    say("\n\n".join(format_numbers(channel) for channel in channels))


def _layer(
    kernel: str, rank: int, stride: str, padding: str, padding_mode: str, dilation: str, *, flip: bool
) -> FixedFilter:
    import numpy as np

    from striate.nn import FixedFilter, filter_kernel

    is_name = re.fullmatch(r"[A-Za-z]\w*", kernel) is not None
    values = filter_kernel(kernel, rank) if is_name else np.asarray(parse_numbers(kernel))
    if values.ndim != rank:
        raise InputError(
            f"a kernel of {rank} dimensions, as the input has",
            f"--kernel {kernel!r} of {values.ndim}",
            "Separate rows by ';' and planes by '|'.",
        )
    return FixedFilter(
        np.flip(values).copy() if flip else values,
        stride=parse_sizes(stride),
        padding=padding if padding.isidentifier() else parse_sizes(padding),
        dilation=parse_sizes(dilation),
        padding_mode=padding_mode,  # type: ignore[arg-type]  # one of the words the option allows
    )


def _print_filters() -> None:
    from striate.nn import list_filters

    rows = [
        (entry.name, ", ".join(f"{rank}-D" for rank in entry.spatial_dims), entry.description)
        for entry in list_filters()
    ]
    print_table(("name", "ranks", "what it does"), rows)
