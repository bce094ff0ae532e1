"""What the compiler says of the CUDA kernels, and that docs/cuda.md says the same."""

import shutil
from pathlib import Path

import pytest
from cases.soak import SOAK
from gpu import kernel_resources

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cuda.md"


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_no_kernel_spills_and_the_documented_table_is_the_compilers():
    rows = kernel_resources.resources() if SOAK else kernel_resources.resources(architectures=["sm_90"])
    assert len(rows) == (38 if SOAK else 19)
    for kernel, architecture, registers, _, stores, loads in rows:
        assert (stores, loads) == (0, 0), f"{kernel} spills on {architecture}"
        assert registers <= 255
    documented = DOCUMENT.read_text().splitlines()
    assert set(kernel_resources.markdown(rows).splitlines()) <= set(documented)


def test_spills_of_a_called_function_count():
    report = """ptxas info    : Compiling entry function '_Z11step_kernelBasisE2EE' for 'sm_90'
ptxas info    : Function properties for _Zstep
    216 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 254 registers, used 1 barriers, 216 bytes cumulative stack size
ptxas info    : Function properties for _Zhelper
    0 bytes stack frame, 88 bytes spill stores, 124 bytes spill loads
"""
    assert kernel_resources.kernels(report, "sm_90") == [("step_kernel, float64", "sm_90", 254, 216, 88, 124)]
