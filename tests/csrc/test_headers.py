"""csrc/include/: the headers in a program of their own, for every variant that a compiler may choose."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cases.soak import SOAK

ROOT = Path(__file__).parent.parent.parent
STRICT = ["-std=c++17", "-pthread", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
VARIANTS = {"vector types": [], "plain loops, as for MSVC": ["-DFASTLANCZOS_PLAIN"]}
if SOAK:
    VARIANTS |= {
        "thread sanitizer": ["-fsanitize=thread"],
        "address and undefined-behaviour sanitizers": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    }


@pytest.mark.soak
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_headers_compile_without_warnings_and_keep_their_promises(compiler, variant, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    program = tmp_path / "check"
    command = [compiler, *STRICT, *VARIANTS[variant], f"-I{ROOT / 'csrc/include'}", "-o", str(program)]
    built = subprocess.run([*command, str(ROOT / "tests/csrc/check_headers.cpp")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    environment = os.environ | {
        "ASAN_OPTIONS": "detect_leaks=0",  # the leak checker needs ptrace
        "OMP_NUM_THREADS": "4",
    }
    done = subprocess.run([str(program)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 failures\n")
    assert "data race" not in done.stderr


def test_a_cmake_project_finds_the_headers_and_runs(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("no cmake here")
    configure = [
        "cmake",
        "-S",
        str(ROOT / "examples/cpp"),
        "-B",
        str(tmp_path),
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    for command in (configure, ["cmake", "--build", str(tmp_path)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([str(tmp_path / "laplacian")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "n = 14400, 400 steps" in done.stdout
