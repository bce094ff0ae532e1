"""Matrices whose entries can be read, and what reading them tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

__all__ = ["asymmetry_of", "is_explicit"]

_BLOCK = 2**22  # entries that are compared at once


def is_explicit(X: Any) -> bool:
    """Whether X is a matrix whose entries can be read."""
    return isinstance(X, np.ndarray) or scipy.sparse.issparse(X)


def asymmetry_of(X: Any) -> float:
    """Return the largest entry of X - X^H relative to that of X; 0 where its entries cannot be read."""
    if not is_explicit(X):
        return 0.0
    if scipy.sparse.issparse(X):
        X = X.tocsr()
        largest, off = float(abs(X).max()), float(abs(X - X.conj().T).max())
    else:
        rows = max(1, _BLOCK // max(1, len(X)))
        largest = off = 0.0
        for first in range(0, len(X), rows):
            some = X[first : first + rows]
            largest = max(largest, float(np.abs(some).max()))
            off = max(off, float(np.abs(some[:, first:] - X[first:, first : first + rows].conj().T).max()))
    return off / largest if 0.0 < largest < np.inf else 0.0
