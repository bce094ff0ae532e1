"""Claim: `fl.eigsh` misses no eigenvalue, says so where it fails, and its residuals are at most those of scipy's eigsh.

Synthetic operators with known spectra: diagonal ones, the same turned by three Householder reflections into dense ones,
Laplacians, arrow and Wilkinson matrices; n from 10 to 100,000, k = 5 values, each `which`. `fl.eigsh`, scipy's `eigsh`
(ARPACK) and, where it is installed, PRIMME get the same products and tol = 0, one problem a core, and each may take so
many seconds; `fl.eigsh` a second time with ncv = 30, since behind a `LinearOperator` it takes products for dear. A
solver that raises, or reaches the limit, has failed, which is no error but is counted. Beyond n = 1000 the values of
smallest magnitude are left out where they lie inside of the spectrum: there, without factorization, no solver gets far.

`error` is the largest over the values, `residual` that of |A v - w v|, both relative to the norm, `orthogonality` is
|V'V - I|, largest entry. A value is missed where the one in its place, in order, is off by more than 1e-10 of the norm:
a copy of a multiple eigenvalue that is not found counts as one.

Beside them matrices and pencils that are given with their entries, factorizations included: shifts that are
eigenvalues, and real matrices (`matrices.py`).
"""

import functools
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
from matplotlib.figure import Figure
from matrices import SOLVERS, matrices
from matrices import measure as measure_matrix
from report import parse, table, write
from scipy.sparse.linalg import LinearOperator, eigsh
from spectra import laplacian, turned
from tqdm import tqdm

import fastlanczos as fl

try:
    import primme
except ModuleNotFoundError:
    primme = None

K = 5
MISSED = 1e-10
WHICH = ("LM", "SM", "LA", "SA", "BE")
MEASURES = ("error", "residual", "orthogonality")


