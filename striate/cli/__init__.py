"""The ``striate`` command: each command only parses its arguments, calls the Python API, and prints.

Importing a command's module registers it, in the order of ``--help``. What a command needs is imported when it runs, so
that ``--help`` answers at once.
"""

# isort: off
import striate.cli.train
import striate.cli.cross_validate
import striate.cli.search
import striate.cli.runs
import striate.cli.evaluate
import striate.cli.predict
import striate.cli.inspect
import striate.cli.look
import striate.cli.filter
import striate.cli.models
import striate.cli.data
import striate.cli.pack
import striate.cli.kernel
import striate.cli.cache
import striate.cli.bench

# isort: on
from striate.cli.app import main

__all__ = ["main"]
