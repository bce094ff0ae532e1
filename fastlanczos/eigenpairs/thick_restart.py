"""Thick-restart Lanczos for the eigenpairs at the ends of a spectrum, with their multiplicities.

A run's rows are `locked` ones, finished eigenvectors that T couples to nothing, and active ones, a Krylov space that is
restarted from its best Ritz vectors whenever the memory is full (Wu and Simon, SIAM J. Matrix Anal. Appl. 22, 2000).
Where convergence is slow the operator is replaced by a Chebyshev filter of it.

One start vector shows one copy of each eigenvalue, and nothing that it is orthogonal to. So when the wanted pairs have
converged they are locked, and a random vector begins another round in their complement. What it finds beyond them is
wanted as well, and locked, until a round finds nothing: the largest Ritz value of the complement has then converged, or
is, by the theorem of Kuczynski and Wozniakowski (SIAM J. Matrix Anal. Appl. 13, 1992) on random starts, far enough from
the wanted values. Then every pair is verified with a product of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chebyshev import Filter, better_without, choose_filter, polishing_filters
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.rayleigh_ritz import Source, noise, rayleigh_ritz
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.errors import not_symmetric

__all__ = ["ThickRestart"]

_EPSILON = float(np.finfo(np.float64).eps)
# A round has found all when what it sees of the complement is known to this part of its distance from the wanted ...
_RESOLVED = 1e-5
# ... or when a random start hides more with at most this probability.
_PROBABILITY = 1e-8
# A filter is exchanged for one of this many times its degree: the new one begins again from a single vector.
_WORTHWHILE = 2.0
# Estimates that stay below this, relative to the norm, are mixtures within a cluster.
_CLUSTER = 1e-6
_PATIENCE = 6  # restarts within which a residual must fall by half
_DWARFING = 30.0  # times as large as all others
_TIES = 256.0 * _EPSILON
_ZERO = 64.0 * _EPSILON  # a value below this part of the norm is 0 to rounding
_MOST_GROWTH = 1e6
_MOST_POLISHED = 0.1  # of all vectors that polishing may change
_MOST_POLISHES = 3
_MOST_TRIALS = 4  # of verification, each with estimates held to a tenth of what they were


@dataclass(frozen=True)
class _Ritz:
    """The active rows' Ritz pairs, ascending: values of the filtered operator and of A, residuals, estimates for A."""

    mu: Float64
    values: Float64
    rotation: Float64  # column i combines the active rows
    residuals: Float64  # with the filtered operator
    estimates: Float64  # with A
    outside: NDArray[np.bool_]  # of the filter's interval, so that `values` means something