def known_spectra(n, rng):
    """Name -> eigenvalues; the numbers of distinct ones differ with n."""
    i, few = np.arange(n), min(5, n // 4)
    outliers = rng.normal(0, 1e-2, n)
    outliers[: 2 * few] = np.r_[np.linspace(1, 100, few), np.linspace(-5, -1, few)]
    noise = rng.normal(0, 1e-8, n)
    noise[:few] = np.linspace(1, 2, few)
    return {
        "uniform": rng.uniform(-1, 1, n),
        "geometric to 1e-14": np.geomspace(1e-14, 1, n),
        "clustered": np.linspace(-1, 1, -(-n // 5)).repeat(5)[:n] + rng.normal(0, 1e-8, n),
        "multiple": np.linspace(-1, 2, -(-n // 4)).repeat(4)[:n],
        "outliers + bulk": outliers,
        "low rank + noise": noise,
        "graded": np.where(i % 2, -1.0, 1.0) * 10.0 ** (-8.0 * i / n),
    }


@dataclass
class Case:
    """An operator, and the eigenvalues that are known of it: all, or those at both ends."""

    name: str
    n: int
    matvec: object
    eigenvalues: np.ndarray
    inside: bool  # the values of smallest magnitude lie inside, beyond reach


def wilkinson(n):
    return np.abs(np.arange(n) - (n - 1) / 2), np.ones(n - 1)


def tridiagonal_ends(d, e):
    """Eigenvalues of a symmetric tridiagonal matrix: all, or for a large one twenty at each end."""
    if d.size <= 2000:
        return scipy.linalg.eigh_tridiagonal(d, e, eigvals_only=True)
    both = ((0, 19), (d.size - 20, d.size - 1))
    parts = [scipy.linalg.eigh_tridiagonal(d, e, eigvals_only=True, select="i", select_range=r) for r in both]
    return np.concatenate(parts)


def arrow_ends(d, z):
    """Eigenvalues of [[0, z'], [z, diag(d)]] by its secular equation, d ascending and z not zero: all, or 20 each end.

    They are the zeros of x + sum z^2 / (d - x), one between any two neighbours in d and one beyond each end.
    """
    reach = np.linalg.norm(z) + 1.0
    poles = np.r_[d[0] - reach, d, d[-1] + reach]
    at = np.arange(d.size + 1)
    at = at if d.size <= 2000 else np.r_[at[:20], at[-20:]]
    low, high = poles[at].copy(), poles[at + 1].copy()
    while True:
        x = 0.5 * (low + high)
        if np.all((x <= low) | (x >= high)):
            return x
        above = np.array([t + np.sum(z**2 / (d - t)) > 0 for t in x])
        low, high = np.where(above, low, x), np.where(above, x, high)


@functools.cache
def cases(n):
    rng = np.random.default_rng(n)
    found = []
    for name, d in known_spectra(n, rng).items():
        inside = bool(d.min() < 0 < d.max())
        found.append(Case(f"{name}, diagonal", n, lambda v, d=d: d * v, d, inside))
        found.append(Case(f"{name}, turned", n, turned(d, rng), d, inside))
    side = round(n**0.5)
    edge = round(n ** (1 / 3))
    grids = {"1-D": (n,), "2-D": (side, side), "3-D": (edge, edge, edge)}
    for name, sides in grids.items():
        matrix, eigenvalues = laplacian(sides)
        found.append(Case(f"Laplacian {name}", matrix.shape[0], matrix.tocsr().__matmul__, eigenvalues, False))
    d, e = wilkinson(n)
    matrix = scipy.sparse.diags_array([e, d, e], offsets=[-1, 0, 1]).tocsr()
    found.append(Case("Wilkinson", n, matrix.__matmul__, tridiagonal_ends(d, e), True))
    d, z = np.sort(rng.uniform(1, 3, n - 1)), rng.uniform(0.5, 1, n - 1)

    def arrow(v):
        return np.concatenate([[z @ v[1:]], z * v[0] + d * v[1:]])

    found.append(Case("arrow", n, arrow, arrow_ends(d, z), False))
    if n <= 1000:  # of larger ones nothing is known
        R = scipy.sparse.random_array((n, n), density=min(1.0, 10 / n), rng=rng)
        R = (R + R.T).tocsr()
        found.append(Case("random sparse", n, R.__matmul__, np.linalg.eigvalsh(R.toarray()), True))
    return found


def in_order(values, which):
    """Return the K values that `which` means, in an order in which two lists can be compared."""
    if which in ("LM", "SM"):
        magnitudes = np.sort(np.abs(values))
        return magnitudes[:K] if which == "SM" else magnitudes[::-1][:K]
    ascending = np.sort(values)
    if which == "LA":
        return ascending[::-1][:K]
    low = K if which == "SA" else K // 2
    return np.concatenate([ascending[:low], ascending[low - K :] if low < K else []])


class OutOfTime(Exception):
    """The solver has used up its seconds."""


def with_fastlanczos(operator, which):
    return fl.eigsh(operator, K, which=which)


def with_few_rows(operator, which):
    """The search for cheap products, which these are though they are made in Python."""
    return fl.eigsh(operator, K, which=which, ncv=2 * K + 20)


def with_scipy(operator, which):
    v0 = np.random.default_rng(0).normal(size=operator.shape[0])
    return eigsh(operator, K, which=which, v0=v0)


def with_primme(operator, which):
    if which == "BE":
        high = primme.eigsh(operator, K - K // 2, which="LA", tol=0)
        low = primme.eigsh(operator, K // 2, which="SA", tol=0)
        return np.r_[low[0], high[0]], np.c_[low[1], high[1]]
    return primme.eigsh(operator, K, which=which, tol=0)


def solvers():
    chosen = {"fastlanczos": with_fastlanczos, "scipy": with_scipy, "fastlanczos, ncv = 30": with_few_rows}
    return chosen if primme is None else {**chosen, "primme": with_primme}


def measure(case, which, solve, seconds):
    """Solve, within so many seconds; return what the table says of it."""
    began, products = time.perf_counter(), 0

    def counted(v):
        nonlocal products
        products += 1
        if time.perf_counter() - began > seconds:
            raise OutOfTime(f"no answer after {seconds} s")
        return case.matvec(np.asarray(v).reshape(-1))

    operator = LinearOperator((case.n, case.n), matvec=counted, dtype=np.float64)
    row = {"operator": case.name, "n": case.n, "which": which}
    try:
        w, V = solve(operator, which)
    except Exception as error:
        late = time.perf_counter() - began > seconds  # a solver may turn OutOfTime into an error of its own
        failure = f"no answer after {seconds} s" if late else f"{type(error).__name__}: {error}"[:120]
        return {**row, **dict.fromkeys(MEASURES), "missed": None, "products": products, "failure": failure}
    elapsed = time.perf_counter() - began
    norm = np.abs(case.eigenvalues).max()
    errors = np.abs(in_order(w, which) - in_order(case.eigenvalues, which)) / norm
    residuals = [np.linalg.norm(case.matvec(V[:, i]) - w[i] * V[:, i]) / norm for i in range(K)]
    return {
        **row,
        "error": float(errors.max()),
        "residual": float(max(residuals)),
        "orthogonality": float(np.abs(V.T @ V - np.eye(K)).max()),
        "missed": int(np.count_nonzero(errors > MISSED)),
        "products": products,
        "seconds": elapsed,
        "failure": None,
    }


def solve_with_all(problem):
    """Return what `measure` says of each solver for the i-th case of a size."""
    n, i, which, seconds = problem
    return {name: measure(cases(n)[i], which, solve, seconds) for name, solve in solvers().items()}


def solve_matrix(problem):
    """Return what `measure` of matrices.py says of each solver for the i-th matrix."""
    quick, i = problem
    return {name: measure_matrix(matrices(quick)[i], solve, MISSED) for name, solve in SOLVERS.items()}


def summary(name, rows):
    solved = [row for row in rows if row["failure"] is None]
    return {
        "solver": name,
        "problems": len(rows),
        "failed": len(rows) - len(solved),
        "wrong": sum(row["missed"] > 0 for row in solved),
        "missed": sum(row["missed"] for row in solved),
        **{f"worst {key}": max((row[key] for row in solved), default=None) for key in MEASURES},
        "products": sum(row.get("products", 0) for row in rows),
        "seconds": sum(row.get("seconds") or 0.0 for row in solved),
    }


def show_matrices(columns, results):
    cells = []
    for rows in zip(*results.values(), strict=True):
        cells.append([rows[0][key] for key in columns])
        for row in rows:
            failed = row["failure"] is not None
            cells[-1] += ["failed" if failed else row["error"]]
            cells[-1] += ["-" if failed else row[key] for key in ("residual", "missed", "seconds")]
    heads = [f"{name} {key}" for name in results for key in ("error", "residual", "missed", "seconds")]
    table("Shifts on eigenvalues, and real matrices", [*columns, *heads], cells)
    summaries = [summary(name, rows) for name, rows in results.items()]
    table("Of these", list(summaries[0]), [list(row.values()) for row in summaries])
    for name, rows in results.items():
        for row in rows:
            if row["failure"] is not None:
                print(f"  {name}: {row['operator']}, n = {row['n']}, {row['which']}: {row['failure']}")


def draw(results):
    names = list(results)
    figure = Figure(figsize=(4.2 * len(MEASURES), 4.2), layout="constrained")
    axes = figure.subplots(1, len(MEASURES))
    for ax, key in zip(axes, MEASURES, strict=True):
        for name in names:
            solved = [max(row[key], 1e-18) for row in results[name] if row["failure"] is None]
            ax.semilogy(np.arange(1, len(solved) + 1), np.sort(solved), label=f"{name}, {len(solved)} solved")
        ax.set_xlabel("problems, each solver's in order")
        ax.set_title({"error": "forward error / norm", "residual": "residual / norm"}.get(key, "|V'V - I|"))
        ax.grid(alpha=0.3)
    axes[0].axhline(MISSED, color="grey", lw=0.8, ls=":")
    axes[0].text(1, MISSED * 1.6, "missed above", fontsize=8, color="grey")
    axes[-1].legend(frameon=False, loc="upper left")
    return figure


def main(arguments=None):
    parser = parse(__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="that a solver may take for one problem")
    parser.add_argument("--rows", type=Path, help="file for the row of every problem and solver, as JSON")
    parser.add_argument("--largest", type=int, default=100_000, help="dimension, of 10, 100, ... 100,000")
    options = parser.parse_args(arguments)
    sizes = (10, 100, 300) if options.quick else (10, 100, 1000, 10_000, 100_000)
    sizes = tuple(n for n in sizes if n <= options.largest)
    problems = [
        (n, i, which, options.seconds)
        for n in sizes
        for i, case in enumerate(cases(n))
        for which in WHICH
        if not (which == "SM" and case.inside and n > 1000)
    ]
    results = {name: [] for name in solvers()}
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the processes, one for each core
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawn, initializer=fl.set_num_threads, initargs=(1,)) as pool:
        for rows in tqdm(pool.map(solve_with_all, problems), "accuracy", len(problems), unit=" problems"):
            for name, row in rows.items():
                results[name].append(row)

        of_matrices = {name: [] for name in SOLVERS}
        numbers = [(options.quick, i) for i in range(len(matrices(options.quick)))]
        for rows in tqdm(pool.map(solve_matrix, numbers), "matrices", len(numbers), unit=" problems"):
            for name, row in rows.items():
                of_matrices[name].append(row)

    columns = ["operator", "n", "which"]
    show_matrices(columns, of_matrices)
    cells = []
    for rows in zip(*results.values(), strict=True):
        cell = [rows[0][key] for key in columns]
        for row in rows:
            failed = row["failure"] is not None
            cell += ["failed" if failed else row["error"], *("-" if failed else row[k] for k in ("residual", "missed"))]
            cell += [row["products"]]
        cells.append(cell)
    heads = [f"{name} {key}" for name in results for key in ("error", "residual", "missed", "products")]
    table(f"k = {K}, tol = 0, relative to the norm", [*columns, *heads], cells)

    print("\nWhat failed, and how it said so")
    for name, rows in results.items():
        for row in rows:
            if row["failure"] is not None and name == "fastlanczos":
                print(f"  {name}: {row['operator']}, n = {row['n']}, {row['which']}: {row['failure']}")
    summaries = [summary(name, rows) for name, rows in results.items()]
    both = [
        (ours, theirs)
        for ours, theirs in zip(results["fastlanczos"], results["scipy"], strict=True)
        if ours["failure"] is None and theirs["failure"] is None
    ]
    table("Summary", list(summaries[0]), [list(row.values()) for row in summaries])
    worst = {i: max(pair[i]["residual"] for pair in both) for i in (0, 1)}
    print(
        f"\nOn the {len(both)} problems that both solve: worst residual {worst[0]:.1e} (fastlanczos), {worst[1]:.1e} "
        f"(scipy); products in all {sum(p[0]['products'] for p in both)} and {sum(p[1]['products'] for p in both)}"
    )
    # What the picture shows, and what failed; all rows only where they are asked for, since they are many.
    shown = {}
    for name, rows in results.items():
        solved = [row for row in rows if row["failure"] is None]
        shown[name] = {key: [float(f"{row[key]:.2g}") for row in solved] for key in MEASURES}
    failures = [
        {key: row[key] for key in (*columns, "failure")} for row in results["fastlanczos"] if row["failure"] is not None
    ]
    on_matrices = [summary(name, rows) for name, rows in of_matrices.items()]
    record = {
        "k": K,
        "sizes": sizes,
        "seconds": options.seconds,
        "summary": summaries,
        "matrices": on_matrices,
        "solved": shown,
        "failures": failures,
    }
    write(options.output, "accuracy", record, draw(results))
    if options.rows:
        options.rows.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
