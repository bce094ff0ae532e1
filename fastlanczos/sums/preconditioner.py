"""Preconditioned sums of kernel matrices: log det K = log det P + tr log(R' K R) with R R' = P^-1, and K^-1 alike.

K is a kernel plus a diagonal D, such as the noise s I of a Gaussian process, and P = F F' + D with F from a partial
Cholesky factorization of the kernel. What that leaves of the kernel is positive semidefinite, so R' K R has no
eigenvalue below 1: the Gauss-Radau rule with a node at 1 bounds what the steps leave, whatever the spectrum.

Pivots are drawn in proportion to what is left of the diagonal, a block at a time (Chen, Epperly, Tropp and Webber,
"Randomly pivoted Cholesky", arXiv 2207.06503). Preconditioners of this form: Gardner et al., NeurIPS 2018.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, is_tensor, matrix_of_tensor
from fastlanczos.engine.kinds import NumpyKind
from fastlanczos.gauss.brackets import Bounds, Signs
from fastlanczos.operators.operator import Operator
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import multiply, on_host

__all__ = ["LowRank", "Preconditioned", "low_rank_of", "preconditioned", "require_no_diagonal"]

_BLOCK = 64  # pivots at once, at most
_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING = 1e-12  # of the kernel: what is left below it is rounding, and its inverse would be noise
_MOST = 4  # "auto" takes no more pivots than the dimension over this
_REDUNDANT = 1e-3  # of a pivot that others of its block leave, below which it is not taken
_NOTHING = 1e-3  # of what is left of the kernel beside D, in the trace


@dataclass(frozen=True)
class LowRank:
    """P = D^1/2 (1 + U diag(g) U') D^1/2 with orthonormal columns U (n, r), and R = D^-1/2 (1 + U diag(g) U')^-1/2.

    Its methods take vectors (n,) and blocks of columns (n, p).
    """

    diagonal: Float64  # D, (n,)
    U: Float64
    g: Float64

    @property
    def logdet(self) -> float:
        """log det P."""
        return float(np.log1p(self.g).sum() + np.log(self.diagonal).sum())

    @property
    def inverse_diagonal(self) -> Float64:
        """The diagonal of P^-1, (n,)."""
        return (1.0 - self.U**2 @ (self.g / (1.0 + self.g))) / self.diagonal

    @property
    def rank(self) -> int:
        """r."""
        return int(self.g.size)

    def _symmetric(self, v: Float64) -> Float64:
        inside = ((1.0 / np.sqrt(1.0 + self.g) - 1.0) * (self.U.T @ v).T).T
        return np.asarray(v + self.U @ inside)

    def inverse_root(self, v: Float64) -> Float64:
        """Return R v."""
        return np.asarray((self._symmetric(v).T / np.sqrt(self.diagonal)).T)

    def inverse_root_transposed(self, v: Float64) -> Float64:
        """Return R' v."""
        return self._symmetric((v.T / np.sqrt(self.diagonal)).T)


@dataclass(frozen=True)
class _ByColumns:
    """A user's P, whose inverse_root takes one vector."""

    given: Any

    @property
    def logdet(self) -> float:
        return float(self.given.logdet)

    @property
    def rank(self) -> int | None:
        return getattr(self.given, "rank", None)

    def inverse_root(self, v: Float64) -> Float64:
        return self._each(self.given.inverse_root, v)

    def inverse_root_transposed(self, v: Float64) -> Float64:
        return self._each(getattr(self.given, "inverse_root_transposed", self.given.inverse_root), v)

    @staticmethod
    def _each(function: Any, v: Float64) -> Float64:
        if v.ndim == 1:
            return np.asarray(function(v), dtype=np.float64)
        return np.stack([np.asarray(function(column), dtype=np.float64) for column in np.array(v.T)], axis=1)


@dataclass(frozen=True)
class Preconditioned:
    """R' K R as an operator, bounds of its spectrum, and what sums of K are in terms of it.

    tr f(K) = `known` + E[w' `f`(R' K R) w] for w = v or, if `transforms`, w = R' v.
    """

    operator: Operator
    bounds: Bounds
    f: MatrixFunction
    known: float
    transforms: bool
    P: LowRank | _ByColumns

    @property
    def transform(self) -> Callable[[Float64], Float64] | None:
        """What makes w of v, None where w is v."""
        return self.P.inverse_root_transposed if self.transforms else None


