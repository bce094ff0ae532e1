"""Rounds: what the complement of the locked eigenvectors still holds.

One start vector shows one copy of each eigenvalue, and nothing that it is orthogonal to. So a random vector begins a
new round in the complement of what has been locked. A round has seen enough when the largest Ritz value there has
converged, or is far enough from the wanted values for a random start to hide none (`hidden.py`); once it has been
restarted, by the theorem of Kuczynski and Wozniakowski (SIAM J. Matrix Anal. Appl. 13, 1992) for half its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastlanczos.eigenpairs.hidden import acceptable, log_christoffel, probability_hidden
from fastlanczos.eigenpairs.rows import Ritz, Rows

__all__ = ["Complement"]

# A round has found all when what it sees of the complement is known to this part of its distance from the wanted ...
_RESOLVED = 1e-5


class Complement:
    """The rounds of a search: `round` counts them, 0 is the one from the given start vector."""

    def __init__(self, rows: Rows, dim: int, draw: Callable[[], Any]) -> None:
        self._rows = rows
        self._dim = dim
        self._draw = draw
        self.round = 0
        self.steps = 0  # in this round
        self._settled_ends: set[float] = set()  # of the complement, in this round

    def begin_round(self) -> bool:
        """Start from a random vector in the complement of the locked rows; False where there is nothing left."""
        self.round += 1
        self.steps = 0
        self._settled_ends = set()
        rows = self._rows
        rows.comparing = False
        rows.fresh = True
        return any(rows.run.renew(self._draw()) for _ in range(3))

    def back_to_the_first(self) -> None:
        """Count from the beginning: rows have been unlocked, or a new stage begins."""
        self.round = self.steps = 0

    def resolved(self, ritz: Ritz, width: float) -> bool:
        """Whether the complement holds nothing that is wanted, or belongs to a cluster of this width with it."""
        if self.round == 0:
            return False
        rows = self._rows
        if rows.run.breakdown or not ritz.mu.size:
            return True
        ends = [(0, -1.0), (ritz.mu.size - 1, 1.0)]
        for (at, side), limit in zip(ends, rows.limits(), strict=True):
            if np.isfinite(limit) and self._end_is_resolved(ritz, at, side, limit, width):
                self._settled_ends.add(side)
        return all(
            side in self._settled_ends
            for (_, side), limit in zip(ends, rows.limits(), strict=True)
            if np.isfinite(limit)
        )

    def _end_is_resolved(self, ritz: Ritz, at: int, side: float, limit: float, width: float) -> bool:
        rows = self._rows
        limit -= side * width
        converged = ritz.outside[at] and ritz.estimates[at] <= rows.margin(ritz.values[at : at + 1])[0]
        bound = float(rows.filter(np.array([limit]))[0]) if rows.filter is not None else limit
        gap = side * (bound - ritz.mu[at])
        if converged or ritz.residuals[at] <= _RESOLVED * gap:
            return True
        if gap <= 0.0:
            return False
        if rows.fresh:
            weight = log_christoffel(*rows.tridiagonal(), bound)
            return probability_hidden(weight, self._dim - rows.locked.size) <= acceptable(rows.tol)
        # A space that was restarted grows a hidden direction as well, if not as fast. The largest Ritz value after j
        # steps from a random start is below the largest eigenvalue by more than e times the spread with probability at
        # most 1.648 sqrt(n) exp(-sqrt(e) (2 j - 1)).
        spread = side * (bound - ritz.mu[-1 - at])
        exponent = np.log(1.648 * np.sqrt(self._dim) / acceptable(rows.tol))
        return bool(np.sqrt(gap / spread) * (2 * (self.steps // 2) - 1) >= exponent)
