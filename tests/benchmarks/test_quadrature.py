"""benchmarks/quadrature.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

import quadrature


def test_batched_quadrature_is_as_accurate_as_lapack(tmp_path):
    quadrature.main(["--quick", "--output", str(tmp_path)])
    (row,) = json.loads((tmp_path / "quadrature.json").read_text())["rows"]
    assert row["nodes, error / norm"] < 1e-14
    assert row["cumulative weights, error"] < 1e-13
