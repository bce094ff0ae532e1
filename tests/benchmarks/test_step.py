"""benchmarks/step.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from cases.programs import run


def test_step_agrees_with_its_peers(tmp_path):
    run("benchmarks/step.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "step.json").read_text())
    for row in record["rows"]:
        assert row["Ritz values differ by"] < 1e-12
        assert row["x NumPy"] > 0
    assert len(record["variants"]["rows"]) == 7
    assert (tmp_path / "step.png").stat().st_size > 1000
