"""A run killed by the system at random moments, in processes of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from striate.train import Quiet, RunConfig, fit

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.slow  # `test_distributed.py` kills a process too, and `test_resuming.py` goes on from any step
def test_two_kills(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(BENCH)
    module = importlib.import_module("kill_and_resume")
    finish = module.finish

    def end(config: Path, folder: Path, threads: int) -> None:
        """The whole run is timed, for the moments of the kills, in a process like theirs; the last one may end here."""
        if folder.name == "whole":
            finish(config, folder, threads)
        else:
            fit(RunConfig.from_toml(config), folder, resume=True, reporter=Quiet())

    monkeypatch.setattr(module, "finish", end)
    assert module.prove(kills=2, epochs=4, interval=0.02, threads=1, workers=2, seed=4, work=tmp_path)
    told = capsys.readouterr().out
    assert told.count("kill ") == 2
    assert "best.safetensors: identical" in told
