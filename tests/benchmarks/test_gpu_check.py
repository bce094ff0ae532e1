"""benchmarks/gpu_check.py: the dry run, on the emulated GPU."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import gpu_check
from cases.programs import run

import fastlanczos as fl

ROOT = Path(__file__).parents[2]


def test_gpu_check_runs_dry_to_its_end_and_reports_what_fails(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("the emulation is compiled with g++")
    printed = run("benchmarks/gpu_check.py", "--dry-run", "--output", tmp_path)
    assert "10 of 10 parts are ok" in printed
    order = ["environment", "smoke", "step", "tests", "network", "eigsh", "whole", "synchronisations", "accuracy"]
    places = [printed.index(f"== {name}:") for name in order]
    assert places == sorted(places)
    for name in order:
        assert json.loads((tmp_path / "gpu_check" / f"{name}.json").read_text())["ok"]
        assert (tmp_path / "gpu_check" / f"{name}.log").exists()
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
    monkeypatch.setattr(gpu_check, "LIMITS", {"no such part": 20, "short": 60})
    assert gpu_check.main(["--dry-run", "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "no such part: FAILED, exit status 2" in printed
    assert "1 of 2 parts are ok; failed: no such part" in printed
    assert json.loads((tmp_path / "gpu_emulated.json").read_text())["parts"]["short"]["ok"]


def test_a_kernel_that_is_wrong_is_told_by_its_first_entry(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu")
    parts = importlib.import_module("parts")

    class Side:
        large, name = False, "the host"
        array = host = staticmethod(lambda x: x)

    exact = fl.quadrature

    def wrong(alpha, beta):
        nodes, weights = exact(alpha, beta)
        if len(alpha) == 50 and not wrong.asked:
            nodes = nodes.copy()
            nodes[1, 3] += 1.0
        wrong.asked = len(alpha) == 50
        return nodes, weights

    wrong.asked = False
    assert parts.smoke(Side())["ok"]
    monkeypatch.setattr(parts.fl, "quadrature", wrong)
    result = parts.smoke(Side())
    assert not result["ok"]
    assert result["why"] == "differs from the CPU engine: quadrature: nodes"
    told = next(row["differs"] for row in result["rows"] if row["differs"])
    assert told.startswith("first at 12: ")


def test_what_was_finished_is_there_when_the_check_is_killed(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("the emulation is compiled with g++")
    command = [sys.executable, "benchmarks/gpu_check.py", "--dry-run", "--minutes", "8", "--output", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(1200):
            if (tmp_path / "gpu_check" / "smoke.json").exists():
                break
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert json.loads((tmp_path / "gpu_check" / "environment.json").read_text())["ok"]
    assert json.loads((tmp_path / "gpu_check" / "smoke.json").read_text())["ok"]
    assert not (tmp_path / "gpu_check" / "quadrature.json").exists()
    assert any("environment" in json.loads(file.read_text())["parts"] for file in tmp_path.glob("gpu_*.json"))


def test_one_part_alone_and_no_time_for_it(tmp_path, capsys):
    assert gpu_check.main(["--dry-run", "--only", "smoke", "--minutes", "0.01", "--output", str(tmp_path)]) == 1
    assert "smoke: FAILED, no time was left for it" in capsys.readouterr().out
    assert gpu_check.main(["--only", "environment", "--dry-run", "--output", str(tmp_path)]) == 0
    assert "found: " in capsys.readouterr().out
