"""(B^H B)^-1 as the operator that is iterated with for the smallest singular values of a sparse matrix.

B^H B is not formed. With y from

    [ a I    B        ] [x]   [  0 ]
    [ B^H   -d^2/a I  ] [y] = [ -v/a ]

y is (B^H B + d^2)^-1 v, by one sparse LU factorization of that matrix, whose condition is B's where a is about the
smallest value (Bjorck, Numerical Methods for Least Squares Problems, 2.5.3). d keeps values that are zero from being
infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from fastlanczos.arrays.cpu import Float64
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON

__all__ = ["Inverse", "SmallestEnd", "can_be_factored"]

_MOST = 200_000  # rows and columns of a matrix that is factored
_ROUNDING = 64.0 * EPSILON  # of a solve, over the value that it is for
_MOST_NOISE = 1e-3
_SOFTER, _MOST_SOFTENED = 8.0, 1e4  # d where solves are not symmetric, and the largest over a
_STEPS = 4  # of inverse iteration
_NEAR = 0.1  # the smallest value may be this part of a
_ZERO = 8.0 * EPSILON  # of the norm: d, so that zeros are the largest, but not infinite ...
_BELOW = 1e-3  # ... and d over a, where smaller values than what is looked for have been found


def can_be_factored(B: Rectangular) -> bool:
    """Whether B is a sparse matrix whose entries can be read, and no mean is subtracted."""
    return scipy.sparse.issparse(B.matrix) and B.c is None and sum(B.shape) <= _MOST


class SmallestEnd:
    """The smallest values of a sparse B of this `norm`.

    What to factor for is found by inverse iteration, from a factorization that is good for large values on.
    """

    def __init__(self, B: Rectangular, norm: float) -> None:
        self._B = B
        self.norm = norm
        self._C: Any = scipy.sparse.csc_array(B.matrix).astype(B.dtype) / (B.unit * norm)
        self._a = self._d = 0.0
        B.solve = self.solve

    def _factor(self, a: float, d: float) -> None:
        m, n = self._B.shape
        above = a * scipy.sparse.eye_array(m)
        while True:
            self._a, self._d = a, d
            below = scipy.sparse.diags_array(np.full(n, -(d**2) / a))
            self._K = scipy.sparse.block_array([[above, self._C], [self._C.conj().T, below]], format="csc")
            try:
                self._factors = scipy.sparse.linalg.splu(self._K, permc_spec="MMD_AT_PLUS_A")
                return
            except RuntimeError:  # exactly singular: d was lost in rounding
                if d >= _MOST_SOFTENED * a:
                    raise
                d = _SOFTER * max(d, _ZERO)

    def operator(self, V: Block, best: float) -> Inverse:
        """Return the inverse with V moved out of the way, factored for the smallest value that is left."""
        a = 1.0
        while True:
            # What has been found is smaller, and would be all that there is of a product.
            self._factor(a, _BELOW * a if V.shape[1] else _ZERO)
            least = self._least(Inverse(self, V, self._B.dtype))
            if least >= _NEAR * a or a <= EPSILON:
                noise = min(_ROUNDING / max(least, EPSILON), _MOST_NOISE)
                return Inverse(self, V, self._B.dtype, (noise,) if V.shape[1] else (0.0, noise))
            a = max(least, EPSILON)

    def soften(self) -> bool:
        """Factor again with a larger d, for values that are zeros to the last digit; False if that would not help."""
        if self._d >= _MOST_SOFTENED * self._a:
            return False
        self._factor(self._a, _SOFTER * self._d)
        return True

    def _least(self, inverse: Inverse) -> float:
        """Return about the smallest value that is left, relative to the norm."""
        x = np.random.default_rng(0).standard_normal(self._B.shape[1]).astype(self._B.dtype)
        for _ in range(_STEPS):
            x = inverse.matvec(x / np.linalg.norm(x))
        return float(np.linalg.norm(self._B.multiply(x[:, None])) / np.linalg.norm(x)) / self.norm

    def solve(self, above: Block | None, below: Block | None) -> tuple[Block, Block]:
        """Return (x, y) for the right hand side (above, below), None for zeros, both relative to the norm."""
        m, n = self._B.shape
        right = np.zeros(m + n, self._B.dtype)
        if above is not None:
            right[:m] = above / self.norm
        if below is not None:
            right[m:] = below / self.norm
        x = self._factors.solve(right)
        # Rows of K are of different sizes: a step of refinement makes errors relative to each (Skeel 1980).
        x += self._factors.solve(right - self._K @ x)
        return x[:m], x[m:]

    def inverse(self, v: Block) -> Block:
        """Return (C^H C + d^2)^-1 v for C of norm 1."""
        return self.solve(None, v * (-self.norm / self._a))[1]

    def size(self, values: Any) -> Any:
        """Return the reciprocals of the values relative to the norm."""
        return 1.0 / np.hypot(values / self.norm, self._d)


class Inverse:
    """v -> (C^H C + d^2)^-1 v with the right vectors V (n, p), which may be none, taken out."""

    def __init__(self, end: SmallestEnd, V: Block, dtype: str, noises: tuple[float, ...] = ()) -> None:
        self.shape = V.shape[0], V.shape[0]
        self.dtype = np.dtype(dtype)
        self.noises = noises
        self._end, self._V = end, V

    def singular(self, values: Float64, residuals: Float64) -> tuple[Float64, Float64]:
        """Return singular values, ascending, and how uncertain they are, for the operator's eigenvalues."""
        found = self._end.norm / np.sqrt(np.maximum(values, 0.0))
        return found[::-1], (0.5 * found * residuals / values)[::-1]

    def matvec(self, v: Block) -> Block:
        """Return the product."""
        v, V = v.reshape(-1), self._V
        if not V.shape[1]:
            return self._end.inverse(v)
        z = self._end.inverse(v - V @ (V.conj().T @ v))
        return np.asarray(z - V @ (V.conj().T @ z))
