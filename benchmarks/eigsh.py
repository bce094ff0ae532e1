"""Claim: on large sparse problems `fl.eigsh` is several times faster than scipy's `eigsh` (ARPACK) and PRIMME.

All solvers in the same run by turns, default ncv, medians of the times: the ten largest eigenvalues of a 2-D
Laplacian, the twenty smallest of a 3-D one, the eight smallest of the Laplacian of a random geometric graph by
shift-invert (factorization included), of its largest component and of the whole graph with a zero for every component,
the fifty of largest magnitude of a random sparse matrix, and the ten largest of a graph with a power law of degrees,
whose products are dear though they are native: adjacency, and the same normalized. PRIMME, which does not shift and
invert, gets the factorization as its preconditioner, and for the products is given the matrix itself, as scipy is.

Errors are those of the eigenvalues relative to the norm, against the formula or, where there is none, against the best
of what the solvers found: by the theorem of Courant and Fischer no Ritz value of a subspace lies beyond the eigenvalue
in its place, so the most extreme is the nearest. A value is missed where that is more than 1e-8. Residuals are |A v - w
v| relative to the norm. Memory is that of a call's own process at its peak, less what it held before, in vectors of n
entries.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse
from matplotlib.figure import Figure
from peers import touch_memory
from report import parse, table, write
from scipy.sparse.linalg import eigsh, splu
from scipy.spatial import cKDTree
from spectra import laplacian

import fastlanczos as fl

try:
    import primme
except ModuleNotFoundError:
    primme = None

MISSED = 1e-8
SHIFT = -1e-3  # just below the graph Laplacian's eigenvalue 0


def geometric_graph(n, *, connected):
    """Return the Laplacian of a graph that joins points in the unit square closer than some radius.

    Of its largest component where it is to be connected.
    """
    points = np.random.default_rng(0).uniform(size=(n, 2))
    pairs = cKDTree(points).query_pairs(np.sqrt(10 / (np.pi * n)), output_type="ndarray")
    W = scipy.sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(n, n))
    W = (W + W.T).tocsr()
    if connected:
        component = scipy.sparse.csgraph.connected_components(W)[1]
        largest = np.flatnonzero(component == np.bincount(component).argmax())
        W = W[largest][:, largest]
    return scipy.sparse.csgraph.laplacian(W).tocsr()


def random_sparse(n):
    rng = np.random.default_rng(0)
    R = scipy.sparse.random_array((n, n), density=10 / n, rng=rng, data_sampler=rng.standard_normal)
    return ((R + R.T) / 2).tocsr()


def power_law(n, edges):
    """Return the adjacency matrix of a random graph whose degrees follow a power law, numbered at random."""
    rng = np.random.default_rng(0)
    hubs = rng.permutation(n)[np.minimum((rng.random(edges) ** 2 * n).astype(int), n - 1)]
    W = scipy.sparse.coo_array((np.ones(edges), (hubs, rng.integers(0, n, edges))), shape=(n, n))
    W = (W + W.T).tocsr()
    W.data[:] = 1.0
    return W


def normalized(W):
    D = scipy.sparse.diags_array(1.0 / np.sqrt(np.maximum(W.sum(axis=1), 1.0)))
    return (D @ W @ D).tocsr()


def problems(quick):
    """Name -> (matrix, arguments of eigsh, eigenvalues or None)."""
    side, edge, nodes, n = (40, 12, 1500, 2000) if quick else (300, 50, 50_000, 50_000)
    flat, of_flat = laplacian((side, side))
    solid, of_solid = laplacian((edge, edge, edge))
    tol = 1e-10
    scale_free = power_law(3000, 12_000) if quick else power_law(1_000_000, 4_100_000)
    return {
        "2-D Laplacian, LA": (flat.tocsr(), {"k": 10, "which": "LA", "tol": tol}, np.sort(of_flat)[-10:]),
        "3-D Laplacian, SA": (solid.tocsr(), {"k": 20, "which": "SA", "tol": tol}, np.sort(of_solid)[:20]),
        "graph, shift-invert": (geometric_graph(nodes, connected=True), {"k": 8, "sigma": SHIFT, "tol": tol}, None),
        "graph in pieces": (geometric_graph(nodes, connected=False), {"k": 8, "sigma": SHIFT, "tol": tol}, None),
        "random sparse, LM": (random_sparse(n), {"k": 50, "which": "LM", "tol": tol}, None),
        "power law, LA": (scale_free, {"k": 10, "which": "LA", "tol": tol}, None),
        "power law, normalized": (normalized(scale_free), {"k": 10, "which": "LA", "tol": tol}, None),
    }


def with_fastlanczos(A, k, **arguments):
    return fl.eigsh(A, k, **arguments)


def with_scipy(A, k, **arguments):
    v0 = np.random.default_rng(0).normal(size=A.shape[0])
    return eigsh(A.tocsc() if "sigma" in arguments else A, k, v0=v0, **arguments)


def with_primme(A, k, sigma=None, which="LM", tol=0.0):
    if sigma is None:
        return primme.eigsh(A, k, which=which, tol=tol)
    shifted = (A - sigma * scipy.sparse.eye_array(A.shape[0])).tocsc()
    solve = splu(shifted, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    inverse = scipy.sparse.linalg.LinearOperator(A.shape, matvec=solve, matmat=solve, dtype=float)
    return primme.eigsh(A, k, which="SA", tol=tol, OPinv=inverse)


SOLVERS = {"fastlanczos": with_fastlanczos, "scipy": with_scipy}
if primme is not None:
    SOLVERS["primme"] = with_primme


def compare(name, A, arguments, exact, repeats):
    norm = float(abs(A).sum(axis=0).max())
    k, times, answers = arguments["k"], {solver: [] for solver in SOLVERS}, {}
    for _ in range(repeats):
        for solver, solve in SOLVERS.items():
            touch_memory((2 * k + 40) * A.shape[0])
            began = time.perf_counter()
            w, V = solve(A, **arguments)
            times[solver].append(time.perf_counter() - began)
            order = np.argsort(w)
            answers[solver] = w[order], V[:, order]
    found = np.stack([w for w, _ in answers.values()])
    if exact is None and arguments.get("which") == "LM":
        found = np.sort(np.abs(found), axis=1)
        errors = found.max(axis=0) - found
    elif exact is None:
        errors = found.max(axis=0) - found if arguments.get("which") == "LA" else found - found.min(axis=0)
    else:
        errors = np.abs(found - exact)
    errors /= norm
    rows, ours = [], statistics.median(times["fastlanczos"])
    for (solver, (w, V)), error in zip(answers.items(), errors, strict=True):
        median = statistics.median(times[solver])
        rows.append(
            {
                "problem": name,
                "n": A.shape[0],
                "k": k,
                "solver": solver,
                "seconds": median,
                "all": [round(t, 3) for t in times[solver]],
                "x fastlanczos": median / ours,
                "error": float(error.max()),
                "missed": int(np.count_nonzero(error > MISSED)),
                "residual": float(np.linalg.norm(A @ V - V * w, axis=0).max() / norm),
                "|V'V - I|": float(np.abs(V.T @ V - np.eye(k)).max()),
            }
        )
    return rows


PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, scipy.sparse
import fastlanczos as fl
from eigsh import problems

A, arguments, _ = problems(sys.argv[2] == "True")[sys.argv[3]]
fl.eigsh(scipy.sparse.diags_array(np.arange(300.0)).tocsr(), 3)  # so that imports and threads are there

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

open("/proc/self/clear_refs", "w").write("5")  # the peak begins again at what is held now
before = peak()
fl.eigsh(A, **arguments)
print((peak() - before) / (8 * A.shape[0]))
"""


