"""benchmarks/intervals.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("pyamg")

from cases.programs import run


def test_intervals_hold_on_graphs_and_kernels(tmp_path):
    run("benchmarks/intervals.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "intervals.json").read_text())
    assert len(record["rows"]) == 10 * 8 * 5
    assert record["summary"]["mean"] > 0.93
