"""benchmarks/scale.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("torch")

from cases.programs import run


def test_a_step_says_two_things_and_all_ranks_have_the_same_bits(tmp_path):
    run("benchmarks/scale.py", "--quick", "--output", tmp_path)
    rows = json.loads((tmp_path / "scale.json").read_text())["rows"]
    assert [row["ranks"] for row in rows] == [1, 2]
    for row in rows:
        assert 2.0 <= row["messages a step"] <= 2.2
        assert row["same bits"]
        assert row["T differs"] < 1e-10
