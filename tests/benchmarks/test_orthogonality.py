"""benchmarks/orthogonality.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

import orthogonality


def test_the_basis_is_as_orthonormal_as_gram_schmidts_applied_twice(tmp_path):
    orthogonality.main(["--quick", "--output", str(tmp_path)])
    for row in json.loads((tmp_path / "orthogonality.json").read_text())["rows"]:
        assert row["|V V^T - I|"] < max(1e-14, 5 * row["CGS2's"])
        assert row["|A V^T - V^T T| / |A|"] < 1e-14
        assert row["sweeps / step"] == 1
        assert row["same bits"]
