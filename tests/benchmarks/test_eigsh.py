"""benchmarks/eigsh.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

from cases.programs import run


def test_eigsh_is_compared_on_problems_that_it_solves(tmp_path):
    run("benchmarks/eigsh.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "eigsh.json").read_text())
    ours = [row for row in record["rows"] if row["solver"] == "fastlanczos"]
    assert len(ours) == 7
    for row in ours:
        assert row["missed"] == 0
        assert row["error"] < 1e-12
        assert row["residual"] < 1e-10
        assert row["|V'V - I|"] < 1e-13
    assert (tmp_path / "eigsh.png").stat().st_size > 1000
