"""Claim: quadrature of many tridiagonals is an order of magnitude faster than a loop over LAPACK, and as accurate.

Random tridiagonals: `fl.quadrature` on the batch against a loop over scipy's `eigh_tridiagonal` (all eigenvectors, of
which the first row is used). Nodes against LAPACK's bisection, relative to the norm; weights against LAPACK's QR, as
cumulative sums (what each of two close nodes has is determined to eps / gap alone, by either).
"""

import numpy as np
from matplotlib.figure import Figure
from report import median_seconds, parse, table, write
from scipy.linalg import eigh_tridiagonal

import fastlanczos as fl


def measure(count, m, repeats):
    rng = np.random.default_rng(m)
    alpha, beta = rng.normal(size=(count, m)), rng.uniform(0.1, 1, (count, m - 1))
    ours, _ = median_seconds(lambda: fl.quadrature(alpha, beta), repeats)
    theirs, _ = median_seconds(lambda: [eigh_tridiagonal(a, b) for a, b in zip(alpha, beta, strict=True)], 3)
    one, _ = median_seconds(lambda: fl.quadrature(alpha[0], beta[0]), 20)
    nodes, weights = fl.quadrature(alpha, beta)
    node_errors, weight_errors = [], []
    for a, b, x, w in list(zip(alpha, beta, nodes, weights, strict=True))[:50]:
        exact = eigh_tridiagonal(a, b, eigvals_only=True, lapack_driver="stebz")
        _, S = eigh_tridiagonal(a, b, lapack_driver="stev")
        node_errors.append(np.abs(x - exact).max() / np.abs(exact).max())
        weight_errors.append(np.abs(np.cumsum(w) - np.cumsum(S[0] ** 2)).max())
    return {
        "matrices": count,
        "m": m,
        "fastlanczos ms": 1e3 * ours,
        "scipy loop ms": 1e3 * theirs,
        "times faster": theirs / ours,
        "one matrix ms": 1e3 * one,
        "nodes, error / norm": float(max(node_errors)),
        "cumulative weights, error": float(max(weight_errors)),
    }


def main(arguments=None):
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    sizes = [(64, 30)] if options.quick else [(1000, 30), (1000, 100), (200, 300)]
    rows = [measure(count, m, 3 if options.quick else 9) for count, m in sizes]
    table("Batches of random tridiagonals", list(rows[0]), [list(row.values()) for row in rows])
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for key in ("scipy loop ms", "fastlanczos ms"):
        ax.loglog([row["m"] for row in rows], [row[key] / row["matrices"] for row in rows], "o-", label=key[:-3])
    ax.set_xlabel("order m")
    ax.set_ylabel("milliseconds per matrix")
    ax.legend(frameon=False)
    write(options.output, "quadrature", {"rows": rows}, figure)


if __name__ == "__main__":
    main()
