"""benchmarks/kernels.py: its claim, in its small form."""

import pytest

pytest.importorskip("matplotlib")

import kernels


def test_intervals_of_log_determinants_hold(tmp_path):
    rows = kernels.main(["--quick", "--output", str(tmp_path)])
    assert len(rows) == 6
    assert sum(row["holds"] for row in rows) / len(rows) > 0.8
    assert (tmp_path / "kernels.png").stat().st_size > 1000
