"""Thick-restart Lanczos for the eigenpairs at the ends of a spectrum, with their multiplicities: the search.

A run's rows are `locked` ones, finished eigenvectors that T couples to nothing, and active ones, a Krylov space that is
restarted from its best Ritz vectors whenever the memory is full (Wu and Simon, SIAM J. Matrix Anal. Appl. 22, 2000).

1. Advance until the wanted Ritz pairs have converged, restarting when the memory is full (`rows.py`). Where convergence
   is slow the operator is replaced by a Chebyshev filter of it (`filter_choice.py`).
2. Lock the converged pairs, and start from a random vector in their complement. What that round finds beyond them is
   wanted as well; the last round is one that finds nothing (`complement.py`).
3. Lock clusters that the iteration cannot resolve as mixtures (`clusters.py`).
4. Verify every pair with a product of its own (`verification.py`); go on under a stricter tolerance where some do not
   hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.clusters import Clusters
from fastlanczos.eigenpairs.complement import Complement
from fastlanczos.eigenpairs.filter_choice import better_filter
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.rayleigh_ritz import Source
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, Judged, NotConverged
from fastlanczos.eigenpairs.rows import Ritz, Rows
from fastlanczos.eigenpairs.start_block import Settled, StartBlock
from fastlanczos.eigenpairs.verification import Verification
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.far_space import DeviceSpace
from fastlanczos.errors import NotSymmetricError

__all__ = ["ThickRestart"]

_DWARFING = 30.0  # times as large as all others
_TIES = 256.0 * float(np.finfo(np.float64).eps)
_MOST_TRIALS = 4  # of verification, each with estimates held to a tenth of what they were


class ThickRestart:
    """Finds the `wanted` pairs of the operator behind `multiplier` in the memory of `run`.

    `tol` is relative to each value, `draw` returns random vectors. With a `source` its pairs are verified and returned,
    with a `pencil`, whose operator has to do with solves, the residuals that are verified are those of its A and M.
    What is `settled` of a `start` is locked from the beginning, and what is left of it begins rounds before random
    vectors do.
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
        multiplicities: bool = True,
        start: StartBlock | None = None,
        settled: Settled | None = None,
    ) -> None:
        self._multiplier = multiplier
        self._run = run
        self._stages = wanted.ends()
        self._max_restarts = max_restarts
        self._multiplicities = multiplicities or source is not None
        self._folded = source is not None
        self._start, self._settled_before = start, settled
        self.residuals: Float64 | None = None
        self._pencil = pencil
        self._bar = bar
        self._callback = callback
        self._rows = Rows(run, self._stages[0], tol)
        self._complement = Complement(self._rows, multiplier.dim, draw)
        # Folding makes clusters of what is none.
        self._clusters = Clusters(self._rows, _TIES if self._folded else 0.0, mixtures=not self._folded)
        self._verification = Verification(self._rows, self._clusters, multiplier, source, pencil)
        self._filtering = True
        self._restarts = self._trial = 0
        self._stopped = ""

    @property
    def asymmetry(self) -> float:
        """How far from symmetric the products were, relative to the operator's norm."""
        return self._rows.asymmetry

    @property
    def restarts(self) -> int:
        """How many there were."""
        return self._restarts

    def solve(self, v0: Any) -> Eigenpairs:
        """Return the wanted pairs, verified; raise NotConverged with those that are.

        Without `v0` the run goes on with the rows that it has.
        """
        settled = self._settled_before
        if settled is not None and settled.values.size and len(self._stages) == 1:
            self._adopt(settled)
        elif v0 is not None and not self._run.start(v0):
            raise ValueError("v0 is zero or not finite")
        for stage in self._stages:
            if stage is not self._rows.wanted:
                self._begin_stage(stage)
            self._solve_stage()
        return self._pairs(np.arange(self._rows.locked.size))

    def _adopt(self, settled: Settled) -> None:
        """Begin with eigenvectors that are known as locked rows, and a round in their complement."""
        rows, run = self._rows, self._run
        for i, x in enumerate(settled.vectors):
            (run.renew if i else run.start)(x + 0.0)
            run.advance(0.0 * run.vector)
        rows.locked, rows.norm = settled.values, settled.norm
        rows.replace(np.eye(run.steps))
        self._begin_round()

    def _everything(self) -> Judged:
        """Return the best pairs at any time; the run cannot go on after this."""
        rows = self._rows
        ritz, own = self._look(), rows.own
        candidates = np.flatnonzero(ritz.outside)
        merged = np.concatenate([own, ritz.values[candidates]])
        chosen = rows.wanted.order(merged)[: min(rows.wanted.k, rows.run.max_steps - 3 - rows.earlier)]
        rows.lock(ritz, chosen[chosen < own.size], candidates[chosen[chosen >= own.size] - own.size])
        return self._all_judged(*self._verification.verify())

    def _all_judged(self, residuals: Float64, good: NDArray[np.bool_]) -> Judged:
        """Return the locked pairs, those of earlier stages too."""
        before = np.zeros(0) if self.residuals is None else self.residuals
        self.residuals = np.concatenate([before, residuals])
        good = np.concatenate([np.ones(self._rows.earlier, dtype=bool), good])
        order = np.argsort(self._verification.values, kind="stable")
        pairs = self._pairs(np.arange(self._rows.locked.size))
        return Judged(pairs, self.residuals, good[order])

    def _begin_stage(self, wanted: Wanted) -> None:
        """Look for others in the complement of what has been found."""
        rows = self._rows
        rows.wanted = wanted
        rows.earlier = rows.locked.size
        rows.filter = None
        rows.strictness = 1.0
        self._filtering = True
        self._clusters.forget()
        rows.replace(np.eye(rows.earlier, self._run.steps))
        self._begin_round()
        self._complement.back_to_the_first()

    def _solve_stage(self) -> None:
        rows = self._rows
        for self._trial in range(_MOST_TRIALS):
            self._find()
            residuals, good = self._verification.verify()
            if good.all():
                self.residuals = residuals if self.residuals is None else np.concatenate([self.residuals, residuals])
                return
            if self._trial + 1 < _MOST_TRIALS:
                rows.strictness *= 0.1
                self._take_up(rows.earlier + np.flatnonzero(~good))
        raise NotConverged.after(self._verification.why_not(residuals, good), self._all_judged(residuals, good))

    # One search.

    def _find(self) -> None:
        """Advance, restart and look into the complement until the wanted pairs are locked."""
        # Between restarts T is looked at now and then, since it may be enough: less often where steps are cheap,
        # for LAPACK's threads, once they have been at work, go on spinning beside the engine's for a tenth of a second.
        rows, clusters = self._rows, self._clusters
        while True:
            cheap = self._multiplier.is_native and rows.filter is None
            interval = max(4, self._run.max_steps // 4 if cheap else min(10, self._run.max_steps // 10))
            if isinstance(self._run, DeviceSpace):
                interval = self._run.max_steps  # a look waits for the device, which then has nothing to do
            before = self._run.steps
            self._multiplier.fill(self._run, rows.filter, interval, self._bar)
            self._complement.steps += self._run.steps - before
            ritz = self._look()
            new = self._new(ritz)
            if self._set_apart(ritz, new):
                continue
            unknown = self._run.breakdown and not ritz.outside[new].all()  # of an invariant space, by the filter
            if unknown or self._settled(ritz, new):
                if unknown:
                    self._filtering = False
                    rows.collapse(ritz, np.arange(ritz.mu.size), None)
                elif self._complete(ritz, new):
                    self._lock_best(ritz, new)
                    if not clusters.crowded or self._folded:
                        return
                    # Of a cluster that is not locked whole the best may be missing: its vectors must converge.
                    clusters.mixtures = clusters.crowded = False
                    self._take_up(np.arange(rows.earlier, rows.locked.size))
                elif new.size or self._run.breakdown:
                    self._lock_best(ritz, new)
                    if not self._multiplicities and rows.own.size >= rows.wanted.k:
                        return
                    if self._verification.all_zero() or not self._begin_round():
                        return
                elif self._run.finished and not clusters.explain(ritz, new):
                    self._next_cycle(ritz, new)
            elif self._run.finished:
                self._next_cycle(ritz, new)

    def _look(self) -> Ritz:
        """Return the active Ritz pairs; raise where the operator is seen not to be symmetric."""
        rows = self._rows
        ritz = rows.ritz()
        if rows.comparing and self._multiplier.most_asymmetry > 100.0 * self._multiplier.precision:
            rows.noise = rows.asymmetry  # no estimate means anything below it
        if rows.comparing and rows.asymmetry > max(self._multiplier.most_asymmetry, rows.tol):
            if self._pencil is None:
                raise NotSymmetricError(rows.asymmetry)
            raise NotConverged(
                f"solving with a matrix gave products that deviate from symmetry by {rows.asymmetry:.1e} of their "
                "norm. Either sigma is too close to an eigenvalue (move it slightly), or A, M or the given solver is "
                "not symmetric",
                Eigenpairs(np.empty(0), self._run.rows(0)),
            )
        return ritz

    def _new(self, ritz: Ritz) -> NDArray[np.intp]:
        """The active pairs that are wanted, as far as one can see now."""
        rows = self._rows
        k, own = rows.wanted.k, rows.own.size
        chosen = rows.wanted.order(np.concatenate([rows.own, ritz.values]))
        if own < k:
            chosen = chosen[:k]
            return chosen[chosen >= own] - own
        if self._clusters.width > 0.0:
            return self._clusters.beside(ritz, chosen[chosen >= own] - own)
        low, high = rows.limits()
        chosen = chosen[:k]
        chosen = chosen[chosen >= own] - own
        margin = rows.margin(ritz.values[chosen])
        return chosen[(ritz.values[chosen] > high + margin) | (ritz.values[chosen] < low - margin)]

    def _set_apart(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        """Lock pairs that dwarf the others, whose values rounding would otherwise spoil: those nearest to a shift."""
        rows = self._rows
        if self._pencil is None or rows.filter is not None or self._run.breakdown:
            return False
        sizes = np.abs(ritz.mu)
        order = np.argsort(-sizes)
        steps = np.flatnonzero(sizes[order[:-1]] > _DWARFING * sizes[order[1:]])
        far = order[: steps[0] + 1] if steps.size else order[:0]
        if not far.size or not rows.room or not np.all(np.isin(far, new)):
            return False
        if np.any(ritz.estimates[far] > rows.allowed(ritz.values[far])):
            return False
        rest = np.setdiff1d(np.arange(sizes.size), far)
        rows.norm = float(sizes[rest].max())
        rows.collapse(ritz, rest[rows.wanted.order(ritz.values[rest])][: rows.wanted.k], None, far)
        return True

    def _settled(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        """Whether all that is wanted of the active pairs has converged, and is enough."""
        rows = self._rows
        enough = rows.own.size + new.size >= rows.wanted.k
        if not (enough or self._run.breakdown):
            return False
        return bool(np.all(ritz.outside[new])) and bool(
            np.all(ritz.estimates[new] <= rows.allowed(ritz.values[new])) or self._clusters.explain(ritz, new)
        )

    def _complete(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        full = self._folded and self._clusters.crowded  # no room for the ties that are left
        if self._run.steps == self._multiplier.dim:
            return True
        return not new.size and (full or self._complement.resolved(ritz, self._clusters.width))

    def _next_cycle(self, ritz: Ritz, new: NDArray[np.intp]) -> None:
        rows = self._rows
        self._restarts += 1
        self._report(ritz, new)
        if self._restarts > self._max_restarts:
            raise NotConverged.after(
                f"not converged: {self._max_restarts} restarts were not enough", self._everything()
            )
        if self._stopped:
            raise NotConverged.after(self._stopped, self._everything())
        done = rows.converged(ritz, new)
        if self._complement.round > 0 and done.size and self._run.max_steps - rows.locked.size < 2 * new.size + 4:
            # Too little room for the others to converge beside it: what is better than a locked one takes its place.
            self._lock_best(ritz, done)
            self._begin_round()
        # Where residuals are those of a cluster, a better filter comes after the trial to lock it.
        elif (self._trial == 0 and self._clusters.may_be_near(ritz, new)) or not self._improve_filter(ritz, new):
            self._restart(ritz, new)

    def _improve_filter(self, ritz: Ritz, new: NDArray[np.intp]) -> bool:
        """Change over to a better filter where there is one, from a combination of the wanted Ritz vectors."""
        if self._complement.round > 0 or self._run.breakdown or not self._filtering:
            return False
        change = better_filter(self._rows, ritz, new)
        if change is None:
            return False
        self._rows.collapse(ritz, change.best, change.filter, change.done)
        return True

    def _restart(self, ritz: Ritz, new: NDArray[np.intp]) -> None:
        """Keep the best Ritz vectors of the active rows: the more, the more of the wanted have converged."""
        rows = self._rows
        room = self._run.max_steps - rows.locked.size
        wanted = max(new.size, 1)
        converged = int(np.count_nonzero(ritz.estimates[new] <= rows.allowed(ritz.values[new])))
        keep = max(1, min(wanted + converged + (room - wanted) // 3, room - 3, ritz.mu.size - 1))
        if self._run.breakdown:  # nothing is coupled to what follows
            self._begin_round()
            return
        order = rows.wanted
        if self._complement.round > 0 and np.all(np.isfinite(rows.limits())):
            order = Wanted("BE", order.k)  # whatever is found, both ends are looked at
        rows.keep(order.order(ritz.values)[:keep], ritz)

    def _lock_best(self, ritz: Ritz, new: NDArray[np.intp]) -> None:
        """Make the most wanted of locked and new pairs the only rows."""
        rows, width = self._rows, self._clusters.width
        own = rows.own
        merged = np.concatenate([own, ritz.values[new]])
        chosen = rows.wanted.order(merged)
        if width > 0.0 and merged.size > rows.wanted.k:
            low, high = rows.wanted.limits(merged, rows.wanted.k)
            chosen = chosen[(merged[chosen] >= high - width) | (merged[chosen] <= low + width)]
            chosen = chosen[: self._run.max_steps - 3 - rows.earlier]
        else:
            chosen = chosen[: rows.wanted.k]
        rows.lock(ritz, chosen[chosen < own.size], new[chosen[chosen >= own.size] - own.size])

    def _begin_round(self) -> bool:
        """Look into the complement of the locked rows; False where there is nothing left."""
        self._clusters.begin_round()
        rows = self._rows
        if self._start is not None and rows.filter is None and rows.own.size < rows.wanted.k:
            vector = self._start.left(list(self._run.rows(rows.locked.size)))
            if vector is not None and self._run.renew(vector):
                self._complement.back_to_the_first()
                rows.comparing, rows.fresh = False, False
                return True
        return self._complement.begin_round()

    def _take_up(self, failed: NDArray[np.intp]) -> None:
        """Unlock rows and go on from their sum."""
        self._complement.back_to_the_first()
        self._clusters.forget()
        self._rows.unlock(failed)

    # Results.

    def _pairs(self, chosen: NDArray[np.intp]) -> Eigenpairs:
        """Put some of the locked rows in ascending order, and return them with their values."""
        values = self._verification.values
        order = np.argsort(values[chosen], kind="stable")
        if self.residuals is not None and self.residuals.size == chosen.size:
            self.residuals = self.residuals[order]
        chosen = chosen[order]
        self._rows.locked = self._rows.locked[chosen]
        self._rows.replace(np.eye(self._run.steps)[chosen])
        return Eigenpairs(values[chosen], self._run.rows(chosen.size))

    def _report(self, ritz: Ritz, new: NDArray[np.intp]) -> None:
        rows = self._rows
        values = np.concatenate([rows.locked, ritz.values[new]])
        residuals = np.concatenate([np.zeros(rows.locked.size), ritz.estimates[new]])
        own = rows.earlier + rows.wanted.order(values[rows.earlier :])[: rows.wanted.k]
        chosen = np.concatenate([np.arange(rows.earlier), own])
        chosen = chosen[np.argsort(values[chosen], kind="stable")]
        state = EigshState(
            num_products=self._multiplier.count,
            num_restarts=self._restarts,
            num_converged=int(np.count_nonzero(residuals[chosen] <= rows.allowed(values[chosen]))),
            values=values[chosen],
            residuals=residuals[chosen],
        )
        self._bar.set_postfix_str(
            f"{state.num_converged}/{rows.wanted.k} converged, round {self._complement.round + 1}"
        )
        if self._callback is not None:
            try:
                self._callback(state)
            except StopIteration:
                self._stopped = "the callback ended the run"
