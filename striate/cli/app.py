"""The command-line application: its commands, and how errors leave it.

Exit codes: 0 for success, 1 for a run that failed, 2 for input that cannot be used. A traceback appears only with
``--debug``.
"""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from typer.core import TyperGroup

from striate.cli.printing import messages, report, say
from striate.errors import InputError, StoppedError, StriateError, did_you_mean
from striate.files import PARTIAL
from striate.memory import keep_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typer._click import Context
    from typer.core import TyperCommand

_BEYOND_US = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


class _Application(TyperGroup):
    """The group of all commands, which turns exceptions into messages and exit codes."""

    def get_command(self, ctx: Context, cmd_name: str) -> object:  # type: ignore[override]
        """Find a command, answering a mistyped one with its nearest neighbours."""
        command = super().get_command(ctx, cmd_name)
        if command is None and not cmd_name.startswith("-"):
            _report(InputError("a command of striate", repr(cmd_name), did_you_mean(cmd_name, self.commands)))
            raise typer.Exit(2)
        return command

    def invoke(self, ctx: Context) -> object:
        """Run a command; report what it raises on standard error."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()  # so that a reader who has left is noticed here, not by Python at exit
            except typer.Exit:
                raise
            except BrokenPipeError:
                # The reader of our output left (`striate ... | head`): nobody is there to tell. Python would complain
                # once more when it flushes standard output at exit, so that goes nowhere.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                messages.print("Stopped.")
                raise typer.Exit(1) from None
            except Exception as error:
                # The last boundary: what is no error of ours, nor of the system's, is a defect, yet a page of traceback
                # helps no user.
                told = _three_parts(error)
                if told is None:
                    raise
                _report(told)
                if ctx.params.get("debug"):
                    traceback.print_exc()
                raise typer.Exit(2 if isinstance(told, InputError) else 1) from None
            return result


def _three_parts(error: Exception) -> Exception | None:
    """The error to tell a user about; None for those that Typer tells itself (usage errors and exits)."""
    if isinstance(error, typer.BadParameter) and error.__cause__ is not None:
        return _bad_value(error, error.__cause__)
    if type(error).__module__.startswith("typer"):
        return None
    if isinstance(error, _BEYOND_US) and error.filename is not None:
        name = os.fsdecode(error.filename2 or error.filename)
        # What is written is written beside first; the user knows only its final name.
        name = re.sub(rf"\.([^/]+)\.\d+{re.escape(PARTIAL)}([^/]*)$", r"\1\2", name)
        reason = (error.strerror or type(error).__name__).lower()
        return InputError("a file or folder that can be used", f"{name}: {reason}", "Check the path and its rights.")
    return error


def _bad_value(error: typer.BadParameter, cause: Any) -> InputError:
    """Put a value of the wrong type, as pydantic describes it to Typer, into three parts."""
    detail = cause.errors()[0]
    kinds = {"int_parsing": "a whole number", "float_parsing": "a number"}
    if detail["type"] in kinds:
        expected = kinds[detail["type"]]
    elif "ge" in detail.get("ctx", {}):
        expected = f"a number of at least {detail['ctx']['ge']}"
    else:
        expected = detail["msg"].partition(" is not ")[2].rstrip(".") or detail["msg"]
    option = error.param.opts[0] if error.param is not None else "the argument"
    path = error.ctx.command_path if error.ctx is not None else "striate"
    return InputError(f"{expected} for {option}", repr(detail["input"]), f"See `{path} --help`.")


def _report(error: Exception) -> None:
    text = str(error) or type(error).__name__
    if isinstance(error, StoppedError):
        messages.print(text, markup=False, soft_wrap=True)
    elif isinstance(error, StriateError):
        report("Error", text)
    elif isinstance(error, MemoryError) or re.search("out of memory|allocate memory", text):
        report("Out of memory", f"{text} Make the batch, the input or the network smaller.")
    elif isinstance(error, OSError):
        report("Error", text)
    else:
        report(type(error).__name__, text)
        messages.print(
            "This looks like a defect in Striate. `striate --debug ...` shows where it happened.",
            markup=False,
            soft_wrap=True,
        )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    report("Warning", str(message), style="yellow")


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

        say(f"striate {version('striate')}")
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


def command(
    help_examples: str, *, cls: type[TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command under its function's name, with examples below its help text.

    ``help_examples`` holds one example a line.
    """
    lines = [line.strip() for line in help_examples.strip().splitlines()]
    epilog = "\n".join(["[bold]Examples[/]", *lines])

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.removesuffix("_command").replace("_", "-")
        needs_arguments = name not in {"models", "cache", "runs"}
        return app.command(name, cls=cls, epilog=epilog, no_args_is_help=needs_arguments)(function)

    return register


def main() -> None:
    """Run the command line; the entry point of ``striate`` and ``python -m striate``."""
    keep_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="striate")
