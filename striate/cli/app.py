"""The command-line application: its commands, and how errors leave it.

Exit codes: 0 for success, 1 for a run that failed, 2 for input that cannot be used. A traceback appears only with
``--debug``.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from typer.core import TyperGroup

from striate.errors import InputError, StoppedError, StriateError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table
    from typer._click import Context

output = Console(highlight=False)
messages = Console(stderr=True, highlight=False)


class _Application(TyperGroup):
    """The group of all commands, which turns exceptions into messages and exit codes."""

    def get_command(self, ctx: Context, cmd_name: str) -> object:  # type: ignore[override]
        """Find a command, answering a mistyped one with its nearest neighbours."""
        command = super().get_command(ctx, cmd_name)
        if command is None and not cmd_name.startswith("-"):
            _say(InputError("a command of striate", repr(cmd_name), did_you_mean(cmd_name, self.commands)))
            raise typer.Exit(2)
        return command

    def invoke(self, ctx: Context) -> object:
        """Run a command; report what it raises on standard error."""
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output left (`striate ... | head`): nobody is there to tell. Python would complain once
            # more when it flushes standard output at exit, so that goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            messages.print("Stopped.")
            raise typer.Exit(1) from None
        except (StriateError, OSError, MemoryError) as error:
            _say(error)
            if ctx.params.get("debug"):
                traceback.print_exc()
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
        except Exception as error:
            # Whatever else escapes is a defect of ours, yet a page of traceback helps no user: the last boundary.
            if not _is_ours(error):
                raise
            _say(error)
            if ctx.params.get("debug"):
                traceback.print_exc()
            else:
                messages.print("This looks like a defect in Striate. `striate --debug ...` shows where it happened.")
            raise typer.Exit(1) from None


def _is_ours(error: Exception) -> bool:
    # Typer's own exceptions (usage errors, exits) carry their own exit codes and messages.
    return not type(error).__module__.startswith("typer")


def _say(error: BaseException) -> None:
    if not isinstance(error, StoppedError):
        label = "Error" if isinstance(error, StriateError) else type(error).__name__
        messages.print(f"[bold red]{label}:[/] ", end="")
    messages.print(str(error) or type(error).__name__, markup=False, soft_wrap=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    messages.print("[yellow]Warning:[/] ", end="")
    messages.print(str(message), markup=False, soft_wrap=True)


app = typer.Typer(
    cls=_Application,
    name="striate",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        output.print(f"striate {version('striate')}")
        raise typer.Exit


@app.callback()
def _striate(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convolutional networks in one, two and three dimensions: compiled, trained, explained.

    [bold]Examples[/]

    striate train lenet --data digits28 --out runs/first

    striate evaluate runs/first

    striate predict runs/first photo.png

    striate inspect lenet --input 1x28x28
    """


def command(help_examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command under its function's name, with examples below its help text.

    ``help_examples`` holds one example a line.
    """
    lines = [line.strip() for line in help_examples.strip().splitlines()]
    epilog = "[bold]Examples[/]\n\n" + "\n\n".join(lines)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.removesuffix("_command")
        return app.command(name, epilog=epilog, no_args_is_help=name not in {"models"})(function)

    return register


def table(*headings: str, right: Sequence[str] = (), header: bool = True, wrap: bool = True) -> Table:
    """An empty table in the house's style; the columns in ``right`` are right-aligned.

    Without ``wrap`` no cell is broken into lines, however narrow the terminal; print it with `print_wide`.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD if header else None, show_header=header, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=not wrap)
    return made


def print_wide(made: Table) -> None:
    """Print a table at its natural width: where the terminal is narrower, it breaks the lines, and nothing is cut."""
    from rich.measure import Measurement

    natural = Measurement.get(output, output.options.update(max_width=1000), made).maximum
    output.print(made, width=max(natural, output.width), soft_wrap=True)


def print_json(value: object) -> None:
    """Print JSON on standard output, never wrapped or coloured."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line; the entry point of ``striate`` and ``python -m striate``."""
    app(prog_name="striate")
