"""benchmarks/products.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

import products


def test_no_copy_is_missed_and_without_the_search_products_are_fewer_than_scipys(tmp_path, monkeypatch):
    monkeypatch.delitem(products.SOLVERS, "primme", raising=False)
    products.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "products.json").read_text())
    of = {row["solver"]: row for row in record["summary"]}
    assert of["fastlanczos"]["problems with wrong values"] == 0
    assert of["no copies"]["median of scipy's products"] < 1.0
    assert of["fastlanczos"]["median of scipy's products"] < 1.5
    assert all(row["fastlanczos"] > 0 for row in record["products"])
    assert (tmp_path / "products.png").stat().st_size > 1000
