"""Builds, tests, times and sanitizes the CUDA engine where there is a GPU, within the minutes that it is given.

Needs the repository, nvcc, torch and pytest; CuPy, ncu and compute-sanitizer where they are; no network. The parts come
in the order of what they are worth: what is missing here, the build, a smoke test of every kernel, timings of a step,
the tests, networks, eigenpairs, and the rest. Each runs in a process of its own under a time limit. One that fails is
reported and does not stop the others; what it gave is written when it ends, so that a run that is cut off loses
nothing: OUTPUT/gpu_check/PART.json and PART.log, and all of it in OUTPUT/gpu_<device>.json. `--dry-run` does the same
in miniature on the emulated GPU, without the parts that need a real one.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from report import machine, table

HERE = Path(__file__).parent
ROOT = HERE.parent
PARTS = HERE / "gpu" / "parts.py"

# Name -> seconds it may take. Where time is short, a part gets what is left.
LIMITS = {
    "environment": 20,
    "build": 150,
    "smoke": 60,
    "step": 90,
    "tests": 100,
    "network": 60,
    "eigsh": 45,
    "whole": 45,
    "synchronisations": 40,
    "accuracy": 60,
    "quadrature": 40,
    "profile": 60,
    "memcheck": 60,
    "racecheck": 60,
    "synccheck": 60,
}
REAL_ONLY = ("build", "profile", "memcheck", "racecheck", "synccheck")  # what a dry run leaves out
FROM_NCU = (
    "Duration",
    "DRAM Throughput",
    "Memory Throughput",
    "L1/TEX Cache Throughput",
    "No Eligible",
    "Registers Per Thread",
    "Shared Memory[^\\n]*?",
    "Theoretical Occupancy",
    "Achieved Occupancy",
)
LEAST = 5  # seconds below which a part is not begun


def run(command, limit, **options):
    """Return (exit status, output) of a command; status None where its time was over."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=max(limit, 1),
            **options,
        )
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return None, output.decode(errors="replace") if isinstance(output, bytes) else output
    except OSError as error:
        return 127, str(error)


def verdict(status, output):
    """Return what is recorded of a command: how it ended, and what it said."""
    if status == 0:
        return {"ok": True, "log": output}
    why = "its time was over" if status is None else f"exit status {status}"
    return {"ok": False, "why": why, "log": output}


def environment(limit, dry_run, folder):
    """Versions of what is needed, and what is missing, before anything is built."""
    found, missing = {}, []
    for package in ("torch", "cupy", "numba", "jax", "pytest", "pybind11", "numpy", "scipy", "hessian-eigenthings"):
        names = [package, f"{package}-cuda12x", f"{package}-cuda13x"] if package == "cupy" else [package]
        for name in names:
            try:
                found[package] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    tools = {
        "nvcc": ["--version"],
        "nvidia-smi": [],
        "compute-sanitizer": ["--version"],
        "ncu": ["--version"],
        "g++": [],
    }
    for tool, options in tools.items():
        if shutil.which(tool) is None:
            missing.append(tool)
        else:
            said = run([tool, *options], 10)[1] if options else ""
            number = re.search(r"(?:release|Version|version) (\d+\.\d+)", said)
            found[tool] = number[1] if number else "there"
    missing += [p for p in ("torch", "pytest", "pybind11") if p not in found]
    needed = [] if dry_run else ["nvcc", "torch", "pytest", "pybind11"]
    lacking = [name for name in needed if name in missing]
    result = {"ok": not lacking, "log": "", "found": found, "missing": missing}
    return result | ({"why": f"{', '.join(lacking)} missing: install it first"} if lacking else {})


def build(limit, dry_run, folder):
    """Build for this GPU alone, which is faster than for all."""
    architecture = os.environ.get("FASTLANCZOS_CUDA_ARCH")
    if architecture is None:
        status, said = run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], 20)
        capability = re.search(r"(\d+)\.(\d+)", said) if status == 0 else None
        architecture = f"sm_{capability[1]}{capability[2]}" if capability else "sm_90"
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--editable", "."]
    environment = os.environ | {"FASTLANCZOS_CUDA": "1", "FASTLANCZOS_CUDA_ARCH": architecture}
    return verdict(*run([sys.executable, "-m", "pip", "install", *options], limit, env=environment)) | {
        "architecture": architecture
    }


def tests(limit, dry_run, folder):
    """The tests of the GPU; the first that fails says which entry differs."""
    emulated = ["tests/engine/test_device_run.py"]
    files = emulated if dry_run else ["tests/test_gpu.py", *emulated]
    status, output = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *files], limit)
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)", output)
    return verdict(status, output) | {what: int(count) for count, what in counts}


def measured(part, limit, dry_run, folder):
    """One of the measurements of parts.py, in a process of its own."""
    file = Path(folder) / f"{part}.part"
    result = verdict(*run([sys.executable, PARTS, part, file, *(["--dry-run"] if dry_run else [])], limit))
    if file.exists():
        result |= json.loads(file.read_text())
        file.unlink()
    return result


