"""benchmarks/sums.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

import sums


def test_intervals_of_sums_hold_and_a_kernels_trace_takes_few_products(tmp_path):
    sums.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "sums.json").read_text())
    assert record["logdet"]["fastlanczos"]["relative error"] < 0.02
    assert 5 * record["four digits"]["auto"]["products"] < record["four digits"]["hutchinson"]["products"]
    held = [row[quantity] for row in record["coverage"] for quantity in ("trace", "logdet", "cdf")]
    assert sum(held) / len(held) > 0.9
    assert min(held) >= 0.6  # of ten seeds each
