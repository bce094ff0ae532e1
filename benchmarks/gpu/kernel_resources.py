"""Registers, stack and spills of each CUDA kernel for each architecture, as the compiler reports them.

Prints the table of docs/cuda.md. Needs nvcc, and no GPU.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHITECTURES = ("sm_80", "sm_90")
PROGRAM = """
#include "fastlanczos/cuda/restart.cuh"
#include "fastlanczos/cuda/sharing.cuh"
#include "fastlanczos/cuda/tridiagonal.cuh"
#include "fastlanczos/cuda/vectors.cuh"
using namespace fastlanczos::cuda;
cudaError_t step(const Batch& batch, Basis basis) { return launch_step(batch, basis, kMaxThreads, true, 0); }
cudaError_t restart(const Batch& batch, Basis basis) {
    return launch_restart(batch, basis, 2, nullptr, {}, kMaxThreads, 0);
}
cudaError_t quadrature(double* x, int* failed) { return launch_quadrature(1, 1, x, x, x, x, x, failed, 0); }
void* vectors[] = {(void*)&terms_kernel, (void*)&largest_kernel, (void*)&combine_kernel<float>,
                   (void*)&combine_kernel<double>, (void*)&combine_kernel<Complex>, (void*)&inner_kernel<float>,
                   (void*)&inner_kernel<double>, (void*)&inner_kernel<Complex>, (void*)&turn_kernel<double>,
                   (void*)&turn_kernel<Complex>, (void*)&pack_kernel, (void*)&take_kernel};
"""
STORAGE = {"0": "none", "1": "float32", "2": "float64", "f": "float32", "d": "float64", "N": "complex128"}
ALL = ("step_kernel", "rotate_kernel", "turn_kernel")  # which take all the shared memory that a block may have
THREADS = {"quadrature_kernel": 64}  # of a block; of all others 256
REGISTERS, RESIDENT = 65536, 2048  # of a multiprocessor, sm_80 and sm_90: registers, threads


def resources(nvcc="nvcc", architectures=ARCHITECTURES):
    """Return rows (kernel, architecture, registers, stack bytes, bytes of spill stores, bytes of spill loads)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernels.cu"
        source.write_text(PROGRAM)
        for architecture in architectures:
            command = [nvcc, "-O3", "-std=c++17", f"-arch={architecture}", "-Xptxas", "-v", "-cubin"]
            include = ["-I", str(ROOT / "csrc" / "include"), "-o", str(Path(folder) / "kernels.cubin")]
            done = subprocess.run([*command, *include, str(source)], capture_output=True, text=True, check=True)
            rows += kernels(done.stderr, architecture)
    return sorted(rows)


def kernels(report, architecture):
    """Return the rows of one compilation. Spills of the functions that a kernel calls count as its own."""
    rows = []
    for entry in re.split(r"Compiling entry function ", report)[1:]:
        name = entry.split("'", 2)[1]
        found = re.search(r"(step|rotate|write|quadrature|terms|largest|combine|inner|turn|pack|take)_?kernel", name)
        kind = re.search(r"BasisE(\d)|kernelI([fdN])", name)
        kernel = found[0] if kind is None else f"{found[0]}, {STORAGE[kind[1] or kind[2]]}"
        spills = [
            tuple(map(int, pair)) for pair in re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        ]
        registers, stack = re.search(r"Used (\d+) registers", entry), re.search(r"(\d+) bytes cumulative stack", entry)
        stores, loads = (sum(pair[i] for pair in spills) for i in (0, 1))
        rows.append((kernel, architecture, int(registers[1]), int(stack[1]) if stack else 0, stores, loads))
    return rows


def occupancy(kernel, registers):
    """Return the share of a multiprocessor's threads that its registers, and shared memory, leave room for."""
    name = kernel.split(",")[0]
    threads = THREADS.get(name, 256)
    blocks = 1 if name in ALL else min(REGISTERS // (-(-registers // 8) * 8 * threads), RESIDENT // threads)
    return blocks * threads / RESIDENT


def markdown(rows):
    """Return the rows as a Markdown table."""
    head = (
        "| kernel | architecture | registers | stack, bytes | spill stores | spill loads | shared memory | "
        "occupancy |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [head]
    for row in rows:
        shared = "all" if row[0].split(",")[0] in ALL else "none" if row[0] == "quadrature_kernel" else "256 bytes"
        lines.append("| " + " | ".join(map(str, (*row, shared, f"{occupancy(row[0], row[2]):.1%}"))) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(resources(*sys.argv[1:])))
