"""benchmarks/tracking.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("plotly")

import tracking


def test_a_measurement_leaves_trainings_bits_alone(tmp_path):
    tracking.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "tracking.json").read_text())
    assert [row["samples"] for row in record["measurements"]] == [32, 128]
    assert all(row["same bits"] and row["seconds"] > 0 for row in record["measurements"])
