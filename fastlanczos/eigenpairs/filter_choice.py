"""Which filter, and when: whether a Chebyshev polynomial of A, or another one, would converge faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.eigenpairs.chebyshev import Filter, better_without, choose_filter
from fastlanczos.eigenpairs.rows import Ritz, Rows
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["Change", "better_filter", "filter_is_better"]

# A filter is exchanged for one of this many times its degree: the new one begins again from a single vector.
_WORTHWHILE = 2.0


@dataclass(frozen=True)
class Change:
    """A better filter, the Ritz vectors to begin again from, and those that have converged and are locked with it."""

    filter: Filter
    best: NDArray[np.intp]
    done: NDArray[np.intp]


def better_filter(rows: Rows, ritz: Ritz, new: NDArray[np.intp]) -> Change | None:
    """Return a filter that is worth beginning again for, or None; `new` are the active pairs that are wanted."""
    k, own = rows.wanted.k, rows.own.size
    seen = np.flatnonzero(ritz.outside)
    values = np.concatenate([rows.own, ritz.values[seen]])
    if values.size < k + 1:
        return None
    # What has converged is locked on this occasion, and the filter need not spare it.
    done = rows.converged(ritz, new)
    left = ritz.values[np.setdiff1d(new, done)]
    buffer = max(k + 1, min(k + max(k, 6), values.size - 1, k + (rows.run.max_steps - k) // 2))
    better = None
    for count in range(buffer, values.size + 1):  # to the first value that is not one of the wanted once more
        limits = rows.wanted.limits(values, count)
        better = choose_filter(left, np.concatenate([rows.locked, ritz.values[done]]), limits, rows.ends)
        if better is not None:
            break
    if better is None or (rows.filter is not None and better.degree < _WORTHWHILE * rows.filter.degree):
        return None
    if rows.filter is None and better_without(better, left, ritz.values, rows.run.max_steps - own):
        return None
    best = np.setdiff1d(seen[rows.wanted.order(ritz.values[seen])][: buffer - own], done)
    return Change(better, best, done)


def filter_is_better(run: Any, wanted: Wanted, tol: float) -> bool:
    """Whether a filter is of use for a run that is full, of one Krylov space of A: more products, and fewer sweeps."""
    rows = Rows(run, wanted.ends()[0], tol)
    ritz = rows.ritz()
    return better_filter(rows, ritz, rows.wanted.order(ritz.values)[: rows.wanted.k]) is not None
