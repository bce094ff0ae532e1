"""Matrices that are written out, for LAPACK."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse

from fastlanczos.engine.kinds import NumpyKind
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import Triplets, rayleigh_ritz

__all__ = ["affordable", "cheaper", "solve_dense"]

_MOST_COLUMNS = 2048
_WHOLE = 2**20  # entries up to which all of U is computed
_COLUMNS_PER_STEP = 10.0  # of B, times which a dense QR costs as much as a product with a dense B^H B


def affordable(B: Rectangular) -> bool:
    """Whether B may be written out where nothing else answers."""
    m, n = B.shape
    return n <= _MOST_COLUMNS and m * n * np.dtype(B.dtype).itemsize <= NumpyKind().available_memory() // 4


def cheaper(B: Rectangular, k: int) -> bool:
    """Whether a dense B is factored in less time than the products for k triplets take."""
    matrix = B.matrix
    if matrix is None or scipy.sparse.issparse(matrix):
        return False
    return bool(B.shape[1] <= _COLUMNS_PER_STEP * (4 * k + 80) and affordable(B))


def solve_dense(B: Rectangular, which: str, k: int) -> Triplets:
    """Return the wanted triplets, from n products where B has no entries to read."""
    matrix = _matrix(B)
    m, n = B.shape
    wanted = slice(0, k) if which == "LM" else slice(n - k, n)
    if m * n <= _WHOLE or which == "SM":
        U, values, Vh = scipy.linalg.svd(matrix, full_matrices=False)
        U, values, V = U[:, wanted], values[wanted], Vh[wanted].conj().T
        residuals = np.maximum(
            np.linalg.norm(matrix @ V - U * values, axis=0),
            np.linalg.norm(matrix.conj().T @ U - V * values, axis=0),
        )
        return Triplets(U, values, V, residuals)
    R = scipy.linalg.qr(matrix, mode="r", overwrite_a=B.matrix is None)[0][:n]
    _, values, Vh = scipy.linalg.svd(R)
    return rayleigh_ritz(B, Vh[wanted].conj().T, Triplets.none(B), float(values[0]))


def _matrix(B: Rectangular) -> Block:
    if B.matrix is None:
        return B.multiply(np.eye(B.shape[1], dtype=B.dtype))
    dense = B.matrix.toarray() if scipy.sparse.issparse(B.matrix) else np.asarray(B.matrix)
    dense = dense.astype(B.dtype, copy=False)
    if B.c is not None and B.d is not None:
        dense = dense - B.c[:, None] * B.d.conj()
    B.check_finite(dense)
    return dense if B.unit == 1.0 else dense / B.unit
