"""When a Ritz pair of a growing search has converged, and when a value counts as better than another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["DWARFING", "EPSILON", "Criteria"]

EPSILON = float(np.finfo(np.float64).eps)
DWARFING = 100.0  # times as large as all others
_ROUNDING = 16.0 * EPSILON  # of the norm: estimates below it mean nothing


class Criteria:
    """`tol` relative to each value, and what rounding leaves of that: relative to `norm`, the largest value seen.

    `noise` tells what the products' own errors leave of a residual. `largest` is a size from which on values are as
    good as infinite: those of eigenvalues that a shift hits.
    """

    def __init__(self, tol: float, noise: Callable[[float], float], largest: float | None) -> None:
        self.tol = tol
        self.largest = largest
        self.norm = 0.0
        self.strictness = 1.0  # estimates are held to this part of the tolerance
        self._noise = noise

    def sized(self, values: Float64) -> Float64:
        """Return values as they are compared: those that a shift hits are all as large."""
        return values if self.largest is None else np.clip(values, -self.largest, self.largest)

    def dwarf_others(self, values: Float64) -> NDArray[np.bool_]:
        """Return which values are so large that rounding of theirs would spoil the others."""
        return np.asarray(np.abs(values) > DWARFING * self.norm)

    def allowed(self, values: Float64) -> Float64:
        """Return the residuals that count as converged: ARPACK's criterion, and no smaller than rounding permits."""
        relative = self.tol * np.maximum(np.abs(values), EPSILON ** (2 / 3) * self.norm)
        floor = max(_ROUNDING * self.norm, self._noise(self.norm))
        return np.asarray(np.maximum(self.strictness * relative, floor))

    def margin(self, values: Float64) -> Float64:
        """Return how far apart from each of `values` another must be to count as better."""
        return np.asarray(np.maximum(self.allowed(values) / self.strictness, 64.0 * EPSILON * self.norm))
