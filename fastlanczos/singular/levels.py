"""The triplets at an end of the spectrum, level by level: the same search again in what is left of the operator.

The operator that is iterated with has the squares of B's singular values, or their reciprocals. Its products are
rounded relative to its largest eigenvalue, that is to the square of the norm of B: a value that is a hundredth of the
norm is known to 1e-14 of it by the first level, one that is 1e-8 of it not at all. So what holds with B itself is taken
out, and the others, which are a start already, are looked for in what is left, whose norm is theirs. B alone gives the
values that are returned (triplets.py).

Golub and Kahan's bidiagonalization keeps the square away from T at the price of a second basis, of the longer vectors.
With levels the left vectors are never stored, and one pass over B serves both its factors: docs/singular.md has both,
measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fastlanczos.eigenpairs.results import Eigenpairs
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON, Triplets, rayleigh_ritz

__all__ = ["End", "by_levels"]

_LEVEL = 0.05  # of the largest size of a level: something this large must hold ...
_KNOWN = 1e-3  # ... and below this part nothing is taken, since the level cannot tell these apart
_NOTHING = 32.0 * EPSILON  # of the norm: what is left is zero
_MOST_LEVELS = 40


class Operator(Protocol):
    """What is iterated with, with products rounded to one of `noises` of its norm, ascending."""

    noises: tuple[float, ...]


class End(Protocol):
    """An end of the spectrum: what to iterate with, and how large a singular value is to it."""

    def operator(self, V: Block, best: float) -> Any:
        """Return an `Operator` in which the right vectors V (n, p) come last; `best` is about the best value left."""

    def size(self, values: Any) -> Any:
        """Return the roots of the operator's eigenvalues for singular values."""


def by_levels(
    B: Rectangular,
    k: int,
    tol: float,
    end: End,
    search: Callable[[Any, int, Block | None], Eigenpairs],
    start: Block | None,
    norm: float = 0.0,
) -> tuple[Triplets, Triplets]:
    """Return the triplets that hold to `tol` of each value, and the best of those that do not.

    `search(operator, count, start)` returns the eigenpairs of an operator with the largest values, from a start vector
    if there is one.
    """
    found, left = Triplets.none(B), Triplets.none(B)
    best = 0.0
    for _ in range(_MOST_LEVELS):
        pairs = search(end.operator(found.V, best), k - found.values.size, start)
        V = np.asarray(pairs.vectors).T
        for _ in range(2 if found.values.size else 0):
            V = np.linalg.qr(V - found.V @ (found.V.conj().T @ V))[0]
        new = rayleigh_ritz(B, V, found, norm)
        norm = max(norm, float(new.values[0]))
        sizes = np.asarray(end.size(new.values))
        top = float(sizes.max())
        taken = new.hold(B, tol, norm) & (sizes >= _KNOWN * top)
        if float(new.values[0]) <= _NOTHING * norm:  # none is different from zero
            taken = new.hold(B, tol, norm)
        left = new.chosen(np.flatnonzero(~taken))
        if not np.any(taken & (sizes >= _LEVEL * top)):
            break
        found = found.joined(new.chosen(np.flatnonzero(taken)))
        if not left.values.size:
            break
        best = float(left.values[np.argmax(end.size(left.values))])
        start = left.V.sum(axis=1)
    return found, left
