"""The rows of a restarted run: locked eigenvectors, then the active Krylov space, and the Ritz pairs of the latter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chebyshev import Filter
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["Ritz", "Rows"]

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Ritz:
    """The active rows' Ritz pairs, ascending: values of the filtered operator and of A, residuals, estimates for A."""

    mu: Float64
    values: Float64
    rotation: Float64  # column i combines the active rows
    residuals: Float64  # with the filtered operator
    estimates: Float64  # with A
    outside: NDArray[np.bool_]  # of the filter's interval, so that `values` means something


class Rows:
    """The rows of `run`, of which those of `locked` come first; T couples them to nothing.

    `wanted` is what the present stage of the search looks for; the first `earlier` locked rows belong to stages before
    it. `filter` is the polynomial of A that the run iterates with, None for A itself. `norm` and `ends` are A's norm
    and the ends of its spectrum, as far as seen.
    """

    def __init__(self, run: Any, wanted: Wanted, tol: float) -> None:
        self.run = run
        self.wanted = wanted
        self.tol = tol
        self.strictness = 1.0  # estimates are held to this part of the tolerance
        self.locked = np.empty(0)
        self.earlier = 0
        self.filter: Filter | None = None
        self.ends = (np.inf, -np.inf)
        self.norm = 0.0
        self.fresh = True  # the active rows are one Krylov space, not restarted
        self.comparing = True  # all that the run has seen is A and its start vector: T tells how symmetric A is
        self.asymmetry = 0.0
        self.noise = 0.0  # of the products, relative to the norm, where results as good as that are wanted

    @property
    def own(self) -> Float64:
        """Values of the rows that this stage has locked."""
        return self.locked[self.earlier :]

    @property
    def own_rows(self) -> range:
        """The rows that this stage has locked."""
        return range(self.earlier, self.locked.size)

    @property
    def room(self) -> int:
        """How many more rows may be locked so that a few are left for the active space."""
        return max(int(self.run.max_steps) - 3 - self.locked.size, 0)

    def limits(self) -> tuple[float, float]:
        """Return (low, high): values below low or above high would be wanted as well."""
        return self.wanted.limits(self.own, self.wanted.k)

    def allowed(self, values: Float64) -> Float64:
        """Return the residuals that count as converged: ARPACK's criterion, and no smaller than rounding permits."""
        relative = self.tol * np.maximum(np.abs(values), _EPSILON ** (2 / 3) * self.norm)
        return np.asarray(
            np.maximum(self.strictness * np.maximum(relative, _EPSILON * self.norm), self.noise * self.norm)
        )

    def margin(self, values: Float64) -> Float64:
        """Return how far apart values must be to count as different."""
        return np.asarray(np.maximum(self.allowed(values) / self.strictness, 64.0 * _EPSILON * self.norm))

    def converged(self, ritz: Ritz, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of some active pairs that have converged."""
        return pairs[(ritz.estimates[pairs] <= self.allowed(ritz.values[pairs])) & ritz.outside[pairs]]

    def tridiagonal(self) -> tuple[Float64, Float64]:
        """Return the diagonal of the active rows' T, and what is beside it; not after a restart."""
        T = self.run.projected()[self.locked.size :, self.locked.size :] * 2.0**self.run.exponent
        return np.diag(T).copy(), np.abs(np.diag(T, 1))

    def ritz(self) -> Ritz:
        """Return the Ritz pairs of the active rows; takes note of A's norm, ends and asymmetry."""
        run, locked = self.run, self.locked.size
        theta, rotation = np.empty(0), np.empty((0, 0))
        if run.steps > locked:
            theta, rotation = scipy.linalg.eigh(run.projected()[locked:, locked:], driver="evd")
        unit = 2.0**run.exponent
        mu = theta * unit
        last = rotation[-1] if theta.size else theta
        residuals = np.abs(0.0 if run.breakdown else run.remainder * last) * unit * np.ones(theta.size)
        if self.filter is None:
            if theta.size:
                self.norm = max(self.norm, float(np.abs(mu).max()))
                low, high = float(mu[0] - residuals[0]), float(mu[-1] + residuals[-1])
                earlier = self.locked[: self.earlier]
                self.ends = min(low, earlier.min(initial=low)), max(high, earlier.max(initial=high))
                if self.comparing and self.norm > 0:
                    self.asymmetry = run.max_projection / self.norm
            return Ritz(mu, mu, rotation, residuals, residuals, np.ones(theta.size, dtype=bool))
        values = self.filter.inverse(mu)
        low, high = self.filter.interval
        outside = np.abs(mu) > 1.0
        # Within the interval the filter varies by 2 at most: what a vector has there shows, divided by mu - 1.
        distance = np.where(mu > 0, values - low, high - values)
        estimates = residuals * distance / np.maximum(np.abs(mu) - 1.0, _EPSILON)
        if theta.size:
            self.ends = (min(self.ends[0], float(values[0])), max(self.ends[1], float(values[-1])))
        return Ritz(mu, values, rotation, residuals, estimates, outside)

    # Changes.

    def lock(self, ritz: Ritz, old: NDArray[np.intp], new: NDArray[np.intp]) -> None:
        """Make some of this stage's locked rows and some active pairs its only rows."""
        kept = np.concatenate([np.arange(self.earlier), self.earlier + old])
        rotation = np.zeros((kept.size + new.size, self.run.steps))
        rotation[np.arange(kept.size), kept] = 1.0
        rotation[kept.size :, self.locked.size :] = ritz.rotation[:, new].T
        self.locked = np.concatenate([self.locked[kept], ritz.values[new]])
        self.replace(rotation)

    def replace(self, rotation: Any, theta: Float64 | None = None, coupling: Float64 | None = None) -> None:
        """Make combinations of the rows the new rows: the locked ones, then active ones with values `theta`.

        `theta` and `coupling`, of the active rows to the candidate, are in units of the run; without them the locked
        rows are all there is.
        """
        theta, coupling = (np.empty(0) if x is None else x for x in (theta, coupling))
        exponent = 0
        if self.filter is None:
            exponent = self.run.exponent if theta.size else max(-1000, min(1000, int(np.frexp(self.norm)[1])))
        unit = 2.0**exponent
        locked = self.locked if self.filter is None else np.clip(self.filter(self.locked), -1e100, 1e100)
        diagonal = np.concatenate([locked / unit, theta])
        scale = self.norm / unit if self.filter is None else max(1.0, float(np.abs(theta).max(initial=0.0)))
        couplings = np.concatenate([np.zeros(self.locked.size), coupling])
        self.run.restart(np.ascontiguousarray(rotation), diagonal, couplings, scale, exponent)

    def collapse(
        self, ritz: Ritz, best: NDArray[np.intp], better: Filter | None, done: NDArray[np.intp] | None = None
    ) -> None:
        """Lock what is done, and begin again with another filter from the sum of the best other Ritz vectors."""
        weights = np.zeros(self.run.steps)
        weights[self.locked.size :] = ritz.rotation[:, best].sum(axis=1)
        vector = self.run.combine(weights)
        self.comparing = False
        self.filter = better
        self.lock(ritz, np.arange(self.own.size), np.empty(0, dtype=np.intp) if done is None else done)
        self.run.renew(vector)
        self.fresh = False

    def unlock(self, failed: NDArray[np.intp]) -> None:
        """Make rows active again: go on from their sum."""
        kept = np.setdiff1d(np.arange(self.locked.size), failed)
        weights = np.zeros(self.run.steps)
        weights[failed] = 1.0
        vector = self.run.combine(weights)
        rotation = np.eye(self.run.steps)[kept]
        self.locked = self.locked[kept]
        self.replace(rotation)
        self.run.renew(vector)

    def keep(self, best: NDArray[np.intp], ritz: Ritz) -> None:
        """Restart the active space from some of its Ritz vectors (Wu and Simon's thick restart)."""
        locked, active = self.locked.size, ritz.mu.size
        rotation = np.zeros((locked + best.size, locked + active))
        rotation[np.arange(locked), np.arange(locked)] = 1.0
        rotation[locked:, locked:] = ritz.rotation[:, best].T
        unit = 2.0**self.run.exponent
        self.replace(rotation, ritz.mu[best] / unit, self.run.remainder * ritz.rotation[-1, best])
        self.fresh = False