class ThickRestart:
    """Finds the `wanted` pairs of the operator behind `multiplier` in the memory of `run`.

    `tol` is relative to each value, `draw` returns random vectors. With a `source` its pairs are verified and returned,
    with a `pencil`, whose operator has to do with solves, the residuals that are verified are those of its A and M.
    """

    def __init__(
        self,
        multiplier: Multiplier,
        run: Any,
        wanted: Wanted,
        *,
        tol: float,
        max_restarts: int,
        draw: Callable[[], Any],
        bar: Any,
        source: Source | None = None,
        pencil: Pencil | None = None,
        callback: Callable[[EigshState], object] | None = None,
    ) -> None:
        self._multiplier = multiplier
        self._run = run
        self._stages = wanted.ends()
        self._wanted = self._stages[0]
        self._tol = tol
        self._max_restarts = max_restarts
        self._draw = draw
        self._source = source
        self._pencil = pencil
        self._ties = 0.0 if source is None else _TIES
        self._bar = bar
        self._callback = callback
        self._locked = np.empty(0)  # values of the locked rows: of earlier stages, then of this one
        self._earlier = 0
        self._filter: Filter | None = None
        self._ends = (np.inf, -np.inf)  # of the spectrum, as far as seen
        self._norm = 0.0
        self._round = 0
        self._fresh = True  # the active rows are one Krylov space, not restarted
        self._settled_ends: set[float] = set()  # of the complement, in this round
        self._round_steps = 0
        self._worst: list[float] = []  # of the wanted estimates, restart by restart
        self._width = self._ties  # of clusters whose vectors are locked in mixtures
        self._clusters = source is None  # may be locked in mixtures; folding makes clusters of what is none
        self._crowded = False  # a cluster, or ties, had no room
        self._verified = np.empty(0)  # values of the locked rows that `source` gives them
        self._filtering = True
        self._comparing = True  # products with one symmetric matrix: all that the run has seen is A and its start
        self._strictness = 1.0
        self._restarts = self._trial = 0
        self._stopped = ""
        self.asymmetry = 0.0

    def solve(self, v0: Any) -> Eigenpairs:
        """Return the wanted pairs, verified; raise NotConverged with those that are."""
        if not self._run.start(v0):
            raise ValueError("v0 is zero or not finite")
        for stage in self._stages:
            if stage is not self._wanted:
                self._begin_stage(stage)
            self._solve_stage()
        return self._pairs(np.arange(self._locked.size))

    def _solve_stage(self) -> None:
        for self._trial in range(_MOST_TRIALS):
            self._find()
            residuals, good = self._verify()
            if good.all():
                return
            if self._trial + 1 < _MOST_TRIALS:
                self._strictness *= 0.1
                self._take_up(self._earlier + np.flatnonzero(~good))
        raise NotConverged(self._why_not(residuals, good), self._pairs(self._which_hold(good)))

    def converged(self) -> Eigenpairs:
        """Return the pairs that are verified at any time; the run cannot go on after this."""
        ritz, own = self._ritz(), self._own
        found = np.flatnonzero((ritz.estimates <= self._allowed(ritz.values)) & ritz.outside)
        merged = np.concatenate([own, ritz.values[found]])
        chosen = self._wanted.order(merged)[: self._wanted.k]
        self._lock(ritz, chosen[chosen < own.size], found[chosen[chosen >= own.size] - own.size])
        _, good = self._verify()
        return self._pairs(self._which_hold(good))

    @property
    def _own(self) -> Float64:
        """Values of the rows that this stage has locked."""
        return self._locked[self._earlier :]

    @property
    def _values(self) -> Float64:
        """Values of the locked rows, when they are verified, as eigenvalues of the operator that is asked about."""
        return self._locked if self._source is None else self._verified

    def _begin_stage(self, wanted: Wanted) -> None:
        """Look for others in the complement of what has been found."""
        self._wanted = wanted
        self._earlier = self._locked.size
        self._filter = None
        self._filtering = True
        self._width, self._strictness = self._ties, 1.0
        self._replace(np.eye(self._earlier, self._run.steps), np.empty(0), np.empty(0))
        self._begin_round()
        self._round = 0

    # One search.

    def _find(self) -> None:
        """Advance, restart and look into the complement until the wanted pairs are locked."""
        # Between restarts T is looked at now and then, since it may be enough: less often where products are cheap,
        # for LAPACK's threads, once they have been at work, go on spinning beside the engine's for a tenth of a second.
        interval = max(4, self._run.max_steps // (4 if self._multiplier.is_native else 10))
        while True:
            before = self._run.steps
            self._multiplier.fill(self._run, self._filter, interval, self._bar)
            self._round_steps += self._run.steps - before
            ritz = self._ritz()
            new = self._new(ritz)
            if self._set_apart(ritz, new):
                continue
            unknown = self._run.breakdown and not ritz.outside[new].all()  # of an invariant space, by the filter
            if unknown or self._settled(ritz, new):
                if unknown:
                    self._filtering = False
                    self._collapse(ritz, np.arange(ritz.mu.size), None)
                elif self._complete(ritz, new):
                    self._lock_best(ritz, new)
                    if not self._crowded or self._source is not None:
                        return
                    # Of a cluster that is not locked whole the best may be missing: its vectors must converge.
                    self._clusters = self._crowded = False
                    self._take_up(np.arange(self._earlier, self._locked.size))
                elif new.size or self._run.breakdown:
                    self._lock_best(ritz, new)
                    if self._all_zero() or not self._begin_round():
                        return
                elif self._run.finished and not self._is_cluster(ritz, new):
                    self._next_cycle(ritz, new)
            elif self._run.finished:
                self._next_cycle(ritz, new)

    def _set_apart(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        """Lock pairs that dwarf the others, whose values rounding would otherwise spoil: those nearest to a shift."""
        if self._pencil is None or self._filter is not None or self._run.breakdown:
            return False
        sizes = np.abs(ritz.mu)
        order = np.argsort(-sizes)
        steps = np.flatnonzero(sizes[order[:-1]] > _DWARFING * sizes[order[1:]])
        far = order[: steps[0] + 1] if steps.size else order[:0]
        if not far.size or not self._room or not np.all(np.isin(far, new)):
            return False
        if np.any(ritz.estimates[far] > self._allowed(ritz.values[far])):
            return False
        rest = np.setdiff1d(np.arange(sizes.size), far)
        self._norm = float(sizes[rest].max())
        self._collapse(ritz, rest[self._wanted.order(ritz.values[rest])][: self._wanted.k], None, far)
        return True

    def _settled(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        """Whether all that is wanted of the active pairs has converged, and is enough."""
        enough = self._own.size + new.size >= self._wanted.k
        if not (enough or self._run.breakdown):
            return False
        return bool(np.all(ritz.outside[new])) and bool(
            np.all(ritz.estimates[new] <= self._allowed(ritz.values[new])) or self._is_cluster(ritz, new)
        )

    def _complete(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        full = self._source is not None and self._crowded  # no room for the ties that are left
        return self._run.steps == self._multiplier.dim or (not new.size and (full or self._resolved(ritz)))

    def _all_zero(self) -> bool:
        """Whether a folded search has k values that are 0 to rounding, than which none is smaller."""
        k, source = self._wanted.k, self._source
        if source is None or self._own.size < k:
            return False
        rows = range(self._earlier, self._locked.size)
        values, _ = rayleigh_ritz(source.multiplier, self._run, rows, source.norm)
        return bool(np.sort(np.abs(values))[k - 1] <= _ZERO * source.norm)

    def _is_cluster(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        """Whether residuals have stopped to fall well above the tolerance: each vector mixes those of a cluster.

        One Krylov space shows a vector of every cluster. Once rounds have found the others, A tells them apart.
        """
        seen = ritz.estimates[new] if new.size else self._at_the_limit(ritz)
        worst = float(seen.max(initial=0.0))
        if not (self._clusters and self._run.finished and self._room) or not 0.0 < worst <= _CLUSTER * self._norm:
            return False
        self._worst.append(worst)
        if len(self._worst) < _PATIENCE or worst < 0.5 * self._worst[-_PATIENCE]:
            return False
        grows = 2.0 * worst > self._width
        self._width = max(self._width, 2.0 * worst)
        return grows or new.size > 0  # otherwise nothing changes by looking again, and the iteration goes on

    def _near_cluster(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        """Whether residuals are so small that what is left may be a cluster; a better filter comes after that trial."""
        worst = float(ritz.estimates[new].max(initial=0.0))
        return self._clusters and self._trial == 0 and worst <= _CLUSTER * self._norm

    @property
    def _room(self) -> int:
        """How many more rows may be locked, so that some are left to move in."""
        return max(int(self._run.max_steps) - 3 - self._locked.size, 0)

    def _at_the_limit(self, ritz: _Ritz) -> Float64:
        """Return the estimates at those ends of the complement that reach to the limit within their estimates."""
        low, high = self._limits()
        low, high = low + self._width, high - self._width
        ends = [at for at in (0, -1) if ritz.mu.size and ritz.outside[at]]
        values, estimates = ritz.values[ends], ritz.estimates[ends]
        near = (np.abs(values - low) <= 2.0 * estimates) | (np.abs(values - high) <= 2.0 * estimates)
        return np.asarray(estimates[near & (estimates > self._allowed(values))])

    def _next_cycle(self, ritz: _Ritz, new: NDArray[np.intp]) -> None:
        self._restarts += 1
        self._report(ritz, new)
        if self._restarts > self._max_restarts:
            raise NotConverged(f"{self._max_restarts} restarts were not enough", self.converged())
        if self._stopped:
            raise NotConverged(self._stopped, self.converged())
        done = new[(ritz.estimates[new] <= self._allowed(ritz.values[new])) & ritz.outside[new]]
        if self._round > 0 and done.size and self._run.max_steps - self._locked.size < 2 * new.size + 4:
            # Too little room for the others to converge beside it: what is better than a locked one takes its place.
            self._lock_best(ritz, done)
            self._begin_round()
        elif self._near_cluster(ritz, new) or not self._improve_filter(ritz, new):
            self._restart(ritz, new)

    def _ritz(self) -> _Ritz:
        run, locked = self._run, self._locked.size
        theta, rotation = np.empty(0), np.empty((0, 0))
        if run.steps > locked:
            theta, rotation = scipy.linalg.eigh(run.projected()[locked:, locked:], driver="evd")
        unit = 2.0**run.exponent
        mu = theta * unit
        last = rotation[-1] if theta.size else theta
        residuals = np.abs(0.0 if run.breakdown else run.remainder * last) * unit * np.ones(theta.size)
        if self._filter is None:
            if theta.size:
                self._norm = max(self._norm, float(np.abs(mu).max()))
                low, high = float(mu[0] - residuals[0]), float(mu[-1] + residuals[-1])
                earlier = self._locked[: self._earlier]
                self._ends = min(low, earlier.min(initial=low)), max(high, earlier.max(initial=high))
                if self._comparing and self._norm > 0:
                    self.asymmetry = run.max_projection / self._norm
                    if self.asymmetry > max(self._multiplier.most_asymmetry, self._tol):
                        self._refuse()
            return _Ritz(mu, mu, rotation, residuals, residuals, np.ones(theta.size, dtype=bool))
        values = self._filter.inverse(mu)
        low, high = self._filter.interval
        outside = np.abs(mu) > 1.0
        # Within the interval the filter varies by 2 at most: what a vector has there shows, divided by mu - 1.
        distance = np.where(mu > 0, values - low, high - values)
        estimates = residuals * distance / np.maximum(np.abs(mu) - 1.0, _EPSILON)
        if theta.size:
            self._ends = (min(self._ends[0], float(values[0])), max(self._ends[1], float(values[-1])))
        return _Ritz(mu, values, rotation, residuals, estimates, outside)

    def _refuse(self) -> None:
        """Raise what is to be said of an operator that is not symmetric."""
        if self._pencil is None:
            raise ValueError(not_symmetric(self.asymmetry))
        raise NotConverged(
            f"products that solve with a matrix are {self.asymmetry:.1e} (relative to the norm) away from those of a "
            "symmetric operator: sigma is as good as an eigenvalue (take one a little beside it), or A, M or the solver"
            " that was given is not symmetric",
            Eigenpairs(np.empty(0), self._run.rows(0)),
        )

    def _allowed(self, values: Float64) -> Float64:
        """The residuals that count as converged: as ARPACK has them, and no smaller than rounding lets them be."""
        relative = self._tol * np.maximum(np.abs(values), _EPSILON ** (2 / 3) * self._norm)
        return np.asarray(self._strictness * np.maximum(relative, _EPSILON * self._norm))

    def _margin(self, values: Float64) -> Float64:
        """How far apart values must be to count as different."""
        return np.asarray(np.maximum(self._allowed(values) / self._strictness, 64.0 * _EPSILON * self._norm))

    def _new(self, ritz: _Ritz) -> NDArray[np.intp]:
        """The active pairs that are wanted, as far as one can see now."""
        k, own = self._wanted.k, self._own.size
        chosen = self._wanted.order(np.concatenate([self._own, ritz.values]))
        if own < k:
            chosen = chosen[:k]
            return chosen[chosen >= own] - own
        low, high = self._limits()
        if self._width > 0.0:  # the rest of a cluster that the last of the wanted belongs to
            chosen = chosen[chosen >= own] - own
            chosen = chosen[ritz.estimates[chosen] <= _CLUSTER * self._norm]
            values, margin = ritz.values[chosen], self._margin(ritz.values[chosen])
            better = (values > high + margin) | (values < low - margin)
            tied = ~better & ((values > high - self._width) | (values < low + self._width))
            room = max(self._room - int(np.count_nonzero(better)), 0)
            certain = tied & (ritz.estimates[chosen] <= margin)
            self._crowded |= int(np.count_nonzero(certain)) > room
            return np.concatenate([chosen[better], chosen[tied][:room]])
        chosen = chosen[:k]
        chosen = chosen[chosen >= own] - own
        margin = self._margin(ritz.values[chosen])
        return chosen[(ritz.values[chosen] > high + margin) | (ritz.values[chosen] < low - margin)]

    def _resolved(self, ritz: _Ritz) -> bool:
        """Whether the complement holds nothing that is wanted."""
        if self._round == 0:
            return False
        if self._run.breakdown or not ritz.mu.size:
            return True
        ends = [(0, -1.0), (ritz.mu.size - 1, 1.0)]
        for (at, side), limit in zip(ends, self._limits(), strict=True):
            if np.isfinite(limit) and self._end_is_resolved(ritz, at, side, limit):
                self._settled_ends.add(side)
        return all(
            side in self._settled_ends
            for (_, side), limit in zip(ends, self._limits(), strict=True)
            if np.isfinite(limit)
        )

    def _limits(self) -> tuple[float, float]:
        """Values below the first or above the second would be wanted as well."""
        return self._wanted.limits(self._own, self._wanted.k)

    def _end_is_resolved(self, ritz: _Ritz, at: int, side: float, limit: float) -> bool:
        limit -= side * self._width
        converged = ritz.outside[at] and ritz.estimates[at] <= self._margin(ritz.values[at : at + 1])[0]
        bound = float(self._filter(np.array([limit]))[0]) if self._filter is not None else limit
        gap = side * (bound - ritz.mu[at])
        if converged or ritz.residuals[at] <= _RESOLVED * gap:
            return True
        if gap <= 0.0:
            return False
        spread = side * (bound - ritz.mu[-1 - at])
        # Restarted, a space grows a hidden direction as well, if not as fast.
        steps = ritz.mu.size if self._fresh else self._round_steps // 2
        # The largest Ritz value after j steps from a random start is below the largest eigenvalue by more than e times
        # the spread with probability at most 1.648 sqrt(n) exp(-sqrt(e) (2 j - 1)).
        exponent = np.log(1.648 * np.sqrt(self._multiplier.dim) / _PROBABILITY)
        return bool(np.sqrt(gap / spread) * (2 * steps - 1) >= exponent)

    # What follows an evaluation.

    def _lock_best(self, ritz: _Ritz, new: NDArray[np.intp]) -> None:
        """Make the most wanted of locked and new pairs the only rows."""
        own = self._own
        merged = np.concatenate([own, ritz.values[new]])
        chosen = self._wanted.order(merged)
        if self._width > 0.0 and merged.size > self._wanted.k:
            low, high = self._wanted.limits(merged, self._wanted.k)
            chosen = chosen[(merged[chosen] >= high - self._width) | (merged[chosen] <= low + self._width)]
            chosen = chosen[: self._run.max_steps - 3 - self._earlier]
        else:
            chosen = chosen[: self._wanted.k]
        self._lock(ritz, chosen[chosen < own.size], new[chosen[chosen >= own.size] - own.size])

    def _lock(self, ritz: _Ritz, old: NDArray[np.intp], new: NDArray[np.intp]) -> None:
        """Make some of this stage's locked rows and some active pairs its only rows."""
        kept = np.concatenate([np.arange(self._earlier), self._earlier + old])
        rotation = np.zeros((kept.size + new.size, self._run.steps))
        rotation[np.arange(kept.size), kept] = 1.0
        rotation[kept.size :, self._locked.size :] = ritz.rotation[:, new].T
        self._locked = np.concatenate([self._locked[kept], ritz.values[new]])
        self._replace(rotation, np.empty(0), np.empty(0))

    def _replace(self, rotation: Float64, theta: Float64, coupling: Float64) -> None:
        """Restart with the locked rows and others behind them, in units of the run."""
        exponent = 0
        if self._filter is None:
            exponent = self._run.exponent if theta.size else max(-1000, min(1000, int(np.frexp(self._norm)[1])))
        unit = 2.0**exponent
        locked = self._locked if self._filter is None else np.clip(self._filter(self._locked), -1e100, 1e100)
        diagonal = np.concatenate([locked / unit, theta])
        scale = self._norm / unit if self._filter is None else max(1.0, float(np.abs(theta).max(initial=0.0)))
        couplings = np.concatenate([np.zeros(self._locked.size), coupling])
        self._run.restart(np.ascontiguousarray(rotation), diagonal, couplings, scale, exponent)

    def _begin_round(self) -> bool:
        """Look into the complement of the locked rows; False where there is nothing left."""
        self._comparing = False
        self._round += 1
        self._round_steps = 0
        self._fresh = True
        self._settled_ends = set()
        self._worst = []
        return any(self._run.renew(self._draw()) for _ in range(3))

    def _restart(self, ritz: _Ritz, new: NDArray[np.intp]) -> None:
        """Keep the best Ritz vectors of the active rows: the more, the more of the wanted have converged."""
        locked, active = self._locked.size, ritz.mu.size
        room = self._run.max_steps - locked
        wanted = max(new.size, 1)
        converged = int(np.count_nonzero(ritz.estimates[new] <= self._allowed(ritz.values[new])))
        keep = max(1, min(wanted + converged + (room - wanted) // 3, room - 3, active - 1))
        if self._run.breakdown:  # nothing is coupled to what follows
            self._begin_round()
            return
        order = self._wanted
        if self._round > 0 and np.all(np.isfinite(self._limits())):
            order = Wanted("BE", order.k)  # whatever is found, both ends are looked at
        best = order.order(ritz.values)[:keep]
        rotation = np.zeros((locked + best.size, locked + active))
        rotation[np.arange(locked), np.arange(locked)] = 1.0
        rotation[locked:, locked:] = ritz.rotation[:, best].T
        unit = 2.0**self._run.exponent
        self._replace(rotation, ritz.mu[best] / unit, self._run.remainder * ritz.rotation[-1, best])
        self._fresh = False

    def _improve_filter(self, ritz: _Ritz, new: NDArray[np.intp]) -> bool:
        """Change over to a better filter where there is one, from a combination of the wanted Ritz vectors."""
        if self._round > 0 or self._run.breakdown or not self._filtering:
            return False
        k, own = self._wanted.k, self._own.size
        seen = np.flatnonzero(ritz.outside)
        values = np.concatenate([self._own, ritz.values[seen]])
        if values.size < k + 1:
            return False
        # What has converged is locked on this occasion, and the filter need not spare it.
        done = new[(ritz.estimates[new] <= self._allowed(ritz.values[new])) & ritz.outside[new]]
        left = ritz.values[np.setdiff1d(new, done)]
        buffer = max(k + 1, min(k + max(k, 6), values.size - 1, k + (self._run.max_steps - k) // 2))
        better = None
        for count in range(buffer, values.size + 1):  # to the first value that is not one of the wanted once more
            limits = self._wanted.limits(values, count)
            better = choose_filter(left, np.concatenate([self._locked, ritz.values[done]]), limits, self._ends)
            if better is not None:
                break
        if better is None or (self._filter is not None and better.degree < _WORTHWHILE * self._filter.degree):
            return False
        if self._filter is None and better_without(better, left, ritz.values, self._run.max_steps - own):
            return False
        best = np.setdiff1d(seen[self._wanted.order(ritz.values[seen])][: buffer - own], done)
        self._collapse(ritz, best, better, done)
        return True

    def _collapse(
        self, ritz: _Ritz, best: NDArray[np.intp], better: Filter | None, done: NDArray[np.intp] | None = None
    ) -> None:
        """Lock what is done, and begin again with another filter from the sum of the best other Ritz vectors."""
        weights = np.zeros(self._run.steps)
        weights[self._locked.size :] = ritz.rotation[:, best].sum(axis=1)
        vector = self._run.combine(weights)
        self._comparing = False
        self._filter = better
        self._lock(ritz, np.arange(self._own.size), np.empty(0, dtype=np.intp) if done is None else done)
        self._run.renew(vector)
        self._fresh = False

    def _take_up(self, failed: NDArray[np.intp]) -> None:
        """Unlock rows and go on from their sum."""
        kept = np.setdiff1d(np.arange(self._locked.size), failed)
        weights = np.zeros(self._run.steps)
        weights[failed] = 1.0
        vector = self._run.combine(weights)
        rotation = np.eye(self._run.steps)[kept]
        self._locked = self._locked[kept]
        self._round = self._round_steps = 0
        self._width, self._worst = self._ties, []
        self._replace(rotation, np.empty(0), np.empty(0))
        self._run.renew(vector)

    # The end.

    def _verify(self) -> tuple[Float64, NDArray[np.bool_]]:
        """Compute the residual of every pair of this stage with A itself; return the residuals, and which hold."""
        if self._filter is not None or self._width > 0.0:
            self._choose()
        residuals, good = self._judged()
        for levels in range(1, (_MOST_POLISHES if self._source is None else 2 * _MOST_POLISHES) + 1):
            if good.all() or not self._polish(self._earlier + np.flatnonzero(~good), levels):
                break
            self._choose()
            residuals, good = self._judged()
        return residuals, good

    def _choose(self) -> None:
        """Let A itself tell the pairs apart that this stage's rows span, and keep the wanted ones."""
        rows = range(self._earlier, self._locked.size)
        source = self._source or Source(self._multiplier, self._norm, np.asarray)
        values, vectors = rayleigh_ritz(source.multiplier, self._run, rows, source.norm)
        chosen = self._wanted.select(source.forward(values))
        beyond_rounding = np.abs(values[chosen]).max(initial=0.0) > _ZERO * source.norm
        if self._source is not None and self._crowded and beyond_rounding:
            raise NotConverged(
                f"more than {self._locked.size} values are within {np.sqrt(_TIES):.0e} of the norm of 0, too many for "
                "products to tell which are the smallest: give sigma=0, or a larger ncv",
                Eigenpairs(np.empty(0), self._run.rows(0)),
            )
        rotation = np.eye(self._earlier + chosen.size, self._run.steps, dtype=vectors.dtype)
        rotation[self._earlier :] = vectors[chosen]
        self._locked = np.concatenate([self._locked[: self._earlier], source.forward(values[chosen])])
        self._verified = values[chosen]
        self._replace(rotation, np.empty(0), np.empty(0))

    def _judged(self) -> tuple[Float64, NDArray[np.bool_]]:
        source = self._source or Source(self._multiplier, self._norm, np.asarray)
        values = self._values
        rows = range(self._earlier, self._locked.size)
        if self._pencil is not None and self._source is None:
            return self._judged_by(self._pencil, rows)
        residuals = np.array([source.multiplier.residual(self._run, i, float(values[i])) for i in rows])
        floor = noise(source.multiplier, self.asymmetry) * source.norm
        relative = self._tol * np.maximum(np.abs(values[self._earlier :]), _EPSILON ** (2 / 3) * source.norm)
        return residuals, residuals <= np.maximum(relative, floor)

    def _judged_by(self, pencil: Pencil, rows: range) -> tuple[Float64, NDArray[np.bool_]]:
        most = max(self._tol, noise(self._multiplier, 0.0))
        residuals, good = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        for at, row in enumerate(rows):
            judged = pencil.residual(np.array(self._run.rows(row + 1)[row]), float(self._locked[row]))
            if judged is not None:
                residuals[at], size = judged
                good[at] = residuals[at] <= most * size
        return residuals, good

    def _polish(self, rows: NDArray[np.intp], levels: int) -> bool:
        """Damp what rounding in filters of a high degree left of far eigenvectors, by filters of lower degrees."""
        if self._own.size < self._wanted.k:
            return False
        filters = polishing_filters(self._limits(), self._ends, levels)
        for smooth in filters:
            factors = smooth(self._locked)
            if np.abs(factors).max() > _MOST_GROWTH * np.abs(factors[rows]).min():
                return False  # rounding errors in the others would take over
            for row in rows:
                polished = self._multiplier.filtered(self._run, int(row), smooth) / float(factors[row])
                if not self._run.distance(int(row), polished, 1.0) <= _MOST_POLISHED / np.sqrt(self._locked.size):
                    return False  # the vector is not one that rounding has disturbed
                self._run.rows(self._locked.size)[row] = polished
        return bool(filters)

    def _which_hold(self, good: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.concatenate([np.arange(self._earlier), self._earlier + np.flatnonzero(good)])

    def _pairs(self, rows: NDArray[np.intp]) -> Eigenpairs:
        """Put some of the locked rows in ascending order, and return them with their values."""
        values = self._values
        rows = rows[np.argsort(values[rows], kind="stable")]
        self._locked = self._locked[rows]
        self._replace(np.eye(self._run.steps)[rows], np.empty(0), np.empty(0))
        return Eigenpairs(values[rows], self._run.rows(rows.size))

    def _why_not(self, residuals: Float64, good: NDArray[np.bool_]) -> str:
        worst = int(np.argmax(np.where(good, 0.0, residuals)))
        value = self._values[self._earlier + worst]
        return (
            f"{np.count_nonzero(~good)} pairs do not hold: with lambda = {value:.6g}, A x differs from "
            f"lambda x by {residuals[worst]:.1e}. The operator is less exact, or less symmetric "
            f"(asymmetry {self.asymmetry:.1e}), than tol = {self._tol:.1e} asks for"
        )

    def _report(self, ritz: _Ritz, new: NDArray[np.intp]) -> None:
        values = np.concatenate([self._locked, ritz.values[new]])
        residuals = np.concatenate([np.zeros(self._locked.size), ritz.estimates[new]])
        own = self._earlier + self._wanted.order(values[self._earlier :])[: self._wanted.k]
        chosen = np.concatenate([np.arange(self._earlier), own])
        chosen = chosen[np.argsort(values[chosen], kind="stable")]
        state = EigshState(
            num_products=self._multiplier.count,
            num_restarts=self._restarts,
            num_converged=int(np.count_nonzero(residuals[chosen] <= self._allowed(values[chosen]))),
            values=values[chosen],
            residuals=residuals[chosen],
        )
        self._bar.set_postfix_str(f"{state.num_converged}/{self._wanted.k} converged, round {self._round + 1}")
        if self._callback is not None:
            try:
                self._callback(state)
            except StopIteration:
                self._stopped = "the callback ended the run"
