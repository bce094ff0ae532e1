"""Seeds every fault of seeded.py into a copy of the project and runs the engine's tests for each: all must fail.

    python tests/faults/run.py            # or `make faults`; --only WORDS for the faults whose name has them

The copy is compiled once, with all faults in it; an environment variable says which one is on. The tests must pass
where none is, which is tried first.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from seeded import CPU, CUDA

ROOT = Path(__file__).parents[2]
TESTS = {
    "CPU": [
        "tests/csrc/test_step_terms.py",
        "tests/csrc/test_step.py",
        "tests/csrc/test_step_complex.py",
        "tests/csrc/test_bidiagonal.py",
    ],
    "CUDA": [
        "tests/engine/test_device_terms.py",
        "tests/engine/test_far_space.py",
        "tests/engine/test_device_run.py",
        "tests/engine/test_shared_device_run.py",
        "tests/engine/test_long_vectors.py",
    ],
}
SWITCH = """
#ifndef FASTLANCZOS_SEEDED_FAULT
#define FASTLANCZOS_SEEDED_FAULT
#include <cstdlib>
inline int seeded_fault() {
    static const int number = std::getenv("FASTLANCZOS_FAULT") ? std::atoi(std::getenv("FASTLANCZOS_FAULT")) : 0;
    return number;
}
#endif
"""


def seed(headers, faults):
    """Write the faults into the headers of a copy, numbered from 1."""
    for number, (name, file, right, wrong) in enumerate(faults, start=1):
        path = headers / file
        text = path.read_text()
        if right not in text:
            raise SystemExit(f"the engine has changed: seed the fault {name!r} where it belongs now")
        path.write_text(text.replace(right, wrong.replace("FAULT", f"(seeded_fault() == {number})"), 1))
    for file in {fault[1] for fault in faults}:
        path = headers / file
        path.write_text(path.read_text().replace("#pragma once", "#pragma once\n" + SWITCH, 1))


def copied(folder):
    """Copy what tests need, with every fault seeded and the CPU engine compiled; return the folder."""
    for name in ("fastlanczos", "csrc", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    headers = folder / "csrc" / "include" / "fastlanczos"
    seed(headers, CPU)
    seed(headers, CUDA)
    (library,) = (folder / "fastlanczos").glob("_core*.so")
    includes = [folder / "csrc" / "include", pybind11.get_include(), sysconfig.get_path("include")]
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-ffp-contract=fast"]
    command = ["g++", *flags, *(f"-I{p}" for p in includes), folder / "csrc" / "bindings" / "core.cpp", "-o", library]
    subprocess.run([str(word) for word in command], check=True)
    return folder


def fails(folder, engine, number):
    """Whether a test of the engine fails with the fault on, and the first that does."""
    path = os.pathsep.join(str(folder / name) for name in (".", "tests", "tests/csrc/cuda_emulation", "benchmarks"))
    settings = {"PYTHONPATH": path, "FASTLANCZOS_EMULATION": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *TESTS[engine]]
    environment = os.environ | settings | {"FASTLANCZOS_FAULT": str(number)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    first = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    if done.returncode and not first:
        first = f"exit status {done.returncode}: {done.stdout[-200:]}{done.stderr[-200:]}"
    return done.returncode != 0, first.split(" - ")[0].removeprefix("FAILED ")


def main():
    """Try every fault; exit with 1 if one goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name has these words")
    options = parser.parse_args()
    chosen = [
        (engine, number, fault[0])
        for engine, faults in (("CPU", CPU), ("CUDA", CUDA))
        for number, fault in enumerate(faults, start=1)
        if options.only in fault[0]
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(Path(temporary))
        for engine in dict.fromkeys(engine for engine, _, _ in chosen):
            wrong, first = fails(folder, engine, 0)
            if wrong:
                raise SystemExit(f"{engine}: without any fault, {first} fails")
        unnoticed = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for (engine, _, name), (seen, first) in zip(
                chosen, pool.map(lambda c: fails(folder, c[0], c[1]), chosen), strict=True
            ):
                print(f"{engine:5} {name:36} {'caught by ' + first if seen else 'NOT NOTICED'}", flush=True)
                if not seen:
                    unnoticed.append(f"{engine}: {name}")
    print(f"\n{len(chosen) - len(unnoticed)} of {len(chosen)} faults are caught")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
