"""A run killed by the system at random moments, in processes of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[2] / "bench" / "kill_and_resume.py"


def test_two_kills(tmp_path: Path, capsys: Any) -> None:
    spec = importlib.util.spec_from_file_location("kill_and_resume", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.prove(kills=2, epochs=4, interval=0.02, threads=1, seed=4, work=tmp_path)
    told = capsys.readouterr().out
    assert told.count("kill ") == 2
    assert "best.safetensors: identical" in told
