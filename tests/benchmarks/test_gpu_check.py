"""benchmarks/gpu_check.py: the dry run, on the emulated GPU."""

import json
import shutil

import pytest

pytest.importorskip("torch")

import gpu_check
from cases.programs import run


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
