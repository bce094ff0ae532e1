"""The diagonal of f(A) from random probes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, warn_of_lost_gradient
from fastlanczos.engine.kinds import shared_of
from fastlanczos.errors import level_of_caller, warn_if_asymmetric
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.gauss.truncation import algebraic_remainder, series_remainder
from fastlanczos.operators.operator import Operator, as_operator
from fastlanczos.probes.draw import probe, seed_sequence
from fastlanczos.probes.intervals import short_tail, standard_error, widths
from fastlanczos.ranks.portions import agreed_seeds
from fastlanczos.sums.accuracy import BALANCED, STEPS_OF_A_PROBE, Accuracy, probes_for
from fastlanczos.sums.deflation import Deflation, deflation, deflation_that_pays
from fastlanczos.sums.estimate import DiagonalEstimate
from fastlanczos.sums.exact import Factorization
from fastlanczos.sums.functions import MatrixFunction, as_function
from fastlanczos.sums.multiply import lanczos_product
from fastlanczos.sums.preconditioner import LowRank, Preconditioned, preconditioned, require_no_diagonal
from fastlanczos.sums.products import multiply

__all__ = ["diagonal"]

_FIRST_STEPS = 50
_METHODS = ("auto", "hutchinson", "deflated", "exact")
_SETTLED = 1e-12  # relative change of f(A) v at which a run stops


def diagonal(
    A: Any,
    fun: Any = None,
    dim: int | None = None,
    *,
    num_probes: int | None = None,
    num_steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_matvecs: int | None = None,
    method: str = "auto",
    bounds: Any = None,
    preconditioner: Any = None,
    diagonal: Any = None,
    seed: Any = None,
    like: Any = None,
    progress: bool = False,
) -> DiagonalEstimate:
    """Estimate the diagonal of f(A), with an error for each entry.

    The estimate is the mean of v * f(A) v over probes v of random signs. If it reduces the variance, one more run finds
    some eigenvectors; their part is exact, and the probes estimate the rest.

    Parameters
    ----------
    A, fun, dim, num_steps, max_matvecs, diagonal, seed, like, progress
        As in `trace`.
    num_probes : int, optional
        Number of probes of random signs, by default 50. With `rtol` or `atol` it is the number at the start, by default
        10.
    rtol, atol : float, optional
        Requested accuracy: steps and probes are added until the 95% interval of every entry has a half width below
        max(atol, rtol max |value|). Each probe needs the memory of one vector.
    method : {"auto", "hutchinson", "deflated", "exact"}
        As in `trace`.
    bounds : (low, high), optional
        As in `trace`; for "inv" and a low bound above 0 the steps' part of the error is a theorem: no entry is off by
        more than the norm of the residual over the bound.
    preconditioner : int, "auto" or object, optional
        As in `trace`, for "inv".

    Returns
    -------
    DiagonalEstimate
        Of a `ShardedOperator` each rank gets its own entries.

    Warns
    -----
    AsymmetryWarning, UserWarning
        As `trace`.

    References
    ----------
    Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", Appl. Numer. Math. 57 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> A = np.diag(np.arange(1.0, 101.0)) + 0.01
    >>> e = fl.diagonal(A, num_probes=30, seed=0)
    >>> bool(np.abs(e.value - np.diag(A)).max() < 0.2)
    True
    """
    warn_of_lost_gradient(A, "diagonal")
    f = as_function(fun)
    operator = as_operator(A, dim, v0=like, shared=True)
    shared = shared_of(operator.kind)
    if shared is not None:
        if preconditioner is not None or method not in ("auto", "hutchinson"):
            raise ValueError(
                'vectors that are shared out over ranks take method="hutchinson" without a preconditioner, got '
                f"method={method!r}, preconditioner={preconditioner!r}"
            )
        method = "hutchinson"
    accuracy = Accuracy.asked_for(rtol, atol, max_matvecs, steps_are_given=num_steps is not None)
    open_ = method == "auto" and num_probes is None and num_steps is None and preconditioner is None
    if num_probes is None:
        num_probes = 50 if accuracy is None else 10
    num_probes, balancing = as_dimension(num_probes, "num_probes"), num_steps is None and accuracy is None
    num_steps = _FIRST_STEPS if num_steps is None else as_dimension(num_steps, "num_steps")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    exact = Factorization(operator, f, diagonal=True) if open_ or method == "exact" else None
    if exact is not None and exact.is_the_way(method, num_probes * num_steps, accuracy):
        return exact.diagonal_estimate(0)
    worth = np.inf if exact is None else exact.products
    seeds = seed_sequence(seed) if shared is None else agreed_seeds(shared.group, seed_sequence(seed))
    if preconditioner is not None:
        if f.name != "inv":
            raise ValueError(f'preconditioner is for "inv" here; got {f.name!r}')
        inner = preconditioned(operator, f, preconditioner, diagonal, num_probes * num_steps, seeds)
        entries = _Entries(inner.operator, inner.f, num_steps, seeds, inner.bounds, inner)
    else:
        require_no_diagonal(diagonal)
        entries = _Entries(operator, f, num_steps, seeds, Bounds.given(bounds))
    if accuracy is not None:
        limit = accuracy.limit
    else:
        limit = STEPS_OF_A_PROBE * num_probes if max_matvecs is None else as_dimension(max_matvecs, "max_matvecs")
    with tqdm(desc="diagonal", unit="product", disable=not progress) as bar:
        if method != "hutchinson" and operator.dim > 1 and preconditioner is None:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity else num_steps
            entries.deflate(steps, method == "auto", bar)
        entries.draw(num_probes, bar)
        done = True
        if accuracy is not None:
            done = _narrow(entries, accuracy, bar, worth)
        elif balancing:
            done = _balance(entries, limit, bar, worth)
    if not done and exact is not None:
        return exact.diagonal_estimate(entries.num_matvecs)
    warn_if_asymmetric(entries.asymmetry, entries.precision)
    return entries.estimate()


def _narrow(entries: _Entries, accuracy: Accuracy, bar: Any, exact: float) -> bool:
    """Add probes and steps until every entry is as accurate as wanted; False if `exact` products are less."""
    while True:
        estimate = entries.estimate()
        size = entries.largest(np.abs(estimate.value))
        aim, steps_error = accuracy.aim(size), entries.largest(estimate.quadrature_error)
        if entries.largest(estimate.half_width()) <= aim:
            return True
        room = accuracy.limit - entries.num_matvecs
        if steps_error > accuracy.steps_aim(size) and entries.can_grow:
            if exact < min(room, 2 * entries.num_steps * entries.count):
                return False
            if 2 * entries.num_steps * entries.count <= room:
                entries.begin_anew(2 * entries.num_steps, bar)
                continue
        elif steps_error < aim:
            number = int(
                entries.largest(probes_for(estimate.std_error, estimate.tail, entries.count, aim - steps_error))
            )
            if exact < min(room, (number - entries.count) * entries.num_steps):
                return False
            more = min(number - entries.count, room // entries.num_steps)
            if more >= 1:
                entries.draw(more, bar)
                continue
        if exact < room:
            return False
        accuracy.warn(entries.num_matvecs, estimate, aim, "more products (max_matvecs=)")
        return True


def _balance(entries: _Entries, limit: int, bar: Any, exact: float) -> bool:
    """Add steps until they leave less than half of what the probes do, in the mean over the entries."""
    while entries.can_grow:
        estimate = entries.estimate()
        steps_error = entries.mean(estimate.quadrature_error)
        below, above = widths(0.95, estimate.std_error, estimate.tail, entries.count)
        probes_error = entries.mean(np.minimum(below, above))
        if steps_error <= BALANCED * probes_error:
            return True
        room = limit - entries.num_matvecs
        if exact < min(room, 2 * entries.num_steps * entries.count):
            return False
        if 2 * entries.num_steps * entries.count > room:
            if steps_error > probes_error:
                warnings.warn(
                    f"{estimate}: {entries.num_steps} Lanczos steps leave {steps_error:.2g} of an entry, the "
                    f"choice of probes {probes_error:.2g}. More steps (num_steps=, or max_matvecs= for more than "
                    "the limit) or, for the inverse of a kernel matrix, preconditioner= make it smaller",
                    UserWarning,
                    stacklevel=level_of_caller(),
                )
            return True
        entries.begin_anew(2 * entries.num_steps, bar)
    return True


class _Entries:
    """v * f(A) v of the probes so far, on the complement of what is taken out, whose own part is known."""

    def __init__(
        self,
        operator: Operator,
        f: MatrixFunction,
        num_steps: int,
        seeds: np.random.SeedSequence,
        bounds: Bounds,
        inner: Preconditioned | None = None,
    ) -> None:
        self.operator, self.f, self.seeds, self.bounds, self.inner = operator, f, seeds, bounds, inner
        self.num_steps = 1 if f.is_identity else min(num_steps, operator.dim)
        self.num_matvecs = 0
        self.asymmetry, self.precision = 0.0, operator.precision
        self._shared, self._length = shared_of(operator.kind), operator.kind.length(operator.dim)
        self._taken_out = Deflation.none(self._length)
        self._known = np.zeros(self._length)
        if inner is not None and isinstance(inner.P, LowRank):
            self._known = inner.P.inverse_diagonal
        self._begin()

    def _begin(self) -> None:
        n = self._length
        self._samples: list[Float64] = []
        self._changes = np.zeros((2, n))  # from half of the steps to three quarters, and from there, summed over probes
        self._bounds = 0.0  # on the distance that steps leave, likewise

    @property
    def can_grow(self) -> bool:
        """Whether more steps would change anything."""
        return not self.f.is_identity and self.num_steps < self.operator.dim

    def largest(self, x: Any) -> float:
        """Return the largest of some numbers, on any rank."""
        here = float(np.max(x, initial=0.0))
        return here if self._shared is None else -self._shared.least(-here)

    def mean(self, x: Float64) -> float:
        """Return the mean over all entries."""
        return float(x.mean()) if self._shared is None else self._shared.total(float(x.sum())) / self.operator.dim

    @property
    def count(self) -> int:
        """The number of probes."""
        return len(self._samples)

    def deflate(self, num_steps: int, only_where_it_pays: bool, bar: Any) -> None:
        """Take out what one run knows exactly; there must be no samples yet."""
        if only_where_it_pays:
            known, run = deflation_that_pays(self.operator, self.f, num_steps, num_steps, self.seeds, bar)
            self.num_matvecs += 0 if run is None else run.num_steps
        else:
            known = deflation(self.operator, self.f, num_steps, self.seeds, bar)
        self._taken_out = known
        self.num_matvecs += known.num_matvecs
        U = known.vectors
        if known.rank and self.f.is_identity:
            # diag(A) = diag(Q A) + diag((1 - Q) A (1 - Q)) + diag((1 - Q) A Q), Q the projector; A Q is known.
            image = multiply(self.operator, U.T, bar)
            self.num_matvecs += known.rank
            inside = U.T @ (U.conj() @ image)
            self._known = np.einsum("ij,ji->i", 2 * image - inside, U.conj()).real
        elif known.rank:
            self._known = np.einsum("i,ij->j", known.values, np.square(np.abs(U)))

    def draw(self, number: int, bar: Any) -> None:
        """Draw so many probes more."""
        n = self.operator.dim
        for index in range(self.count, self.count + number):
            if self._taken_out.rank == n:  # of all
                self._samples.append(np.zeros(n))
                continue
            # Probe 0 is the deflation's.
            signs = probe(n, self.seeds, index + 1, "rademacher", shared=self._shared)
            w = self._taken_out.complement(signs)
            if self.f.is_identity:
                y = multiply(self.operator, w[:, None], bar)[:, 0]
                self.num_matvecs += 1
            else:
                if self.inner is not None:
                    w = self.inner.P.inverse_root_transposed(w)
                product = lanczos_product(self.operator, self.f, w, self.num_steps, _SETTLED, False, bar)
                self.num_matvecs += len(product.coefficients)
                self.asymmetry = max(self.asymmetry, product.asymmetry)
                self.precision = max(self.precision, product.precision)
                y, changes = product.vector, product.changes
                if self.bounds.low is not None or self.bounds.high is not None:
                    self.bounds.check(product.nodes, 4.0 * product.precision * product.norm * np.sqrt(n))
                if self.f.name == "inv" and (self.bounds.low or 0.0) > 0.0:
                    left = product.residual / float(self.bounds.low or 1.0)
                    if self.inner is not None:  # of rows of R, R R' = P^-1
                        left *= np.sqrt(float(np.max(self._known)))
                    self._bounds += left
                if self.inner is not None:
                    y = self.inner.P.inverse_root(y)
                    changes = np.stack([self.inner.P.inverse_root(change) for change in changes])
                self._changes += np.abs(changes)
            self._samples.append(signs * self._taken_out.complement(y).real)

    def begin_anew(self, num_steps: int, bar: Any) -> None:
        """Draw the same probes with so many steps each."""
        number = self.count
        self.num_steps = min(num_steps, self.operator.dim)
        self._begin()
        self.draw(number, bar)

    @property
    def _bounded(self) -> bool:
        return self.f.name == "inv" and (self.bounds.low or 0.0) > 0.0

    def _steps_error(self) -> Float64:
        """Return what the steps leave of each entry: a bound, or an estimate as `gauss/truncation.py` makes of sums."""
        if self._bounded:
            return np.full(self._length, self._bounds / self.count)
        before, after = self._changes / self.count
        return np.maximum(series_remainder(before, after), algebraic_remainder(before, after))

    def estimate(self) -> DiagonalEstimate:
        """Return what the samples so far amount to."""
        samples = np.array(self._samples)
        return DiagonalEstimate(
            self._known + samples.mean(axis=0),
            standard_error(samples),
            self._steps_error(),
            short_tail(samples),
            self.count,
            self.num_matvecs,
            {
                "method": "preconditioned"
                if self.inner is not None
                else "deflated"
                if self._taken_out.rank
                else "hutchinson",
                "quadrature": "bound" if self._bounded else "estimate",
                "num_steps": self.num_steps,
                "deflated": self._taken_out.rank,
                "seed": self.seeds.entropy,
                "asymmetry": self.asymmetry,
            },
        )