def profile(limit, dry_run, folder):
    """What ncu says of the step kernel at n = 1e7, k = 64: throughput, stalls, registers, occupancy."""
    if shutil.which("ncu") is None:
        return {"ok": False, "why": "ncu is not in PATH", "log": ""}
    sections = ("SpeedOfLight", "MemoryWorkloadAnalysis", "WarpStateStats", "LaunchStats", "Occupancy")
    command = ["ncu", "--kernel-name-base", "function", "--kernel-name", "regex:step", "--launch-skip", "62"]
    command += ["--launch-count", "2", *(word for s in sections for word in ("--section", s))]
    status, output = run([*command, sys.executable, PARTS, "profiled", Path(folder) / "profiled.part"], limit)
    wanted = "|".join(FROM_NCU)
    found = re.findall(rf"({wanted})\s+(\S+)\s+([\d.,]+)", output)
    rows = [{"what": a.strip(), "unit": b, "value": c} for a, b, c in found]
    return verdict(status, output) | {"rows": rows}


def sanitized(tool, limit, dry_run, folder):
    """compute-sanitizer over a short run of every kernel."""
    if shutil.which("compute-sanitizer") is None:
        return {"ok": False, "why": "compute-sanitizer is not in PATH", "log": ""}
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--kernel-name"]
    command += ["kernel_substring=fastlanczos", sys.executable, PARTS, "short", Path(folder) / "short.part"]
    status, output = run(command, limit)
    summary = re.findall(r"=+ (ERROR SUMMARY: .*|RACECHECK SUMMARY: .*)", output)
    return verdict(status, output) | {"summary": summary[-1] if summary else None}


OWN = {"environment": environment, "build": build, "tests": tests, "profile": profile}


def work(name, limit, dry_run, folder):
    """Do a part."""
    if name in OWN:
        return OWN[name](limit, dry_run, folder)
    if name in ("memcheck", "racecheck", "synccheck"):
        return sanitized(name, limit, dry_run, folder)
    return measured(name, limit, dry_run, folder)


def show(name, result):
    """Print a part's result."""
    how = "ok" if result["ok"] else "FAILED, " + result["why"]
    print(f"\n== {name}: {how} ({result['seconds']:.0f} s)", flush=True)
    if not result["ok"]:
        print("\n".join("   | " + line for line in result["log"].splitlines()[-25:]))
    rows = result.get("rows", [])
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table(name, columns, [[row.get(key) for key in columns] for row in rows])
    for key, value in result.items():
        if key not in ("ok", "why", "log", "rows", "seconds", "device"):
            print(f"   {key}: {value}")
    sys.stdout.flush()


def write(output, results, dry_run):
    """Write what there is so far; return the file and the device's name."""
    device = next((r["device"] for r in results.values() if "device" in r), "unknown")
    file = output / f"gpu_{re.sub(r'[^A-Za-z0-9]+', '_', device)}.json"
    parts = {name: {k: v for k, v in r.items() if k != "log"} for name, r in results.items()}
    for name, result in results.items():
        if not result["ok"]:
            parts[name]["output"] = result["log"][-3000:]
    whole = file.with_suffix(".tmp")
    whole.write_text(json.dumps({"machine": machine(), "device": device, "dry run": dry_run, "parts": parts}, indent=1))
    whole.replace(file)
    if device != "unknown":
        (output / "gpu_unknown.json").unlink(missing_ok=True)
    return file


def main(arguments=None):
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="on the emulated GPU, in miniature")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together (default 8)")
    parser.add_argument("--only", action="append", choices=LIMITS, help="this part; may be given several times")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for what is found")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    folder = options.output / "gpu_check"
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    chosen = options.only or [name for name in LIMITS if not (options.dry_run and name in REAL_ONLY)]
    for name in chosen:
        left = 60 * options.minutes - (time.monotonic() - began)
        start = time.monotonic()
        result = {"ok": False, "why": "no time was left for it", "log": ""}
        if left > LEAST:
            result = work(name, min(LIMITS[name], left), options.dry_run, folder)
        results[name] = result | {"seconds": time.monotonic() - start}
        (folder / f"{name}.log").write_text(results[name].get("log", ""))
        (folder / f"{name}.json").write_text(
            json.dumps({k: v for k, v in results[name].items() if k != "log"}, indent=1) + "\n"
        )
        file = write(options.output, results, options.dry_run)
        show(name, results[name])
        if name in ("environment", "build") and not result["ok"]:
            print("\nnothing can be measured without it", flush=True)
            break
    failed = [name for name, result in results.items() if not result["ok"]]
    counted = f"{len(results) - len(failed)} of {len(results)} parts are ok"
    print(f"\n{counted}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    print(f"{time.monotonic() - began:.0f} s.  Written: {file}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
