"""benchmarks/quench.py: its claim of accuracy, in its small form."""

import json

import pytest

pytest.importorskip("matplotlib")

from cases.programs import run


def test_states_evolve_to_the_exact_one(tmp_path):
    run("benchmarks/quench.py", "--quick", "--output", tmp_path)
    rows = json.loads((tmp_path / "quench.json").read_text())["rows"]
    errors = {(row["problem"], row["solver"]): row["error"] for row in rows}
    assert len({problem for problem, _ in errors}) == 2
    for (_, solver), error in errors.items():
        if solver.startswith("fastlanczos"):
            assert error < (1e-12 if "1e-13" in solver else 1e-9)
    assert any(solver == "scipy expm_multiply" for _, solver in errors)
    assert (tmp_path / "quench.png").stat().st_size > 1000
