"""Preconditioned log-determinants of kernel matrices: log det K = log det P + tr log(R' K R) with R R' = P^-1.

K is a kernel plus a diagonal D, such as the noise s I of a Gaussian process, and P = F F' + D with F from a partial
Cholesky factorization of the kernel. What that leaves of the kernel is positive semidefinite, so R' K R has no
eigenvalue below 1: the Gauss-Radau rule with a node at 1 bounds what the steps leave, whatever the spectrum.

Pivots are drawn in proportion to what is left of the diagonal, a block at a time (Chen, Epperly, Tropp and Webber,
"Randomly pivoted Cholesky", arXiv 2207.06503). Preconditioners of this form: Gardner et al., NeurIPS 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, is_tensor, matrix_of_tensor
from fastlanczos.engine.kinds import NumpyKind
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.operators.operator import Operator
from fastlanczos.sums.products import multiply

__all__ = ["LowRank", "Preconditioned", "low_rank_of", "preconditioned"]

_BLOCK = 64  # pivots at once, at most
_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING = 1e-12  # of the kernel: what is left below it is rounding, and its inverse would be noise
_MOST = 4  # "auto" takes no more pivots than the dimension over this


@dataclass(frozen=True)
class LowRank:
    """P = D^1/2 (1 + U diag(g) U') D^1/2 with orthonormal columns U (n, r), and R = D^-1/2 (1 + U diag(g) U')^-1/2."""

    diagonal: Float64  # D, (n,)
    U: Float64
    g: Float64

    @property
    def logdet(self) -> float:
        """log det P."""
        return float(np.log1p(self.g).sum() + np.log(self.diagonal).sum())

    @property
    def rank(self) -> int:
        """r."""
        return int(self.g.size)

    def _symmetric(self, v: Float64) -> Float64:
        return np.asarray(v + self.U @ ((1.0 / np.sqrt(1.0 + self.g) - 1.0) * (self.U.T @ v)))

    def inverse_root(self, v: Float64) -> Float64:
        """Return R v."""
        return self._symmetric(v) / np.sqrt(self.diagonal)

    def inverse_root_transposed(self, v: Float64) -> Float64:
        """Return R' v."""
        return self._symmetric(v / np.sqrt(self.diagonal))


@dataclass(frozen=True)
class Preconditioned:
    """R' K R as an operator, bounds of its spectrum, log det P, and the rank, None where nothing is known of it."""

    operator: Operator
    bounds: Bounds
    logdet: float
    rank: int | None


def preconditioned(
    operator: Operator, preconditioner: Any, diagonal: Any, num_products: int, seeds: np.random.SeedSequence
) -> Preconditioned:
    """Return the operator that `preconditioner` makes of K: a rank, "auto", or an object with R.

    `num_products` is how many products are likely to be made without one.
    """
    n = operator.dim
    if hasattr(preconditioner, "inverse_root") and hasattr(preconditioner, "logdet"):
        P, bounds, scale, rank = preconditioner, Bounds(), 1.0, getattr(preconditioner, "rank", None)
    else:
        D = _diagonal_of(diagonal, n)
        matrix = _matrix_of(operator)
        generator = np.random.default_rng(seeds.spawn(1)[0])
        P = low_rank_of(matrix, D, preconditioner, num_products, generator)
        # A product errs by eps |K|, which R enlarges.
        scale = float(np.abs(matrix.diagonal()).max()) * np.sqrt(n) / float(D.min())
        bounds, rank = Bounds(1.0, None), P.rank
    transposed = getattr(P, "inverse_root_transposed", P.inverse_root)

    silent = tqdm(disable=True)  # products are counted by the runs that ask for them

    def matvec(v: Float64) -> Float64:
        return np.asarray(transposed(multiply(operator, P.inverse_root(v)[:, None], silent)[:, 0]))

    inner = Operator(n, NumpyKind(), max(operator.precision, _EPSILON) * max(1.0, scale), matvec=matvec, source=P)
    return Preconditioned(inner, bounds, float(P.logdet), rank)


def _diagonal_of(diagonal: Any, n: int) -> Float64:
    if diagonal is None:
        raise ValueError(
            "preconditioner needs diagonal=: the part of A's diagonal that is added to the kernel, such as the noise s "
            "of K + s I, a number or an array of n"
        )
    D = np.broadcast_to(np.asarray(diagonal, dtype=np.float64), (n,)) if np.ndim(diagonal) < 2 else np.empty(0)
    if D.shape != (n,) or not np.all(np.isfinite(D)) or not np.all(D > 0.0):
        raise ValueError(f"diagonal must be a positive number or {n} of them, got {diagonal!r}")
    return D


