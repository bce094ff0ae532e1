"""benchmarks/svds.py: its claim of accuracy, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

from cases.programs import run


def test_svds_is_compared_on_problems_that_it_solves(tmp_path):
    run("benchmarks/svds.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "svds.json").read_text())
    ours = [row for row in record["rows"] if row["solver"] == "fastlanczos"]
    assert len(ours) == len(record["ratios"]) == 6
    for row in ours:
        assert row["failed"] is None
        assert row["error"] < 1e-13
        assert row["residual"] < 2e-14
        assert row["orthogonality"] < 1e-13
    assert any(row["solver"] == "scipy arpack" for row in record["rows"])
    assert (tmp_path / "svds.png").stat().st_size > 1000
