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
#include "fastlanczos/cuda/step.cuh"
#include "fastlanczos/cuda/tridiagonal.cuh"
cudaError_t step(const fastlanczos::cuda::Batch& batch, fastlanczos::cuda::Basis basis) {
    return fastlanczos::cuda::launch_step(batch, basis, fastlanczos::cuda::kMaxThreads, true, 0);
}
cudaError_t quadrature(double* x, int* failed) {
    return fastlanczos::cuda::launch_quadrature(1, 1, x, x, x, x, x, failed, 0);
}
"""
STORAGE = {"0": "none", "1": "float32", "2": "float64"}


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
        basis = re.search(r"BasisE(\d)", name)
        kernel = f"step_kernel, {STORAGE[basis[1]]}" if basis else "quadrature_kernel"
        spills = [
            tuple(map(int, pair)) for pair in re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        ]
        registers, stack = re.search(r"Used (\d+) registers", entry), re.search(r"(\d+) bytes cumulative stack", entry)
        stores, loads = (sum(pair[i] for pair in spills) for i in (0, 1))
        rows.append((kernel, architecture, int(registers[1]), int(stack[1]) if stack else 0, stores, loads))
    return rows


def markdown(rows):
    """Return the rows as a Markdown table."""
    head = (
        "| kernel | architecture | registers | stack, bytes | spill stores | spill loads |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


if __name__ == "__main__":
    print(markdown(resources(*sys.argv[1:])))
