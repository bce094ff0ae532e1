"""What every benchmark prints and writes: the machine, a table, a JSON file beside a plot."""

import argparse
import io
import json
import platform
import re
import statistics
import time
from pathlib import Path

import fastlanczos as fl
from fastlanczos.system.config import config
from fastlanczos.system.files import write_whole

RESULTS = Path(__file__).parent / "results"


def parse(description):
    """Parse the options that all benchmarks have: --quick and --output."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds instead of minutes")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON and PNG")
    return parser


def machine():
    """Return what the figures were measured on."""
    about = config()
    return {
        "processor": _processor(),
        "cores": about["machine"]["cores"],
        "instruction set": about["machine"]["instruction set"],
        "threads": fl.get_num_threads(),
        "compiler": about["fastlanczos"]["compiler"],
        "python": platform.python_version(),
        **{name: about["python"][name] for name in ("numpy", "scipy", "torch")},
    }


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(title, columns, rows):
    """Print rows of strings and numbers under their columns."""
    text = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in text)) for i, name in enumerate(columns)]
    print(f"\n{title}")
    for row in [list(columns), *text]:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *padded[1:]]))


def _cell(value):
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.2e}" if value and not 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"
    return str(value)


def write(folder, name, record, figure=None):
    """Write NAME.json, and NAME.png where there is a figure."""
    path = Path(folder) / f"{name}.json"
    with write_whole(path, "w") as file:
        text = json.dumps({"machine": machine(), **record}, indent=1)
        on_a_line = re.sub(r"\[[^\[\]{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
        file.write(on_a_line + "\n")
    if figure is not None:
        from PIL import Image

        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=110)
        with write_whole(path.with_suffix(".png")) as file:  # 32 colours: a third of the bytes, and looks the same
            Image.open(drawn).convert("RGB").quantize(32).save(file, "PNG", optimize=True)
    print(f"\nWritten: {path}" + (f", {path.with_suffix('.png').name}" if figure is not None else ""))


def median_seconds(call, repeats):
    """Return the median wall time of `repeats` calls, and all of them."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times), times
