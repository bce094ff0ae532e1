"""benchmarks/storage.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from cases.programs import run


def test_less_storage_loses_nothing(tmp_path):
    run("benchmarks/storage.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "storage.json").read_text())
    for row in record["float32"]:
        assert row["T's eigenvalues"] < 1e-11
        assert row["|V V' - I|"] < 1e-6
    assert record["density"][0]["largest gap of the cdf"] < 1e-6
    assert record["density"][0]["copies of the top node"] > 1
    few, many = (row["vectors of n at the peak"] for row in record["memory"])
    assert many < few + 0.1
