"""The commands in this process, and one run that they are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result


def invoke(*words: object) -> Result:
    if words[:1] == ("train",) and "--report" not in words and "--help" not in words:
        words = (*words, "--no-report")  # most tests look at something else, and drawing takes seconds
    words = tuple(word for word in words if word != "--report")
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="striate")


@pytest.fixture
def striate() -> Callable[..., Result]:
    """Runs a command: ``striate("inspect", "lenet").stdout``."""
    return invoke


@pytest.fixture
def refused(striate: Callable[..., Result]) -> Callable[..., str]:
    """Runs a command that must find its input bad; returns the message, which is all that it printed."""

    def run(*words: object) -> str:
        done = striate(*words)
        assert (done.exit_code, done.stdout) == (2, ""), done.output
        label, _, message = done.stderr.strip().partition(" ")
        assert label == "Error:"
        return message

    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on the digits, in a folder whose name holds a space and brackets."""
    folder = tmp_path_factory.mktemp("runs") / "first [bold] é"
    done = invoke("train", "lenet", "--data", "digits28", "--epochs", 2, "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    """A picture of a one, to be classified."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[5:23, 13:16] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    return Path("one.png")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
