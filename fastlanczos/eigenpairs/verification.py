"""Verification: a product with A itself for every pair, and what can be done for pairs that do not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chebyshev import polishing_filters
from fastlanczos.eigenpairs.clusters import Clusters
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.rayleigh_ritz import ZERO, Source, noise, rayleigh_ritz
from fastlanczos.eigenpairs.results import Eigenpairs, NotConverged
from fastlanczos.eigenpairs.rows import Rows

__all__ = ["Verification", "combined_residual"]

_EPSILON = float(np.finfo(np.float64).eps)
_MOST_GROWTH = 1e6
_MOST_POLISHED = 0.1  # of all vectors that polishing may change
_MOST_POLISHES = 3


class Verification:
    """Checks the locked rows of a search, with `source` or `pencil` as in `ThickRestart`."""

    def __init__(
        self, rows: Rows, clusters: Clusters, multiplier: Multiplier, source: Source | None, pencil: Pencil | None
    ) -> None:
        self._rows = rows
        self._clusters = clusters
        self._multiplier = multiplier
        self._source = source
        self._pencil = pencil
        self._values = np.empty(0)  # of the locked rows, as `source` gives them

    @property
    def values(self) -> Float64:
        """Values of the locked rows, as eigenvalues of the operator that is asked about."""
        return self._rows.locked if self._source is None else self._values

    def verify(self) -> tuple[Float64, NDArray[np.bool_]]:
        """Compute the residual of every pair of this stage with A itself; return the residuals, and which hold."""
        if self._rows.filter is not None or self._clusters.width > 0.0:
            self._choose()
        residuals, good = self._judged()
        for levels in range(1, (_MOST_POLISHES if self._source is None else 2 * _MOST_POLISHES) + 1):
            if good.all() or not self._polish(self._rows.earlier + np.flatnonzero(~good), levels):
                break
            self._choose()
            residuals, good = self._judged()
        return residuals, good

    def all_zero(self) -> bool:
        """Whether a folded search has k values that are 0 to rounding, than which none is smaller."""
        rows, source = self._rows, self._source
        if source is None or rows.own.size < rows.wanted.k:
            return False
        values, _ = rayleigh_ritz(source.multiplier, rows.run, rows.own_rows, source.norm)
        return bool(np.sort(np.abs(values))[rows.wanted.k - 1] <= ZERO * source.norm)

    def why_not(self, residuals: Float64, good: NDArray[np.bool_]) -> str:
        """Return what to say of pairs that do not hold."""
        worst = int(np.argmax(np.where(good, 0.0, residuals)))
        value = self.values[self._rows.earlier + worst]
        return (
            f"{np.count_nonzero(~good)} pairs failed verification: for lambda = {value:.6g}, |A x - lambda x| is "
            f"{residuals[worst]:.1e}. The operator's products are not exact enough, or not symmetric enough (asymmetry "
            f"{self._rows.asymmetry:.1e}), for tol = {self._rows.tol:.1e}"
        )

    def _choose(self) -> None:
        """Let A itself tell the pairs apart that this stage's rows span, and keep the wanted ones."""
        rows = self._rows
        source = self._source or Source(self._multiplier, rows.norm, np.asarray)
        values, vectors = rayleigh_ritz(source.multiplier, rows.run, rows.own_rows, source.norm)
        chosen = rows.wanted.select(source.forward(values))
        beyond_rounding = np.abs(values[chosen]).max(initial=0.0) > ZERO * source.norm
        if self._source is not None and self._clusters.crowded and beyond_rounding:
            raise NotConverged(
                f"more than {rows.locked.size} values are within {np.sqrt(self._clusters.ties):.0e} of the norm of 0, "
                "and products cannot tell which are the smallest: pass sigma=0, or a larger ncv",
                Eigenpairs(np.empty(0), rows.run.rows(0)),
            )
        rotation = np.eye(rows.earlier + chosen.size, rows.run.steps, dtype=vectors.dtype)
        rotation[rows.earlier :] = vectors[chosen]
        rows.locked = np.concatenate([rows.locked[: rows.earlier], source.forward(values[chosen])])
        self._values = values[chosen]
        rows.replace(rotation)

    def _judged(self) -> tuple[Float64, NDArray[np.bool_]]:
        rows = self._rows
        source = self._source or Source(self._multiplier, rows.norm, np.asarray)
        values = self.values
        if self._pencil is not None and self._source is None:
            return self._judged_by(self._pencil)
        residuals = np.array([source.multiplier.residual(rows.run, i, float(values[i])) for i in rows.own_rows])
        floor = noise(source.multiplier, rows.asymmetry) * source.norm
        relative = rows.tol * np.maximum(np.abs(values[rows.earlier :]), _EPSILON ** (2 / 3) * source.norm)
        return residuals, residuals <= np.maximum(relative, floor)

    def _judged_by(self, pencil: Pencil) -> tuple[Float64, NDArray[np.bool_]]:
        rows = self._rows
        most = max(rows.tol, noise(self._multiplier, 0.0))
        residuals, good = np.zeros(len(rows.own_rows)), np.ones(len(rows.own_rows), dtype=bool)
        for at, row in enumerate(rows.own_rows):
            judged = pencil.residual(np.array(rows.run.rows(row + 1)[row]), float(rows.locked[row]))
            if judged is not None:
                residuals[at], size = judged
                good[at] = residuals[at] <= most * size
        return residuals, good

    def _polish(self, failed: Any, levels: int) -> bool:
        """Damp what rounding in filters of a high degree left of far eigenvectors, by filters of lower degrees."""
        rows = self._rows
        if rows.own.size < rows.wanted.k:
            return False
        filters = polishing_filters(rows.limits(), rows.ends, levels)
        for smooth in filters:
            factors = smooth(rows.locked)
            if np.abs(factors).max() > _MOST_GROWTH * np.abs(factors[failed]).min():
                return False  # rounding errors in the others would take over
            for row in failed:
                polished = self._multiplier.filtered(rows.run, int(row), smooth) / float(factors[row])
                if not rows.run.distance(int(row), polished, 1.0) <= _MOST_POLISHED / np.sqrt(rows.locked.size):
                    return False  # the vector is not one that rounding has disturbed
                rows.run.rows(rows.locked.size)[row] = polished
        return bool(filters)


def combined_residual(multiply: Callable[[Any], Any], rows: Any, values: Float64, weights: Float64) -> float:
    """Return |A x - sum_i w_i t_i x_i| for the combination x of all rows with these weights.

    With random weights one product checks all pairs: a residual much larger than the others shows, unless its weight
    is small, which has a probability of the same size.
    """
    k = values.size

    def combination(factors: Float64) -> Any:
        total = factors[0] * rows[0]
        for i in range(1, k):
            total = total + factors[i] * rows[i]
        return total

    rest = multiply(combination(weights)) - combination(weights * values)
    largest = float(abs(rest).max())
    if not 0.0 < largest < np.inf:
        return largest
    rest = rest / largest
    return float(largest * float(abs((rest.conj() @ rest).real)) ** 0.5)
