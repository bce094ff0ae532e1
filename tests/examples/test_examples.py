"""examples/: each runs and does what it says."""

import pytest
from cases.programs import run

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def test_examples_run(tmp_path):
    assert "same bits as without the interruption: True" in run("examples/interrupted_run.py", cwd=tmp_path)
    assert "trace about" in run("examples/hessian_density.py", "h.png", cwd=tmp_path)
    assert (tmp_path / "h.png").stat().st_size > 1000


def test_examples_of_training_run(tmp_path):
    table = run("examples/track_training.py", "tracked", cwd=tmp_path)
    assert [line.split()[1] for line in table.splitlines() if line.startswith("step")] == [
        "0",
        "50",
        "100",
        "150",
        "200",
    ]
    assert (tmp_path / "tracked" / "spectrum.png").stat().st_size > 10_000
    assert run("examples/track_training.py", "tracked", cwd=tmp_path) == table  # measured already
    rows = run("examples/compare_optimizers.py", "optimizers", cwd=tmp_path).splitlines()
    assert len(rows) == 6
    assert "SGD" in rows[0]
    assert "Adam" in rows[0]
