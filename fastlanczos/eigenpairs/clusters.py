"""Clusters: eigenvalues so close that the iteration finds mixtures of their eigenvectors.

One Krylov space shows one vector of every cluster, and its residual stops falling well above the tolerance. Such
mixtures are locked, rounds in the complement find the others, and A itself tells them apart at the end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.rows import Ritz, Rows

__all__ = ["Clusters"]

# Estimates that stay below this, relative to the norm, are mixtures within a cluster.
_CLUSTER = 1e-6
_PATIENCE = 6  # restarts within which a residual must fall by half


class Clusters:
    """The clusters of a search: values within `width` of a wanted one are locked with it.

    `ties` is the least width. `mixtures` tells whether clusters may be locked as mixtures. `crowded` becomes true when
    a cluster, or ties, had no room.
    """

    def __init__(self, rows: Rows, ties: float, *, mixtures: bool) -> None:
        self._rows = rows
        self.ties = ties
        self.width = ties
        self.mixtures = mixtures
        self.crowded = False
        self._worst: list[float] = []  # of the wanted estimates, restart by restart

    def forget(self) -> None:
        """Let go of the width: rows have been unlocked."""
        self.width = self.ties
        self._worst = []

    def begin_round(self) -> None:
        """Watch the estimates of a new round."""
        self._worst = []

    def explain(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        """Whether residuals have stopped falling well above the tolerance, since each vector is a mixture."""
        rows = self._rows
        seen = ritz.estimates[new] if new.size else self._at_the_limit(ritz)
        worst = float(seen.max(initial=0.0))
        if not (self.mixtures and rows.run.finished and rows.room) or not 0.0 < worst <= _CLUSTER * rows.norm:
            return False
        self._worst.append(worst)
        if len(self._worst) < _PATIENCE or worst < 0.5 * self._worst[-_PATIENCE]:
            return False
        grows = 2.0 * worst > self.width
        self.width = max(self.width, 2.0 * worst)
        return grows or new.size > 0  # otherwise nothing changes by looking again, and the iteration goes on

    def may_be_near(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        """Whether residuals are so small that what is left may be a cluster."""
        worst = float(ritz.estimates[new].max(initial=0.0))
        return self.mixtures and worst <= _CLUSTER * self._rows.norm

    def beside(self, ritz: Ritz, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of some active pairs that are wanted beside k locked ones: better ones, and the cluster's."""
        rows = self._rows
        low, high = rows.limits()
        chosen = chosen[ritz.estimates[chosen] <= _CLUSTER * rows.norm]
        values, margin = ritz.values[chosen], rows.margin(ritz.values[chosen])
        better = (values > high + margin) | (values < low - margin)
        tied = ~better & ((values > high - self.width) | (values < low + self.width))
        room = max(rows.room - int(np.count_nonzero(better)), 0)
        certain = tied & (ritz.estimates[chosen] <= margin)
        self.crowded |= int(np.count_nonzero(certain)) > room
        return np.concatenate([chosen[better], chosen[tied][:room]])

    def _at_the_limit(self, ritz: Ritz) -> Float64:
        """Return the estimates at those ends of the complement that reach to the limit within their estimates."""
        rows = self._rows
        low, high = rows.limits()
        low, high = low + self.width, high - self.width
        ends = [at for at in (0, -1) if ritz.mu.size and ritz.outside[at]]
        values, estimates = ritz.values[ends], ritz.estimates[ends]
        near = (np.abs(values - low) <= 2.0 * estimates) | (np.abs(values - high) <= 2.0 * estimates)
        return np.asarray(estimates[near & (estimates > rows.allowed(values))])
