"""A run killed by the system at random moments, in processes of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[2] / "bench"


def test_two_kills(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(BENCH)
    module = importlib.import_module("kill_and_resume")
    assert module.prove(kills=2, epochs=4, interval=0.02, threads=1, workers=2, seed=4, work=tmp_path)
    told = capsys.readouterr().out
    assert told.count("kill ") == 2
    assert "best.safetensors: identical" in told
