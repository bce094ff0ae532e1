"""Sums from a Cholesky factor or from all eigenvalues: for matrices with entries, where that is less work than probes.

Work is told without a clock, in multiplications of a dense matrix with a block of vectors, of which n^2 are a product.
Factorizations do theirs at about the same speed; a sparse matrix takes the time of some 25 for every entry, and for
every entry of a vector that a step touches. Measured with 2 cores (AVX2), n = 3,000: a product in a block of 20 takes
0.42 ms, the Cholesky factor 0.24 s, all eigenvalues 1.1 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import reverse_cuthill_mckee

from fastlanczos.arrays.cpu import Float64, is_tensor, matrix_of_tensor
from fastlanczos.arrays.memory import available_memory
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.operators.entries import asymmetry_of, is_explicit
from fastlanczos.operators.operator import Operator
from fastlanczos.sums.accuracy import Accuracy
from fastlanczos.sums.estimate import DiagonalEstimate, Estimate
from fastlanczos.sums.functions import MatrixFunction

__all__ = ["Factorization", "entries_of"]

_EPSILON = float(np.finfo(np.float64).eps)
_SPARSE = 25.0  # multiplications of a dense block that take as long as one with a sparse entry
_VECTORS = 5.0  # entries of vectors that a step touches, for each dimension
# Of n^3 for a dense matrix, of n b^2 for a band of b diagonals beside the main one:
_CHOLESKY, _INVERSE, _EIGENVALUES, _EIGENVECTORS, _BAND = 1 / 6, 2 / 3, 1.7, 6.0, 1.0


def entries_of(operator: Operator) -> Any:
    """Return the matrix that an operator is, NumPy's or sparse; None if its entries cannot be read."""
    A = operator.source
    if operator.native is None or A is None:
        return None
    A = matrix_of_tensor(A) if is_tensor(A) else A
    return A if is_explicit(A) else None


