"""Claim: `fl.svds` is at least twice as fast as the best of scipy's three solvers, at full accuracy.

Five problems, all solvers by turns, two calls in a process of its own that is ended after 40 seconds, medians of the
times of the second: a sparse random matrix; the principal components of a sparse matrix, centred and not; a
term-document matrix with power laws in rows and columns; a dense matrix; a geometric spectrum down to 1e-14 of the
norm. Each solver is asked for full accuracy (tol = 0) with its own defaults, PRIMME's
`svds` for 1e-14, scikit-learn's randomized SVD with 10 and 40 power iterations, which is what it then has.

Errors of the values are relative to the norm, against LAPACK, or, for the large matrices, against the largest that any
solver found: no Ritz value is beyond its singular value. Residuals are those of both sides.
"""

import multiprocessing
import statistics
import time
from functools import partial

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from matplotlib.figure import Figure
from peers import touch_memory
from report import parse, table, write

import fastlanczos as fl

LIMIT = 40  # seconds for two calls, of which the second is measured
COLUMNS = ("problem", "solver", "s", "error", "residual", "orthogonality", "failed")
UNCENTRED = "sparse, k = 20"


def problems(quick):
    rng = np.random.default_rng(0)
    n = 10 if quick else 1
    yield (
        "sparse, k = 30",
        sp.random_array((40_000 // n, 3000 // n), density=0.01 * n, rng=rng, format="csr"),
        30,
        False,
    )
    X = sp.random_array((100_000 // n, 2000 // n), density=0.05, rng=rng, format="csr")
    X.data = X.data * np.repeat(rng.random(X.shape[0]) + 0.5, np.diff(X.indptr))
    yield UNCENTRED, X, 20, False
    yield "centred, k = 20", X, 20, True
    yield "power law, k = 20", term_documents(30_000 // n, 20_000 // n, rng), 20, False
    dense = rng.standard_normal((20_000 // n, 500 // n)) * np.linspace(1.0, 0.2, 500 // n)
    yield "dense, k = 10", dense, 10, False
    q = 600 // n
    U = np.linalg.qr(rng.standard_normal((2 * q, q)))[0]
    V = np.linalg.qr(rng.standard_normal((q, q)))[0]
    yield "geometric, k = 30", (U * 10.0 ** -np.minimum(np.arange(q) * 14.0 / 34, 300)) @ V.T, 30, False


def term_documents(documents, terms, rng):
    """Counts of terms in documents, both with frequencies that fall off like one over the rank."""
    lengths = np.minimum(20 + rng.pareto(1.5, documents) * 30, 2000).astype(int)
    frequency = 1.0 / np.arange(1, terms + 1)
    columns = rng.choice(terms, size=lengths.sum(), p=frequency / frequency.sum())
    rows = np.repeat(np.arange(documents), lengths)
    return sp.csr_array((np.ones(columns.size), (rows, columns)), shape=(documents, terms))


def centred(A):
    mean = np.asarray(A.mean(axis=0)).ravel()
    return sla.LinearOperator(
        A.shape,
        matvec=lambda x: A @ x - mean @ x,
        rmatvec=lambda y: A.T @ y - mean * y.sum(),
        matmat=lambda X: A @ X - mean @ X,
        rmatmat=lambda Y: A.T @ Y - np.outer(mean, Y.sum(axis=0)),
        dtype=float,
    )


def solvers(A, k, center, scipy_only=False):
    """Each solver's name, and a function that returns u, s, vh."""
    yield "fastlanczos", lambda: fl.svds(A, k, center=center)
    B = centred(A) if center else A
    for solver in ("arpack", "propack", "lobpcg"):
        patience = {"maxiter": 500} if solver == "lobpcg" else {}
        yield f"scipy {solver}", partial(sla.svds, B, k, solver=solver, rng=0, **patience)
    if scipy_only:
        return
    try:
        import primme
    except ImportError:
        pass
    else:
        yield "PRIMME", partial(primme.svds, B, k, tol=1e-14, maxiter=2000)
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError:
        return
    if not center:
        for power in (10, 40):
            yield (
                f"randomized, {power}",
                partial(randomized_svd, A, k, n_iter=power, n_oversamples=2 * k, random_state=0),
            )


def accuracy(A, center, u, s, vh, best):
    B = centred(A) if center else A
    order = np.argsort(s)
    u, s, vh = u[:, order], s[order], vh[order]
    left = np.linalg.norm(B @ vh.T - u * s, axis=0).max()
    right = np.linalg.norm((B.rmatmat(u) if center else A.T @ u) - vh.T * s, axis=0).max()
    orthogonal = max(np.abs(u.T @ u - np.eye(s.size)).max(), np.abs(vh @ vh.T - np.eye(s.size)).max())
    return np.abs(s - best).max() / best[-1], max(left, right) / best[-1], orthogonal


def once(work, k, calls, sender):
    """Send seconds of the last of so many calls and its triplets, or what went wrong."""
    try:
        for _ in range(calls - 1):
            work()
        began = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - began
        sender.send((seconds, found) if len(found[1]) == k else f"{len(found[1])} of {k}")
    except Exception as error:  # a solver that gives up is a result
        sender.send(type(error).__name__)


def within(limit, work, k, calls=2):
    """What `once` sends, from a process that is ended after so many seconds."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=once, args=(work, k, calls, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(limit) else f"{calls} calls take more than {limit} s"
    except EOFError:
        return "crashed"
    finally:
        process.kill()
        process.join()


def measure(quick, scipy_only):
    repeats = 1 if quick else 3
    rows, ratios, plain = [], [], None
    for name, A, k, center in problems(quick):
        answers, failed = {}, {}
        for _ in range(repeats):
            for solver, work in solvers(A, k, center, scipy_only):
                if solver in failed:
                    continue
                told = within(LIMIT, work, k)
                if isinstance(told, str):
                    failed[solver] = told
                else:
                    answers.setdefault(solver, []).append(told)
        answers = {
            solver: (statistics.median(seconds for seconds, _ in some), some[0][1])
            for solver, some in answers.items()
            if solver not in failed
        }
        best = np.array([np.sort(s) for _, (_, s, _) in answers.values()]).max(axis=0)
        if min(A.shape) <= 1000 and not center:
            best = np.sort(scipy.linalg.svdvals(A if isinstance(A, np.ndarray) else A.toarray())[:k])
        for solver, (seconds, (u, s, vh)) in answers.items():
            errors = accuracy(A, center, u, s, vh, best)
            rows.append(dict(zip(COLUMNS, (name, solver, seconds, *errors, None), strict=True)))
        rows += [
            dict(zip(COLUMNS, (name, solver, *[None] * 4, error), strict=True)) for solver, error in failed.items()
        ]
        ours = answers["fastlanczos"][0]
        # If none of scipy's is done in time, the fastest takes at least half of it.
        fastest = min((s for solver, (s, _) in answers.items() if solver.startswith("scipy")), default=LIMIT / 2)
        plain = ours if name == UNCENTRED else plain
        ratios.append({"problem": name, "ratio": fastest / ours, "of uncentred": ours / plain if center else None})
    return rows, ratios


def draw(rows):
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for solver in dict.fromkeys(row["solver"] for row in rows):
        of = [row for row in rows if row["solver"] == solver and row["s"]]
        axes.plot([row["s"] for row in of], [max(row["error"], 1e-17) for row in of], "o", label=solver)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="largest error of a value / norm")
    axes.legend(fontsize="small")
    return figure


def main(arguments=None):
    parser = parse(__doc__.splitlines()[0])
    parser.add_argument("--scipy-only", action="store_true", help="without PRIMME and randomized SVD, which take long")
    options = parser.parse_args(arguments)
    touch_memory(10**7 if options.quick else 5 * 10**8)
    rows, ratios = measure(options.quick, options.scipy_only)
    table("svds, full accuracy", COLUMNS, [list(row.values()) for row in rows])
    table("Times of scipy's fastest over ours", list(ratios[0]), [list(row.values()) for row in ratios])
    print(f"median {np.median([row['ratio'] for row in ratios]):.3g}")
    write(options.output, "svds", {"rows": rows, "ratios": ratios}, draw(rows))


if __name__ == "__main__":
    main()