def _matrix_of(operator: Operator) -> Any:
    A = operator.source
    if is_tensor(A):
        A = matrix_of_tensor(A)
    if operator.native is None or not (isinstance(A, np.ndarray) or scipy.sparse.issparse(A)):
        raise ValueError(
            "preconditioner as a rank or 'auto' reads columns of A, which is known by its products only: pass the "
            "matrix, or an object with inverse_root(v), P^-1/2 v, and logdet, log det P"
        )
    return A.tocsc() if scipy.sparse.issparse(A) else A


def low_rank_of(A: Any, D: Float64, rank: Any, num_products: int, generator: np.random.Generator) -> LowRank:
    """Return P for a kernel A - diag(D) of at most so many pivots; "auto" weighs them against products that they save.

    Raises ValueError if A - diag(D) is not positive semidefinite.
    """
    n = D.size
    automatic = isinstance(rank, str) and rank == "auto"
    if isinstance(rank, str) and not automatic:
        raise ValueError(f"preconditioner must be a rank, 'auto', or an object, got {rank!r}")
    most = max(1, n // _MOST) if automatic else min(as_dimension(rank, "preconditioner"), n)
    left = np.asarray(A.diagonal(), dtype=np.float64) - D
    lowest, floor = float(left.min()), _ROUNDING * float(np.abs(A.diagonal()).max())
    if lowest < -1e-10 * float(np.abs(A.diagonal()).max()):
        raise ValueError(
            f"diagonal is larger than A's own by {-lowest:.3g}: A must be a positive semidefinite kernel plus diagonal"
        )
    left = np.maximum(left, 0.0)
    total, G = float((left / D).sum()), np.empty((n, most), order="F")
    count, best, cheapest = 0, 0, np.inf
    while count < most and (left / D).sum() > 1e-3 and left.max() > floor:
        left[left <= floor] = 0.0
        size = min(_BLOCK, most - count, max(1, count // 2), int(np.count_nonzero(left)))
        pivots = np.sort(generator.choice(n, size, replace=False, p=left / left.sum()))
        columns = A[:, pivots].toarray() if scipy.sparse.issparse(A) else np.array(A[:, pivots], dtype=np.float64)
        columns[pivots, np.arange(size)] -= D[pivots]
        columns -= G[:, :count] @ G[pivots, :count].T
        kept, L = _pivoted(columns[pivots], floor)
        if not kept.size:
            break
        new = scipy.linalg.solve_triangular(L, columns[:, kept].T, lower=True).T
        G[:, count : count + kept.size] = new
        left = np.maximum(left - np.einsum("ij,ij->i", new, new), 0.0)
        left[pivots[kept]] = 0.0
        count += kept.size
        if automatic:
            cost = _predicted(n, count, float((left / D).sum()), total, num_products)
            if cost < cheapest:
                best, cheapest = count, cost
            elif count > 2 * best + _BLOCK:
                break
        else:
            best = count
    if automatic and cheapest > _predicted(n, 0, total, total, num_products):
        best = 0
    U, s, _ = scipy.linalg.svd(G[:, :best] / np.sqrt(D)[:, None], full_matrices=False)
    return LowRank(D, U, s**2)


def _predicted(n: int, rank: int, left: float, total: float, num_products: int) -> float:
    """Return the arithmetic that remains with so many pivots, in multiplications, beside that of finding them.

    Steps go like the root of the condition number, which is at most 1 + left over that of what D is; a product of a
    dense matrix takes n^2.
    """
    steps = np.sqrt((1.0 + left) / (1.0 + total))
    return float(num_products * max(steps, 1.0 / 50.0) * (n * n + 4.0 * n * rank) + n * float(rank) ** 2 * 8.0)


def _pivoted(block: Float64, floor: float) -> tuple[np.ndarray[Any, Any], Float64]:
    """Return the pivots of a block of which more than `floor` is left beside others, and their Cholesky factor."""
    kept: list[int] = []
    L = np.zeros_like(block)
    for j in range(len(block)):
        row = L[j]
        for at, i in enumerate(kept):
            row[at] = (block[j, i] - row[:at] @ L[i, :at]) / L[i, at]
        rest = block[j, j] - row[: len(kept)] @ row[: len(kept)]
        if rest > floor:
            row[len(kept)] = np.sqrt(rest)
            kept.append(j)
    chosen = np.array(kept, dtype=np.intp)
    return chosen, L[np.ix_(chosen, np.arange(chosen.size))]
