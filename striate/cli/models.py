"""``striate models``: the networks that can be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command, output, print_json, table

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

    names = [name] if name else list_models(task=task, spatial_dims=rank)
    entries = sorted((model_entry(each) for each in names), key=lambda entry: (entry.year, entry.name))
    if as_json:
        described = [_described(entry) for entry in entries]
        print_json(described[0] if name else described)
    elif name:
        _print_one(entries[0])
    else:
        listing = table("name", "year", "ranks", "task", "parameters", "summary", right=("year", "parameters"))
        for entry in entries:
            listing.add_row(
                entry.name, str(entry.year), _ranks(entry), entry.task, f"{_parameters(entry):,}", entry.summary
            )
        output.print(listing)


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
    import inspect

    facts = table("", "", header=False)
    for label, value in (
        ("summary", entry.summary),
        ("paper", f"{entry.paper}, {entry.year}"),
        ("task", entry.task),
        ("ranks", _ranks(entry)),
        ("input size", f"{entry.input_size} per axis as published; at least {entry.min_input_size}"),
        ("parameters", f"{_parameters(entry):,}"),
        ("options", ", ".join(f"{key}={value!r}" for key, value in entry.options.items()) or "none"),
    ):
        facts.add_row(f"[bold]{label}[/]", value)
    output.print(facts)
    notes = (inspect.getdoc(entry.builder) or "").split("\n>>> ")[0].strip()
    output.print(f"\n{notes}", markup=False)
    output.print(f"\nLayers and cost: striate inspect {entry.name}", markup=False)


def _ranks(entry: ModelEntry) -> str:
    return ", ".join(f"{rank}-D" for rank in entry.spatial_dims)


def _parameters(entry: ModelEntry) -> int:
    """Trainable parameters of the usual form: 2-D (else the lowest rank), one channel, ten classes."""
    import torch

    from striate.models import create_model

    rank = 2 if 2 in entry.spatial_dims else entry.spatial_dims[0]
    with torch.device("meta"):
        model = create_model(entry.name, spatial_dims=rank)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
