"""``striate models``: the registered networks."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.app import command, output


@command(
    """
    striate models
    striate models lenet5
    striate models --rank 3
    """
)
def models_command(
    name: Annotated[str | None, typer.Argument(help="Describe this network; without it, list them all.")] = None,
    task: Annotated[str | None, typer.Option(help="List only networks for this task.")] = None,
    rank: Annotated[int | None, typer.Option(help="List only networks that exist in 1, 2 or 3 dimensions.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks that Striate can build, or describe one."""
