"""Claim: `fl.svds` misses no singular value, says where it fails, and its residuals are at the rounding level.

Matrices of known singular values, three shapes, real and complex, behind a `LinearOperator`, so that no solver sees
entries: uniform and geometric spectra, multiple and clustered values, low ranks; the largest and the smallest k = 1 and
6. `fl.svds`, scipy's three solvers and, where it is installed, PRIMME get the same products and tol = 0 (PRIMME 1e-14),
each call in a process of its own that is ended after 10 seconds. A solver that raises, returns fewer, or reaches the
limit has failed.

A value is missed where the one in its place, in order, is off by more than 1e-10 of the norm; wrong where it is none of
the matrix's at all. Residuals, of both sides, and |U'U - I| and |V'V - I|, largest entry, are those of the worst answer
in which nothing failed.
"""

import numpy as np
import scipy.sparse.linalg as sla
from report import parse, table, write
from svds import within

import fastlanczos as fl

COLUMNS = ("solver", "problems", "failed", "missed", "wrong", "worst error", "worst residual", "worst orthogonality")
CLOSE = 1e-10


def spectra(n):
    return {
        "uniform": np.linspace(1.0, 0.01, n),
        "geometric": 10.0 ** -(np.arange(n) * 12.0 / n),
        "doubled": np.repeat(np.linspace(1.0, 0.1, n // 2), 2),
        "sixfold": np.r_[np.full(6, 1.0), np.linspace(0.9, 0.2, n - 12), np.full(6, 0.1)],
        "cluster": np.r_[1.0 + 1e-9 * np.arange(8)[::-1], np.linspace(0.5, 0.1, n - 8)],
        "low rank": np.r_[np.linspace(1.0, 0.5, n // 4), np.zeros(n - n // 4)],
    }


def problems(quick):
    rng = np.random.default_rng(0)
    for m, n in ((60, 40),) if quick else ((90, 60), (400, 300), (2000, 400)):
        for kind in ("real", "complex"):
            for values in spectra(min(m, n)).values():
                U, V = (np.linalg.qr(random(rng, kind, (side, min(m, n))))[0] for side in (m, n))
                A = (U * values) @ V.conj().T
                for which in ("LM", "SM"):
                    for k in (1, 6):
                        yield A, values, which, k


def random(rng, kind, shape):
    return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if kind == "complex" else 0.0)


def solvers(A, which, k):
    B = sla.LinearOperator(
        A.shape,
        matvec=lambda x: A @ x,
        rmatvec=lambda y: A.conj().T @ y,
        matmat=lambda X: A @ X,
        rmatmat=lambda Y: A.conj().T @ Y,
        dtype=A.dtype,
    )
    yield "fastlanczos", lambda: fl.svds(B, k, which=which)
    for solver in ("arpack", "propack", "lobpcg"):
        yield f"scipy {solver}", lambda solver=solver: sla.svds(B, k, which=which, solver=solver, rng=0)
    try:
        import primme
    except ImportError:
        return
    yield "PRIMME", lambda: primme.svds(B, k, which=which, tol=1e-14, maxiter=2000)


def judge(A, values, which, k, answer):
    """Return how many values are missed and wrong, and the largest error, residual and distance from orthonormal."""
    u, s, vh = answer
    order = np.argsort(s)
    u, s, vh = u[:, order], s[order], vh[order]
    exact = np.sort(np.sort(values)[-k:] if which == "LM" else np.sort(values)[:k])
    missed = int(np.count_nonzero(np.abs(s - exact) > CLOSE))
    wrong = int(np.count_nonzero(np.abs(s[:, None] - values).min(axis=1) > CLOSE))
    left, right = A @ vh.conj().T - u * s, A.conj().T @ u - vh.conj().T * s
    residual = max(np.linalg.norm(left, axis=0).max(), np.linalg.norm(right, axis=0).max())
    apart = max(np.abs(u.conj().T @ u - np.eye(k)).max(), np.abs(vh @ vh.conj().T - np.eye(k)).max())
    return missed, wrong, float(np.abs(s - exact).max()), float(residual), float(apart)


def measure(quick):
    found = {}
    for A, values, which, k in problems(quick):
        for solver, work in solvers(A, which, k):
            told = within(10, work, k, calls=1)
            found.setdefault(solver, []).append(told if isinstance(told, str) else judge(A, values, which, k, told[1]))
    rows = []
    for solver, answers in found.items():
        good = [answer for answer in answers if not isinstance(answer, str)]
        missed, wrong = (sum(answer[i] > 0 for answer in good) for i in (0, 1))
        worst = [max((answer[i] for answer in good), default=None) for i in (2, 3, 4)]
        counts = (len(answers), len(answers) - len(good), missed, wrong)
        rows.append(dict(zip(COLUMNS, (solver, *counts, *worst), strict=True)))
    return rows


if __name__ == "__main__":
    options = parse(__doc__).parse_args()
    measured = measure(options.quick)
    table("svds, answers of all problems", COLUMNS, [[row[name] for name in COLUMNS] for row in measured])
    write(options.output, "svds_accuracy", {"rows": measured})