def memory(name, n, k, quick):
    """Return the memory that a call needs beside its operator, at its peak, in a process of its own; Linux only."""
    if not sys.platform.startswith("linux"):
        return []
    command = [sys.executable, "-c", PEAK, str(Path(__file__).parent), str(quick), name]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [{"problem": name, "n": n, "ncv": 2 * k + 20, "vectors of n at the peak": float(printed)}]


def draw(rows):
    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(SOLVERS)
    for i, solver in enumerate(SOLVERS):
        chosen = [row for row in rows if row["solver"] == solver]
        places = np.arange(len(names)) + (i - (len(SOLVERS) - 1) / 2) * width
        bars = ax.bar(places, [row["seconds"] for row in chosen], width, label=solver)
        ax.bar_label(bars, [f"{row['x fastlanczos']:.1f}x" if i else "" for row in chosen], fontsize=8)
    ax.set_yscale("log")
    ax.set_xticks(np.arange(len(names)), names)
    ax.set_ylabel("seconds, median")
    ax.legend(frameon=False)
    return figure


def main(arguments=None):
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    rows, peaks = [], []
    for name, (A, arguments, exact) in problems(options.quick).items():
        rows += compare(name, A, arguments, exact, 1 if options.quick else 3)
        if "sigma" not in arguments:  # the factorization's memory is its own
            peaks += memory(name, A.shape[0], arguments["k"], options.quick)
    table("eigsh, tol = 1e-10, default ncv, by turns", list(rows[0]), [list(row.values()) for row in rows])
    if peaks:
        table("Memory of fastlanczos beside the operator", list(peaks[0]), [list(row.values()) for row in peaks])
    write(options.output, "eigsh", {"rows": rows, "memory": peaks}, draw(rows))


if __name__ == "__main__":
    main()
