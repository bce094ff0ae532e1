"""The pairs that a growing search has found so far, as combinations of the rows of its space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain
from fastlanczos.eigenpairs.criteria import Criteria
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["Found"]


class Found:
    """Values, estimates of the residuals, and combinations of rows, of at most as many pairs as are wanted.

    Those that dwarf the others stay whatever is wanted, out of the way of the rest.
    """

    def __init__(self, wanted: Wanted, criteria: Criteria) -> None:
        self._wanted = wanted
        self._criteria = criteria
        self._pairs: Any = np.empty((0, 0))
        self.values = np.empty(0)
        self.estimates = np.empty(0)

    @property
    def size(self) -> int:
        """How many there are."""
        return self.values.size

    def limits(self) -> tuple[float, float]:
        """Return (low, high): values below low or above high would be wanted as well."""
        return self._wanted.limits(self._criteria.sized(self.values), self._wanted.k)

    def beyond(self, values: Float64) -> NDArray[np.bool_]:
        """Return which values are wanted more than the last of those found, and not by rounding."""
        low, high = self.limits()
        margins = self._criteria.margin(values)
        return np.asarray((values > high + margins) | (values < low - margins))

    def combinations(self, steps: int, chosen: Any = slice(None)) -> NDArray[Any]:
        """Return the chosen pairs as combinations (c, steps) of all rows, to which later ones do not belong."""
        pairs = self._pairs[chosen]
        wide = np.zeros((len(pairs), steps), dtype=pairs.dtype)
        wide[:, : pairs.shape[1]] = pairs
        return wide

    def merge(self, chain: Chain, new: NDArray[np.intp], first: int, steps: int) -> None:
        """Add pairs of a chain that begins at row `first`, and keep the best."""
        wide = np.zeros((new.size, steps), dtype=chain.vectors.dtype)
        wide[:, first:] = chain.vectors[:, new].T
        self._pairs = np.vstack([self.combinations(steps), wide])
        self.values = np.concatenate([self.values, chain.values[new]])
        self.estimates = np.concatenate([self.estimates, chain.residuals[new]])
        if self.size > self._wanted.k:
            best = self._wanted.order(self._criteria.sized(self.values))[: self._wanted.k]
            if self._criteria.largest is not None:
                best = np.union1d(best, np.flatnonzero(self._criteria.dwarf_others(self.values)))
            self.choose(np.sort(best))

    def adopt(self, values: Float64, estimates: Float64) -> None:
        """Begin with pairs that are the first rows of the space."""
        self.values, self.estimates, self._pairs = values, estimates, np.eye(values.size)

    def choose(self, chosen: NDArray[np.intp]) -> None:
        """Keep some of the pairs."""
        self.values, self.estimates = self.values[chosen], self.estimates[chosen]
        self._pairs = self._pairs[chosen]

    def ascending(self) -> NDArray[np.intp]:
        """Return which pairs are the wanted ones, in ascending order."""
        chosen = self._wanted.select(self._criteria.sized(self.values))
        return chosen[np.argsort(self.values[chosen], kind="stable")]

    def are_the_first_rows(self) -> None:
        """Take note that the space has made them its first rows, in their order."""
        self._pairs = np.eye(self.size)
