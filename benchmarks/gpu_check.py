"""Builds, tests, sanitizes and times the CUDA engine where there is a GPU: one command, eight minutes at most.

Needs the repository, nvcc, torch, CuPy and pytest; no network. Each part runs in a process of its own under a time
limit, and a part that fails is reported and does not stop the others. Prints one table a part and writes
results/gpu_<device>.json. `--dry-run` does the same in miniature on the emulated GPU, without the parts that need a
real one.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PARTS = HERE / "gpu" / "parts.py"
LIMIT = 480  # seconds for everything

# Name -> seconds it may take.
MEASURED = {
    "accuracy": 60,
    "step": 90,
    "whole": 45,
    "synchronisations": 40,
    "eigsh": 45,
    "quadrature": 40,
    "network": 60,
}
SANITIZERS = {"memcheck": 60, "racecheck": 60, "synccheck": 60}


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
    """Return what is recorded of a command: how it ended, and the end of what it said where it did not end well."""
    if status == 0:
        return {"ok": True}
    why = "its time was over" if status is None else f"exit status {status}"
    return {"ok": False, "why": why, "output": output[-3000:]}


def build(limit):
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--editable",
        ".",
    ]
    return verdict(*run(install, limit, env=os.environ | {"FASTLANCZOS_CUDA": "1"}))


def tests(limit, dry_run):
    files = ["tests/engine/test_device_run.py"] if dry_run else ["tests/test_gpu.py", "tests/engine/test_device_run.py"]
    status, output = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files], limit)
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)", output)
    return verdict(status, output) | {what: int(count) for count, what in counts}


def measured(part, limit, dry_run, folder):
    file = Path(folder) / f"{part}.json"
    command = [sys.executable, PARTS, part, file, *(["--dry-run"] if dry_run else [])]
    result = verdict(*run(command, limit))
    return result | json.loads(file.read_text()) if result["ok"] else result


def sanitized(tool, limit, folder):
    if shutil.which("compute-sanitizer") is None:
        return {"ok": False, "why": "compute-sanitizer is not in PATH"}
    command = [
        "compute-sanitizer",
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        "--kernel-name",
        "kernel_substring=fastlanczos",
    ]
    measurement = [sys.executable, PARTS, "short", Path(folder) / "short.json"]
    status, output = run([*command, *measurement], limit)
    summary = re.findall(r"=+ (ERROR SUMMARY: .*|RACECHECK SUMMARY: .*)", output)
    return verdict(status, output) | {"summary": summary[-1] if summary else None}


def show(name, result):
    """Print a part's result."""
    from report import table

    print(
        f"\n== {name}: {'ok' if result['ok'] else 'FAILED, ' + result['why']} ({result['seconds']:.0f} s)", flush=True
    )
    if not result["ok"]:
        print("\n".join("   | " + line for line in result.get("output", "").splitlines()[-25:]))
    rows = result.get("rows", [])
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table(name, columns, [[row.get(key) for key in columns] for row in rows])
    for key, value in result.items():
        if key not in ("ok", "why", "output", "rows", "seconds", "device"):
            print(f"   {key}: {value}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="on the emulated GPU, in miniature")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the JSON file")
    options = parser.parse_args()
    began = time.monotonic()
    results = {}

    def part(name, limit, work, *arguments):
        left = LIMIT - (time.monotonic() - began)
        start = time.monotonic()
        result = work(min(limit, left), *arguments) if left > 5 else {"ok": False, "why": "no time was left for it"}
        results[name] = result | {"seconds": time.monotonic() - start}
        show(name, results[name])

    with tempfile.TemporaryDirectory() as folder:
        if not options.dry_run:
            part("build", 180, build)
        part("tests", 120, tests, options.dry_run)
        for name, limit in MEASURED.items():
            part(name, limit, lambda left, name=name: measured(name, left, options.dry_run, folder))
        if not options.dry_run:
            for tool, limit in SANITIZERS.items():
                part(tool, limit, lambda left, tool=tool: sanitized(tool, left, folder))

    from report import machine

    device = next((r["device"] for r in results.values() if "device" in r), "unknown")
    file = options.output / f"gpu_{re.sub(r'[^A-Za-z0-9]+', '_', device)}.json"
    options.output.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), "device": device, "dry run": options.dry_run, "parts": results}
    file.write_text(json.dumps(record, indent=1) + "\n")
    failed = [name for name, result in results.items() if not result["ok"]]
    print(
        f"\n{len(results) - len(failed)} of {len(results)} parts are ok"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    print(f"{time.monotonic() - began:.0f} s.  Written: {file}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
