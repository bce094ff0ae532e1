"""The search with the fewest products: a Krylov space that grows as far as memory lets it, and chains beside it.

1. One chain grows from the start vector until the wanted Ritz pairs have converged. It is looked at after every 2% of
   its length, and restarted only when the memory is full.
2. A chain from a random vector grows in the complement of *all* rows of the first, Ritz vectors that have not converged
   included. What it finds is wanted too, and another chain follows; the search ends with a chain that finds nothing
   and is long enough to hide nothing (`hidden.py`). That takes a part of the first chain's products: what the
   first chain knows does not delay the others, and hidden eigenvectors are orthogonal to all of it.
3. Where several chains have found something, values are many-fold: from the fourth chain on blocks of 2, 4, 8, 16
   random vectors are taken, if the space extends blocks.
4. Near a shift some Ritz values may dwarf the others, whose accuracy would be relative to them, and solves are as
   asymmetric among them as rounding makes these large. They are `set apart` as soon as one more product of each makes
   them exact: locked, with a new chain in their complement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain
from fastlanczos.eigenpairs.criteria import DWARFING, EPSILON, Criteria
from fastlanczos.eigenpairs.found import Found
from fastlanczos.eigenpairs.hidden import acceptable, probability_hidden
from fastlanczos.eigenpairs.judges import Judge
from fastlanczos.eigenpairs.looks import steps_to_the_next_look
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, Judged, NotConverged
from fastlanczos.eigenpairs.shadows import shadows
from fastlanczos.eigenpairs.start_block import Settled, StartBlock
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["GrowingSearch", "TooSlow"]

_LARGEST_BLOCK = 16
_ROUGHLY = 1e-3  # the part of a value that its residual may be for it to be set apart
_MOST_IMPROVEMENTS = 3  # of pairs that do not hold, by a solve each, before the search goes on
_NO_WEIGHT = float(np.log(1e-6))  # what of an eigenvector does not lower what the complement shows of it
_MOST_TRIALS = 4  # of verification, each with estimates held to a tenth of what they were


class TooSlow(Exception):
    """The memory is full, and a filter would get on better from here."""


class GrowingSearch:
    """Finds the `wanted` pairs of the operator that `space` multiplies with, to `tol` relative to each value.

    `draw(p)` returns a block of random vectors (p, n). `largest` is a size from which on values are as good as
    infinite: those of eigenvalues that a shift hits. An `interior` search is for few distinct eigenvalues: each of its
    chains ends where it is invariant, and shows all of them. Once the first chain has been restarted `patience` times
    `filter_is_better` is asked at each further one. What is `settled` of a `start` are the first rows, and what is left
    of it begins chains before random vectors do.
    """

    def __init__(
        self,
        space: Any,
        wanted: Wanted,
        *,
        dim: int,
        tol: float,
        draw: Callable[[int], Any],
        judge: Judge,
        multiplicities: bool,
        max_restarts: int,
        count: Callable[[], int],
        bar: Any,
        callback: Callable[[EigshState], object] | None,
        largest: float | None = None,
        blocks: bool = False,
        interior: bool = False,
        patience: int = 0,
        filter_is_better: Callable[[], bool] = lambda: False,
        start: StartBlock | None = None,
        settled: Settled | None = None,
    ) -> None:
        self._space = space
        self._wanted = wanted
        self._dim = dim
        self._criteria = Criteria(tol, judge.noise, largest)
        self._found = Found(wanted, self._criteria)
        self._draw = draw
        self._judge = judge
        self._multiplicities = multiplicities
        self._max_restarts = max_restarts
        self._count = count
        self._bar = bar
        self._callback = callback
        self._blocks = blocks
        self._interior = interior
        self._patience = patience
        self._filter_is_better = filter_is_better
        self._start, self._settled = start, settled
        self._chains = self._finds = 0
        self._log_too_likely = 0.0  # how much too likely it is that the chain hides something
        self._in_vain = False  # shadows were followed, and nothing was found
        self._random = False  # the chain began from a random vector
        # The chain began from rows of chains before it, of which others have been dropped: rounding may have left a
        # hidden eigenvector in both, and the complement, which holds nothing, does not tell.
        self._releasing = False
        self.restarts = 0
        self.residuals = np.empty(0)
        self._acceptable = acceptable(tol)

    def solve(self, v0: Any) -> Eigenpairs:
        """Return the wanted pairs, verified; raise NotConverged with those that are."""
        if self._settled is not None and self._settled.values.size:
            self._adopt(self._settled)
        elif not self._space.start(v0[None], raw=True):
            raise ValueError("v0 is zero or not finite")
        for trial in range(_MOST_TRIALS):
            while self._run_chain():
                if not self._begin():
                    break
            values, rows, residuals, good = self._judged()
            for again in range(_MOST_IMPROVEMENTS):
                # At last all, the largest first, which then need not be orthogonal to errors of the others.
                these = np.argsort(-np.abs(values)) if again else np.flatnonzero(~good)
                improved = None if good.all() else self._judge.improve(rows, values, these)
                if improved is None:
                    break
                rows, values = improved
                residuals, good = self._judge.judge(rows, values, residuals)
            if good.all():
                order = np.argsort(values, kind="stable")
                self.residuals = residuals[order]
                return Eigenpairs(values[order], rows if np.all(order[:-1] < order[1:]) else rows[order])
            if trial + 1 < _MOST_TRIALS:
                self._criteria.strictness *= 0.1
                self._take_up(np.flatnonzero(good), np.flatnonzero(~good))
        worst = int(np.argmax(np.where(good, 0.0, residuals)))
        raise NotConverged.after(
            f"{np.count_nonzero(~good)} pairs failed verification: for the eigenvalue {values[worst]:.6g} of the "
            f"operator that was iterated with, the residual norm is {residuals[worst]:.1e}. "
            f"Products, or solves, are not exact enough for tol = {self._criteria.tol:.1e}",
            Judged(Eigenpairs(values, rows), residuals, good),
        )

    def _adopt(self, settled: Settled) -> None:
        """Begin with eigenvectors that are known, and a chain in their complement."""
        self._space.adopt(settled.vectors, settled.values)
        self._found.adopt(settled.values, settled.residuals)
        self._criteria.norm = settled.norm
        self._begin()

    # A chain.

    def _run_chain(self) -> bool:
        """Extend the chain until it has found what it can; False where the search is over."""
        space = self._space
        steps, before = 1, (0, False, 0.0)
        while True:
            space.expand(steps)
            if not space.length:
                raise NotConverged(
                    "there is no room for another vector: pass a larger ncv", Eigenpairs(np.empty(0), None)
                )
            chain = space.ritz(self._wanted if self._criteria.largest is None else Wanted("LM", self._wanted.k))
            self._criteria.norm = max(self._criteria.norm, abs(chain.ends[0]), abs(chain.ends[1]))
            if self._criteria.largest is not None and self._set_apart(chain):
                if self._all_infinite():
                    return False
                continue
            new = self._new(chain)
            allowed = self._criteria.allowed(chain.values[new])
            enough = self._found.size + new.size >= self._wanted.k
            self._report(chain, new)
            if self._interior and not space.breakdown:
                if space.full:
                    raise NotConverged("there are too many distinct eigenvalues", Eigenpairs(np.empty(0), None))
                steps = 1
                continue
            if space.breakdown or (new.size and enough and np.all(chain.residuals[new] <= allowed)):
                if np.all(chain.residuals[new] <= allowed) or self._chains == 0:
                    self._merge(chain, new)
                    if space.steps >= self._dim or (self._random and enough and not new.size):
                        return False
                    return self._multiplicities or self._found.size < self._wanted.k
                self._repair(chain, new)
                continue
            outward = np.sqrt(np.maximum(chain.residuals[new] ** 2 - chain.beside[new] ** 2, 0.0))
            if new.size and enough and self._chains > 0 and np.all(outward <= 0.1 * allowed):
                self._repair(chain, new)  # what is left lies in rows set aside, and more steps do not take it away
                continue
            if enough and not new.size:
                if self._releasing and self._log_weight() <= _NO_WEIGHT:
                    return False
                if not self._random:
                    if self._below(chain):
                        self._in_vain = True  # what a start vector of no chance hides, the next shows
                        return self._multiplicities
                elif self._hides_nothing():
                    weights = np.empty((0, 0))
                    if not self._in_vain:
                        weights = shadows(space, chain, self._found, self._wanted, self._criteria)
                    release = not len(weights) and space.dropped and not self._in_vain
                    weights = self._earlier() if release else weights
                    if not len(weights):
                        return False
                    self._follow(weights)
                    self._releasing = release
                    steps, before = 1, (0, False, 0.0)
                    continue
            now = (space.length, bool(new.size), self._distance(chain, new, allowed))
            steps = steps_to_the_next_look(space.block, before, now)
            before = now
            if space.full:
                if self._chains == 0 and self.restarts >= self._patience and self._filter_is_better():
                    raise TooSlow
                self._restart(chain, new)
                before = (0, False, 0.0)

    def _distance(self, chain: Chain, new: NDArray[np.intp], allowed: Float64) -> float:
        """How far the chain is from its end, as a logarithm that falls by about as much in each step."""
        if new.size:
            return float(np.log(np.max(chain.residuals[new] / allowed)))
        return self._log_too_likely

    def _new(self, chain: Chain) -> NDArray[np.intp]:
        """The chain's pairs that are wanted, as far as one can see now."""
        found, k = self._found, self._wanted.k
        values = self._criteria.sized(chain.values)
        merged = np.concatenate([self._criteria.sized(found.values), values])
        chosen = self._wanted.order(merged)[:k]
        chosen = chosen[chosen >= found.size] - found.size
        if found.size < k:
            return chosen
        if self._interior:
            farthest = np.sort(np.abs(found.values))[k - 1]
            return np.asarray(chosen[np.abs(values[chosen]) < farthest - self._criteria.margin(values[chosen])])
        return chosen[found.beyond(values[chosen])]

    def _earlier(self) -> NDArray[Any]:
        """Return a random combination (1, steps) of the rows before the chain that are not found; none without such."""
        space, found = self._space, self._found.combinations(self._space.steps)
        weights = np.zeros((1, space.steps), dtype=found.dtype)
        weights[0, : space.first] = np.random.default_rng(space.first).standard_normal(space.first)
        for _ in range(2):
            weights -= (weights @ found.conj().T) @ found
        size = float(np.linalg.norm(weights))
        return weights / size if size > _ROUGHLY else weights[:0]

    def _log_weight(self) -> float:
        """The logarithm of the weight that a better eigenvector may have in the vector that the chain began from."""
        if self._space.length < 2:
            return 0.0
        limits = [(limit, side) for limit, side in zip(self._found.limits(), (-1.0, 1.0), strict=True)]
        margins = self._criteria.margin(np.array([limit for limit, _ in limits]))
        return max(
            float(self._space.log_hidden(limit + side * float(margin)))
            for (limit, side), margin in zip(limits, margins, strict=True)
            if np.isfinite(limit)
        )

    def _hides_nothing(self) -> bool:
        """Whether the complement holds nothing beyond what is found, but with a small probability."""
        self._log_too_likely = 0.0
        if not self._random or self._space.length < 2:
            return False
        likely = probability_hidden(self._log_weight(), self._dim - self._space.first)
        self._log_too_likely = max(0.0, float(np.log(likely / self._acceptable)))
        return self._log_too_likely <= 0.0

    def _below(self, chain: Chain) -> bool:
        """Whether the pairs at the ends are known to lie below what is found."""
        values, allowed = self._criteria.sized(chain.values), self._criteria.allowed(chain.values)
        for at, limit, side in zip((0, -1), self._found.limits(), (-1.0, 1.0), strict=True):
            gap, residual = side * (limit - values[at]), chain.residuals[at]
            if np.isfinite(limit) and residual > allowed[at] and not residual < 0.1 * gap:
                return False
        return True

    # Found pairs.

    def _merge(self, chain: Chain, new: NDArray[np.intp]) -> None:
        self._in_vain = self._in_vain and not new.size
        self._found.merge(chain, new, self._space.first, self._space.steps)

    def _judged(self) -> tuple[Float64, Any, Float64, NDArray[np.bool_]]:
        """Make the wanted of what is found the only rows, ascending; values, rows, residuals, and which hold."""
        found = self._found
        chosen = found.ascending()
        rows = self._space.combine(found.combinations(self._space.steps, chosen))
        found.choose(chosen)
        found.are_the_first_rows()
        if not found.size:
            return found.values, rows, np.empty(0), np.empty(0, dtype=bool)
        return found.values, rows, *self._judge.judge(rows, found.values, found.estimates)

    def _begin(self) -> bool:
        """Begin a chain from random vectors, or what is left of the start; False if nothing is left of the space."""
        self._chains += 1
        self._random = self._releasing = False
        if self._start is not None and self._found.size < self._wanted.k:
            vector = self._start.left([self._space.mixed(c) for c in self._found.combinations(self._space.steps)])
            if vector is not None and self._space.start(vector[None], raw=True):
                return True
        self._random = True
        size = 1
        if self._blocks and self._finds > 2:
            size = min(2 ** (self._finds - 2), self._wanted.k, _LARGEST_BLOCK)
        self._finds += 1
        space = self._space
        if space.steps + space.num_aside + 4 * size + 8 >= space.max_steps:
            self._forget_others()
            if space.steps + 4 * size + 8 >= space.max_steps:
                size = 1
        return any(space.start(self._draw(size), raw=True) for _ in range(3))

    def _forget_others(self) -> None:
        """Keep of all rows those that are found."""
        self._space.forget(self._found.combinations(self._space.steps), self._found.values)
        self._found.are_the_first_rows()

    def _set_apart(self, chain: Chain) -> bool:
        """Lock pairs that dwarf the others, once a product makes them exact, and begin a chain in their complement."""
        sizes = np.abs(chain.values)
        order = np.argsort(-sizes)
        jumps = np.flatnonzero(sizes[order[:-1]] > DWARFING * sizes[order[1:]])
        if jumps.size:
            far = order[: jumps[0] + 1]
        else:
            far = order[sizes[order] >= (self._criteria.largest or 0.0)]
            if not far.size or not self._space.breakdown:
                return False
        rest = np.setdiff1d(order, far)
        # A product damps what else is in them by as much as they dwarf it.
        damped = float(sizes[rest].max(initial=0.0) / sizes[far].min())
        enough = min(max(self._criteria.tol, 64.0 * EPSILON) / max(damped, 1e-300), _ROUGHLY)
        if np.any(chain.residuals[far] > enough * sizes[far]):
            return False
        if self._found.size >= self._wanted.k and not np.isin(far, self._new(chain)).any():
            return False  # as many as are wanted are found, and these are no better
        self._criteria.norm = float(sizes[rest].max(initial=0.0))
        space = self._space
        weights = np.zeros(space.steps, dtype=chain.vectors.dtype)
        weights[space.first :] = chain.vectors[:, rest[np.argsort(-sizes[rest])][: self._wanted.k]].sum(axis=1)
        again = space.mixed(weights)[None] if self._chains == 0 and self._finds < 2 and rest.size else None
        self._merge(chain, np.sort(far))
        self._forget_others()
        before = self._found.size - far.size
        self._found.choose(np.r_[np.arange(before), before + np.flatnonzero(space.sharpen(before))])
        self._found.are_the_first_rows()
        # What T says of the others it says with those mixed in.
        known = np.abs(self._found.values[:before])
        self._criteria.norm = float(known[known < sizes[far].min() / DWARFING].max(initial=0.0))
        space.asymmetry = 0.0  # it was relative to them
        if self._all_infinite():
            return True
        if again is None or not space.start(again):
            self._chains += 1
            self._begin()
        else:
            self._finds += 1
            self._random = False
        return True

    def _all_infinite(self) -> bool:
        """Whether k values are found that the shift hits, than which none is nearer."""
        assert self._criteria.largest is not None
        hit = np.count_nonzero(np.abs(self._found.values) >= self._criteria.largest)
        return bool(self._wanted.which == "LM" and hit >= self._wanted.k)

    def _repair(self, chain: Chain, new: NDArray[np.intp]) -> None:
        """Begin again from Ritz vectors that have parts in what was set aside: the first chain had not seen it all."""
        weights = np.zeros((new.size, self._space.steps), dtype=chain.vectors.dtype)
        weights[:, self._space.first :] = chain.vectors[:, new].T
        self._follow(weights)

    def _follow(self, weights: NDArray[Any]) -> None:
        """Begin again from combinations (s, steps) of the rows, in the complement of what is found alone."""
        space = self._space
        vectors = space.mixed(weights[:_LARGEST_BLOCK]) if self._blocks else space.mixed(weights.sum(axis=0))[None]
        self._forget_others()
        self._random = False
        self._count_restart()
        if not space.start(vectors):
            self._begin()

    def _take_up(self, good: NDArray[np.intp], failed: NDArray[np.intp]) -> None:
        """Go on from the sum of the rows that did not hold."""
        space = self._space
        weights = np.zeros(space.steps)
        weights[failed] = 1.0
        vector = space.mixed(weights)
        self._found.choose(good)
        self._forget_others()
        self._chains = self._finds = 0
        self._random = False
        self._count_restart()
        space.start(vector[None])

    def _restart(self, chain: Chain, new: NDArray[np.intp]) -> None:
        """The memory is full: keep the best Ritz vectors of the chain, and of other rows those that are found."""
        self._count_restart()
        space = self._space
        if space.first > self._found.size + space.num_aside:
            room = space.max_steps - self._found.size - space.num_aside
        else:
            room = space.max_steps - space.first
        keep = max(1, min(max(2 * self._wanted.k, room // 2), room - 2 * space.block - 3, space.length - 1))
        ritz = space.ritz(Wanted("BE" if self._wanted.which in ("LM", "BE") else self._wanted.which, keep))
        best = np.sort(self._wanted.order(ritz.values)[:keep])
        if space.first > self._found.size + space.num_aside:
            found = self._found.combinations(space.first)
            space.condense(found, self._found.values, ritz.vectors[:, best], ritz.values[best])
            self._found.are_the_first_rows()
        else:
            space.restart(ritz.vectors[:, best], ritz.values[best])

    def _count_restart(self) -> None:
        self.restarts += 1
        if self.restarts > self._max_restarts:
            raise NotConverged.after(
                f"not converged: {self._max_restarts} restarts were not enough", self._everything()
            )

    def _everything(self) -> Judged:
        """Return the best pairs at any time; the run cannot go on after this."""
        chain = self._space.ritz(self._wanted) if self._space.length else None
        if chain is not None:
            self._merge(chain, self._new(chain))
        values, rows, residuals, good = self._judged()
        return Judged(Eigenpairs(values, rows), residuals, good)

    def _report(self, chain: Chain, new: NDArray[np.intp]) -> None:
        values = np.concatenate([self._found.values, chain.values[new]])
        residuals = np.concatenate([np.zeros(self._found.size), chain.residuals[new]])
        chosen = self._wanted.order(values)[: self._wanted.k]
        chosen = chosen[np.argsort(values[chosen], kind="stable")]
        done = int(np.count_nonzero(residuals[chosen] <= self._criteria.allowed(values[chosen])))
        self._bar.set_postfix_str(f"{done}/{self._wanted.k} converged, chain {self._chains + 1}")
        if self._callback is not None:
            try:
                self._callback(EigshState(self._count(), self.restarts, done, values[chosen], residuals[chosen]))
            except StopIteration:
                self._callback = None
                raise NotConverged.after("the callback ended the run", self._everything()) from None
