"""examples/: each runs and does what it says."""

import pytest
from cases.programs import run

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import compare_optimizers
import track_training


def test_examples_run(tmp_path):
    assert "same bits as without the interruption: True" in run("examples/interrupted_run.py", cwd=tmp_path)
    assert "trace about" in run("examples/hessian_density.py", "h.png", cwd=tmp_path)
    assert (tmp_path / "h.png").stat().st_size > 1000


def test_examples_of_training_run(tmp_path, capsys):
    track_training.main(str(tmp_path / "tracked"), steps=20, every=10)
    table = capsys.readouterr().out
    assert [line.split()[1] for line in table.splitlines() if line.startswith("step")] == ["0", "10", "20"]
    assert (tmp_path / "tracked" / "spectrum.png").stat().st_size > 10_000
    track_training.main(str(tmp_path / "tracked"), steps=20, every=10)
    assert capsys.readouterr().out == table  # measured already
    compare_optimizers.main(str(tmp_path / "optimizers"), steps=8)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 6
    assert "SGD" in rows[0]
    assert "Adam" in rows[0]
