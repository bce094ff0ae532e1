"""What searches do with rows of long vectors, where NumPy has one way and vectors on a GPU another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.engine.far_vectors import FarRows, FarVector

__all__ = ["count_not_finite", "inner_products", "norm", "stacked", "turn", "without"]

_COLUMNS = 4096  # of rows in NumPy that are turned at a time


def inner_products(rows: Any, block: Any) -> NDArray[Any]:
    """Return the inner products (m, p) of rows (m, n), conjugated, with those of a block (p, n)."""
    if isinstance(rows, FarRows):
        return rows.inner(block)
    if not np.iscomplexobj(block):
        return np.asarray(rows @ block.T)
    return np.asarray((rows @ block.conj().T).conj())  # the rows are many: conjugated is what is short


def without(block: Any, coefficients: NDArray[Any], rows: Any) -> Any:
    """Return a block (p, n) less combinations of rows (m, n) with coefficients (m, p)."""
    if isinstance(rows, FarRows):
        return rows.without(block, coefficients)
    return block - coefficients.T @ rows


def count_not_finite(block: Any) -> int:
    """Return how many entries of a block are NaN or infinite."""
    if isinstance(block, FarRows):
        return block.count_not_finite()
    return int(np.count_nonzero(~np.isfinite(block)))


def norm(x: Any) -> float:
    """Return the Euclidean norm of a vector, without overflow."""
    if isinstance(x, FarVector):
        return x.norm()
    largest = float(np.abs(x).max(initial=0.0))
    return largest * float(np.linalg.norm(x / largest)) if 0.0 < largest < np.inf else largest


def stacked(vectors: Sequence[Any]) -> Any:
    """Return vectors as rows, in memory of their own."""
    if isinstance(vectors[0], FarVector):
        return vectors[0][None].made_of(vectors, len(vectors))
    return np.stack(vectors)


def turn(rows: Any, rotation: NDArray[Any]) -> None:
    """Make combinations (l, m) of rows (m, n) the first of them, in place."""
    if isinstance(rows, FarRows):
        rows.turn(rotation)
        return
    for first in range(0, rows.shape[1], _COLUMNS):
        columns = slice(first, first + _COLUMNS)
        rows[: len(rotation), columns] = rotation @ rows[:, columns]
