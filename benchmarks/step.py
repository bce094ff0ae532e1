"""Claim: a reorthogonalized Lanczos run costs about one sweep over its basis a step, where NumPy's CGS2 costs four.

Whole runs with a diagonal operator: `fl.lanczos` against Lanczos with classical Gram-Schmidt applied twice in NumPy
(two BLAS products of the basis each time), and against the time to read the basis once a step at the bandwidth
measured in the same run. Medians; the two take turns, so that a busy machine disturbs both.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from matplotlib.figure import Figure
from peers import cgs2
from report import parse, table, write

import fastlanczos as fl


def read_seconds(V):
    """Return the time to read V once with as many threads as the engine has."""
    parts = np.array_split(V.reshape(-1), fl.get_num_threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(np.add.reduce, parts))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(np.add.reduce, parts))
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(n, num_steps, repeats):
    rng = np.random.default_rng(0)
    d, v0 = rng.normal(size=n), rng.normal(size=n)
    ours, theirs, reads = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        r = fl.lanczos(lambda v: d * v, n, num_steps, v0=v0)
        ours.append(time.perf_counter() - began)
        reads.append(read_seconds(r.basis if r.basis.flags.c_contiguous else np.ascontiguousarray(r.basis)))
        del r
        began = time.perf_counter()
        alpha, beta, _, _ = cgs2(lambda v: d * v, v0, num_steps)
        theirs.append(time.perf_counter() - began)
    ritz = fl.lanczos(lambda v: d * v, n, num_steps, v0=v0, return_basis=False).quadrature()[0]
    difference = np.abs(ritz - fl.quadrature(alpha, beta)[0]).max() / np.abs(d).max()
    seconds, peer, read = map(statistics.median, (ours, theirs, reads))
    limit = read * (num_steps + 1) / 2  # the basis of step k has k rows
    return {
        "n": n,
        "m": num_steps,
        "fastlanczos s": seconds,
        "NumPy CGS2 s": peer,
        "times faster": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
        "read GB/s": n * num_steps * 8 / read / 1e9,
        "of the read limit": seconds / limit,
        "largest difference of Ritz values": float(difference),
    }


def main():
    options = parse(__doc__.splitlines()[0]).parse_args()
    sizes = [(10_000, 50)] if options.quick else [(10_000, 100), (100_000, 100), (1_000_000, 100)]
    rows = [measure(n, m, 3 if options.quick else 5) for n, m in sizes]
    table("Whole runs, diagonal operator, float64", list(rows[0]), [list(row.values()) for row in rows])

    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for key in ("NumPy CGS2 s", "fastlanczos s"):
        ax.loglog([row["n"] for row in rows], [row[key] for row in rows], "o-", label=key.removesuffix(" s"))
    ax.set_xlabel("dimension n")
    ax.set_ylabel(f"seconds for {rows[-1]['m']} steps")
    ax.legend(frameon=False)
    write(options.output, "step", {"rows": rows}, figure)


if __name__ == "__main__":
    main()
