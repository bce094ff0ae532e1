"""The foreign functions that XLA calls."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")

PROGRAM = Path(__file__).parents[1] / "cases" / "jax_on_emulation.py"


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
def test_handlers_for_a_gpu_do_what_those_for_the_cpu_do(gpu):
    done = subprocess.run(
        [sys.executable, PROGRAM, gpu.module.__file__], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "passed", done.stderr
