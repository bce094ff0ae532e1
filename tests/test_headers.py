"""csrc/include/: the headers in a program of their own, for every variant that a compiler may choose."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STRICT = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
VARIANTS = {
    "vector types": [],
    "plain loops, as for MSVC": ["-DFASTLANCZOS_PLAIN"],
    "OpenMP": ["-fopenmp"],
    "address and undefined-behaviour sanitizers": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_headers_compile_without_warnings_and_keep_their_promises(compiler, variant, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    program = tmp_path / "check"
    command = [compiler, *STRICT, *VARIANTS[variant], f"-I{ROOT / 'csrc/include'}", "-o", str(program)]
    built = subprocess.run([*command, str(ROOT / "tests/cpp/check_headers.cpp")], capture_output=True, text=True)
    if compiler == "clang++" and "omp.h" in built.stderr:
        pytest.skip("clang++ has no OpenMP here")
    assert built.returncode == 0, built.stderr
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # the leak checker needs ptrace
    done = subprocess.run([str(program)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 failures\n")


def test_threads_do_not_race(tmp_path):
    if shutil.which("clang++") is None:
        pytest.skip("no clang++ here")
    # Archer tells the sanitizer what OpenMP's barriers order; without it every barrier looks like a race.
    asked = subprocess.run(["clang++", "-print-resource-dir"], capture_output=True, text=True, check=True)
    archer = Path(asked.stdout.strip()).parent.parent / "libarcher.so"
    if not archer.exists():
        pytest.skip("clang++ has no OpenMP with Archer here")
    program = tmp_path / "check"
    command = ["clang++", *STRICT, "-fopenmp", "-fsanitize=thread", f"-I{ROOT / 'csrc/include'}", "-o", str(program)]
    subprocess.run([*command, str(ROOT / "tests/cpp/check_headers.cpp")], check=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": "4",
        "OMP_TOOL_LIBRARIES": str(archer),
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
    }
    done = subprocess.run([str(program)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
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
