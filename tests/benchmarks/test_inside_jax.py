"""benchmarks/inside_jax.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jax")
pytest.importorskip("matfree")

from cases.programs import run


def test_lanczos_inside_jax_is_compared(tmp_path):
    run("benchmarks/inside_jax.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "inside_jax.json").read_text())
    assert [row["solver"] for row in record["rows"]] == ["fastlanczos.jax", "matfree", "fastlanczos"]
    assert record["rows"][0]["error"] < 1e-13
    assert max(record["difference"].values()) < 1e-12
    assert (tmp_path / "inside_jax.png").stat().st_size > 1000
