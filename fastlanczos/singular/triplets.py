"""Singular triplets of B from right vectors: Rayleigh-Ritz with B itself, nothing squared, and what they leave.

B V = U S Z^H gives the values, the left vectors, and V Z, to rounding in B: B v = s u holds by construction. The other
residual, B^H u - s v, takes a product for each triplet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.singular.rectangular import Block, Rectangular

__all__ = ["EPSILON", "Triplets", "rayleigh_ritz"]

EPSILON = float(np.finfo(np.float64).eps)
_ZERO = 32.0 * EPSILON  # of the norm: a value that is 0 to rounding
_MOST_CORRECTIONS = 3  # of vectors, by solves
_ROUNDING = 64.0 * EPSILON  # of the norm: what rounding leaves of a residual


@dataclass(frozen=True)
class Triplets:
    """B v = s u and B^H u = s v: left vectors U (m, k), values (k,) descending, right vectors V (n, k).

    `residuals` are the larger of both residual norms.
    """

    U: Block
    values: Float64
    V: Block
    residuals: Float64

    def chosen(self, these: NDArray[np.intp]) -> Triplets:
        """Return some of them."""
        return Triplets(self.U[:, these], self.values[these], self.V[:, these], self.residuals[these])

    def joined(self, others: Triplets) -> Triplets:
        """Return these and others, in descending order."""
        values = np.concatenate([self.values, others.values])
        order = np.argsort(-values, kind="stable")
        return Triplets(
            np.hstack([self.U, others.U])[:, order],
            values[order],
            np.hstack([self.V, others.V])[:, order],
            np.concatenate([self.residuals, others.residuals])[order],
        )

    def hold(self, B: Rectangular, tol: float, norm: float) -> NDArray[np.bool_]:
        """Return which are good to `tol` of their values, or to rounding in B's products."""
        rounding = _ROUNDING if B.matrix is not None else max(_ROUNDING, B.precision)
        return np.asarray(self.residuals <= np.maximum(tol * self.values, rounding * norm))

    @staticmethod
    def none(B: Rectangular) -> Triplets:
        """Return no triplets."""
        m, n = B.shape
        return Triplets(np.empty((m, 0), B.dtype), np.empty(0), np.empty((n, 0), B.dtype), np.empty(0))

    @staticmethod
    def of_zero(B: Rectangular, k: int) -> Triplets:
        """Return triplets of a zero B."""
        (m, n), dtype = B.shape, B.dtype
        return Triplets(np.eye(m, k, dtype=dtype), np.zeros(k), np.eye(n, k, dtype=dtype), np.zeros(k))


def rayleigh_ritz(B: Rectangular, V: Block, found: Triplets, norm: float) -> Triplets:
    """Return the triplets that orthonormal right vectors (n, p) span, in the complement of those found.

    Left vectors of values that are 0 to rounding, relative to B's norm, are made such that B^H does not see them.
    """
    W = B.multiply(V)
    if found.values.size:
        for _ in range(2):
            W = W - found.U @ (found.U.conj().T @ W)
    U, values, Zh = scipy.linalg.svd(W, full_matrices=False)
    V = V @ Zh.conj().T
    unit = max(norm, float(values[0]))
    nothing = values <= _ZERO * unit
    if nothing.any():
        others = np.hstack([found.U, U[:, ~nothing]])
        U[:, nothing] = _unseen(B, int(np.count_nonzero(nothing)), others, unit)
    left, right = B.multiply_adjoint(U) - V * values, np.zeros_like(U)
    if nothing.any():
        right = B.multiply(V) - U * values
    for _ in range(_MOST_CORRECTIONS if B.solve is not None else 0):
        bad = np.maximum(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0)) > _ROUNDING * unit
        if not bad.any():
            break
        U, V = _corrected(B, U, left, 0, bad, found.U), _corrected(B, V, right, 1, bad, found.V)
        left, right = B.multiply_adjoint(U) - V * values, B.multiply(V) - U * values
    return Triplets(U, values, V, np.maximum(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0)))


def _corrected(B: Rectangular, X: Block, residuals: Block, side: int, bad: NDArray[np.bool_], others: Block) -> Block:
    """Return vectors with what their residuals show taken out: u = B v / s has rounding in B v over s in it."""
    assert B.solve is not None
    X = X.copy()
    for i in np.flatnonzero(bad):
        X[:, i] -= B.solve(*((None, residuals[:, i]) if side == 0 else (residuals[:, i], None)))[side]
    for _ in range(2):
        X = X - others @ (others.conj().T @ X)
    Q, R = scipy.linalg.qr(X, mode="economic")
    return np.asarray(Q * np.sign(np.diag(R).real))


def _unseen(B: Rectangular, count: int, others: Block, norm: float) -> Block:
    """Return orthonormal vectors (m, count) in the complement of others that B^H multiplies to zero."""
    generator = np.random.default_rng(0)
    m = B.shape[0]
    found = np.empty((m, 0), B.dtype)
    for _ in range(count):
        r = generator.standard_normal(m).astype(B.dtype)
        for _ in range(2):
            r = _without(r, found, others)
        r /= np.linalg.norm(r)
        if np.linalg.norm(B.multiply_adjoint(r[:, None])) > _ZERO * norm:
            # What B reaches is taken out by least squares: twice, as Gram-Schmidt is.
            for _ in range(2):
                r = r - _least_norm(B, B.multiply_adjoint(r[:, None])[:, 0])
                r = _without(r, found, others)
                r /= np.linalg.norm(r)
        found = np.column_stack([found, r])
    return found


def _without(r: Block, *spaces: Block) -> Block:
    for space in spaces:
        r = r - space @ (space.conj().T @ r)
    return r


def _least_norm(B: Rectangular, r: Block) -> Block:
    """Return the shortest x with B^H x = r."""
    if B.solve is not None:
        return B.solve(None, r)[0]
    m, n = B.shape
    adjoint = scipy.sparse.linalg.LinearOperator(
        (n, m),
        matvec=lambda y: B.multiply_adjoint(y.reshape(-1, 1))[:, 0],
        rmatvec=lambda x: B.multiply(x.reshape(-1, 1))[:, 0],
        dtype=B.dtype,
    )
    return np.asarray(scipy.sparse.linalg.lsmr(adjoint, r, atol=EPSILON, btol=EPSILON, conlim=0, maxiter=10 * n)[0])
