"""Whether the pairs that a growing search has found hold: a last look with products, and what these are good for.

Pairs of A itself take one product, with a random combination of all. Pairs of a shift, or of a pencil, are judged by
the residuals with A and M, since those of the transformed operator say little of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.rayleigh_ritz import noise
from fastlanczos.eigenpairs.verification import combined_residual
from fastlanczos.engine.long_vectors import inner_products, without
from fastlanczos.errors import NotSymmetricError

__all__ = ["Judge", "PencilJudge", "ProductJudge"]

_INEXACT = 1e-9  # of the norm: what is left of a residual by solves that are not exact, at most


class Judge(Protocol):
    """What a growing search asks of the products it is made with."""

    def noise(self, norm: float) -> float:
        """Return what the products' errors leave of a residual, for an operator of this norm."""

    def judge(self, rows: Any, values: Float64, estimates: Float64) -> tuple[Float64, NDArray[np.bool_]]:
        """Return the residual norms of pairs, and which of them hold."""

    def improve(self, rows: Any, values: Float64, failed: NDArray[np.intp]) -> tuple[Any, Float64] | None:
        """Return rows and values with those that failed made better, or None."""


class ProductJudge:
    """Judges pairs of A with the products of A that `multiply` makes; `noisy` products are taken as they are.

    `asymmetry_of` is the largest inner product that a symmetric operator would have made zero.
    """

    def __init__(
        self,
        multiplier: Multiplier,
        multiply: Callable[[Any], Any],
        asymmetry_of: Callable[[], float],
        *,
        tol: float,
        noisy: bool,
        invariant: bool,
        generator: np.random.Generator,
    ) -> None:
        self._multiplier = multiplier
        self._multiply = multiply
        self._asymmetry_of = asymmetry_of
        self._tol = tol
        self._noisy = noisy
        self._invariant = invariant  # chains are: what is left where they end is rounding
        self._generator = generator
        self._norm = 0.0
        self.asymmetry = 0.0

    def noise(self, norm: float) -> float:
        """Return what the products' errors leave of a residual; ValueError if they are not those of a symmetric A."""
        self._norm = max(self._norm, norm)
        if norm == 0.0 or self._invariant:
            return 0.0
        self.asymmetry = max(self.asymmetry, self._asymmetry_of() / norm)
        if self.asymmetry > max(self._multiplier.most_asymmetry, self._tol):
            raise NotSymmetricError(self.asymmetry)
        return self.asymmetry * norm if self._noisy else 0.0

    def judge(self, rows: Any, values: Float64, estimates: Float64) -> tuple[Float64, NDArray[np.bool_]]:
        """Return the residual norms: as estimated if a product with all at once confirms it, else one by one."""
        floor = noise(self._multiplier, 8.0 * self.asymmetry) * self._norm
        allowed = np.maximum(self._tol * np.maximum(np.abs(values), np.finfo(float).eps ** (2 / 3) * self._norm), floor)
        weights = self._generator.standard_normal(values.size)
        if combined_residual(self._multiply, rows, values, weights) <= np.abs(weights) @ allowed:
            return estimates, np.ones(values.size, dtype=bool)
        one = np.ones(1)
        alone = [combined_residual(self._multiply, rows[i : i + 1], values[i : i + 1], one) for i in range(values.size)]
        residuals = np.array(alone)
        return residuals, residuals <= allowed

    def improve(self, rows: Any, values: Float64, failed: NDArray[np.intp]) -> None:
        """Return None: more steps are what makes them better."""


class PencilJudge:
    """Judges pairs of a shift or a pencil by their residuals with A and M, and improves them by a solve each."""

    def __init__(self, pencil: Pencil, asymmetry_of: Callable[[], float], *, tol: float, invariant: bool) -> None:
        self._pencil = pencil
        self._asymmetry_of = asymmetry_of
        self._most = max(tol, noise(Multiplier(pencil.operator), 0.0))
        self._invariant = invariant
        self.asymmetry = 0.0  # that of solves is no sign of a bad operator

    def noise(self, norm: float) -> float:
        """Return what the products' errors leave of a residual.

        Solves are as symmetric as the factors are exact. A and M decide in the end what that is worth.
        """
        return 0.0 if norm == 0.0 or self._invariant else float(min(self._asymmetry_of(), _INEXACT * norm))

    def judge(self, rows: Any, values: Float64, estimates: Float64) -> tuple[Float64, NDArray[np.bool_]]:
        """Return the residual norms with A and M; an estimate is of those with the transformed operator."""
        residuals, good = np.zeros(values.size), np.ones(values.size, dtype=bool)
        for i, value in enumerate(values):
            judged = self._pencil.residual(rows[i], float(value))
            if judged is not None:
                residuals[i], size = judged
                good[i] = residuals[i] <= self._most * size
        return residuals, good

    def improve(self, rows: Any, values: Float64, failed: NDArray[np.intp]) -> tuple[Any, Float64] | None:
        """One step of inverse iteration for those that failed: solves damp whatever else is in them."""
        pencil = self._pencil
        if not pencil.is_shifted:
            return None
        metric = pencil.metric_of_rows or (lambda rows: rows)
        values, rows = values.copy(), rows.copy()
        better = pencil.multiply_rows(rows[failed])
        done = list(np.setdiff1d(np.arange(len(rows)), failed))
        for j, i in enumerate(failed):
            x = better[j : j + 1]
            x = x / abs(x).max(axis=1)[:, None]
            for _ in range(2):
                if done:
                    x = without(x, inner_products(rows[done], metric(x)), rows[done])
                x = x / np.sqrt(np.abs(inner_products(x, metric(x)).real))
            rows[int(i)] = x[0]
            values[i] = pencil.quotient(x[0])
            done.append(int(i))
        return rows, values
