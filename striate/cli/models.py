"""``striate models``: the networks that can be built."""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli.app import command
from striate.cli.printing import print_facts, print_json, print_table, say, say_paragraph, terminal_width
from striate.errors import InputError, ModelError
from striate.units import readable_count, readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.insight import Part, Summary
    from striate.models.registry import ModelEntry


@command(
    """
    striate models
    striate models resnet50
    striate models --task classification --sort macs
    striate models --rank 3 --json
    """
)
def models_command(
    name: Annotated[str | None, typer.Argument(help="Describe this network; without it, list them all.")] = None,
    task: Annotated[str | None, typer.Option(help="List only networks for this task.")] = None,
    rank: Annotated[int | None, typer.Option(help="List only networks that exist in 1, 2 or 3 dimensions.")] = None,
    sort: Annotated[
        Literal["year", "name", "rank", "parameters", "macs"], typer.Option(help="What orders the networks of a task.")
    ] = "year",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks that Striate can build, or describe one with a diagram of its stages."""
    from striate.models import list_models, model_entry

    if name is not None:
        if (task, rank) != (None, None):
            raise InputError("a network's name, or --task and --rank to list by", "both", "Leave one out.")
        entry = model_entry(name)
        if as_json:
            print_json(_described(entry) | {"stages": [_described_part(part) for part in _outline(entry)[0]]})
        else:
            _print_one(entry)
        return
    entries = [model_entry(each) for each in list_models(task=task, spatial_dims=rank)]
    if not entries:
        tasks = sorted({model_entry(each).task for each in list_models()})
        raise InputError(
            f"a task of {', '.join(tasks)} and a rank of 1, 2 or 3 for which there are networks",
            ", ".join(f"--{key} {value}" for key, value in (("task", task), ("rank", rank)) if value is not None),
            "`striate models` lists them all.",
        )
    entries.sort(key=lambda entry: (entry.task, _order(entry, sort), entry.year, entry.name))
    if as_json:
        print_json([_described(entry) for entry in entries])
    else:
        _print_list(entries)


def _order(entry: ModelEntry, sort: str) -> Any:
    return getattr(entry, "spatial_dims" if sort == "rank" else sort) or 0


def _described(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "paper": entry.paper,
        "year": entry.year,
        "task": entry.task,
        "spatial_dims": list(entry.spatial_dims),
        "input_kind": entry.input_kind,
        "input_size": list(entry.usual_size()),
        "min_input_size": list(entry.smallest_size()),
        "in_channels": entry.in_channels,
        "num_classes": entry.num_classes,
        "parameters": entry.parameters,
        "macs": entry.macs,
        "learns_by": entry.learns_by,
        "accuracy": entry.accuracy,
        "options": entry.options,
    }


def _described_part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "content": part.content,
        "output_shape": None if part.output_shape is None else list(part.output_shape),
        "parameters": part.parameters,
        "macs": part.macs,
        "receptive_field": part.field,
        "stride": part.stride,
    }


def _print_list(entries: Sequence[ModelEntry]) -> None:
    """One line each, below the name of the task."""
    headings = ("name", "year", "ranks", "parameters", "macs", "summary")
    rows: list[tuple[str, ...]] = []
    for task, group in groupby(entries, lambda entry: entry.task):
        rows += [("",)] if rows else []
        rows.append((task,))
        rows += [
            (
                entry.name,
                str(entry.year),
                " ".join(map(str, entry.spatial_dims)),
                _count(entry.parameters),
                _count(entry.macs),
                entry.summary,
            )
            for entry in group
        ]
    print_table(headings, rows, right=("year", "parameters", "macs"), cut=True)
    say("\nOne of them in detail: `striate models NAME`.")


def _count(count: int | None) -> str:
    return "" if count is None else readable_count(count)


def _print_one(entry: ModelEntry) -> None:
    from striate.cli.diagram import diagram, shortened

    parts, total, head = _outline(entry)
    options = entry.options
    fixed = f" and {total.fixed:,} that are not trained" if total.fixed else ""
    print_facts(
        [
            ("summary", entry.summary),
            ("paper", f"{entry.paper}, {entry.year}"),
            ("task", entry.task),
            ("ranks", ", ".join(map(str, entry.spatial_dims))),
            ("input", f"{_usual_input(entry)}; at least {readable_size(entry.smallest_size())}"),
            ("parameters", f"{total.trainable:,}{fixed}"),
            ("macs", f"{total.macs:,}"),
            ("learns by", entry.learns_by),
            ("accuracy", entry.accuracy or "none published for this form"),
            *(("options" if place == 0 else "", f"{key}={options[key]!r}") for place, key in enumerate(options)),
        ]
    )
    # The lines of a docstring are as long as those of the source: the reader's window breaks paragraphs.
    for paragraph in _without_examples(entry.docstring):
        say_paragraph(paragraph)
    say("")
    for line in diagram(shortened(parts), total.input_shape, head=head, width=terminal_width()):
        say(line)
    for note in _notes(total):
        say_paragraph(note)
    say_paragraph("The boxes are in order of execution; branches that lie side by side follow each other.")
    say(f"\nLayers and cost: striate inspect {entry.name}")


def _outline(entry: ModelEntry) -> tuple[tuple[Part, ...], Summary, str]:
    """The stages of the usual form, its summary, and the name of its head; nothing is computed."""
    import torch

    from striate.insight import outline
    from striate.models.features import head_name, stage_names

    with torch.device("meta"):
        model = entry.usual_form().eval()
        stages, head = stage_names(model), ""
        with suppress(ModelError):  # what makes pictures has no classifier
            head = head_name(model)
            stages = (*stages, head)
        parts, total = outline(model, entry.example((1, entry.in_channels, *entry.usual_size())), stages)
    return parts, total, head


def _notes(total: Summary) -> list[str]:
    idle = [row for row in total.rows if not row.call]
    if not idle:
        return []
    names = ", ".join(dict.fromkeys(row.name.partition(".")[0] for row in idle))
    return [f"Not drawn, as evaluation does not run it: {names} ({sum(row.parameters for row in idle):,} parameters)."]


def _usual_input(entry: ModelEntry) -> str:
    if entry.input_kind == "tokens":
        return f"{readable_size(entry.usual_size())} tokens out of {entry.in_channels:,}"
    return f"{entry.in_channels}x{readable_size(entry.usual_size())}"


def _without_examples(text: str) -> list[str]:
    """The paragraphs of a docstring that are not examples."""
    return [paragraph for paragraph in text.split("\n\n") if not paragraph.startswith(">>> ")]
