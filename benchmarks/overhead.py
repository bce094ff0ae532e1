"""Claim: around the sweep there is next to nothing: microseconds a step, no contention of threads, Ctrl-C at once.

Small problems, where what is not the sweep shows: the time of a step beyond its product and its sweep, for a Python
callable and for a C function. Eight Python threads with operators of their own, against the same runs one after the
other. How long a native run takes to answer a signal.
"""

import ctypes
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import scipy.sparse
from peers import touch_memory
from report import parse, table, write
from scipy import LowLevelCallable
from tqdm import tqdm

import fastlanczos as fl
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.operators.operator import as_operator

DOUBLES = ctypes.POINTER(ctypes.c_double)
SOURCE = """
#include <stddef.h>
int diagonal(ptrdiff_t n, const double *x, double *y, void *d) {
    for (ptrdiff_t i = 0; i < n; ++i) y[i] = ((const double *)d)[i] * x[i];
    return 0;
}
"""


def compiled(folder):
    """Return the C function of SOURCE."""
    source, library = Path(folder) / "diagonal.c", Path(folder) / "diagonal.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).diagonal
    function.argtypes = [ctypes.c_ssize_t, DOUBLES, DOUBLES, ctypes.c_void_p]
    return function


def overhead(n, num_steps, repeats, function):
    """Return rows of microseconds a step; everything is counted, the reserving of memory and the result included."""
    rng = np.random.default_rng(0)
    d, v0, y = rng.normal(size=n), rng.normal(size=n), np.empty(n)
    address, x = ctypes.c_void_p(d.ctypes.data), v0.ctypes.data_as(DOUBLES)
    into = y.ctypes.data_as(DOUBLES)
    operators = {
        "Python callable": (lambda v: d * v, lambda: d * v0),
        "LowLevelCallable": (LowLevelCallable(function, address), lambda: function(n, x, into, address)),
    }
    rows = []
    for name, (operator, product) in operators.items():
        wholes, sweeps, products = [], [], []
        for _ in range(repeats):
            began = time.perf_counter()
            iteration = LanczosIteration(n, num_steps, v0=v0)
            drive([iteration], as_operator(operator, n), bar=tqdm(disable=True))
            iteration.result()
            wholes.append(time.perf_counter() - began)
            sweeps.append(iteration._run.sweep_seconds)
            began = time.perf_counter()
            for _ in range(num_steps):
                product()
            products.append(time.perf_counter() - began)
        beyond = statistics.median(w - s - p for w, s, p in zip(wholes, sweeps, products, strict=True))
        whole, sweep, alone = (1e6 * statistics.median(t) / num_steps for t in (wholes, sweeps, products))
        rows.append([name, n, num_steps, whole, sweep, alone, 1e6 * beyond / num_steps])
    return rows


def eight_threads(repeats, sizes):
    """Return rows of the time of eight runs one after the other, over that in eight Python threads."""
    rows = []
    for kind, n, num_steps in sizes:
        operators = []
        for i in range(8):
            d = np.random.default_rng(i).normal(size=n)
            native = scipy.sparse.diags_array([np.ones(n - 1), d, np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
            operators.append(native if kind == "sparse matrix" else lambda v, d=d: d * v)
        results = [None] * 8

        def run(i, operators=operators, results=results, n=n, num_steps=num_steps):
            results[i] = fl.lanczos(operators[i], n, num_steps, seed=i).alpha.tobytes()

        ratios, times, same = [], [], True
        for _ in range(repeats):
            touch_memory(8 * n * num_steps)  # in threads all eight runs have their bases at once
            began = time.perf_counter()
            for i in range(8):
                run(i)
            times.append(time.perf_counter() - began)
            alone = list(results)
            threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
            touch_memory(8 * n * num_steps)
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ratios.append(times[-1] / (time.perf_counter() - began))
            same = same and results == alone
        rows.append([kind, n, num_steps, statistics.median(times), statistics.median(ratios), same])
    return rows


def interrupts(repeats, n):
    """Return rows of milliseconds from a signal to the exception, in native runs with steps of about `n` entries."""
    operator = scipy.sparse.diags_array(np.linspace(0, 1, n)).tocsr()
    sent = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with Ctrl-C ignored

    def interrupt(after):
        time.sleep(after)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    late = []
    for repeat in range(repeats):
        threading.Thread(target=interrupt, args=(0.5 + 0.13 * repeat,)).start()
        try:
            while True:
                fl.lanczos(operator, num_steps=150, seed=0)
        except KeyboardInterrupt:
            late.append(1e3 * (time.perf_counter() - sent[-1]))
    return [["sparse matrix", n, statistics.median(late), max(late)]]


def main(arguments=None):
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        steps = overhead(10_000, 100, 5 if options.quick else 50, compiled(folder))
    columns = ["operator", "n", "m", "whole us", "sweep us", "product us", "beyond both us"]
    table("A step, in microseconds", columns, steps)

    sizes = [("Python callable", 10_000, 200), ("Python callable", 100_000, 60), ("sparse matrix", 100_000, 60)]
    if not options.quick:
        sizes += [("Python callable", 1_000_000, 20), ("sparse matrix", 1_000_000, 20)]
    threads = eight_threads(1 if options.quick else 7, sizes[:1] if options.quick else sizes)
    thread_columns = ["operator", "n", "m", "one after the other s", "that over 8 threads", "same bits"]
    table("Eight runs: one after the other, over eight Python threads", thread_columns, threads)

    late = interrupts(2 if options.quick else 10, 300_000 if options.quick else 3_000_000)
    late_columns = ["operator", "n", "median ms", "worst ms"]
    table("From Ctrl-C to KeyboardInterrupt in a native run", late_columns, late)
    record = {"step": (columns, steps), "threads": (thread_columns, threads), "interrupts": (late_columns, late)}
    rows = {name: [dict(zip(head, row, strict=True)) for row in body] for name, (head, body) in record.items()}
    write(options.output, "overhead", rows)


if __name__ == "__main__":
    main()
