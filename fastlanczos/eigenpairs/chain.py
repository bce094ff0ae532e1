"""Krylov spaces that grow: rows of finished chains, which are kept, and one chain that is being extended.

A chain is a Krylov space of the operator in the complement of all rows before it. Those rows stay where they are, Ritz
vectors that have not converged included, since what a chain looks for is orthogonal to all of them. The vector (or
block) with which a chain would have gone on is `set aside`: it becomes a row without a product. Then the operator
couples the chain to rows before it only through such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.hidden import log_hidden_block
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["Chain", "Space"]


@dataclass(frozen=True)
class Chain:
    """Ritz pairs of a chain, those at the wanted ends, ascending: column i of `vectors` combines the chain's rows.

    `ends` are its extreme Ritz values. `residuals` are norms; `beside` is the part of them in rows set aside.
    """

    values: Float64
    vectors: NDArray[Any]
    residuals: Float64
    beside: Float64
    ends: tuple[float, float]


class Space:
    """What both have in common: which rows are whose."""

    first: int  # row at which the chain begins
    fresh: bool  # the chain has not been restarted
    block: int  # vectors that the chain began with
    dropped = False  # rows, by a restart, while others of their chain stayed
    _before: list[tuple[Any, Any, slice]]  # H, coupling and first rows of the chain before each of its restarts

    def _log_before(self, t: float) -> float:
        return float(sum(min(0.0, log_hidden_block(H, S, rows, t)) for H, S, rows in self._before))

    @property
    def steps(self) -> int:
        """Rows in all."""
        raise NotImplementedError

    @property
    def max_steps(self) -> int:
        """Rows that there is room for."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Rows of the chain."""
        return self.steps - self.first

    @property
    def full(self) -> bool:
        """Whether the chain cannot be extended without a restart."""
        return self.steps + 2 * self.block >= self.max_steps

    def _pairs(self, wanted: Wanted, H: Any, S: Any, beside: Any) -> Chain:
        """Ritz pairs of H (a, a), or of (alpha, beta), with the coupling S (p, a) of what comes next."""
        if isinstance(H, tuple):
            values, vectors = _ends_of(H[0], H[1], wanted)
        else:
            # NumPy's and not SciPy's: each brings a BLAS, whose threads go on spinning, and so hold up the other's.
            values, vectors = np.linalg.eigh(H)
        ends = (float(values[0]), float(values[-1]))
        chosen = np.sort(_candidates(wanted, values))
        values, vectors = values[chosen], vectors[:, chosen]
        coupled = np.linalg.norm(beside @ vectors, axis=0) if beside.size else np.zeros(values.size)
        outward = np.linalg.norm(S @ vectors, axis=0) if S.size else np.zeros(values.size)
        return Chain(values, vectors, np.hypot(outward, coupled), coupled, ends)


def _candidates(wanted: Wanted, values: Float64) -> NDArray[np.intp]:
    """Of ascending values those that may be among the wanted: k, and one more, at each end that counts."""
    count, k = values.size, wanted.k + 1
    if wanted.which == "SM":
        return np.arange(count)
    if wanted.which in ("LM", "BE"):
        return np.unique(np.concatenate([np.arange(min(k, count)), np.arange(max(count - k, 0), count)]))
    return np.arange(max(count - k, 0), count) if wanted.which == "LA" else np.arange(min(k, count))


def _ends_of(alpha: Float64, beta: Float64, wanted: Wanted) -> tuple[Float64, Float64]:
    """Eigenpairs of a tridiagonal T at both ends, k and one more where they count, one at the other."""
    m, k = alpha.size, wanted.k + 1
    low = 1 if wanted.which == "LA" else k
    high = 1 if wanted.which == "SA" else k
    if 3 * (low + high) >= m or wanted.which == "SM":
        return scipy.linalg.eigh_tridiagonal(alpha, beta)  # type: ignore[no-any-return]
    parts = [
        scipy.linalg.eigh_tridiagonal(alpha, beta, select="i", select_range=chosen)
        for chosen in ((0, low - 1), (m - high, m - 1))
    ]
    return np.concatenate([w for w, _ in parts]), np.hstack([V for _, V in parts])