def preconditioned(
    operator: Operator,
    f: MatrixFunction,
    preconditioner: Any,
    diagonal: Any,
    num_products: int,
    seeds: np.random.SeedSequence,
) -> Preconditioned:
    """Return what `preconditioner` makes of K: a rank, "auto", or an object with R.

    `num_products` is how many products are likely to be made without one.
    """
    if f.name not in ("log", "inv"):
        raise ValueError(f'preconditioner is for "log" and "inv"; got {f.name!r}')
    if operator.kind.is_complex:
        raise TypeError("preconditioner is for real kernel matrices, and A is complex")
    P: LowRank | _ByColumns
    multiply_by = _product_of(operator)
    if hasattr(preconditioner, "inverse_root") and hasattr(preconditioner, "logdet"):
        P = preconditioner if isinstance(preconditioner, LowRank) else _ByColumns(preconditioner)
        bounds, scale = Bounds(), 1.0
    else:
        D = _diagonal_of(diagonal, operator.dim)
        matrix = _Columns(operator)
        generator = np.random.default_rng(seeds.spawn(1)[0])
        P = low_rank_of(matrix, D, preconditioner, num_products, generator)
        # R v and K R v err by eps, and eps |K|, which is some |P|; R' enlarges what is not of K's large eigenvectors.
        scale = float(P.g.max(initial=0.0))
        bounds = Bounds(1.0, None)

    def product(v: Float64) -> Float64:
        return P.inverse_root_transposed(multiply_by(P.inverse_root(v)))

    precision = max(operator.precision, _EPSILON) * max(1.0, scale)
    inner = Operator(operator.dim, NumpyKind(), precision, matvec=product, matmat=product, source=P)
    if f.name == "log":
        return Preconditioned(inner, bounds, f, P.logdet, False, P)
    if isinstance(P, LowRank):
        # v' P^-1 v is taken from each sample, and its mean, which is known, added.
        less = MatrixFunction("inv", lambda x: 1.0 / x - 1.0, "nonzero", Signs(1, -1, 1))
        return Preconditioned(inner, bounds, less, float(P.inverse_diagonal.sum()), True, P)
    return Preconditioned(inner, bounds, f, 0.0, True, P)


def _product_of(operator: Operator) -> Callable[[Float64], Float64]:
    """Return a function of vectors and blocks. Matrices go through BLAS, as P does: two pools of threads would spin."""
    source = matrix_of_tensor(operator.source) if is_tensor(operator.source) else operator.source
    if isinstance(source, np.ndarray) and source.dtype == np.float64:
        return source.__matmul__
    silent = tqdm(disable=True)  # products are counted by the runs that ask for them
    return lambda v: multiply(operator, v, silent) if v.ndim == 2 else multiply(operator, v[:, None], silent)[:, 0]


def require_no_diagonal(diagonal: Any) -> None:
    """Raise ValueError for a `diagonal` without a preconditioner."""
    if diagonal is not None:
        raise ValueError("diagonal= tells preconditioner= which part of A is not the kernel: give both")


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


class _Columns:
    """The diagonal and columns of a matrix that can be asked for them, in float64."""

    def __init__(self, operator: Operator) -> None:
        A = operator.source
        if is_tensor(A):
            A = matrix_of_tensor(A)
        known = operator.native is not None and (isinstance(A, np.ndarray) or scipy.sparse.issparse(A))
        if not known and not hasattr(A, "columns") and not hasattr(A, "to_dense"):
            raise ValueError(
                "preconditioner as a rank or 'auto' reads columns of A, which is known by its products only: pass the "
                "matrix, an operator that has diagonal() and columns(indices), one of linear_operator's, or as "
                "preconditioner an object with inverse_root(v), P^-1/2 v, and logdet, log det P"
            )
        self._A = A.tocsc() if scipy.sparse.issparse(A) else A

    def diagonal(self) -> Float64:
        return on_host(self._A.diagonal())

    def at(self, indices: Any) -> Float64:
        A = self._A
        if hasattr(A, "columns"):
            found = A.columns(indices)
        elif hasattr(A, "to_dense"):  # linear_operator's
            found = A[:, sys.modules["torch"].from_numpy(np.asarray(indices))].to_dense()
        else:
            found = A[:, indices].toarray() if scipy.sparse.issparse(A) else A[:, indices]
        return np.array(on_host(found))


