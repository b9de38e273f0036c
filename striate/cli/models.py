"""``striate models``: the networks that can be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.printing import print_facts, print_json, print_table, say, say_paragraph
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.models.registry import ModelEntry


@command(
    """
    striate models
    striate models lenet5
    striate models --rank 3 --json
    """
)
def models_command(
    name: Annotated[str | None, typer.Argument(help="Describe this network; without it, list them all.")] = None,
    task: Annotated[str | None, typer.Option(help="List only networks for this task.")] = None,
    rank: Annotated[int | None, typer.Option(help="List only networks that exist in 1, 2 or 3 dimensions.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks that Striate can build, or describe one."""
    from striate.models import list_models, model_entry

    if name is not None and (task, rank) != (None, None):
        raise InputError("a network's name, or --task and --rank to list by", "both", "Leave one out.")
    names = [name] if name is not None else list_models(task=task, spatial_dims=rank)
    entries = sorted((model_entry(each) for each in names), key=lambda entry: (entry.year, entry.name))
    if not entries:
        everything = [model_entry(each) for each in list_models()]
        tasks = sorted({entry.task for entry in everything})
        raise InputError(
            f"a task of {', '.join(tasks)} and a rank of 1, 2 or 3 for which there are networks",
            ", ".join(f"--{key} {value}" for key, value in (("task", task), ("rank", rank)) if value is not None),
            "`striate models` lists them all.",
        )
    if as_json:
        described = [_described(entry) for entry in entries]
        print_json(described[0] if name else described)
    elif name:
        _print_one(entries[0])
    else:
        print_table(
            ("name", "year", "ranks", "parameters", "summary"),
            [
                (
                    entry.name,
                    str(entry.year),
                    _ranks(entry),
                    f"{_parameters(entry):,}",
                    entry.summary,
                )
                for entry in entries
            ],
            right=("year", "parameters"),
        )


def _described(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "paper": entry.paper,
        "year": entry.year,
        "task": entry.task,
        "spatial_dims": list(entry.spatial_dims),
        "input_size": entry.input_size,
        "min_input_size": entry.min_input_size,
        "parameters": _parameters(entry),
        "options": entry.options,
    }


def _print_one(entry: ModelEntry) -> None:
    print_facts(
        [
            ("summary", entry.summary),
            ("paper", f"{entry.paper}, {entry.year}"),
            ("task", entry.task),
            ("ranks", _ranks(entry)),
            ("input size", f"{entry.input_size} per axis as published; at least {entry.min_input_size}"),
            ("parameters", f"{_parameters(entry):,}"),
            ("options", ", ".join(f"{key}={value!r}" for key, value in entry.options.items()) or "none"),
        ]
    )
    # The lines of a docstring are as long as those of the source: the reader's window breaks paragraphs.
    for paragraph in _without_examples(entry.description):
        say_paragraph(paragraph)
    say(f"\nLayers and cost: striate inspect {entry.name}")


def _ranks(entry: ModelEntry) -> str:
    return ", ".join(map(str, entry.spatial_dims))


def _without_examples(text: str) -> list[str]:
    """The paragraphs of a docstring that are not examples."""
    return [paragraph for paragraph in text.split("\n\n") if not paragraph.startswith(">>> ")]


def _parameters(entry: ModelEntry) -> int:
    """Parameters of the usual form: as registered, or counted for a network that does not say."""
    if entry.parameters is not None:
        return entry.parameters
    import torch

    from striate.models import create_model

    with torch.device("meta"):
        model = create_model(
            entry.name,
            spatial_dims=entry.usual_rank,
            in_channels=entry.in_channels,
            num_classes=entry.num_classes,
        )
    return sum(parameter.numel() for parameter in model.parameters())
