"""benchmarks/overhead.py: its claim, in its small form."""

import json
import shutil

import pytest
from cases.programs import run


def test_overhead_measures_runs_with_the_same_bits(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    run("benchmarks/overhead.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "overhead.json").read_text())
    assert [row["operator"] for row in record["step"]] == ["Python callable", "LowLevelCallable"]
    assert all(row["same bits"] for row in record["threads"])
    assert all(row["worst ms"] < 1000 for row in record["interrupts"])
