"""One call of `svds`: which way the triplets are found, and what it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse

from fastlanczos.eigenpairs.multiplier import OutOfProducts
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import make_plan
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.search import Search, Settings
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.cuda import to_host
from fastlanczos.engine.kinds import NumpyKind
from fastlanczos.errors import NotSymmetricError
from fastlanczos.singular.bidiagonal import bidiagonalize, holds_more
from fastlanczos.singular.dense import affordable, cheaper, solve_dense
from fastlanczos.singular.gram import Gram, LargestEnd
from fastlanczos.singular.inverse import SmallestEnd, can_be_factored
from fastlanczos.singular.levels import by_levels
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON, Triplets, rayleigh_ritz

__all__ = ["Task"]

# Up to this shorter side A is written out for LAPACK where `ncv` is not given ...
_SMALL, _TINY = 256, 32  # (if a product may be dear)
_PATIENCE = 20  # ... and, up to a larger one, after this many products for each column.
_MOST_ROWS, _ROWS_PER_PAIR = 300, 15  # of a bidiagonalization, as of a growing basis
# A sparse matrix of about as many rows as columns is bidiagonalized as long as sweeps read little more than products,
# if that is likely to be enough.
_SIDES, _SWEEPS, _FEWEST_PER_PAIR, _FEWEST = 4, 4.0, 3, 40
# Of the columns: steps for the first value, and for all, before a dense matrix is factored.
_TRIED, _MOST_TRIED = 1 / 32, 1 / 8


class Task:
    """One call: `solve` returns the triplets that hold, and others."""

    def __init__(
        self,
        B: Rectangular,
        k: int,
        which: str,
        ncv: int | None,
        max_memory: int | None,
        settings: Settings,
        *,
        patient: bool,
    ) -> None:
        self._B, self._k, self._which = B, k, which
        self._ncv, self._max_memory = ncv, max_memory
        self._settings = settings
        self._patient = patient
        self._uncounted = self.restarts = 0
        self.state: EigshState | None = None
        self.reason = "not converged"
        self.how = "dear"
        self.stopped = False  # by the callback
        self._chain: Block | None = None

    @property
    def products(self) -> int:
        """Products with A and with its adjoint, and solves."""
        return self._B.count + self._uncounted

    def solve(self, start: Block | None) -> tuple[Triplets, Triplets]:
        """Return the triplets that hold, and others that do not."""
        B, k, which = self._B, self._k, self._which
        n, none = B.shape[1], Triplets.none(B)
        many = n <= _TINY or (2 * k >= n and affordable(B))
        factored = start is None and cheaper(B, k)
        at_once = self._ncv is None and (many or (start is None and n <= self._small()) or factored)
        if k == n or (at_once and not (factored and which == "LM")):
            return solve_dense(B, which, k), none
        may_write_out = not self._patient and affordable(B)
        if which == "SM" and may_write_out and self._ncv is None and B.on_device is None:
            return solve_dense(B, which, k), none
        limit = _PATIENCE * n if may_write_out else None
        try:
            if at_once:
                chained = self._by_chain(None, _MOST_TRIED * n, _TRIED * n)
                return (solve_dense(B, which, k) if chained is None else chained), none
            found, left = self._largest(start, limit) if which == "LM" else self._smallest(start, limit)
        except StopIteration:
            self.reason = "the callback ended the run"
            found, left = none, none
        except (OutOfProducts, NotConverged, NotSymmetricError) as error:
            self.reason = str(error)
            found, left = none, none
            everything = getattr(error, "everything", None)
            if everything is not None and everything.pairs.values.size and not may_write_out:
                V = np.linalg.qr(np.asarray(everything.pairs.vectors).T)[0]
                triplets = rayleigh_ritz(B, V, none, 0.0)
                found, left = self._sorted_out(triplets, float(triplets.values[0]))
                self.reason = str(error)
        if found.values.size < k and may_write_out and not self.stopped:
            return solve_dense(B, which, k), none
        return found, left

    def _largest(self, start: Block | None, limit: int | None) -> tuple[Triplets, Triplets]:
        B, k = self._B, self._k
        most = float(max(_MOST_ROWS, _ROWS_PER_PAIR * k))
        if scipy.sparse.issparse(B.matrix):
            # A chain sweeps vectors of both lengths, and its products take both factors apart.
            m, n = B.shape
            most = min(most, _SWEEPS * B.matrix.nnz / (m + n)) if m <= _SIDES * n else 0.0
        if self._ncv is None and B.on_device is None and most >= _FEWEST_PER_PAIR * k + _FEWEST:
            found = self._by_chain(start, most, most)
            if found is not None:
                return found, Triplets.none(B)
            start = self._chain
        return self._by_levels(LargestEnd(B), limit, start)

    def _by_chain(self, start: Block | None, most: float, patience: float) -> Triplets | None:
        """Return the largest triplets from at most so many steps of a bidiagonalization; None where that is not enough.

        It ends after `patience` steps if no triplet has converged by then. What it has found is then in `_chain`.
        """
        B, k, settings = self._B, self._k, self._settings
        fitting = self._budget() // (np.dtype(B.dtype).itemsize * sum(B.shape)) - 3
        rows = int(min(most, fitting, B.shape[1]))
        if rows <= 2 * k and rows < B.shape[1]:
            return None
        begin = settings.generator.standard_normal(B.shape[1]).astype(B.dtype) if start is None else start
        V, done = bidiagonalize(B, k, settings.tol, begin, rows, self._tell, int(patience))
        self._chain = V.sum(axis=1)
        if not done:
            return None
        found = rayleigh_ritz(B, V, Triplets.none(B), 0.0)
        if not found.hold(B, settings.tol, float(found.values[0])).all():
            return None
        if settings.multiplicities and holds_more(B, found, settings.tol, rows, settings.generator):
            return None
        return found

    def _budget(self) -> int:
        return NumpyKind().available_memory() // 2 if self._max_memory is None else self._max_memory

    def _tell(self, values: Block, residuals: Block) -> None:
        """Report a look at a bidiagonal."""
        done = int(np.count_nonzero(residuals <= np.maximum(self._settings.tol * values, EPSILON * values[0])))
        self._settings.bar.update(self.products - self._settings.bar.n)
        self._report(EigshState(self.products, self.restarts, done, values[::-1], residuals[::-1]))

    def _smallest(self, start: Block | None, limit: int | None) -> tuple[Triplets, Triplets]:
        B = self._B
        norm = self._norm()
        if norm == 0.0:
            return Triplets.of_zero(B, self._k), Triplets.none(B)
        if can_be_factored(B):
            return self._by_levels(SmallestEnd(B, norm), None, start, norm)
        pairs = self._search(Gram(B, Triplets.none(B).V), self._k, start, "SA", limit)
        triplets = rayleigh_ritz(B, pairs.vectors.T, Triplets.none(B), norm)
        return self._sorted_out(triplets, norm)

    def _small(self) -> int:
        """Columns up to which A is written out at once."""
        return _SMALL if self._B.dtype != "float64" or self._B.matrix is not None else _TINY

    def _norm(self) -> float:
        """B's norm, to a few digits."""
        pairs = self._search(Gram(self._B, Triplets.none(self._B).V), 1, None, "LA", None, tol=1e-2)
        return float(np.sqrt(max(pairs.values[-1], 0.0)))

    def _by_levels(
        self, end: Any, limit: int | None, start: Block | None, norm: float = 0.0
    ) -> tuple[Triplets, Triplets]:
        def search(operator: Any, count: int, begin: Block | None) -> Eigenpairs:
            tols = [max(self._settings.tol, noise) for noise in operator.noises]
            while True:
                try:
                    return self._search(operator, count, begin, "LA", limit, tols[0])
                except NotConverged:
                    tols = tols[1:]
                    if not tols or self.stopped:
                        raise
                except NotSymmetricError:
                    if not isinstance(end, SmallestEnd) or not end.soften():
                        raise

        found, left = by_levels(self._B, self._k, self._settings.tol, end, search, start, norm)
        self._explain(left)
        return found, left

    def _explain(self, left: Triplets) -> None:
        if left.values.size:
            worst = int(np.argmax(left.residuals))
            self.reason = (
                f"{left.values.size} triplets failed verification: for the value {left.values[worst]:.6g} a residual "
                f"norm is {left.residuals[worst]:.1e}. Products are not exact enough, or it is too small for A^H A"
            )

    def _sorted_out(self, triplets: Triplets, norm: float) -> tuple[Triplets, Triplets]:
        holds = triplets.hold(self._B, self._settings.tol, norm)
        found, left = triplets.chosen(np.flatnonzero(holds)), triplets.chosen(np.flatnonzero(~holds))
        self._explain(left)
        return found, left

    def _search(
        self, operator: Any, count: int, start: Block | None, which: str, limit: int | None, tol: float | None = None
    ) -> Eigenpairs:
        B = self._B
        v0 = start
        if B.framework is not None and isinstance(operator, Gram):
            v0 = B.framework.from_numpy(
                self._settings.generator.standard_normal(B.shape[1]).astype(B.dtype) if start is None else start
            )
        pencil = Pencil(operator, None, None, sigma=None, mode="normal", Minv=None, OPinv=None, v0=v0)
        plan = make_plan(pencil, count, self._ncv, self._max_memory, which)
        self.how = "dear" if plan.grows else "cheap"
        settings = replace(
            self._settings, tol=self._settings.tol if tol is None else tol, callback=self._watch_of(operator)
        )
        search = Search(pencil, Wanted(which, count), plan, settings)
        before = self._B.count
        try:
            pairs = search.solve(None if v0 is None else pencil.start_vector(v0), limit)
        finally:
            self.restarts += search.restarts
            if self._B.count == before:  # they were native, two in one, or solves
                self._uncounted += search.products * (2 if isinstance(operator, Gram) else 1)
        vectors = pairs.vectors
        if not isinstance(vectors, np.ndarray):
            assert B.framework is not None
            vectors = to_host(vectors.array(), B.framework)
        return Eigenpairs(pencil.values(pairs.values), np.array(vectors))

    def _watch_of(self, operator: Any) -> Callable[[EigshState], None]:
        """Return what tells the caller of a search in terms of singular values."""

        def watch(state: EigshState) -> None:
            with np.errstate(divide="ignore", invalid="ignore"):
                values, residuals = operator.singular(state.values, state.residuals)
            self._report(replace(state, num_products=self.products, values=values, residuals=residuals))

        return watch

    def _report(self, state: EigshState) -> None:
        unit = self._B.unit
        self.state = replace(state, values=state.values * unit, residuals=state.residuals * unit)
        if self._settings.callback is not None:
            try:
                self._settings.callback(self.state)
            except StopIteration:
                self.stopped = True
                raise
