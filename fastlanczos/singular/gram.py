"""B^H B as the operator that is iterated with for the largest singular values, less what has been found of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64
from fastlanczos.operators.native import gram_matvec
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON

__all__ = ["Gram", "LargestEnd"]

_ROUNDING = 8.0 * EPSILON
_SCATTER = 2.0  # what a sparse entry costs in both factors, in entries that are read in order


class Gram:
    """v -> B^H B v, with the right vectors V (n, p), which may be none, moved below all others.

    `norm` is that of B, and `best` about the largest value that is left: products of B are rounded as ever, and what is
    left of them is smaller. `native` multiplies without Python where B has real entries that can be read, and nothing
    was found.
    """

    def __init__(self, B: Rectangular, V: Block, norm: float = 0.0, best: float = 0.0) -> None:
        n = B.shape[1]
        self.shape = n, n
        self.dtype = np.dtype(B.dtype)
        self.precision = B.precision
        self.noises = (_ROUNDING * norm / best if best else 0.0,)
        self._B, self._V, self._down = B, V, best**2
        self.native: _core.Matvec | None = None
        if B.matrix is not None and B.dtype == "float64" and B.unit == 1.0 and not V.shape[1]:
            self.native = gram_matvec(B.matrix, B.c, B.d)

    @property
    def rows_of_product(self) -> float:
        """What a product costs, in rows of the basis; infinite if nothing is known of it."""
        matrix = self._B.matrix
        if self.native is None:
            return np.inf
        stored = _SCATTER * matrix.nnz if scipy.sparse.issparse(matrix) else matrix.size
        return float(stored / self.shape[0])

    def singular(self, values: Float64, residuals: Float64) -> tuple[Float64, Float64]:
        """Return singular values and estimates of their residuals for the operator's eigenvalues and theirs."""
        roots = np.sqrt(np.maximum(values, 0.0))
        return roots, np.where(roots > 0.0, residuals / roots, np.sqrt(residuals))

    def multiply(self, v: Block) -> Block:
        """Return the product of a vector of NumPy's, with one pass over B if it has entries that can be read."""
        if self.native is None:
            return self._product(v)
        self._B.count += 2
        product = np.empty((1, v.size))
        self.native.multiply(np.ascontiguousarray(v)[None], product)
        self._B.check_finite(product, "a product of A")
        return np.asarray(product[0])

    def matvec(self, v: Any) -> Any:
        """Return the product, of a vector of the kind that v is."""
        framework = self._B.framework
        if framework is None or isinstance(v, np.ndarray):
            return self._product(v)
        if self._V.shape[1] or self._B.c is not None or self._B.unit != 1.0:
            return framework.from_numpy(self._product(framework.to_numpy(v)))
        assert self._B.on_device is not None
        B, adjoint = self._B.on_device
        self._B.count += 2
        return adjoint @ (B @ v)

    def _product(self, v: Block) -> Block:
        V, v = self._V, v.reshape(-1, 1)
        if not V.shape[1]:
            return np.ascontiguousarray(self._B.multiply_adjoint(self._B.multiply(v))[:, 0])
        seen = V.conj().T @ v
        z = self._B.multiply_adjoint(self._B.multiply(v - V @ seen))
        return np.ascontiguousarray((z - V @ (V.conj().T @ z + self._down * seen))[:, 0])


class LargestEnd:
    """The largest values of B."""

    def __init__(self, B: Rectangular) -> None:
        self._B = B
        self._norm = 0.0

    def operator(self, V: Block, best: float) -> Gram:
        """Return B^H B with V moved out of the way."""
        return Gram(self._B, V, self._norm, best)

    def size(self, values: Any) -> Any:
        """Return the values."""
        self._norm = max(self._norm, float(values[0]))
        return values
