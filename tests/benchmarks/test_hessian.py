"""benchmarks/hessian.py: it runs, with the peers that are installed."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import hessian


def test_the_benchmark_of_hessians_runs_with_the_peers_that_are_there(tmp_path):
    hessian.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "hessian.json").read_text())
    problems = {row["problem"]: row for row in record["problems"]}
    assert problems["MLP, one batch"]["n"] == 15910
    assert len(problems) == 4
    for row in problems.values():
        assert row["seconds"]["fastlanczos"] > 0
        assert row["schedule"].startswith("graphs kept")
    assert (tmp_path / "hessian.png").stat().st_size > 1000
