"""The search for what `which` means: which of the searches, with which operator, and what becomes of their failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.block_space import BlockSpace
from fastlanczos.eigenpairs.davidson import Davidson, preconditioner_of
from fastlanczos.eigenpairs.engine_space import EngineSpace
from fastlanczos.eigenpairs.filter_choice import filter_is_better
from fastlanczos.eigenpairs.growing import GrowingSearch, TooSlow
from fastlanczos.eigenpairs.judges import Judge, PencilJudge, ProductJudge
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import Plan
from fastlanczos.eigenpairs.rayleigh_ritz import Source, noise
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.smallest_magnitude import smallest_magnitude
from fastlanczos.eigenpairs.start_block import Settled, StartBlock
from fastlanczos.eigenpairs.thick_restart import ThickRestart
from fastlanczos.eigenpairs.verification import combined_residual
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.long_vectors import count_not_finite, stacked

__all__ = ["MOST_NOISE", "Search", "Settings"]

# Solves with a matrix are not exact: with more asymmetry of theirs than this nothing is found.
_MOST_INEXACT = 1e-4
# Products that agree with a symmetric matrix to this part of its norm are taken as they are if no tol is given.
MOST_NOISE = 1e-3
# A filter takes twice as many products as a growing space that is restarted, and hardly any sweeps. If any price may be
# asked for a product, none before so many restarts; after them the products so far have not been many beside the rest.
_PATIENCE = 8
_LARGEST_EXPONENT = 100  # of products in blocks, as in the engine, before a power of two is taken out of them


class _OutOfRange(Exception):
    """Products are so large or small that their squares would not be numbers."""

    def __init__(self, unit: float) -> None:
        self.unit = unit


@dataclass(frozen=True)
class Settings:
    """What `eigsh` was asked for, beside the pairs. `noisy` products are taken as they are, up to MOST_NOISE."""

    tol: float
    noisy: bool
    multiplicities: bool
    max_restarts: int
    generator: np.random.Generator
    bar: Any
    callback: Callable[[EigshState], object] | None


class Search:
    """A search by plan."""

    def __init__(
        self, pencil: Pencil, wanted: Wanted, plan: Plan, settings: Settings, preconditioner: Any = None
    ) -> None:
        self.pencil = pencil
        self.wanted = wanted
        self.settings = settings
        self._plan = plan
        self._multipliers: list[Multiplier] = []
        self.most_products: int | None = None
        self.state: EigshState | None = None  # after the last restart
        self.ended_by_callback = False
        self.asymmetry = 0.0
        self._products_beside = self.restarts = 0
        self.residuals: Float64 | None = None
        self.start: StartBlock | None = None  # where there are several start vectors
        self._precondition = None if preconditioner is None else preconditioner_of(preconditioner, pencil.dim)
        self._in_range = False  # whether squares of what blocks are multiplied to neither overflow nor vanish
        self.run = None if plan.blocks or self._precondition else pencil.new_run(plan.rows)

    @property
    def products(self) -> int:
        """How many there were, with the operator that is iterated with."""
        return self._products_beside + sum(multiplier.count for multiplier in self._multipliers)

    def solve(self, v0: Any, most_products: int | None) -> Eigenpairs:
        """Return the wanted pairs of the transformed operator; raise OutOfProducts at a limit to its products."""
        self.most_products = most_products
        if self._precondition is not None:
            return self._preconditioned(v0)
        if self.wanted.which == "SM":
            return smallest_magnitude(self, v0)
        return self.extreme(self.wanted, self.new_multiplier(), v0, self.watch)

    def new_multiplier(self) -> Multiplier:
        """Return the operator at work, with the limits that this search has."""
        inexact = _MOST_INEXACT if self.pencil.is_transformed else MOST_NOISE if self.settings.noisy else 0.0
        self._multipliers.append(Multiplier(self.pencil.operator, limit=self.most_products, inexact=inexact))
        return self._multipliers[-1]

    def watch(self, state: EigshState) -> None:
        """Take note of a state, and tell the caller."""
        if self.pencil.unit != 1.0:
            unit = self.pencil.unit
            state = replace(state, values=state.values * unit, residuals=state.residuals * unit)
        self.state = state
        if self.settings.callback is not None:
            try:
                self.settings.callback(state)
            except StopIteration:
                self.ended_by_callback = True
                raise

    def draw(self) -> Any:
        """Return a random vector."""
        return self.pencil.draw(self.settings.generator, raw=self._plan.blocks)

    def extreme(
        self, wanted: Wanted, multiplier: Multiplier, v0: Any, callback: Any, source: Source | None = None
    ) -> Eigenpairs:
        """Return the pairs at an end of the spectrum; with a `source` `multiplier` is a function of that operator."""
        v0 = self.draw() if v0 is None else v0
        if self._plan.grows and source is None:
            try:
                return self.growing(wanted, multiplier, v0, callback)
            except TooSlow:
                v0 = None
        elif source is not None:
            self._multipliers.append(multiplier)
        settings = self.settings
        search = ThickRestart(
            multiplier,
            self.run,
            wanted,
            tol=settings.tol,
            max_restarts=settings.max_restarts,
            draw=self.draw,
            bar=settings.bar,
            source=source,
            pencil=self.pencil if self.pencil.is_transformed else None,
            callback=callback,
            multiplicities=settings.multiplicities,
            start=self.start if source is None else None,
            settled=self._settle(multiplier) if source is None else None,
        )
        try:
            pairs = search.solve(v0)
        finally:
            self._take_note(search, multiplier, search.asymmetry)
        self.residuals = search.residuals
        return pairs

    def _take_note(self, search: Any, multiplier: Multiplier, asymmetry: float) -> None:
        self.restarts += search.restarts
        self.pencil.precision = max(self.pencil.precision, multiplier.precision)
        self.asymmetry = max(self.asymmetry, asymmetry)

    def growing(
        self, wanted: Wanted, multiplier: Multiplier, v0: Any, callback: Any, *, interior: bool = False
    ) -> Eigenpairs:
        """Return pairs that a growing space shows; raise TooSlow if its memory is full and a filter would be better."""
        try:
            return self._growing(wanted, multiplier, v0, callback, interior=interior)
        except _OutOfRange as found:
            self.pencil.in_units_of(found.unit)
            return self._growing(wanted, multiplier, v0, callback, interior=interior)

    def _growing(self, wanted: Wanted, multiplier: Multiplier, v0: Any, callback: Any, *, interior: bool) -> Eigenpairs:
        pencil, settings, blocks = self.pencil, self.settings, self._plan.blocks
        space: Any
        if blocks:
            space = BlockSpace(
                pencil.new_rows(self._plan.rows),
                pencil.dtype,
                lambda v: self._block(multiplier, v),
                pencil.metric_of_rows,
            )
        else:
            space = EngineSpace(self.run, multiplier, settings.bar)
        judge: Judge
        if pencil.is_transformed:
            judge = PencilJudge(pencil, lambda: space.asymmetry, tol=settings.tol, invariant=interior)
        else:
            judge = ProductJudge(
                multiplier,
                lambda v: self._block(multiplier, v[None])[0] if blocks else multiplier.product_of(self.run, v),
                lambda: space.asymmetry,
                tol=settings.tol,
                noisy=settings.noisy,
                invariant=interior,
                generator=settings.generator,
            )
        search = GrowingSearch(
            space,
            wanted,
            dim=pencil.dim,
            tol=settings.tol,
            draw=lambda size: stacked([self.draw() for _ in range(size)]) if blocks else [self.draw()],
            judge=judge,
            multiplicities=settings.multiplicities,
            max_restarts=settings.max_restarts,
            count=lambda: multiplier.count,
            bar=settings.bar,
            callback=callback,
            largest=pencil.largest if pencil.is_shifted else None,
            blocks=blocks,
            interior=interior,
            patience=0 if np.isfinite(self._plan.cost) else _PATIENCE,
            filter_is_better=lambda: not blocks and filter_is_better(self.run, wanted, settings.tol),
            start=None if pencil.is_transformed else self.start,
            settled=self._settle(multiplier),
        )
        try:
            pairs = search.solve(v0)
        finally:
            self._take_note(search, multiplier, judge.asymmetry)
        self.residuals = search.residuals
        return pairs

    def _settle(self, multiplier: Multiplier) -> Settled | None:
        """Look at the start vectors, where there are several: which are eigenvectors already."""
        if self.start is None or self.pencil.is_transformed or self.pencil.unit != 1.0:
            return None
        settled = self.start.settle(self.pencil.multiply_a, max(self.settings.tol, self.pencil.precision))
        multiplier.count += settled.products
        self.settings.bar.update(settled.products)
        most = self._plan.rows - 4
        return settled if settled.values.size <= most else None

    def _block(self, multiplier: Multiplier, rows: Any) -> Any:
        products = self.pencil.multiply_rows(rows)
        bad = count_not_finite(products)
        if bad:
            raise self.pencil.not_finite(multiplier.count + 1, bad)
        multiplier.count += len(rows)
        self.settings.bar.update(len(rows))
        if not self._in_range:  # of the first products of unit vectors
            self._in_range = True
            exponent = int(np.frexp(abs(products).max())[1])
            if abs(exponent) > _LARGEST_EXPONENT:
                raise _OutOfRange(2.0 ** max(-1000, min(1000, exponent)))
        return products

    def of_another(self, pencil: Pencil, wanted: Wanted, plan: Plan, v0: Any) -> Eigenpairs:
        """Return pairs of another operator, under these settings."""
        search = Search(pencil, wanted, plan, self.settings)
        try:
            pairs = search.solve(v0, None)
        finally:
            self._products_beside += search.products
            self.restarts += search.restarts
        self.residuals = search.residuals
        return pairs

    def _preconditioned(self, v0: Any) -> Eigenpairs:
        pencil, settings, multiplier = self.pencil, self.settings, self.new_multiplier()
        assert self._precondition is not None

        def multiply(v: Any) -> Any:
            z = pencil.multiply_a(v)
            bad = int(np.count_nonzero(~np.isfinite(z)))
            if bad:
                raise pencil.not_finite(multiplier.count + 1, bad)
            multiplier.count += 1
            settings.bar.update(1)
            return z

        search = Davidson(
            multiply,
            self._precondition,
            self.wanted,
            dim=pencil.dim,
            dtype=pencil.dtype,
            rows=self._plan.rows,
            tol=settings.tol,
            draw=self.draw,
            max_restarts=settings.max_restarts,
            multiplicities=settings.multiplicities,
            callback=self.watch,
        )
        try:
            pairs = search.solve(self.draw() if v0 is None else v0)
        finally:
            self.restarts += search.restarts
        weights = settings.generator.standard_normal(pairs.values.size)
        residual = combined_residual(multiply, pairs.vectors, pairs.values, weights)
        allowed = np.maximum(settings.tol * np.abs(pairs.values), noise(multiplier, 0.0) * search.norm)
        if residual > 2.0 * np.abs(weights) @ np.maximum(allowed, search.residuals):
            raise NotConverged(
                f"a product with a random combination of the pairs leaves a residual norm of {residual:.1e}: the "
                f"operator is not symmetric, or its products are not exact enough for tol = {settings.tol:.1e}",
                Eigenpairs(np.empty(0), pairs.vectors[:0]),
            )
        self.residuals = search.residuals
        return pairs
