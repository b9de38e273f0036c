"""The ``striate`` command: each command only parses its arguments, calls the Python API, and prints.

Importing a command's module registers it. What a command needs is imported when it runs, so that ``--help`` answers
at once.
"""

from striate.cli import models
from striate.cli.app import main

__all__ = ["main", "models"]
