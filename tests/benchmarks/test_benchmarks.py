"""benchmarks/ and examples/: each script runs in its small form, and its claim holds there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_check
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent.parent


def run(script, *arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_at_the_same_number_of_products_ritz_values_are_at_least_as_accurate_as_eigshs(tmp_path):
    run("benchmarks/same_products.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "same_products.json").read_text())
    for row in record["extremes"]:
        assert row["orthogonality"] < 1e-13
        assert row["eigsh error"] is None or row["error"] <= max(row["eigsh error"], 1e-14)
    for row in record["densities"]:
        # ten probes of dimension 400; five standard deviations of a cdf's value
        assert row["cdf gap"] < 5 * (2 / (10 * 400)) ** 0.5 / 2
    assert (tmp_path / "same_products.png").stat().st_size > 1000


def test_eigsh_misses_nothing_and_its_residuals_are_at_most_scipys(tmp_path):
    printed = run("benchmarks/accuracy.py", "--quick", "--seconds", 2, "--output", tmp_path)
    record = json.loads((tmp_path / "accuracy.json").read_text())
    ours, theirs = record["summary"][:2]
    assert (ours["solver"], theirs["solver"]) == ("fastlanczos", "scipy")
    assert ours["problems"] > 150
    assert (ours["failed"], ours["wrong"], ours["missed"]) == (0, 0, 0)
    assert ours["worst orthogonality"] < 1e-13
    assert ours["worst residual"] <= theirs["worst residual"]
    assert "Summary" in printed
    assert (tmp_path / "accuracy.png").stat().st_size > 1000


def test_eigsh_is_compared_on_problems_that_it_solves(tmp_path):
    run("benchmarks/eigsh.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "eigsh.json").read_text())
    ours = [row for row in record["rows"] if row["solver"] == "fastlanczos"]
    assert len(ours) == 5
    for row in ours:
        assert row["missed"] == 0
        assert row["error"] < 1e-12
        assert row["residual"] < 1e-10
        assert row["|V'V - I|"] < 1e-13
    assert (tmp_path / "eigsh.png").stat().st_size > 1000


def test_the_basis_is_as_orthonormal_as_gram_schmidts_applied_twice(tmp_path):
    run("benchmarks/orthogonality.py", "--quick", "--output", tmp_path)
    for row in json.loads((tmp_path / "orthogonality.json").read_text())["rows"]:
        assert row["|V V^T - I|"] < max(1e-14, 5 * row["CGS2's"])
        assert row["|A V^T - V^T T| / |A|"] < 1e-14
        assert row["sweeps / step"] == 1
        assert row["same bits"]


def test_step_agrees_with_its_peers(tmp_path):
    run("benchmarks/step.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "step.json").read_text())
    for row in record["rows"]:
        assert row["Ritz values differ by"] < 1e-12
        assert row["x NumPy"] > 0
    assert len(record["variants"]["rows"]) == 7
    assert (tmp_path / "step.png").stat().st_size > 1000


def test_overhead_measures_runs_with_the_same_bits(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    run("benchmarks/overhead.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "overhead.json").read_text())
    assert [row["operator"] for row in record["step"]] == ["Python callable", "LowLevelCallable"]
    assert all(row["same bits"] for row in record["threads"])
    assert all(row["worst ms"] < 1000 for row in record["interrupts"])


def test_gpu_check_runs_dry_to_its_end_and_reports_what_fails(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("the emulation is compiled with g++")
    printed = run("benchmarks/gpu_check.py", "--dry-run", "--output", tmp_path)
    assert "8 of 8 parts are ok" in printed
    record = json.loads((tmp_path / "gpu_emulated.json").read_text())
    parts = record["parts"]
    assert parts["tests"]["passed"] > 30
    assert parts["synchronisations"]["waits"] == 0
    for row in parts["accuracy"]["rows"]:
        if row["storage"] == "float64":
            assert row["|V V' - I|"] < 1e-13
            assert row.get("T's eigenvalues", 0.0) < max(1e-13, 100 * row.get("CGS2's", 0.0))
    assert {row["storage"] for row in parts["step"]["rows"]} == {"float64", "float32", "none"}
    assert parts["quadrature"]["rows"][0]["nodes"] < 1e-13


def test_gpu_check_goes_on_after_a_part_that_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check, "MEASURED", {"no such part": 20, "short": 60})
    monkeypatch.setattr(gpu_check, "tests", lambda left, dry: {"ok": True})
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--dry-run", "--output", str(tmp_path)])
    assert gpu_check.main() == 1
    printed = capsys.readouterr().out
    assert "no such part: FAILED, exit status 2" in printed
    assert "2 of 3 parts are ok; failed: no such part" in printed
    assert json.loads((tmp_path / "gpu_emulated.json").read_text())["parts"]["short"]["ok"]


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


def test_the_papers_validation_holds(tmp_path):
    printed = run("benchmarks/paper_validation.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "paper_validation.json").read_text())["64-20-10"]
    assert record["top_error"] < 1e-12
    assert record["bottom_error"] < 1e-12
    assert "64-20-10 from other seeds" in printed


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


def test_batched_quadrature_is_as_accurate_as_lapack(tmp_path):
    run("benchmarks/quadrature.py", "--quick", "--output", tmp_path)
    (row,) = json.loads((tmp_path / "quadrature.json").read_text())["rows"]
    assert row["nodes, error / norm"] < 1e-14
    assert row["cumulative weights, error"] < 1e-13


def test_the_benchmark_of_hessians_runs_with_the_peers_that_are_there(tmp_path):
    run("benchmarks/hessian.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "hessian.json").read_text())
    problems = {row["problem"]: row for row in record["problems"]}
    assert problems["MLP, one batch"]["n"] == 15910
    assert len(problems) == 4
    for row in problems.values():
        assert row["seconds"]["fastlanczos"] > 0
        assert row["schedule"].startswith("graphs kept")
    assert (tmp_path / "hessian.png").stat().st_size > 1000


def test_a_measurement_leaves_trainings_bits_alone(tmp_path):
    pytest.importorskip("plotly")
    run("benchmarks/tracking.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "tracking.json").read_text())
    assert [row["samples"] for row in record["measurements"]] == [64, 256]
    assert all(row["same bits"] and row["seconds"] > 0 for row in record["measurements"])


def test_intervals_of_sums_hold_and_a_kernels_trace_takes_few_products(tmp_path):
    run("benchmarks/sums.py", "--quick", "--output", tmp_path)
    record = json.loads((tmp_path / "sums.json").read_text())
    assert record["logdet"]["fastlanczos"]["relative error"] < 0.02
    assert 5 * record["four digits"]["auto"]["products"] < record["four digits"]["hutchinson"]["products"]
    held = [row[quantity] for row in record["coverage"] for quantity in ("trace", "logdet", "cdf")]
    assert sum(held) / len(held) > 0.9
    assert min(held) >= 0.6  # of ten seeds each
