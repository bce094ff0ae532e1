"""which="SM": the values nearest to 0, with products only.

One end of the spectrum where all values have one sign; otherwise, of few distinct values, chains that end invariant;
of a matrix that is not too large, its factorization; and else the low end of the operator squared.
"""

from __future__ import annotations

from typing import Any

from fastlanczos.eigenpairs.multiplier import Multiplier, OutOfProducts
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import make_plan
from fastlanczos.eigenpairs.rayleigh_ritz import Source
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.operators.entries import is_explicit
from fastlanczos.operators.operator import squared

__all__ = ["smallest_magnitude"]

_FACTORED = 5000  # rows up to which a matrix is factored for values inside of its spectrum


def smallest_magnitude(search: Any, v0: Any) -> Eigenpairs:
    """Return the pairs of smallest magnitude of a `Search`'s operator."""
    multiplier, k = search.new_multiplier(), search.wanted.k
    low, high = multiplier.ends(search.run, search.draw(), search.settings.bar)
    norm = max(abs(low), abs(high))
    margin = 1e-12 * norm
    if low >= -margin or high <= margin:
        try:
            return _one_sided(search, Wanted("SA" if low >= -margin else "LA", k), multiplier, v0, margin)
        except _BothSigns:
            pass
    if search.run.breakdown:  # there are few distinct eigenvalues: a chain shows them all
        try:
            return search.growing(search.wanted, multiplier, search.draw(), search.watch, interior=True)  # type: ignore[no-any-return]
        except NotConverged:
            pass
    A, n = search.pencil.operator.source, search.pencil.dim
    if 1e-100 < norm < 1e100 and not search.pencil.is_transformed and is_explicit(A) and n <= _FACTORED:
        pencil = Pencil(A, None, None, sigma=0.0, mode="normal", Minv=None, OPinv=None, v0=None)
        wanted = Wanted("LM", k)
        pairs = search.of_another(pencil, wanted, make_plan(pencil, k, None, None, "LM"), v0)
        return Eigenpairs(pencil.values(pairs.values), pairs.vectors)
    if search.most_products is not None:
        raise OutOfProducts  # the values are inside of the spectrum, and would take too many
    if norm == 0.0:  # only what a random vector does not see: the whole matrix is zero
        norm = 1.0
    square = Multiplier(squared(search.pencil.operator, norm), products=2)
    source = Source(multiplier, norm, lambda values: 2.0 * (values / norm) ** 2 - 1.0)
    return search.extreme(Wanted("SA", k), square, v0, search.watch, source)  # type: ignore[no-any-return]


def _one_sided(search: Any, wanted: Wanted, multiplier: Multiplier, v0: Any, margin: float) -> Eigenpairs:
    def watch(state: EigshState) -> None:
        if state.values.size and state.values[0] < -margin and state.values[-1] > margin:
            raise _BothSigns
        wrong = state.values < -margin if wanted.which == "SA" else state.values > margin
        if wrong.any():
            raise _BothSigns
        search.watch(state)

    pairs: Eigenpairs = search.extreme(wanted, multiplier, v0, watch)
    if (pairs.values < -margin if wanted.which == "SA" else pairs.values > margin).any():
        raise _BothSigns
    return pairs


class _BothSigns(Exception):
    """The operator has eigenvalues of both signs."""
