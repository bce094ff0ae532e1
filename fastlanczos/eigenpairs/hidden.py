"""What a random start may hide: how likely an eigenvalue beyond the wanted ones has not shown yet.

Lanczos from r sees an eigenvector x by its weight (x.r)^2. If the steps so far do not show an eigenvalue at t, beyond
all Ritz values, its weight is at most the Christoffel function of T at t, 1 / sum_i p_i(t)^2 with T's orthonormal
polynomials p_i: for every polynomial p of their degree, p(t)^2 (x.r)^2 <= |p(A) r|^2, and the bound is the least of
|p(A) r|^2 / p(t)^2. For a random r on the unit sphere of N dimensions a weight below w has a probability of at most
sqrt(2 N w / pi).

Kuczynski and Wozniakowski (SIAM J. Matrix Anal. Appl. 13, 1992) bound the same for the worst of all spectra. With the
T at hand the bound is the one for this spectrum: on the 2-D Laplacian of 100 x 100 and its largest eigenvalue it needs
half the steps. Christoffel functions: Szego, Orthogonal Polynomials (1939), 3.4 and 7.7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["acceptable", "log_christoffel", "log_hidden_block", "probability_hidden"]


def log_christoffel(alpha: Float64, beta: Float64, t: float) -> float:
    """Return the logarithm of 1 / sum_i p_i(t)^2 for T with the diagonal `alpha` and `beta` beside it."""
    if t < alpha[0]:  # as well below all Ritz values as above them
        alpha, t = -alpha, -t
    before, now = 0.0, 1.0
    total, scale = 1.0, 0.0  # the sum of squares, and the logarithm that is taken out of p and of its root
    for i in range(alpha.size - 1):
        after = (t - alpha[i]) * now - (beta[i - 1] * before if i else 0.0)
        before, now = now, after / beta[i]
        total += now * now
        if total > 1e200:
            factor = 1e-100
            before, now, total = before * factor, now * factor, total * factor * factor
            scale += 100.0 * np.log(10.0)
    return float(-np.log(total) - 2.0 * scale)


def log_hidden_block(H: NDArray[Any], coupling: NDArray[Any], rows: slice, t: float) -> float:
    """Return the logarithm of the weight that an eigenvector x at t, beyond all Ritz values, may have on some rows.

    H (m, m) is projected, `coupling` (p, m) that of the next block to it. The rows see c of x with (t - H) c =
    coupling^H g, where g, what x has of the next block, is 1 at most. After a restart, g of the chain before is what x
    has of the first rows since, so that the weights multiply.
    """
    try:
        seen = np.linalg.solve(t * np.eye(len(H)) - H, coupling.conj().T)[rows]
    except np.linalg.LinAlgError:
        return 0.0
    return 2.0 * float(np.log(max(float(np.linalg.norm(seen, 2)), 1e-300)))


def probability_hidden(log_weight: float, dim: int) -> float:
    """Return the probability that a random unit vector of `dim` entries has no more than this weight on another one."""
    return float(min(1.0, np.sqrt(2.0 * max(dim, 1) / np.pi) * np.exp(max(0.5 * log_weight, -700.0))))


def acceptable(tol: float) -> float:
    """Return the probability that may be left of a hidden eigenvalue: what it would change matters to tol."""
    return float(np.clip(np.sqrt(tol), 1e-6, 1e-3))