def low_rank_of(A: _Columns, D: Float64, rank: Any, num_products: int, generator: np.random.Generator) -> LowRank:
    """Return P for a kernel A - diag(D) of at most so many pivots; "auto" weighs them against products that they save.

    Raises ValueError if A - diag(D) is not positive semidefinite.
    """
    n = D.size
    automatic = isinstance(rank, str) and rank == "auto"
    if isinstance(rank, str) and not automatic:
        raise ValueError(f"preconditioner must be a rank, 'auto', or an object, got {rank!r}")
    most = max(1, n // _MOST) if automatic else min(as_dimension(rank, "preconditioner"), n)
    own = A.diagonal()
    left, scale = own - D, float(np.abs(own).max())
    lowest, floor = float(left.min()), _ROUNDING * scale
    if lowest < -1e-10 * scale:
        raise ValueError(
            f"diagonal is larger than A's own by {-lowest:.3g}: A must be a positive semidefinite kernel plus diagonal"
        )
    left = np.maximum(left, 0.0)
    G = np.empty((n, most), order="F")  # touched as far as it is filled
    count, best = 0, 0
    cheapest = _work(n, 0, left / D, num_products)
    while count < most and (left / D).sum() > _NOTHING and left.max() > floor:
        left[left <= floor] = 0.0
        size = min(_BLOCK, most - count, max(1, count // 2), int(np.count_nonzero(left)))
        pivots = np.sort(generator.choice(n, size, replace=False, p=left / left.sum()))
        columns = A.at(pivots)
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
            work = _work(n, count, left / D, num_products)
            if work < cheapest:
                best, cheapest = count, work
            elif _work(n, count, np.zeros(1), num_products) > cheapest:
                break  # even if nothing were left, so many pivots would cost more
    U, s, _ = scipy.linalg.svd(G[:, : best if automatic else count] / np.sqrt(D)[:, None], full_matrices=False)
    return LowRank(D, U, s**2)


def _work(n: int, rank: int, left: Float64, num_products: int) -> float:
    """Return the work with so many pivots, in entries of a dense matrix that a product reads.

    `left` is the diagonal, in units of D, of what the pivots leave of the kernel. Its largest eigenvalue lies between
    the largest entry and the sum, and is taken as their geometric mean; steps go like the root of the condition number.
    `num_products` are those that some hundred steps for each probe would take. The pivots take n rank^2 multiplications
    some ten times, which in BLAS cost a thirtieth of an entry that is read.
    """
    condition = 1.0 + float(np.sqrt(left.max() * left.sum()))
    steps = np.clip(np.sqrt(condition), 3.0, 500.0) / 50.0
    return float(num_products * steps * (n + 4.0 * rank) * n + n * float(rank) ** 2 / 3.0)


def _pivoted(block: Float64, floor: float) -> tuple[np.ndarray[Any, Any], Float64]:
    """Return the pivots of a block of which enough is left beside others, and their Cholesky factor.

    One of which little is left has lost as many digits, which F F' would have in excess of the kernel.
    """
    kept: list[int] = []
    L = np.zeros_like(block)
    for j in range(len(block)):
        row = L[j]
        for at, i in enumerate(kept):
            row[at] = (block[j, i] - row[:at] @ L[i, :at]) / L[i, at]
        rest = block[j, j] - row[: len(kept)] @ row[: len(kept)]
        if rest > max(floor, _REDUNDANT * block[j, j]):
            row[len(kept)] = np.sqrt(rest)
            kept.append(j)
    chosen = np.array(kept, dtype=np.intp)
    return chosen, L[np.ix_(chosen, np.arange(chosen.size))]
