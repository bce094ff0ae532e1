"""The search with the fewest products: a Krylov space that grows as far as memory lets it, and chains beside it.

1. One chain grows from the start vector until the wanted Ritz pairs have converged. It is looked at after every 2% of
   its length, and restarted only when the memory is full.
2. A chain from a random vector grows in the complement of *all* rows of the first, Ritz vectors that have not converged
   included. What it finds is wanted too, and another chain follows; the search ends with a chain that finds nothing
   and is long enough to hide nothing (`hidden.py`). That takes a part of the first chain's products: what the
   first chain knows does not delay the others, and hidden eigenvectors are orthogonal to all of it.
3. Where several chains have found something, values are many-fold: from the fourth chain on blocks of 2, 4, 8, 16
   random vectors are taken, if the space extends blocks.
4. Near a shift some Ritz values may dwarf the others, whose accuracy would be relative to them. They are `set apart` as
   soon as they have converged to their own size: locked, with a new chain in their complement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain
from fastlanczos.eigenpairs.hidden import probability_hidden
from fastlanczos.eigenpairs.looks import steps_to_the_next_look
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["GrowingSearch"]

_EPSILON = float(np.finfo(np.float64).eps)
_DWARFING = 100.0  # times as large as all others
_LARGEST_BLOCK = 16
_MOST_TRIALS = 4  # of verification, each with estimates held to a tenth of what they were
_ROUNDING = 16.0 * _EPSILON  # of the norm: estimates below it mean nothing


class GrowingSearch:
    """Finds the `wanted` pairs of the operator that `space` multiplies with.

    `tol` is relative to each value, `draw(p)` returns a block of random vectors (p, n), `judge` the residuals of
    rows and values, and which of them hold. `largest` is a size from which on values are as good as infinite: those of
    eigenvalues that a shift hits. An `interior` search is for few distinct eigenvalues: each of its chains ends
    where it is invariant, and shows all of them. `noise` returns what the products' own errors leave of a residual.
    """

    def __init__(
        self,
        space: Any,
        wanted: Wanted,
        *,
        dim: int,
        tol: float,
        draw: Callable[[int], Any],
        judge: Callable[[Any, Float64], tuple[Float64, NDArray[np.bool_]]],
        noise: Callable[[float], float],
        multiplicities: bool,
        max_restarts: int,
        count: Callable[[], int],
        bar: Any,
        callback: Callable[[EigshState], object] | None,
        largest: float | None = None,
        blocks: bool = False,
        interior: bool = False,
        improve: Callable[[Any, Float64, NDArray[np.intp]], tuple[Any, Float64]] | None = None,
    ) -> None:
        self._space = space
        self._wanted = wanted
        self._dim = dim
        self._tol = tol
        self._draw = draw
        self._judge = judge
        self._noise = noise
        self._multiplicities = multiplicities
        self._max_restarts = max_restarts
        self._count = count
        self._bar = bar
        self._callback = callback
        self._largest = largest
        self._blocks = blocks
        self._interior = interior
        self._improve = improve
        self._values = np.empty(0)  # of what is found
        self._pairs = np.empty((0, 0))  # (c, steps): the rows that they combine
        self._estimates = np.empty(0)  # of their residuals
        self._norm = 0.0
        self._chains = self._finds = 0
        self._log_too_likely = 0.0  # how much too likely it is that the chain hides something
        self._in_vain = False  # shadows were followed, and nothing was found
        self._random = False  # the chain began from a random vector
        self._strictness = 1.0
        self.restarts = 0
        self.residuals = np.empty(0)
        # A hidden value matters to tol: so does the probability that there is one.
        self._probability = float(np.clip(np.sqrt(tol), 1e-6, 1e-3))

    def solve(self, v0: Any) -> Eigenpairs:
        """Return the wanted pairs, verified; raise NotConverged with those that are."""
        if not self._space.start(v0[None], raw=True):
            raise ValueError("v0 is zero or not finite")
        for trial in range(_MOST_TRIALS):
            while self._run_chain():
                if not self._begin():
                    break
            values, rows = self._found_rows()
            residuals, good = self._judge(rows, values)
            if not good.all() and self._improve is not None:
                rows, values = self._improve(rows, values, np.flatnonzero(~good))
                residuals, good = self._judge(rows, values)
            if good.all():
                order = np.argsort(values, kind="stable")
                self.residuals = residuals[order]
                return Eigenpairs(values[order], rows if np.all(order[:-1] < order[1:]) else rows[order])
            if trial + 1 < _MOST_TRIALS:
                self._strictness *= 0.1
                self._take_up(np.flatnonzero(good), np.flatnonzero(~good))
        worst = int(np.argmax(np.where(good, 0.0, residuals)))
        raise NotConverged(
            f"{np.count_nonzero(~good)} pairs failed verification: for the eigenvalue {values[worst]:.6g} of the "
            f"operator that was iterated with, the residual norm is {residuals[worst]:.1e}. "
            f"Products, or solves, are not exact enough for tol = {self._tol:.1e}",
            Eigenpairs(values[good], rows[good]),
        )

    def estimates(self, values: Float64) -> Float64:
        """Return the residual norms by the recurrence, of the found pairs."""
        return self._estimates if self._estimates.size == values.size else self._allowed(values)

    # What counts.

    def _sized(self, values: Float64) -> Float64:
        """Values as they are compared: those that a shift hits are all as large."""
        return values if self._largest is None else np.clip(values, -self._largest, self._largest)

    def _allowed(self, values: Float64) -> Float64:
        """Return the residuals that count as converged: ARPACK's criterion, and no smaller than rounding permits."""
        relative = self._tol * np.maximum(np.abs(values), _EPSILON ** (2 / 3) * self._norm)
        floor = max(_ROUNDING * self._norm, self._noise(self._norm))
        return np.asarray(np.maximum(self._strictness * relative, floor))

    def _margin(self, value: float) -> float:
        """How far apart from `value` another must be to count as better."""
        return float(max(self._allowed(np.array([value]))[0] / self._strictness, 64.0 * _EPSILON * self._norm))

    # A chain.

    def _run_chain(self) -> bool:
        """Extend the chain until it has found what it can; False where the search is over."""
        space = self._space
        steps, before = 1, (0, False, 0.0)
        while True:
            space.expand(steps)
            chain = space.ritz(self._wanted if self._largest is None else Wanted("LM", self._wanted.k))
            self._norm = max(self._norm, abs(chain.ends[0]), abs(chain.ends[1]))
            if self._largest is not None and self._set_apart(chain):
                if self._all_infinite():
                    return False
                continue
            new = self._new(chain)
            allowed = self._allowed(chain.values[new])
            enough = self._values.size + new.size >= self._wanted.k
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
                    return self._multiplicities or self._values.size < self._wanted.k
                self._repair(chain, new)
                continue
            outward = np.sqrt(np.maximum(chain.residuals[new] ** 2 - chain.beside[new] ** 2, 0.0))
            if new.size and enough and self._chains > 0 and np.all(outward <= 0.1 * allowed):
                self._repair(chain, new)  # what is left lies in rows set aside, and more steps do not take it away
                continue
            if enough and not new.size:
                if not self._random:
                    if self._below(chain):
                        self._in_vain = True  # what a start vector of no chance hides, the next shows
                        return self._multiplicities
                elif self._hides_nothing():
                    shadows = np.empty((0, 0)) if self._in_vain else self._shadows(chain)
                    if not len(shadows):
                        return False
                    self._follow(shadows)
                    steps, before = 1, (0, False, 0.0)
                    continue
            now = (space.length, bool(new.size), self._distance(chain, new, allowed))
            steps = steps_to_the_next_look(space.block, before, now)
            before = now
            if space.full:
                self._restart(chain, new)
                before = (0, False, 0.0)

    def _distance(self, chain: Chain, new: NDArray[np.intp], allowed: Float64) -> float:
        """How far the chain is from its end, as a logarithm that falls by about as much in each step."""
        if new.size:
            return float(np.log(np.max(chain.residuals[new] / allowed)))
        return self._log_too_likely

    def _new(self, chain: Chain) -> NDArray[np.intp]:
        """The chain's pairs that are wanted, as far as one can see now."""
        found, k = self._values, self._wanted.k
        values = self._sized(chain.values)
        merged = np.concatenate([self._sized(found), values])
        chosen = self._wanted.order(merged)[:k]
        chosen = chosen[chosen >= found.size] - found.size
        if found.size < k:
            return chosen
        margins = np.array([self._margin(x) for x in values[chosen]])
        if self._interior:
            farthest = np.sort(np.abs(found))[k - 1]
            return np.asarray(chosen[np.abs(values[chosen]) < farthest - margins])
        low, high = self._wanted.limits(self._sized(found), k)
        return chosen[(values[chosen] > high + margins) | (values[chosen] < low - margins)]

    def _hides_nothing(self) -> bool:
        """Whether the complement holds nothing beyond what is found, but with a small probability."""
        space = self._space
        self._log_too_likely = 0.0
        if not self._random or space.length < 2:
            return False
        for limit, side in zip(
            self._wanted.limits(self._sized(self._values), self._wanted.k), (-1.0, 1.0), strict=True
        ):
            if np.isfinite(limit):
                weight = space.log_hidden(limit + side * self._margin(limit))
                likely = probability_hidden(weight, self._dim - space.first)
                self._log_too_likely = max(self._log_too_likely, float(np.log(likely / self._probability)))
        return self._log_too_likely <= 0.0

    def _shadows(self, chain: Chain) -> NDArray[Any]:
        """Return combinations of all rows (s, steps) that are better than what is found.

        Rounding errors leave parts of a hidden eigenvector in the rows before, and most in what was set aside after a
        chain had converged. The chain sees the rest only, at a value that is too small. All rows together, the products
        of those set aside included, see the whole; or the coupling to what was set aside could lift the value.
        """
        space, k = self._space, self._wanted.k
        H, found = space.whole(), self._padded()
        giant = np.abs(self._values) > _DWARFING * self._norm
        seen = np.setdiff1d(np.arange(space.steps), np.abs(found[giant]).argmax(axis=1))
        values, Y = np.linalg.eigh(H[np.ix_(seen, seen)])
        merged = self._sized(np.concatenate([self._values[giant], values]))
        best = self._wanted.order(merged)[:k]
        best = best[best >= np.count_nonzero(giant)] - np.count_nonzero(giant)
        low, high = self._wanted.limits(self._sized(self._values), k)
        margins = np.array([self._margin(x) for x in values[best]])
        best = best[(values[best] > high + margins) | (values[best] < low - margins)]
        known = found[~giant][:, seen]
        rest = Y[:, best].T - (Y[:, best].T @ known.conj().T) @ known
        rest = rest[np.linalg.norm(rest, axis=1) > 0.5]
        wide = np.zeros((len(rest), space.steps), dtype=rest.dtype)
        wide[:, seen] = rest
        if len(wide):
            return wide
        values, beside = self._sized(chain.values), chain.beside
        near = (values + beside > high) | (values - beside < low)
        lifted = np.flatnonzero(near & (beside > self._allowed(values)))
        wide = np.zeros((lifted.size, space.steps), dtype=chain.vectors.dtype)
        wide[:, space.first :] = chain.vectors[:, lifted].T
        return wide

    def _below(self, chain: Chain) -> bool:
        """Whether the pairs at the ends are known to lie below what is found."""
        values, allowed = self._sized(chain.values), self._allowed(chain.values)
        limits = self._wanted.limits(self._sized(self._values), self._wanted.k)
        for at, limit, side in zip((0, -1), limits, (-1.0, 1.0), strict=True):
            gap, residual = side * (limit - values[at]), chain.residuals[at]
            if np.isfinite(limit) and residual > allowed[at] and not residual < 0.1 * gap:
                return False
        return True

    # Found pairs.

    def _padded(self) -> NDArray[Any]:
        return self._padded_of(np.arange(self._values.size))

    def _merge(self, chain: Chain, new: NDArray[np.intp]) -> None:
        self._in_vain = self._in_vain and not new.size
        wide = np.zeros((new.size, self._space.steps), dtype=chain.vectors.dtype)
        wide[:, self._space.first :] = chain.vectors[:, new].T
        self._pairs = np.vstack([self._padded(), wide])
        self._values = np.concatenate([self._values, chain.values[new]])
        self._estimates = np.concatenate([self._estimates, chain.residuals[new]])
        if self._values.size > self._wanted.k:
            best = self._wanted.order(self._sized(self._values))[: self._wanted.k]
            if self._largest is not None:  # those that dwarf what is left stay out of its way
                best = np.union1d(best, np.flatnonzero(np.abs(self._values) > _DWARFING * self._norm))
            best = np.sort(best)
            self._values, self._pairs, self._estimates = self._values[best], self._pairs[best], self._estimates[best]

    def _found_rows(self) -> tuple[Float64, Any]:
        """Make the wanted of what is found the only rows, ascending."""
        chosen = self._wanted.select(self._sized(self._values))
        chosen = chosen[np.argsort(self._values[chosen], kind="stable")]
        self._values, self._estimates = self._values[chosen], self._estimates[chosen]
        rows = self._space.combine(self._padded_of(chosen))
        self._pairs = np.eye(chosen.size)
        return self._values, rows

    def _padded_of(self, chosen: NDArray[np.intp]) -> NDArray[Any]:
        wide = np.zeros((chosen.size, self._space.steps), dtype=self._pairs.dtype)
        wide[:, : self._pairs.shape[1]] = self._pairs[chosen]
        return wide

    def _begin(self) -> bool:
        """Begin a chain from random vectors; False where nothing is left of the space."""
        self._chains += 1
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
        self._space.forget(self._padded(), self._values)
        self._pairs = np.eye(self._values.size)

    def _set_apart(self, chain: Chain) -> bool:
        """Lock pairs that dwarf the others, each converged to its own size, and begin a chain in their complement."""
        sizes = np.abs(chain.values)
        order = np.argsort(-sizes)
        jumps = np.flatnonzero(sizes[order[:-1]] > _DWARFING * sizes[order[1:]])
        if jumps.size:
            far = order[: jumps[0] + 1]
        else:
            far = order[sizes[order] >= (self._largest or 0.0)]
            if not far.size or not self._space.breakdown:
                return False
        if np.any(chain.residuals[far] > max(self._tol, 64.0 * _EPSILON) * sizes[far]):
            return False
        if self._values.size >= self._wanted.k and not np.isin(far, self._new(chain)).any():
            return False  # as many as are wanted are found, and these are no better
        rest = np.setdiff1d(order, far)
        self._norm = float(sizes[rest].max(initial=0.0))
        space = self._space
        weights = np.zeros(space.steps, dtype=chain.vectors.dtype)
        weights[space.first :] = chain.vectors[:, rest[np.argsort(-sizes[rest])][: self._wanted.k]].sum(axis=1)
        again = space.mixed(weights)[None] if self._chains == 0 and self._finds < 2 and rest.size else None
        self._merge(chain, np.sort(far))
        self._forget_others()
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
        assert self._largest is not None
        hit = np.count_nonzero(np.abs(self._values) >= self._largest)
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
        self._values, self._estimates = self._values[good], self._estimates[good]
        self._pairs = np.eye(space.steps)[good]
        self._forget_others()
        self._chains = self._finds = 0
        self._random = False
        self._count_restart()
        space.start(vector[None])

    def _restart(self, chain: Chain, new: NDArray[np.intp]) -> None:
        """The memory is full: keep the best Ritz vectors of the chain, and of other rows those that are found."""
        self._count_restart()
        space = self._space
        if space.first > self._values.size + space.num_aside:
            room = space.max_steps - self._values.size - space.num_aside
        else:
            room = space.max_steps - space.first
        keep = max(1, min(max(2 * self._wanted.k, room // 2), room - 2 * space.block - 3, space.length - 1))
        ritz = space.ritz(Wanted("BE" if self._wanted.which in ("LM", "BE") else self._wanted.which, keep))
        best = np.sort(self._wanted.order(ritz.values)[:keep])
        if space.first > self._values.size + space.num_aside:
            found = self._padded()[:, : space.first]
            space.condense(found, self._values, ritz.vectors[:, best], ritz.values[best])
            self._pairs = np.eye(len(found))
        else:
            space.restart(ritz.vectors[:, best], ritz.values[best])

    def _count_restart(self) -> None:
        self.restarts += 1
        if self.restarts > self._max_restarts:
            raise NotConverged(f"not converged: {self._max_restarts} restarts were not enough", self.converged())

    def converged(self) -> Eigenpairs:
        """Return those pairs that are verified at any time; the run cannot go on after this."""
        chain = self._space.ritz(self._wanted) if self._space.length else None
        if chain is not None:
            done = chain.residuals <= self._allowed(chain.values)
            self._merge(chain, self._new(chain)[done[self._new(chain)]])
        values, rows = self._found_rows()
        if not values.size:
            return Eigenpairs(values, rows)
        _, good = self._judge(rows, values)
        return Eigenpairs(values[good], rows[good])

    def _report(self, chain: Chain, new: NDArray[np.intp]) -> None:
        values = np.concatenate([self._values, chain.values[new]])
        residuals = np.concatenate([np.zeros(self._values.size), chain.residuals[new]])
        chosen = self._wanted.order(values)[: self._wanted.k]
        chosen = chosen[np.argsort(values[chosen], kind="stable")]
        done = int(np.count_nonzero(residuals[chosen] <= self._allowed(values[chosen])))
        self._bar.set_postfix_str(f"{done}/{self._wanted.k} converged, chain {self._chains + 1}")
        if self._callback is not None:
            try:
                self._callback(EigshState(self._count(), self.restarts, done, values[chosen], residuals[chosen]))
            except StopIteration:
                self._callback = None
                raise NotConverged("the callback ended the run", self.converged()) from None
