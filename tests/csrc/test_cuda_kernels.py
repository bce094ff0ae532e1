"""The CUDA kernels on the emulation of tests/csrc/cuda_emulation, and whether that can fail."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EMULATION = ROOT / "tests" / "csrc" / "cuda_emulation"
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


def check_with_fault(name, text, folder):
    """Compile with one header replaced, run, and return what is reported."""
    shutil.copytree(HEADERS / "fastlanczos", folder / "fastlanczos")
    (folder / "fastlanczos" / "cuda" / name).write_text(text)
    compile_kernels(folder, folder / "check_kernels")
    done = subprocess.run([folder / "check_kernels", "1"], capture_output=True, text=True, timeout=300)
    assert done.returncode > 0, "the fault was not caught"
    return done.stdout


WAITS = r"__syncthreads\(\);|grid_barrier\(\);|arrive\(0\);"
BARRIERS = [
    (path.name, number)
    for path in sorted((HEADERS / "fastlanczos" / "cuda").glob("*.cuh"))
    for number in range(len(re.findall(WAITS, path.read_text())))
]


@pytest.mark.parametrize(("name", "number"), BARRIERS)
def test_no_barrier_can_be_left_out(name, number, tmp_path):
    text = (HEADERS / "fastlanczos" / "cuda" / name).read_text()
    barrier = list(re.finditer(WAITS, text))[number]
    report = check_with_fault(name, text[: barrier.start()] + ";" + text[barrier.end() :], tmp_path)
    assert re.search("a race in|nobody has written|before its copy has arrived", report)


# Where a fault goes: file, what stands there, what a careless hand would have written, what is reported.
FAULTS = {
    "a tile off by one": ("sweep.cuh", "run.dim - t * tile.width;", "run.dim - t * tile.width + 1;", "out of bounds"),
    "a row that is not fetched": (
        "sweep.cuh",
        "row < tile.held; row += rows_at_once",
        "row < tile.held - 1; row += rows_at_once",
        "nobody has written",
    ),
    "a partial sum left out": ("step.cuh", "chunk < chunks; chunk += kWarp", "chunk + 1 < chunks; chunk += kWarp", ""),
    "a partial sum of the step before": ("step.cuh", "if (lane_of_thread() == 0) store(run.dots + j, sum);", ";", ""),
    "a barrier that not all threads reach": (
        "sweep.cuh",
        "subtracted_w);\n        __syncthreads();",
        "subtracted_w);\n        if (thread >= 32) __syncthreads();",
        "divergent barrier",
    ),
    "a barrier of the grid that a block leaves out": (
        "step.cuh",
        "detail::inspect(batch, room);\n    grid_barrier();",
        "detail::inspect(batch, room);\n    if (blockIdx.x > 0) grid_barrier();",
        "divergent barrier",
    ),
    "a tile fetched over the one in use": (
        "sweep.cuh",
        "tiles + (t + 1 - first_tile) % 2",
        "tiles + (t - first_tile) % 2",
        "before its copy has arrived",
    ),
    "rows that do not begin at 16 bytes": ("run.cuh", "return dim + dim % 2;", "return dim;", "misaligned"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_caught(fault, tmp_path):
    name, right, wrong, told = FAULTS[fault]
    text = (HEADERS / "fastlanczos" / "cuda" / name).read_text()
    assert right in text, "the kernel has changed: seed the fault where it belongs now"
    assert told in check_with_fault(name, text.replace(right, wrong, 1), tmp_path)
