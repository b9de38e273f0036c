"""``striate data``: what a data set is, before anything is trained on it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.data_report import print_report
from striate.cli.outputs import check_output_file
from striate.cli.printing import print_json, print_table, say
from striate.cli.settings import parse_setting
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from striate.data import Dataset
    from striate.data.options import Option


@command(
    """
    striate data digits28
    striate data mnist/ --sheet mnist.png
    striate data photos/ --image-size 64 --json
    striate data reviews/ --data-option encoding=latin-1 --data-option min_count=2
    striate data flowers/ --augment standard,rotate:degrees=10 --augmented augmented.png
    striate data --kinds
    """
)
def data_command(
    source: Annotated[str | None, typer.Argument(help="digits, digits28, or a file or folder.")] = None,
    kinds: Annotated[
        bool, typer.Option("--kinds", help="List the kinds of sources and files, and their options.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write the contact sheet here (default: contact-sheet.png).", show_default=False)
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="What the sheet shows: pictures, spectrograms, waveforms, slices, clips ...")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Draw what augmentation does: light, standard, strong, or a list (flip,crop:padding=4)."),
    ] = None,
    augmented: Annotated[
        Path | None, typer.Option(help="Write the sheet of that here (default: augmented.png).", show_default=False)
    ] = None,
    data_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of the data's reader (window=50); repeatable."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize images to this height and width.")] = None,
    fit: Annotated[
        str, typer.Option(help="How other sizes are brought to it: resize, or pad (cut and fill up).")
    ] = "resize",
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for colour (default: as stored).")] = None,
    layout: Annotated[str | None, typer.Option(help="The axes of arrays, such as NLC.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="By what values are scaled: dataset, sample or none (default: by the kind).")
    ] = None,
    val_fraction: Annotated[float, typer.Option(help="Part of the training data kept for validation.")] = 0.1,
    test_fraction: Annotated[float, typer.Option(help="Part kept for testing, if the data has no test part.")] = 0.2,
    fold: Annotated[
        str | None, typer.Option(metavar="K/N", help="Test on the K-th of N folds, from 0, in place of a test part.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides what is split off, and augmentation.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, and draw no sheet unless --sheet is given.")
    ] = False,
) -> None:
    """Show what was recognised: counts per class and part, sizes, values, duplicates, damaged files, a picture."""
    if kinds:
        _print_kinds(as_json)
        return
    if source is None:
        raise InputError("a data set, or --kinds", "neither", "See `striate data --help`.")
    check_output_file(sheet)
    check_output_file(augmented)
    transforms = _transforms(augment, augmented)
    options = _once(map(parse_setting, data_option or []))
    folded = None if fold is None else _fold(fold)
    from striate.data import contact_sheet, describe, load_leniently

    dataset = load_leniently(
        source,
        image_size=image_size,
        channels=channels,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        layout=layout,
        fit=fit,
        normalise=normalise,
        fold=folded,
        options=options,
    )
    shown = None
    if transforms is not None:
        shown = _draw_augmented(dataset, transforms, augmented or Path("augmented.png"), seed, view)
    report = describe(dataset)
    drawn = None
    if sheet or not as_json:
        drawn = contact_sheet(dataset, sheet or Path("contact-sheet.png"), view=view)
    if as_json:
        print_json(report.to_dict())
        return
    print_report(report)
    say(f"\nContact sheet: {drawn}")
    if shown is not None:
        say(f"Augmented: {shown}")


def _transforms(augment: str | None, augmented: Path | None) -> list[dict[str, Any]] | None:
    if augment is None:
        if augmented is not None:
            raise InputError("--augment with --augmented", "--augmented alone", "Say what to draw: --augment standard.")
        return None
    from striate.data.augmentation import parse_augmentation

    return parse_augmentation(augment)


def _draw_augmented(
    dataset: Dataset, transforms: list[dict[str, Any]], path: Path, seed: int, view: str | None
) -> Path:
    """Draw what a run with this seed sees in its first epochs."""
    from striate.data.augmentation import augmented_sheet
    from striate.train.sampling import sampled_order

    order = functools.partial(sampled_order, dataset.train, "shuffled", seed)
    return augmented_sheet(dataset, transforms, path, seed=seed, view=view, order=order)


def _once(given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in given:
        if name in options:
            raise InputError("every option once", f"{name} as {options[name]!r} and {value!r}", "Leave one out.")
        options[name] = value
    return options


def _fold(text: str) -> tuple[int, int]:
    place, slash, count = text.partition("/")
    if not (slash and place.isdecimal() and count.isdecimal()):
        raise InputError("--fold K/N, the K-th of N folds from 0", repr(text), "Use 0/5 for the first of 5.")
    return int(place), int(count)


def _print_kinds(as_json: bool) -> None:
    from striate.data.file_kinds import file_kinds
    from striate.data.registry import list_readers

    if as_json:
        sources = [{"kind": r.kind, "summary": r.summary, "options": _plain(r.options)} for r in list_readers()]
        files = [{"kind": k.name, "extensions": list(k.suffixes), "options": _plain(k.options)} for k in file_kinds()]
        print_json({"sources": sources, "files": files})
        return
    print_table(["source", "looks like"], [(reader.kind, reader.summary) for reader in list_readers()])
    say("")
    print_table(["file", "extensions"], [(kind.name, " ".join(kind.suffixes)) for kind in file_kinds()])
    listed = [(reader.kind, reader.options) for reader in list_readers() if reader.options]
    listed += [(f"{kind.name} files", kind.options) for kind in file_kinds() if kind.options]
    # Readers of one family have the same options.
    owners: dict[tuple[str, ...], list[str]] = {}
    for owner, options in listed:
        owners.setdefault(tuple(option.name for option in options), []).append(owner)
    by_name = dict(listed)
    for names in owners.values():
        say(f"\nOptions of {', '.join(names)} (--data-option KEY=VALUE)")
        rows = [(option.name, _value(option.default), option.meaning) for option in by_name[names[0]]]
        print_table(["option", "default", "meaning"], rows)


def _plain(options: Iterable[Option]) -> list[dict[str, Any]]:
    return [
        {"name": option.name, "default": option.default, "meaning": option.meaning, "expected": option.expected}
        for option in options
    ]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
