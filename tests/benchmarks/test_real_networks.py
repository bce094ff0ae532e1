"""benchmarks/real_networks.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("transformers")

from cases.programs import run


@pytest.mark.soak
def test_products_are_those_of_plain_torch_and_the_bound_stands_beside(tmp_path):
    printed = run("benchmarks/real_networks.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "real_networks.json").read_text())
    assert {row["network"] for row in record["densities"]} == {"BERT", "GPT-2", "ResNet-18"}
    assert {row["basis"] for row in record["densities"]} == {"float64", "float32", "none"}
    for row in record["densities"]:
        assert row["of the bound"] == pytest.approx(row["seconds"] / sum(row["bound"].values()))
    for row in record["products"]:
        assert row["differs"] < 1e-5
    norms = [row["norm"] for row in record["checkpoints"]]
    assert max(norms) < 1.01 * min(norms)
    assert "Peak of a product" in printed
    assert (tmp_path / "real_networks.png").stat().st_size > 1000
