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

# Where a fault goes: file, what stands there, what a careless hand would have written, what is reported. FAULT is 1
# where the fault is on and 0 where it is not, so that one program, compiled once, has all of them.
FAULTS = {
    "a tile of rows that is combined before all are there": (
        "vectors.cuh",
        "load(rows + j * stride + c));\n        __syncthreads();",
        "load(rows + j * stride + c));\n        if (!FAULT) __syncthreads();",
        "nobody has written",
    ),
    "a tile of rows that is written over while it is combined": (
        "vectors.cuh",
        "__syncthreads();  // the tile is used again",
        "if (!FAULT) __syncthreads();",
        "race",
    ),
    "an inner product without the conjugate": (
        "vectors.cuh",
        "sum.second += x.first * y.second - x.second * y.first;",
        "sum.second += x.first * y.second - (FAULT ? -1.0 : 1.0) * x.second * y.first;",
        "complex arithmetic",
    ),
    "a tile off by one": (
        "sweep.cuh",
        "run.dim - t * tile.width;",
        "run.dim - t * tile.width + FAULT;",
        "out of bounds",
    ),
    "a row that is not fetched": (
        "sweep.cuh",
        "row < tile.held; row += rows_at_once",
        "row < tile.held - FAULT; row += rows_at_once",
        "nobody has written",
    ),
    "a partial sum left out": (
        "step.cuh",
        "chunk < chunks; chunk += kWarp",
        "chunk + FAULT < chunks; chunk += kWarp",
        "",
    ),
    "a partial sum of the step before": (
        "step.cuh",
        "if (lane_of_thread() == 0) store(run.dots + j, sum);",
        "if (lane_of_thread() == 0 && !FAULT) store(run.dots + j, sum);",
        "",
    ),
    "a barrier that not all threads reach": (
        "sweep.cuh",
        "subtracted_w);\n        __syncthreads();",
        "subtracted_w);\n        if (thread >= 32 || !FAULT) __syncthreads();",
        "divergent barrier",
    ),
    "a barrier of the grid that a block leaves out": (
        "step.cuh",
        "detail::inspect(batch, room);\n    grid_barrier();",
        "detail::inspect(batch, room);\n    if (blockIdx.x > 0 || !FAULT) grid_barrier();",
        "divergent barrier",
    ),
    "a tile fetched over the one in use": (
        "sweep.cuh",
        "tiles + (t + 1 - first_tile) % 2",
        "tiles + (t + 1 - FAULT - first_tile) % 2",
        "before its copy has arrived",
    ),
    "a tile fetched into the place of the one in use": (
        "ring.cuh",
        "fetch(t + stages - 1);",
        "fetch(t + stages - 1 + FAULT);",
        "",
    ),
    "a place of the ring used one tile late": (
        "ring.cuh",
        "const Value* here = place(t);",
        "const Value* here = place(t + FAULT);",
        "",
    ),
    "no group of copies for a tile beyond the end": (
        "ring.cuh",
        "            commit_copies();  // a group",
        "            if (!FAULT) commit_copies();  // a group",
        "before its copy has arrived",
    ),
    "a tile waited for too little": (
        "ring.cuh",
        "arrive(stages - 2);\n        __syncthreads();",
        "arrive(stages - 2 + FAULT);\n        __syncthreads();",
        "before its copy has arrived",
    ),
    "the columns of the tile before": (
        "ring.cuh",
        "next = column_of(t + 1);",
        "next = column_of(t + 1 - FAULT);",
        "",
    ),
    "row offsets in 32 bits": (
        "sweep.cuh",
        "rows.stride = run.stride;",
        "rows.stride = FAULT ? static_cast<int>(8 * run.stride) / 8 : run.stride;",
        "",
    ),
    "n in place of the stride": (
        "ring.cuh",
        "+ count * run.stride + c",
        "+ count * (FAULT ? run.dim : run.stride) + c",
        "",
    ),
    "offsets in 32 bits in a restart": (
        "restart.cuh",
        "store(values + (i + o) * run.stride + c,",
        "store(values + (FAULT ? static_cast<int>((i + o) * run.stride) : (i + o) * run.stride) + c,",
        "",
    ),
    "rows that do not begin at 16 bytes": (
        "run.cuh",
        "return dim + dim % 2;",
        "return dim + (FAULT ? 0 : dim % 2);",
        "misaligned",
    ),
}
WAITS = re.compile(r"__syncthreads\(\);|grid_barrier\(\);|arrive\((?:[^()]|\([^()]*\))*\);")
SOURCES = {path.name: path.read_text() for path in sorted((HEADERS / "fastlanczos" / "cuda").glob("*.cuh"))}
BARRIERS = [(name, number) for name, text in SOURCES.items() for number in range(len(WAITS.findall(text)))]
NUMBERS = {fault: number for number, fault in enumerate([*FAULTS, *BARRIERS], start=1)}


def with_faults(name, text):
    """Return a header with every fault in it, each off unless `emulation::fault` is its number."""

    def on(fault):
        return f"(emulation::fault == {NUMBERS[fault]})"

    for fault, (where, right, wrong, _) in FAULTS.items():
        if where == name:
            assert right in text, f"the kernel has changed: seed the fault {fault!r} where it belongs now"
            text = text.replace(right, wrong.replace("FAULT", on(fault)), 1)
    barriers = iter(range(len(BARRIERS)))
    return WAITS.sub(lambda wait: f"if (!{on((name, next(barriers)))}) {wait[0]}", text)


@pytest.fixture(scope="module")
def check_kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    shutil.copytree(HEADERS / "fastlanczos", folder / "fastlanczos")
    for name, text in SOURCES.items():
        (folder / "fastlanczos" / "cuda" / name).write_text(with_faults(name, text))
    program = folder / "check_kernels"
    flags = ["-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    paths = ["-I", str(EMULATION), "-I", str(folder)]
    command = ["g++", *flags, *paths, "-x", "c++", str(EMULATION / "check_kernels.cpp"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_step_and_quadrature_agree_with_the_cpu_engine_in_any_order_of_threads(check_kernels, seed):
    done = subprocess.run([check_kernels, str(seed)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def report_of(check_kernels, fault, *, first):
    """Return what the program reports with a fault on, the first thing or all."""
    command = [check_kernels, "1", str(NUMBERS[fault]), *(["first"] if first else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode > 0, "the fault was not caught"
    return done.stdout


@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda barrier: f"{barrier[0]}-{barrier[1]}")
def test_no_barrier_can_be_left_out(barrier, check_kernels):
    report = report_of(check_kernels, barrier, first=True)
    assert re.search("a race in|nobody has written|before its copy has arrived", report)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_caught(fault, check_kernels):
    assert FAULTS[fault][3] in report_of(check_kernels, fault, first=not FAULTS[fault][3])
