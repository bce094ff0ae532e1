"""What a product costs, told without a clock, so that the same call gives the same bits.

The unit is a row of the basis: n entries that are read once by a sweep. A sparse matrix costs its entries with their
column numbers, 1.5 rows for n of them, and a cache line of eight entries for each access that neither the cache nor the
hardware's prefetching helps with: in a vector of more than 2 MB, columns that are not beside one of the row before.
A dense matrix costs n rows. Everything else may take any time: it counts as dear.

Measured where this was written: a power-law graph of 1e6 nodes with 8.1 scattered entries a row takes as long as 60
rows, by this rule 77; the 2-D Laplacian as long as 5, by this rule 7.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from fastlanczos.operators.operator import Operator

__all__ = ["rows_of_product"]

_CACHED = 2**18  # entries of a vector that stays in the cache
_LINE = 8  # entries of a cache line
_SAMPLE = 4096  # rows that are looked at


def rows_of_product(operator: Operator) -> float:
    """Return the cost of a product in rows of the basis; infinite if nothing is known of it."""
    A = operator.source
    if hasattr(A, "rows_of_product"):
        return float(A.rows_of_product)
    if operator.native is None or not (isinstance(A, np.ndarray) or scipy.sparse.issparse(A)):
        return np.inf
    n = operator.dim
    if isinstance(A, np.ndarray):
        return float(n)
    entries = A.nnz / n
    if n <= _CACHED:
        return float(1.5 * entries)
    return float((1.5 + _LINE * _scattered(A.tocsr())) * entries)


def _scattered(A: Any) -> float:
    """The part of the entries whose columns are not near to one of the row before; of a sample of rows."""
    n = A.shape[0]
    chosen = np.unique(np.linspace(1, n - 1, _SAMPLE).astype(np.intp))
    far = total = 0
    for i in chosen:
        before, now = A.indices[A.indptr[i - 1] : A.indptr[i]], A.indices[A.indptr[i] : A.indptr[i + 1]]
        total += now.size
        if not before.size:
            far += now.size
            continue
        before = np.sort(before)
        at = np.searchsorted(before, now)
        left = np.abs(now - before[np.maximum(at - 1, 0)])
        right = np.abs(before[np.minimum(at, before.size - 1)] - now)
        far += int(np.count_nonzero(np.minimum(left, right) > 4 * _LINE))
    return far / max(total, 1)
