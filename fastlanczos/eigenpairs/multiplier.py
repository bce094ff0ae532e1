"""An operator at work on a run: products counted, filtered where asked, natively where possible."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import precision_of
from fastlanczos.eigenpairs.chebyshev import Filter
from fastlanczos.engine.far_vectors import FarVector
from fastlanczos.errors import NonFiniteError
from fastlanczos.operators.operator import Operator

__all__ = ["Multiplier", "OutOfProducts"]

_SLICE = 0.1  # seconds between two looks at the progress bar in a native run


class OutOfProducts(Exception):
    """The limit to the number of products is reached."""


class Multiplier:
    """Multiplies an operator with the vectors of a run; `count` is the number of products so far.

    `products` says how many of them one application of the operator takes, `limit` how many steps may take in all.
    Asymmetry up to `inexact` is not held against the operator: what solves with a matrix leave.
    """

    def __init__(self, operator: Operator, products: int = 1, limit: int | None = None, inexact: float = 0.0) -> None:
        self.dim = operator.dim
        self.precision = operator.precision
        self.count = 0
        self._operator = operator
        self._products = products
        self._limit = limit
        self._inexact = inexact
        self._product = np.empty((1, operator.dim if operator.native is not None else 0))
        self._into: Any = None  # memory for a product that is written there
        self._filtered: tuple[Filter, _core.Matvec] | None = None

    @property
    def most_asymmetry(self) -> float:
        """What rounding explains of an asymmetry relative to the norm."""
        return max(100.0 * self.precision, self._inexact)

    @property
    def is_native(self) -> bool:
        """Whether products are made in the engine, without Python."""
        return self._operator.native is not None

    def fill(self, run: Any, filter_: Filter | None, steps: int, bar: Any) -> None:
        """Take steps with the operator, or a filter of it: so many, or until memory is full or the space invariant."""
        each = self._products * (1 if filter_ is None else filter_.degree)
        if self._limit is not None:
            steps = min(steps, (self._limit - self.count) // each)
            if steps < 1:
                raise OutOfProducts
        # Steps are counted as they are asked for: a run on a GPU is not waited for.
        end = run.launched + steps
        while not run.finished and run.launched < end:
            before = run.launched
            if self._operator.native is not None:
                native = self._native(filter_)
                _, outcomes = _core.advance([run], native, self._product, end - before, _SLICE)
                if outcomes[0] == _core.Outcome.not_finite:
                    raise self.not_finite(run, self._product[0])
            else:
                z = self._apply(run, run.vector, filter_)
                if not run.advance(z):
                    raise self.not_finite(run, z)
            products = (run.launched - before) * each
            if self._operator.native is not None:
                self.count += products
            bar.update(products)

    def product_of(self, run: Any, vector: Any) -> Any:
        """Return A times a vector of the run's kind, which it may overwrite, as the next product may this one."""
        if self._operator.native is None:
            return self._multiply(run, vector)
        self.count += self._products
        self._operator.native.multiply(vector[None], self._product)
        return self._product[0]

    def ends(self, run: Any, v0: Any, bar: Any) -> tuple[float, float]:
        """Return the smallest and the largest Ritz value of as many steps as the run has room for."""
        run.start(v0)
        self.fill(run, None, run.max_steps, bar)
        theta = np.linalg.eigvalsh(run.projected()) * 2.0**run.exponent
        return float(theta[0]), float(theta[-1])

    def product(self, run: Any, row: int) -> Any:
        """Return A times a row of the basis; the next product may overwrite it."""
        vector = run.rows(row + 1)[row]
        if self._operator.native is not None:
            self.count += self._products
            self._operator.native.multiply(vector[None], self._product)
            return self._product[0]
        # A matvec may overwrite its argument, and a row on a GPU is no array of its library's.
        into = self._operator.multiply_into is not None and not isinstance(vector, FarVector)
        return self._multiply(run, vector if into else vector.copy())

    def filtered(self, run: Any, row: int, filter_: Filter) -> Any:
        """Return the filter of A times a row of the basis."""
        vector = run.rows(row + 1)[row]
        if self._operator.native is None:
            return self._apply(run, vector + 0.0, filter_)
        self.count += self._products * filter_.degree
        filter_.native(self._operator.native).multiply(vector[None], self._product)
        return self._product[0]

    def residual(self, run: Any, row: int, value: float) -> float:
        """Return the norm of A x - value x for a row x of the basis."""
        return float(run.distance(row, self.product(run, row), value))

    def _native(self, filter_: Filter | None) -> _core.Matvec:
        native = self._operator.native
        assert native is not None
        if filter_ is None:
            return native
        if self._filtered is None or self._filtered[0] is not filter_:
            self._filtered = (filter_, filter_.native(native))
        return self._filtered[1]

    def _multiply(self, run: Any, vector: Any) -> Any:
        """A times a vector that may be overwritten, in what the run works with."""
        self.count += self._products
        if self._operator.multiply_into is not None:
            kind = self._operator.kind
            if self._into is None:
                self._into = kind.empty((1, self.dim))
            self._operator.multiply_into([kind.shared(vector)], [kind.shared(self._into[0])])
            return run.product(self._into[0], "the product")
        assert self._operator.matvec is not None
        product = self._operator.matvec(self._operator.kind.argument(vector))
        z = run.product(product, f"product {self.count} of A")
        self.precision = max(self.precision, precision_of(getattr(product, "dtype", None)))
        return z

    def _apply(self, run: Any, vector: Any, filter_: Filter | None) -> Any:
        if filter_ is None:
            return self._multiply(run, vector)
        slope, center = 1.0 / filter_.half_width, filter_.center
        before = vector.copy()
        now = self._multiply(run, vector) * slope - (center * slope) * before
        for _ in range(filter_.degree - 1):
            z = self._multiply(run, now.copy())
            # T_{j+1} = 2 (A - center) / half_width T_j - T_{j-1}, over T_{j-1}
            if isinstance(before, FarVector):  # in one pass
                now, before = before.combined([-1.0, 2.0 * slope, -2.0 * slope * center], [before, z, now]), now
                continue
            before *= -1.0
            before += (2.0 * slope) * z
            before -= (2.0 * slope * center) * now
            before, now = now, before
        return now

    def not_finite(self, run: Any, z: Any) -> NonFiniteError:
        """Return the error for a product that the run refused."""
        count, sorts = run.count_not_finite(z)
        return NonFiniteError(
            f"product {self.count + 1} of A has {count} of {self.dim} entries that are not finite{sorts}",
            step=self.count + 1,
            count=count,
        )
