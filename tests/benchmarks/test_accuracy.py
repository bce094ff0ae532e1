"""benchmarks/accuracy.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

from cases.programs import run


def test_eigsh_misses_nothing_and_its_residuals_are_at_most_scipys(tmp_path):
    printed = run("benchmarks/accuracy.py", "--quick", "--seconds", 2, "--output", tmp_path)
    record = json.loads((tmp_path / "accuracy.json").read_text())
    ours, theirs = record["summary"][:2]
    assert (ours["solver"], theirs["solver"]) == ("fastlanczos", "scipy")
    assert ours["problems"] > 150
    assert (ours["failed"], ours["wrong"], ours["missed"]) == (0, 0, 0)
    assert ours["worst orthogonality"] < 1e-13
    assert ours["worst residual"] <= theirs["worst residual"]
    assert "Summary" in printed
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
