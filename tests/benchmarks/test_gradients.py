"""benchmarks/gradients.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("linear_operator")

from cases.programs import run


def test_the_gradient_of_a_likelihood_is_compared(tmp_path):
    run("benchmarks/gradients.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "gradients.json").read_text())
    ours = record["rows"][0]
    assert ours["solver"] == "flt.logdet"
    assert ours["value"] < 0.02
    assert max(ours[name] for name in ("d length", "d scale", "d noise")) < 0.2
    assert (tmp_path / "gradients.png").stat().st_size > 1000