class Factorization:
    """What a sum of f over a matrix's spectrum, or the diagonal of f(A), costs exactly, and its value.

    `products` is the cost in products of this matrix, infinite where its entries cannot be read or memory is short.
    """

    def __init__(self, operator: Operator, f: MatrixFunction, *, diagonal: bool = False) -> None:
        self.dim, self.f, self.precision = operator.dim, f, max(operator.precision, _EPSILON)
        self._A, self._diagonal = entries_of(operator), diagonal
        self._order: Any = None  # that makes a sparse matrix a narrow band
        self._half_width = 0
        self._way, self.products = self._cheapest()

    def _cheapest(self) -> tuple[str, float]:
        A, n = self._A, float(self.dim)
        if A is None or not np.isfinite(A.data if scipy.sparse.issparse(A) else A).all():
            return "", np.inf
        sparse = scipy.sparse.issparse(A)
        product = _SPARSE * (A.nnz + _VECTORS * n) if sparse else n * n
        ways = {}
        if self.f.is_identity:
            ways["entries"] = n
        elif 24.0 * n * n < available_memory():
            ways["eigenvalues"] = (_EIGENVECTORS if self._diagonal else _EIGENVALUES) * n**3
            if self.f.name == "inv" or (self.f.name == "log" and not self._diagonal):
                ways["cholesky"] = (_INVERSE if self.f.name == "inv" else _CHOLESKY) * n**3
        if sparse and self.f.name == "log" and not self._diagonal:
            best = min(ways.values(), default=np.inf)
            widest = int(np.diff(A.tocsr().indptr).max(initial=1)) // 2  # a band is at least as wide
            if _BAND * n * widest**2 < best:
                self._order = reverse_cuthill_mckee(A.tocsr(), symmetric_mode=True)
                B = A.tocoo()
                place = np.empty(self.dim, dtype=np.intp)
                place[self._order] = np.arange(self.dim)
                self._half_width = int(np.abs(place[B.row] - place[B.col]).max(initial=0))
                if 16.0 * n * (self._half_width + 1) < available_memory():
                    ways["band"] = _BAND * n * (self._half_width + 1) ** 2
        if not ways:
            return "", np.inf
        way = min(ways, key=lambda name: ways[name])
        return way, ways[way] / product

    def is_the_way(self, method: str, least: float, accuracy: Accuracy | None) -> bool:
        """Whether to take it at once: where it is asked for, or costs less than the `least` products of an estimate.

        Without an accuracy it is for more steps than the first to be worth as much.
        """
        if method == "exact":
            if not np.isfinite(self.products):
                raise ValueError(
                    "method=\"exact\" needs a matrix, NumPy's, torch's or scipy.sparse, and memory for three like it "
                    "written out: A is known by its products only, or too large"
                )
            return True
        return accuracy is not None and self.products <= min(least, accuracy.limit)

    def estimate(self, num_matvecs: int) -> Estimate:
        """Return the sum as an estimate without error but rounding. `num_matvecs` were made before it was chosen."""
        asymmetry = self.asymmetry
        warn_if_asymmetric(asymmetry, self.precision)
        value, rounding = self.sum()
        return Estimate(value, 0.0, rounding, 0, num_matvecs, 0.0, self._info(asymmetry))

    def diagonal_estimate(self, num_matvecs: int) -> DiagonalEstimate:
        """Return the diagonal of f(A) alike."""
        asymmetry = self.asymmetry
        warn_if_asymmetric(asymmetry, self.precision)
        value, rounding = self.diagonal()
        nothing = np.zeros(self.dim)
        return DiagonalEstimate(value, nothing, rounding, nothing, 0, num_matvecs, self._info(asymmetry))

    def _info(self, asymmetry: float) -> dict[str, Any]:
        return {"method": "exact", "factorization": self._way, "num_steps": 0, "deflated": 0, "asymmetry": asymmetry}

    @property
    def asymmetry(self) -> float:
        """How far the matrix is from symmetric."""
        return asymmetry_of(self._A)

    def sum(self) -> tuple[float, float]:
        """Return the sum and what rounding leaves uncertain of it; raises as f does where it is not defined."""
        if self._way == "entries":
            entries = np.asarray(self._A.diagonal().real, dtype=np.float64)
            return float(entries.sum()), self.precision * float(np.abs(entries).sum())
        if self._way in ("band", "cholesky"):
            try:
                return self._from_band() if self._way == "band" else self._from_cholesky()
            except np.linalg.LinAlgError:
                pass  # not positive definite: the eigenvalues tell what f makes of that
        values = np.asarray(np.linalg.eigvalsh(self._dense()))
        return self._of_eigenvalues(values)

    def diagonal(self) -> tuple[Float64, Float64]:
        """Return the diagonal of f(A) and what rounding leaves uncertain of each entry."""
        if self._way == "entries":
            entries = np.asarray(self._A.diagonal().real, dtype=np.float64)
            return entries, self.precision * np.abs(entries)
        if self._way == "cholesky":
            try:
                entries = np.square(np.abs(_inverted(np.linalg.cholesky(self._dense())))).sum(axis=0)
                size = float(np.abs(self._A.diagonal()).max())
                return entries, self._rounding_unit() * size * entries**2
            except np.linalg.LinAlgError:
                pass
        values, vectors = np.linalg.eigh(self._dense())
        f = self.f.at(values, np.ones(self.dim), self.dim)
        weights = np.square(np.abs(vectors))
        doubt = self.f.uncertainty(values, f, self._rounding_unit())
        return weights @ f, weights @ doubt

    def _rounding_unit(self) -> float:
        return self.precision * max(1.0, float(np.sqrt(self.dim)) / 4.0)

    def _of_eigenvalues(self, values: Float64) -> tuple[float, float]:
        f = self.f.at(values, np.ones(self.dim), self.dim)
        return float(f.sum()), float(self.f.uncertainty(values, f, self._rounding_unit()).sum())

    def _dense(self) -> NDArray[Any]:
        A = self._A.toarray() if scipy.sparse.issparse(self._A) else self._A
        return np.asarray(A, dtype=np.complex128 if np.iscomplexobj(A) else np.float64)

    def _from_cholesky(self) -> tuple[float, float]:
        L = np.linalg.cholesky(self._dense())
        pivots = np.square(np.diagonal(L).real)
        if self.f.name == "log":
            return self._log_of(pivots)
        entries = np.square(np.abs(_inverted(L))).sum(axis=0)
        value, largest = float(entries.sum()), float(entries.max())
        return value, self._rounding_unit() * float(np.abs(self._A.diagonal()).max()) * largest * value

    def _from_band(self) -> tuple[float, float]:
        A = self._A.tocsr()[self._order][:, self._order].tocoo()
        lower = A.row >= A.col
        band = np.zeros((self._half_width + 1, self.dim), np.complex128 if np.iscomplexobj(A.data) else np.float64)
        np.add.at(band, (A.row[lower] - A.col[lower], A.col[lower]), A.data[lower])
        factor = scipy.linalg.cholesky_banded(band, overwrite_ab=True, lower=True)
        return self._log_of(np.square(factor[0].real))

    def _log_of(self, pivots: Float64) -> tuple[float, float]:
        """Return the log-determinant: 1 / pivot is at most the inverse's entry, by which rounding moves the sum."""
        size = float(np.abs(self._A.diagonal()).max())
        logs = np.log(pivots)
        doubt = self._rounding_unit() * (size * float((1.0 / pivots).sum()) + float(np.abs(logs).max(initial=0.0)))
        return float(logs.sum()), doubt


def _inverted(L: NDArray[Any]) -> NDArray[Any]:
    """The inverse of a lower triangle, in its place."""
    invert = scipy.linalg.lapack.ztrtri if np.iscomplexobj(L) else scipy.linalg.lapack.dtrtri
    return np.asarray(invert(L, lower=1, overwrite_c=1)[0])
