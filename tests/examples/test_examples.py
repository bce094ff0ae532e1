"""examples/: each runs and does what it says."""

import shutil
import subprocess
import sys
from pathlib import Path

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


def test_the_distributed_example_runs_on_two_ranks(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    example = Path(__file__).parents[2] / "examples" / "distributed_density.py"
    done = subprocess.run([*command, str(example)], capture_output=True, text=True, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "24 of 48 sequences" in done.stdout
    assert (tmp_path / "distributed_density.png").stat().st_size > 5000


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs MPI")
def test_the_mpi_example_runs_on_two_ranks(tmp_path):
    pytest.importorskip("mpi4py")
    example = Path(__file__).parents[2] / "examples" / "mpi_eigsh.py"
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", sys.executable, str(example)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "rows 0 to 19999 on rank 0 of 2" in done.stdout
    assert float(done.stdout.split("off by ")[1].split()[0]) < 1e-12


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
