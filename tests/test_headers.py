"""csrc/include/: the headers in a program of their own, for every variant that a compiler may choose."""

import os
import shutil
import subprocess
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
