"""Small pencils written out as matrices, for LAPACK."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.errors import NonFiniteError, NotSymmetricError

__all__ = ["solve_dense"]


def solve_dense(pencil: Pencil, wanted: Wanted, tol: float, noise: float = 0.0) -> tuple[Float64, Any, float] | None:
    """Return (values, vectors as rows, asymmetry), or None for an M that LAPACK's reduction does not take."""
    A = _matrix(pencil.multiply_a, pencil, "A")
    M = None if pencil.multiply_m is None else _matrix(pencil.multiply_m, pencil, "M")
    asymmetry = max(_asymmetry(X) for X in (A, M) if X is not None)
    if asymmetry > max(100.0 * pencil.precision, tol, noise):
        raise NotSymmetricError(asymmetry)
    A = (A + A.conj().T) / 2.0
    try:
        # Divide and conquer: the default's vectors are orthonormal to 1e-13 only, or not even that.
        if pencil.mode == "buckling":  # A is the definite one
            indefinite = np.eye(pencil.dim) if M is None else (M + M.conj().T) / 2.0
            reciprocals, vectors = scipy.linalg.eigh(indefinite, A, driver="gvd")
            with np.errstate(divide="ignore"):
                values = 1.0 / reciprocals
        elif M is None:
            values, vectors = scipy.linalg.eigh(A, driver="evd")
        else:
            values, vectors = scipy.linalg.eigh(A, (M + M.conj().T) / 2.0, driver="gvd")
    except np.linalg.LinAlgError:  # it is not positive definite
        return None
    chosen = wanted.select(pencil.forward(values))
    chosen = chosen[np.argsort(values[chosen], kind="stable")]
    return values[chosen], vectors[:, chosen].T, asymmetry


def _matrix(multiply: Any, pencil: Pencil, name: str) -> NDArray[Any]:
    n = pencil.dim
    matrix = np.empty((n, n), dtype=pencil.dtype)
    for i in range(n):
        e = np.zeros(n, dtype=pencil.dtype)
        e[i] = 1.0
        matrix[:, i] = multiply(e)
    bad = int(np.count_nonzero(~np.isfinite(matrix)))
    if bad:
        column = int(np.flatnonzero(~np.isfinite(matrix).all(axis=0))[0])
        raise NonFiniteError(f"{name} has {bad} entries that are NaN or infinite", step=column + 1, count=bad)
    return matrix


def _asymmetry(X: NDArray[Any]) -> float:
    largest = float(np.abs(X).max())
    if largest == 0.0:
        return 0.0
    X = X / largest
    return float(np.linalg.norm(X - X.conj().T, 2) / np.linalg.norm(X, 2))
