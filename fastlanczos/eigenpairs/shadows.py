"""Shadows: what all rows of a space together tell of an eigenvector that its last chain does not show as wanted.

Rounding errors leave parts of a hidden eigenvector in the rows before, and most in what was set aside after a chain had
converged. The chain sees the rest only, at a value that is too small. All rows together, the products of those set
aside included, see the whole; or the coupling to what was set aside could lift the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.eigenpairs.chain import Chain
from fastlanczos.eigenpairs.criteria import Criteria
from fastlanczos.eigenpairs.found import Found
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["shadows"]


def shadows(space: Any, chain: Chain, found: Found, wanted: Wanted, criteria: Criteria) -> NDArray[Any]:
    """Return combinations of all rows (s, steps) that are better than what is found."""
    H, known = space.whole(), found.combinations(space.steps)
    giant = criteria.dwarf_others(found.values)
    giants = np.count_nonzero(giant)
    seen = np.setdiff1d(np.arange(space.steps), np.abs(known[giant]).argmax(axis=1))
    values, Y = np.linalg.eigh(H[np.ix_(seen, seen)])
    merged = criteria.sized(np.concatenate([found.values[giant], values]))
    best = wanted.order(merged)[: wanted.k]
    best = best[best >= giants] - giants
    best = best[found.beyond(values[best])]
    known = known[~giant][:, seen]
    rest = Y[:, best].T - (Y[:, best].T @ known.conj().T) @ known
    rest = rest[np.linalg.norm(rest, axis=1) > 0.5]
    wide = np.zeros((len(rest), space.steps), dtype=rest.dtype)
    wide[:, seen] = rest
    if len(wide):
        return wide
    low, high = found.limits()
    values, beside = criteria.sized(chain.values), chain.beside
    near = (values + beside > high) | (values - beside < low)
    lifted = np.flatnonzero(near & (beside > criteria.allowed(values)))
    wide = np.zeros((lifted.size, space.steps), dtype=chain.vectors.dtype)
    wide[:, space.first :] = chain.vectors[:, lifted].T
    return wide
