"""Claim: `fl.funm_multiply` evolves a quantum state as accurately as the libraries of the field, and sooner.

A quench: exp(-i t H) applied to the Neel state of a chain of spins 1/2, H the Heisenberg model with a random field in
z, which is a real matrix, or the same with a Dzyaloshinskii-Moriya interaction, which makes it complex. Against scipy's
`expm_multiply` and quimb's evolution (its integrator of Dormand and Prince, and its Krylov method), each with its
defaults and, where it has one, a tolerance of its own choice beside it; ours with a tolerance of 1e-10 (default) and
1e-13. By turns, medians.

The exact state is a Chebyshev expansion with so many terms that the first one left out is below 1e-17, in products
with H alone. Errors are distances from it in norm; the states have norm 1.
"""

import statistics
import time

import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure
from report import parse, table, write
from scipy.sparse.linalg import expm_multiply
from scipy.special import jv

import fastlanczos as fl

COLUMNS = ("problem", "solver", "s", "of the fastest peer", "error", "norm - 1")


def chain(spins, twist):
    """H of an open chain: sum of S_i . S_i+1 with fields in z, and `twist` times z . (S_i x S_i+1)."""
    rng = np.random.default_rng(0)
    states = np.arange(2**spins)
    up = (states[:, None] >> np.arange(spins)) & 1
    fields = rng.uniform(-1.0, 1.0, spins)
    z = up - 0.5
    H = sp.diags_array(z @ fields + (z[:, 1:] * z[:, :-1]).sum(axis=1)).tocsr()
    for i in range(spins - 1):
        raised = states[(up[:, i] == 0) & (up[:, i + 1] == 1)]
        flipped = raised ^ (0b11 << i)
        # S+_i S-_i+1 has 1/2 from the exchange and +- i/2 from the cross product's z component.
        hop = sp.csr_array((np.full(raised.size, 0.5 + 0.5j * twist), (flipped, raised)), shape=H.shape)
        H = H + hop + hop.conj().T
    H = H.tocsr()
    H.sort_indices()
    return H if twist else H.real.tocsr()


def neel(spins):
    psi = np.zeros(2**spins)
    psi[sum(1 << i for i in range(0, spins, 2))] = 1.0
    return psi


def exact(H, psi, t):
    """exp(-i t H) psi by Chebyshev polynomials on an interval that holds the spectrum."""
    radius = float(abs(H).sum(axis=1).max())
    terms = int(t * radius) + 20
    while abs(jv(terms, t * radius)) > 1e-17:
        terms += 10
    before, now = psi.astype(complex), H @ psi / radius
    state = jv(0, t * radius) * before - 2j * jv(1, t * radius) * now
    for k in range(2, terms):
        before, now = now, 2.0 * (H @ now) / radius - before
        state += 2.0 * (-1j) ** k * jv(k, t * radius) * now
    return state


def solvers(H, psi, t):
    """Each solver's name, and a function that returns the state."""
    evolution = lambda x: np.exp(-1j * t * x)  # noqa: E731
    yield "fastlanczos", lambda: fl.funm_multiply(H, evolution, psi)
    yield "fastlanczos, tol=1e-13", lambda: fl.funm_multiply(H, evolution, psi, tol=1e-13)
    yield "scipy expm_multiply", lambda: expm_multiply(-1j * t * H, psi.astype(complex))
    try:
        import quimb
    except ImportError:
        return
    start = psi.astype(complex)[:, None]
    matrix = sp.csr_matrix(H)

    def integrated():
        evolution = quimb.Evolution(start, matrix, method="integrate")
        evolution.update_to(t)
        return np.asarray(evolution.pt).ravel()

    def krylov():
        return np.asarray(quimb.expm_multiply(-1j * t * matrix, start)).ravel()

    yield "quimb integrate", integrated
    yield "quimb expm_multiply", krylov


def measure(quick):
    spins, times = (8, (1.0,)) if quick else (16, (1.0, 10.0, 50.0))
    rows = []
    for name, twist in (("Heisenberg", 0.0), ("with Dzyaloshinskii-Moriya", 0.4)):
        H, psi = chain(spins, twist), neel(spins)
        for t in times:
            state, found, taken = exact(H, psi, t), {}, {}
            for _ in range(1 if quick else 3):
                for solver, call in solvers(H, psi, t):
                    began = time.perf_counter()
                    found[solver] = call()
                    taken.setdefault(solver, []).append(time.perf_counter() - began)
            seconds = {solver: statistics.median(some) for solver, some in taken.items()}
            peers = [s for solver, s in seconds.items() if not solver.startswith("fastlanczos")]
            for solver, took in seconds.items():
                rows.append(
                    {
                        "problem": f"{name}, {spins} spins, t = {t:g}",
                        "solver": solver,
                        "s": took,
                        "of the fastest peer": took / min(peers),
                        "error": float(np.linalg.norm(found[solver] - state)),
                        "norm - 1": float(abs(np.linalg.norm(found[solver]) - 1.0)),
                    }
                )
    return rows


def picture(rows):
    """Error against time, a panel for each problem."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    names = list(dict.fromkeys(row["solver"] for row in rows))
    figure = Figure(figsize=(4.2 * min(3, len(problems)), 3.6 * -(-len(problems) // 3)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(-(-len(problems) // 3), min(3, len(problems)), squeeze=False)).ravel()
    for axis, problem in zip(axes, problems, strict=False):
        for i, name in enumerate(names):
            some = [row for row in rows if row["problem"] == problem and row["solver"] == name]
            axis.semilogy(
                [row["s"] for row in some],
                [max(row["error"], 1e-16) for row in some],
                "os^Dv"[i % 5],
                color=f"C{i}",
                label=name,
            )
        axis.set_xlim(left=0.0)
        axis.set_title(problem, fontsize=9)
        axis.set_xlabel("seconds")
        axis.set_ylabel("error of the state")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    arguments = parse(__doc__).parse_args()
    measured = measure(arguments.quick)
    table("exp(-i t H) psi", COLUMNS, [[row[name] for name in COLUMNS] for row in measured])
    write(arguments.output, "quench", {"rows": measured}, picture(measured))
