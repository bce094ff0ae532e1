"""benchmarks/same_products.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

import same_products


def test_at_the_same_number_of_products_ritz_values_are_at_least_as_accurate_as_eigshs(tmp_path):
    same_products.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "same_products.json").read_text())
    for row in record["extremes"]:
        assert row["orthogonality"] < 1e-13
        assert row["eigsh error"] is None or row["error"] <= max(row["eigsh error"], 1e-14)
    for row in record["densities"]:
        # ten probes of dimension 400; five standard deviations of a cdf's value
        assert row["cdf gap"] < 5 * (2 / (10 * 400)) ** 0.5 / 2
    assert (tmp_path / "same_products.png").stat().st_size > 1000
