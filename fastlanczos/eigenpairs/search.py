"""The search for what `which` means: which of the searches, with which operator, and what becomes of their failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.block_space import BlockSpace
from fastlanczos.eigenpairs.cost import is_dear
from fastlanczos.eigenpairs.davidson import Davidson, preconditioner_of
from fastlanczos.eigenpairs.engine_space import EngineSpace
from fastlanczos.eigenpairs.growing import GrowingSearch
from fastlanczos.eigenpairs.multiplier import Multiplier, OutOfProducts
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.rayleigh_ritz import Source, noise
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.spectral_transform import is_explicit
from fastlanczos.eigenpairs.thick_restart import ThickRestart
from fastlanczos.eigenpairs.verification import combined_residual
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.errors import not_symmetric
from fastlanczos.operators.operator import squared

__all__ = ["MOST_NOISE", "Search", "plan_rows"]

# Solves with a matrix are not exact: with more asymmetry of theirs than this nothing is found.
_MOST_INEXACT = 1e-4
_INEXACT = 1e-9  # and what is left of a residual by it, at most
# Products that agree with a symmetric matrix to this part of its norm are taken as they are if no tol is given.
MOST_NOISE = 1e-3
# Rows of a space that grows, for k pairs: beyond them a restart loses hardly any products.
_MOST_ROWS, _ROWS_PER_PAIR = 300, 15
_FACTORED = 5000  # rows up to which a matrix is factored for values of smallest magnitude inside of its spectrum


def plan_rows(
    pencil: Pencil, k: int, ncv: int | None, max_memory: int | None, which: str, preconditioned: bool = False
) -> tuple[int, bool]:
    """Return how many rows there may be, and whether the space grows for the fewest products."""
    n = pencil.dim
    usual = min(n, max(2 * k + 20 if ncv is None else ncv, k + 3))
    own = pencil.is_transformed or pencil.dtype == "complex128"
    grows = own or (ncv is None and is_dear(pencil.operator, usual))
    itemsize = np.dtype(pencil.dtype).itemsize
    budget = pencil.operator.kind.available_memory() // 2 if max_memory is None else max_memory
    fitting = budget // (itemsize * n) - 6
    if max_memory is not None and fitting < min(n, k + 3):
        raise MemoryError(
            f"max_memory = {max_memory} bytes hold {max(fitting, 0)} vectors of {n} entries beside the working ones, "
            f"and {min(n, k + 3)} are needed for k = {k}"
        )
    if preconditioned:  # products are kept beside their vectors
        return max(min(2 * (_MOST_ROWS if ncv is None else ncv), fitting), 2 * (k + 8)), True
    if not grows or which == "SM":
        return min(usual, max(fitting, k + 3), n), False
    least = 4 * k + 60  # room for what is found, what is set aside, and a chain
    most = max(_MOST_ROWS, _ROWS_PER_PAIR * k) if ncv is None else max(ncv, least)
    rows = min(most, max(fitting, least) if own else fitting)
    if rows < min(least, n) and not own:
        return min(usual, max(fitting, k + 3)), False
    return min(rows, n + 8), True


class Search:
    """A search in the memory of so many rows; `grows` chooses the search with the fewest products."""

    def __init__(
        self,
        pencil: Pencil,
        wanted: Wanted,
        rows: int,
        *,
        grows: bool,
        tol: float,
        noisy: bool,
        multiplicities: bool,
        max_restarts: int,
        rng: Any,
        bar: Any,
        callback: Callable[[EigshState], object] | None,
        preconditioner: Any = None,
    ) -> None:
        self._pencil = pencil
        self._wanted = wanted
        self._grows = grows
        self._rows = rows
        self._tol = tol
        self._noisy = noisy
        self._multiplicities = multiplicities
        self._max_restarts = max_restarts
        self._generator = np.random.default_rng(0 if rng is None else rng)
        self._bar = bar
        self._callback = callback
        self._most_products: int | None = None
        self.state: EigshState | None = None  # after the last restart
        self.ended_by_callback = False
        self.asymmetry = 0.0
        self.products = self.restarts = 0
        self.residuals: Float64 | None = None
        self._norm = 0.0
        own = pencil.is_transformed or pencil.dtype == "complex128"
        self._blocks = grows and own
        self._precondition = None if preconditioner is None else preconditioner_of(preconditioner, pencil.dim)
        self._run = None if self._blocks or self._precondition else pencil.new_run(rows)

    def solve(self, v0: Any, most_products: int | None) -> Eigenpairs:
        """Return the wanted pairs of the transformed operator; raise OutOfProducts at a limit to its products."""
        self._most_products = most_products
        if self._precondition is not None:
            return self._preconditioned(v0)
        if self._wanted.which == "SM":
            return self._smallest_magnitude(v0)
        return self._extreme(self._wanted, self._multiplier(), v0, self._watch)

    def _multiplier(self) -> Multiplier:
        inexact = _MOST_INEXACT if self._pencil.is_transformed else MOST_NOISE if self._noisy else 0.0
        return Multiplier(self._pencil.operator, limit=self._most_products, inexact=inexact)

    def _watch(self, state: EigshState) -> None:
        self.state = state
        if self._callback is not None:
            try:
                self._callback(state)
            except StopIteration:
                self.ended_by_callback = True
                raise

    def _extreme(
        self, wanted: Wanted, multiplier: Multiplier, v0: Any, callback: Any, source: Source | None = None
    ) -> Eigenpairs:
        v0 = self._draw() if v0 is None else v0
        if self._grows and source is None:
            return self._growing(wanted, multiplier, v0, callback)
        restart = ThickRestart(
            multiplier,
            self._run,
            wanted,
            tol=self._tol,
            max_restarts=self._max_restarts,
            draw=self._draw,
            bar=self._bar,
            source=source,
            pencil=self._pencil if self._pencil.is_transformed else None,
            callback=callback,
            multiplicities=self._multiplicities,
        )
        try:
            pairs = restart.solve(v0)
        finally:
            self.products += multiplier.count
            self.restarts += restart.restarts
            self._pencil.precision = max(self._pencil.precision, multiplier.precision)
            self.asymmetry = max(self.asymmetry, restart.asymmetry)
        self.residuals = restart.residuals
        return pairs

    def _draw(self) -> Any:
        return self._pencil.draw(self._generator, raw=self._blocks)

    # The space that grows.

    def _growing(
        self, wanted: Wanted, multiplier: Multiplier, v0: Any, callback: Any, *, interior: bool = False
    ) -> Eigenpairs:
        pencil = self._pencil
        judge: Callable[[Any, Float64], tuple[Float64, NDArray[np.bool_]]]
        if self._blocks:
            space: Any = BlockSpace(
                pencil.dim, self._rows, pencil.dtype, lambda rows: self._block(multiplier, rows), pencil.metric_of_rows
            )
        else:
            space = EngineSpace(self._run, multiplier, self._bar)
        if pencil.is_transformed:
            judge = self._judge_pencil
        else:

            def judge(rows: Any, values: Float64) -> tuple[Float64, NDArray[np.bool_]]:
                return self._judge(multiplier, search, rows, values)

        def noise_of(norm: float) -> float:
            self._norm = max(self._norm, norm)
            if norm == 0.0 or interior:  # where a chain ends invariant, what is left is rounding
                return 0.0
            if pencil.is_transformed:
                # Solves are as symmetric as the factors are exact. A and M decide in the end what that is worth.
                return float(min(space.asymmetry, _INEXACT * norm))
            self.asymmetry = max(self.asymmetry, space.asymmetry / norm)
            if self.asymmetry > max(multiplier.most_asymmetry, self._tol):
                raise ValueError(not_symmetric(self.asymmetry))
            return self.asymmetry * norm if self._noisy else 0.0

        search = GrowingSearch(
            space,
            wanted,
            dim=pencil.dim,
            tol=self._tol,
            draw=lambda size: np.stack([self._draw() for _ in range(size)]) if self._blocks else [self._draw()],
            judge=judge,
            noise=noise_of,
            multiplicities=self._multiplicities,
            max_restarts=self._max_restarts,
            count=lambda: multiplier.count,
            bar=self._bar,
            callback=callback,
            largest=pencil.largest if pencil.is_shifted else None,
            blocks=self._blocks,
            interior=interior,
            improve=self._improve if pencil.is_shifted else None,
        )
        try:
            pairs = search.solve(v0)
        finally:
            self.products += multiplier.count
            self.restarts += search.restarts
            pencil.precision = max(pencil.precision, multiplier.precision)
        self.residuals = search.residuals
        return pairs

    def _preconditioned(self, v0: Any) -> Eigenpairs:
        pencil, multiplier = self._pencil, self._multiplier()
        assert self._precondition is not None

        def multiply(v: Any) -> Any:
            z = pencil.multiply_a(v)
            bad = int(np.count_nonzero(~np.isfinite(z)))
            if bad:
                raise pencil.not_finite(search.products + 1, bad)
            self._bar.update(1)
            return z

        search = Davidson(
            multiply,
            self._precondition,
            self._wanted,
            dim=pencil.dim,
            dtype=pencil.dtype,
            rows=self._rows,
            tol=self._tol,
            draw=self._draw,
            max_restarts=self._max_restarts,
            multiplicities=self._multiplicities,
            callback=self._watch,
        )
        try:
            pairs = search.solve(self._draw() if v0 is None else v0)
        finally:
            self.products += search.products
            self.restarts += search.restarts
        self._norm = search.norm
        weights = self._generator.standard_normal(pairs.values.size)
        self.products += 1
        residual = combined_residual(multiply, pairs.vectors, pairs.values, weights)
        allowed = np.maximum(self._tol * np.abs(pairs.values), noise(multiplier, 0.0) * self._norm)
        if residual > 2.0 * np.abs(weights) @ np.maximum(allowed, search.residuals):
            raise NotConverged(
                f"a product with a random combination of the pairs leaves a residual norm of {residual:.1e}: the "
                f"operator is not symmetric, or its products are not exact enough for tol = {self._tol:.1e}",
                Eigenpairs(np.empty(0), pairs.vectors[:0]),
            )
        self.residuals = search.residuals
        return pairs

    def _block(self, multiplier: Multiplier, rows: NDArray[Any]) -> NDArray[Any]:
        products = self._pencil.multiply_rows(rows)
        bad = int(np.count_nonzero(~np.isfinite(products)))
        if bad:
            raise self._pencil.not_finite(multiplier.count + 1, bad)
        multiplier.count += len(rows)
        self._bar.update(len(rows))
        return products

    def _judge(
        self, multiplier: Multiplier, search: GrowingSearch, rows: Any, values: Float64
    ) -> tuple[Float64, NDArray[np.bool_]]:
        """Verify pairs with one product of a random combination of all; one by one where it does not hold."""
        floor = noise(multiplier, 8.0 * self.asymmetry) * self._norm
        allowed = np.maximum(self._tol * np.maximum(np.abs(values), np.finfo(float).eps ** (2 / 3) * self._norm), floor)

        def multiply(v: Any) -> Any:
            return self._block(multiplier, v[None])[0] if self._blocks else multiplier.product_of(self._run, v)

        weights = self._generator.standard_normal(values.size)
        if combined_residual(multiply, rows, values, weights) <= np.abs(weights) @ allowed:
            return search.estimates(values), np.ones(values.size, dtype=bool)
        one = np.ones(1)
        alone = [combined_residual(multiply, rows[i : i + 1], values[i : i + 1], one) for i in range(values.size)]
        residuals = np.array(alone)
        return residuals, residuals <= allowed

    def _judge_pencil(self, rows: Any, values: Float64) -> tuple[Float64, NDArray[np.bool_]]:
        pencil = self._pencil
        most = max(self._tol, noise(Multiplier(pencil.operator), 0.0))
        residuals, good = np.zeros(values.size), np.ones(values.size, dtype=bool)
        for i, value in enumerate(values):
            judged = pencil.residual(rows[i], float(value))
            if judged is not None:
                residuals[i], size = judged
                good[i] = residuals[i] <= most * size
        return residuals, good

    def _improve(self, rows: Any, values: Float64, failed: NDArray[np.intp]) -> tuple[Any, Float64]:
        """One step of inverse iteration for pairs of a shift that do not hold: solves damp whatever else is in them."""
        pencil, metric = self._pencil, self._pencil.metric_of_rows or (lambda rows: rows)
        values, rows = values.copy(), rows.copy()
        better = pencil.multiply_rows(rows[failed])
        done = list(np.setdiff1d(np.arange(len(rows)), failed))
        for i, x in zip(failed, better, strict=True):
            x = x / np.abs(x).max()
            for _ in range(2):
                x = x - (rows[done].conj() @ metric(x[None])[0]) @ rows[done]
                x = x / np.sqrt(abs((x.conj() @ metric(x[None])[0]).real))
            rows[i] = x
            values[i] = pencil.quotient(x)
            done.append(int(i))
        return rows, values

    def _smallest_magnitude(self, v0: Any) -> Eigenpairs:
        """The values nearest to 0: one end where all have one sign, otherwise the low end of the operator squared."""
        multiplier = self._multiplier()
        low, high = multiplier.ends(self._run, self._draw(), self._bar)
        norm = max(abs(low), abs(high))
        margin = 1e-12 * norm
        if low >= -margin or high <= margin:
            try:
                return self._one_sided(Wanted("SA" if low >= -margin else "LA", self._wanted.k), multiplier, v0, margin)
            except _BothSigns:
                pass
        if self._run is not None and self._run.breakdown:  # there are few distinct eigenvalues: a chain shows them all
            try:
                return self._growing(self._wanted, multiplier, self._draw(), self._watch, interior=True)
            except NotConverged:
                pass
        pairs = self._factored(v0) if 1e-100 < norm < 1e100 else None
        if pairs is not None:
            return pairs
        if self._most_products is not None:
            raise OutOfProducts  # the values are inside of the spectrum, and would take too many
        if norm == 0.0:  # only what a random vector does not see: the whole matrix is zero
            norm = 1.0
        square = Multiplier(squared(self._pencil.operator, norm), products=2)
        source = Source(multiplier, norm, lambda values: 2.0 * (values / norm) ** 2 - 1.0)
        return self._extreme(Wanted("SA", self._wanted.k), square, v0, self._watch, source)

    def _factored(self, v0: Any) -> Eigenpairs | None:
        """Of a matrix that is not too large, by shift-invert around 0: the values are inside of the spectrum."""
        A, n = self._pencil.operator.source, self._pencil.dim
        if self._pencil.is_transformed or not is_explicit(A) or n > _FACTORED:
            return None
        pencil = Pencil(A, None, None, sigma=0.0, mode="normal", Minv=None, OPinv=None, v0=None)
        wanted = Wanted("LM", self._wanted.k)
        rows, _ = plan_rows(pencil, wanted.k, None, None, "LM")
        search = Search(
            pencil,
            wanted,
            rows,
            grows=True,
            tol=self._tol,
            noisy=self._noisy,
            multiplicities=self._multiplicities,
            max_restarts=self._max_restarts,
            rng=self._generator,
            bar=self._bar,
            callback=self._callback,
        )
        try:
            pairs = search.solve(v0, None)
        finally:
            self.products += search.products
            self.restarts += search.restarts
        self.residuals = search.residuals
        return Eigenpairs(pencil.values(pairs.values), pairs.vectors)

    def _one_sided(self, wanted: Wanted, multiplier: Multiplier, v0: Any, margin: float) -> Eigenpairs:
        def watch(state: EigshState) -> None:
            if state.values.size and state.values[0] < -margin and state.values[-1] > margin:
                raise _BothSigns
            wrong = state.values < -margin if wanted.which == "SA" else state.values > margin
            if wrong.any():
                raise _BothSigns
            self._watch(state)

        pairs = self._extreme(wanted, multiplier, v0, watch)
        if np.any(pairs.values < -margin if wanted.which == "SA" else pairs.values > margin):
            raise _BothSigns
        return pairs


class _BothSigns(Exception):
    """The operator has eigenvalues of both signs."""
