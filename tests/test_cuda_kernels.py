"""The CUDA kernels on the emulation of tests/cuda_emulation, and whether that can fail."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EMULATION = ROOT / "tests" / "cuda_emulation"
HEADERS = ROOT / "csrc" / "include"

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")


def compile_kernels(headers, output):
    flags = ["-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    paths = ["-I", str(EMULATION), "-I", str(headers)]
    command = ["g++", *flags, *paths, "-x", "c++", str(EMULATION / "check_kernels.cpp"), "-o", str(output)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def check_kernels(tmp_path_factory):
    program = tmp_path_factory.mktemp("kernels") / "check_kernels"
    compile_kernels(HEADERS, program)
    return program


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_step_and_quadrature_agree_with_the_cpu_engine_in_any_order_of_threads(check_kernels, seed):
    done = subprocess.run([check_kernels, str(seed)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


# Where a fault goes: file, what stands there, what a careless hand would have written.
FAULTS = {
    "no barrier after the copies arrive": (
        "sweep.cuh",
        "        arrive(0);\n        __syncthreads();",
        "        arrive(0);",
        "nobody has written",
    ),
    "copies that nobody waits for": ("sweep.cuh", "        arrive(0);\n", "", "before its copy has arrived"),
    "no barrier before parts are added": (
        "sweep.cuh",
        "subtracted_w);\n        __syncthreads();",
        "subtracted_w);",
        "nobody has written",
    ),
    "the new row written while the old ones are read": ("sweep.cuh", "__syncthreads();  // the recent", "//", "race"),
    "the room of a reduction used again": ("device.cuh", "__syncthreads();  // the room", "//", "race"),
    "no grid barrier after the sweep": (
        "step.cuh",
        "(batch, round, shared);\n        grid_barrier();",
        "(batch, round, shared);",
        "race in global memory",
    ),
    "no grid barrier before normalizing": (
        "step.cuh",
        "(batch, round, room);\n        grid_barrier();",
        "(batch, round, room);",
        "race in global memory",
    ),
    "a tile off by one": ("sweep.cuh", "run.dim - t * tile.width;", "run.dim - t * tile.width + 1;", "out of bounds"),
    "a row that is not fetched": (
        "sweep.cuh",
        "row < tile.held; row += rows_at_once",
        "row < tile.held - 1; row += rows_at_once",
        "nobody has written",
    ),
    "a partial sum left out": ("step.cuh", "chunk < chunks; chunk += kWarp", "chunk + 1 < chunks; chunk += kWarp", ""),
    "a barrier that not all threads reach": (
        "sweep.cuh",
        "subtracted_w);\n        __syncthreads();",
        "subtracted_w);\n        if (thread >= 32) __syncthreads();",
        "divergent barrier",
    ),
    "a tile fetched over the one in use": (
        "sweep.cuh",
        "tiles + (t + 1 - first_tile) % 2",
        "tiles + (t - first_tile) % 2",
        "before its copy has arrived",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_caught(fault, tmp_path):
    name, right, wrong, told = FAULTS[fault]
    shutil.copytree(HEADERS / "fastlanczos", tmp_path / "fastlanczos")
    path = tmp_path / "fastlanczos" / "cuda" / name
    text = path.read_text()
    assert right in text, "the kernel has changed: seed the fault where it belongs now"
    path.write_text(text.replace(right, wrong, 1))
    compile_kernels(tmp_path, tmp_path / "check_kernels")
    done = subprocess.run([tmp_path / "check_kernels", "1"], capture_output=True, text=True, timeout=300)
    assert done.returncode > 0
    assert told in done.stdout
