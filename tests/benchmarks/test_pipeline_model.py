"""benchmarks/gpu/pipeline_model.py: its tiles are the kernel's, and docs/cuda.md has its table."""

import shutil
import subprocess
from pathlib import Path

import pytest
from gpu import pipeline_model

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include "fastlanczos/cuda/step.cuh"
int main(int, char** given) {
    const auto tile = fastlanczos::cuda::choose_tile(
        std::atoll(given[1]), std::atoll(given[2]), 256, 227 * 1024, std::atoi(given[3]));
    std::printf("%d %lld %lld", tile.stages, tile.width, tile.held);
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="the kernel's function is compiled with g++")
def test_its_tiles_are_the_kernels(tmp_path):
    (tmp_path / "tile.cpp").write_text(PROGRAM)
    folders = [ROOT / "tests" / "csrc" / "cuda_emulation", ROOT / "csrc" / "include"]
    include = [option for folder in folders for option in ("-I", str(folder))]
    command = ["g++", "-std=c++17", "-w", *include, "tile.cpp", "-o", "tile"]
    subprocess.run(command, cwd=tmp_path, check=True)
    for rows in (1, 16, 64, 128, 256, 257, 400, 800):
        for itemsize in (4, 8):
            for stages in (2, 3, 6):
                given = [str(tmp_path / "tile"), str(rows), str(itemsize), str(stages)]
                told = subprocess.run(given, capture_output=True, text=True, check=True).stdout.split()
                assert tuple(map(int, told)) == pipeline_model.tile_of(rows, itemsize, 227 * 1024, stages)


def test_the_ring_keeps_memory_busy_where_two_tiles_do_not():
    for rows in (16, 64, 128):
        ring, two = (pipeline_model.predict(rows, 8, stages=stages) for stages in (6, 2))
        assert ring["stages"] > 2 == two["stages"]
        assert ring["share"] > two["share"]
        assert ring["under way"] >= 64 * 1024
        assert ring["barriers"] < two["barriers"]


def test_the_document_has_its_table():
    documented = (ROOT / "docs" / "cuda.md").read_text().splitlines()
    assert set(pipeline_model.markdown().splitlines()) <= set(documented)
