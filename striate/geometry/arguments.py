"""Arguments of convolutions and pools, brought to one form and checked: sizes per axis, padding, groups, modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from striate.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

Size: TypeAlias = tuple[int, ...]
"""One number per spatial axis."""

Pads: TypeAlias = tuple[tuple[int, int], ...]
"""One (before, after) pair per spatial axis."""

Axes: TypeAlias = "int | Sequence[int]"
"""What a caller may give for a per-axis argument: one number for all axes, or one per axis."""

Padding: TypeAlias = "int | str | Sequence[int] | Sequence[tuple[int, int]]"
"""What a caller may give as padding: a number, one per axis, (before, after) pairs, or one of PADDING_WORDS."""

PADDING_WORDS = ("valid", "same", "same_lower", "causal")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "constant")


def per_axis(name: str, value: Axes, spatial_dims: int, minimum: int = 1) -> Size:
    """Expand ``value`` to one integer per spatial axis and check that each is at least ``minimum``.

    ``name`` is the argument's name, used in messages. Raises `GeometryError`.

    >>> per_axis("stride", 2, spatial_dims=3)
    (2, 2, 2)
    """
    if is_integer(value):
        values: Size = (int(value),) * spatial_dims  # type: ignore[arg-type]
    else:
        values = _integers(name, value, spatial_dims)
    if any(entry < minimum for entry in values):
        raise GeometryError(
            f"{name} of at least {minimum} on every axis", f"{name}={value!r}", f"Raise it to {minimum} or more."
        )
    return values


def is_integer(value: object) -> bool:
    """Whether ``value`` can be a size: an integer of Python, NumPy or a traced graph, but no bool."""
    # Symbolic sizes and NumPy integers are integers too, hence __index__; isinstance comes first because torch.compile
    # can answer it for a symbolic size. A bool is both but is a slip.
    return (isinstance(value, int) or hasattr(value, "__index__")) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether ``value`` can be computed with: a number of Python, NumPy or a traced graph, but no bool."""
    return (isinstance(value, int | float) or hasattr(value, "__float__")) and not isinstance(value, bool)


def _integers(name: str, value: object, spatial_dims: int) -> Size:
    entries = tuple(value) if isinstance(value, list | tuple) else None
    if entries is None or not all(is_integer(entry) for entry in entries):
        raise GeometryError(
            f"{name} to be an integer or one integer per axis",
            f"{name}={value!r}",
            f"Give an int, or a tuple of {spatial_dims}.",
        )
    if len(entries) != spatial_dims:
        raise GeometryError(
            f"{name} to have {spatial_dims} entries, one per spatial axis",
            f"{name}={value!r} with {len(entries)}",
            "Give one per axis, or one number for all of them.",
        )
    return entries


def rank_of(input_size: Axes, spatial_dims: int | None) -> int:
    """The rank that is given or, without one, that of ``input_size``: 1 for a plain number, else its length."""
    if spatial_dims is not None:
        return spatial_dims
    return 1 if is_integer(input_size) else len(input_size)  # type: ignore[arg-type]  # is_integer says it is no int


def check_spatial_dims(spatial_dims: int) -> int:
    """Return ``spatial_dims`` if it is 1, 2 or 3; raises `GeometryError` otherwise."""
    if spatial_dims not in (1, 2, 3):
        raise GeometryError(
            "spatial_dims of 1, 2 or 3",
            f"spatial_dims={spatial_dims!r}",
            "Use 1 for signals, 2 for images, 3 for volumes and video.",
        )
    return spatial_dims


def normalise_padding(padding: Padding, spatial_dims: int) -> str | Pads:
    """Bring any accepted form of ``padding`` to one of PADDING_WORDS or to a (before, after) pair per axis.

    Raises `GeometryError` for an unknown word, a wrong number of axes, or a negative amount.

    >>> normalise_padding(1, spatial_dims=2)
    ((1, 1), (1, 1))
    >>> normalise_padding([(0, 2)], spatial_dims=1)
    ((0, 2),)
    """
    if isinstance(padding, str):
        if padding not in PADDING_WORDS:
            raise GeometryError(
                f"padding to be a number, pairs, or one of {', '.join(PADDING_WORDS)}",
                f"padding={padding!r}",
                "Words are lower case.",
            )
        return padding
    if isinstance(padding, list | tuple) and any(isinstance(entry, list | tuple) for entry in padding):
        if len(padding) != spatial_dims or not all(isinstance(entry, list | tuple) for entry in padding):
            raise GeometryError(
                f"padding to have {spatial_dims} (before, after) pairs, one per spatial axis",
                f"padding={padding!r}",
                "Give one pair per axis.",
            )
        return tuple((pair[0], pair[1]) for pair in (per_axis("padding", entry, 2, 0) for entry in padding))
    return tuple((amount, amount) for amount in per_axis("padding", padding, spatial_dims, 0))  # type: ignore[arg-type]


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Check that channel counts are positive and divisible by ``groups``; raises `GeometryError`."""
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        if not is_integer(value) or value < 1:
            raise GeometryError(f"{name} to be a positive integer", f"{name}={value!r}", "Use 1 or more.")
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value % groups:
            divisors = [str(d) for d in range(1, value + 1) if value % d == 0]
            raise GeometryError(
                f"{name} divisible by groups",
                f"{name}={value}, groups={groups}",
                f"For {value} channels groups can be {', '.join(divisors)}.",
            )


def check_padding_mode(padding_mode: str, pads: Pads, input_size: Size) -> None:
    """Check the mode's name, and that the input is wide enough to be reflected or wrapped by ``pads``.

    Raises `GeometryError`.
    """
    if padding_mode not in PADDING_MODES:
        raise GeometryError(
            f"padding_mode to be one of {', '.join(PADDING_MODES)}", f"padding_mode={padding_mode!r}", "Pick one."
        )
    # A reflection leaves out the border itself; a wrapped input may be repeated once in full.
    limit = {"reflect": 1, "circular": 0}.get(padding_mode)
    if limit is None:
        return
    for axis, ((before, after), size) in enumerate(zip(pads, input_size, strict=True)):
        if max(before, after) > size - limit:
            raise GeometryError(
                f"{padding_mode} padding of at most {max(size - limit, 0)} on axis {axis}, whose size is {size}",
                f"padding ({before}, {after})",
                "Pad less, enlarge the input, or use replicate or zeros.",
            )
