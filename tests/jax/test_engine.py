"""The foreign functions that XLA calls."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

jax = pytest.importorskip("jax")

from fastlanczos.jax import engine  # noqa: E402

PROGRAM = Path(__file__).parents[1] / "cases" / "jax_on_emulation.py"


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
def test_handlers_for_a_gpu_do_what_those_for_the_cpu_do(gpu):
    done = subprocess.run(
        [sys.executable, PROGRAM, gpu.module.__file__], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and done.stdout.strip() == "passed", done.stderr


def test_a_state_has_room_for_the_numbers_of_a_run():
    for m in (1, 2, 3, 7, 100):
        stride, width = engine._sizes(200, m, "float64")
        assert stride == 200 and m * width >= engine.NUMBERS + 3 * m
