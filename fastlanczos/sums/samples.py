"""Samples v' f(A) v for random probes v, from runs without a basis that can be continued."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.quadrature import quadrature
from fastlanczos.gauss.truncation import fewer_steps, series_remainder
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.operators.operator import Operator
from fastlanczos.probes.intervals import short_tail, standard_error
from fastlanczos.sums.deflation import Deflation
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import MatrixFunction

__all__ = ["Samples"]


class Samples:
    """The probes so far, of `num_steps` steps each, on the complement of what is taken out.

    Runs stay in memory as far as they fit, so that `grow` takes them further; those that do not begin again.
    """

    def __init__(
        self,
        operator: Operator,
        f: MatrixFunction,
        num_steps: int,
        most_steps: int,
        seeds: np.random.SeedSequence,
        max_memory: int | None,
    ) -> None:
        self.operator, self.f, self.seeds, self.max_memory = operator, f, seeds, max_memory
        self.num_steps = 1 if f.is_identity else min(num_steps, operator.dim)
        self.num_matvecs = 0
        self._most_steps = max(self.num_steps, 1 if f.is_identity else min(most_steps, operator.dim))
        self._taken_out = Deflation.none(operator.dim)
        self._first = 0  # the first probe's number: 0 is the deflation's, where there is one
        self._runs: list[LanczosIteration] = []  # of the first probes
        self._clear()

    def _clear(self) -> None:
        self._samples: list[float] = []
        self._changes: list[tuple[float, float]] = []
        self._rounding = 0.0
        self.asymmetry, self.precision = 0.0, self.operator.precision

    @property
    def count(self) -> int:
        """The number of probes."""
        return len(self._samples)

    @property
    def _rest(self) -> int:
        """The dimension of the complement."""
        return self.operator.dim - self._taken_out.rank

    def take_out(self, known: Deflation) -> None:
        """Leave a part that is known to it; there must be no samples yet."""
        self._taken_out, self._first = known, 1

    def draw(self, number: int, bar: Any) -> None:
        """Draw so many probes more."""
        if self._rest == 0:
            self._samples += [0.0] * number
            self._changes += [(0.0, 0.0)] * number
        else:
            self._run(range(self.count, self.count + number), bar)

    def adopt(self, run: LanczosIteration) -> None:
        """Take a run from probe 0 as the first sample."""
        self.num_matvecs += run.num_steps
        self._take(run)
        if self._most_steps > self.num_steps:
            self._runs.append(run)

    def grow(self, num_steps: int, bar: Any) -> None:
        """Take all probes to so many steps."""
        count, runs = self.count, list(self._runs)
        self.num_steps = min(num_steps, self._most_steps)
        self._clear()
        lockstep = self._plan(count).lockstep
        for first in range(0, len(runs), lockstep):
            group = runs[first : first + lockstep]
            before = sum(run.num_steps for run in group)
            drive(group, self.operator, bar=bar, until=self.num_steps)
            self.num_matvecs += sum(run.num_steps for run in group) - before
            for run in group:
                self._take(run)
        self._run(range(len(runs), count), bar)

    def cost_of(self, num_steps: int) -> int:
        """Return the products that `grow` will take."""
        return (num_steps - self.num_steps) * len(self._runs) + num_steps * (self.count - len(self._runs))

    def truncation_error(self) -> float:
        """Return an estimate of what the finite number of steps leaves of the mean over the probes."""
        return float(series_remainder(*np.mean(self._changes, axis=0)))

    def rounding_error(self) -> float:
        """Return what rounding leaves uncertain, of the probes and of what was taken out."""
        return self._rounding + self._taken_out.rounding

    def steps_for(self, aim: float) -> int:
        """Return how many steps are likely to bring the truncation error below `aim`, at most twice those so far."""
        before, after = np.abs(np.mean(self._changes, axis=0))
        # The changes are a quarter of the steps apart.
        quarters = np.log(aim / self.truncation_error()) / np.log(after / before) if 0 < after < before else 4.0
        m = self.num_steps
        return int(min(np.ceil(m * (1.0 + np.clip(quarters, 1.0, 4.0) / 4.0)) + 1, self._most_steps))

    def estimate(self) -> Estimate:
        """Return what the samples so far amount to."""
        samples = np.array(self._samples)
        return Estimate(
            self._taken_out.trace + float(samples.mean()),
            0.0 if self._rest == 0 else float(standard_error(samples)),
            self.truncation_error() + self.rounding_error(),
            len(samples),
            self.num_matvecs + self._taken_out.num_matvecs,
            float(short_tail(samples)),
            {
                "method": "deflated" if self._taken_out.rank else "hutchinson",
                "num_steps": self.num_steps,
                "deflated": self._taken_out.rank,
                "seed": self.seeds.entropy,
                "asymmetry": self.asymmetry,
            },
        )

    def _plan(self, number: int) -> Any:
        return plan_memory(self.operator, number, self.num_steps, "none", "float64", self.max_memory)

    def _run(self, indices: range, bar: Any) -> None:
        if not indices:
            return
        plan = self._plan(len(indices))
        free: list[LanczosIteration] = []  # whose memory is used again
        for first in range(0, len(indices), plan.lockstep):
            some = indices[first : first + plan.lockstep]
            group = []
            for index in some:
                v0 = self._taken_out.start(self._first + index, self.seeds)
                if free:
                    run = free.pop()
                    run.restart(v0)
                else:
                    run = LanczosIteration(
                        self.operator.dim, self._most_steps, v0=v0, like=self.operator.kind, reorthogonalize="none"
                    )
                group.append(run)
            drive(group, self.operator, bar=bar, until=self.num_steps)
            for run in group:
                self.num_matvecs += run.num_steps
                bar.update(self.num_steps - run.num_steps)  # an invariant subspace saves the rest
                self._take(run)
                kept = self._most_steps > self.num_steps and len(self._runs) + plan.lockstep < plan.fitting
                (self._runs if kept and len(self._runs) == self.count - 1 else free).append(run)

    def _take(self, run: LanczosIteration) -> None:
        alpha, beta = run.alpha[: self.num_steps], run.beta[: self.num_steps - 1]
        nodes, weights = quadrature(alpha, beta)
        values = self.f.at(nodes, weights, self.operator.dim)
        value = float(weights @ values)
        self._samples.append(self._rest * value)
        # A run that ended early is exact, and so is a single step for the trace itself.
        exact = self.f.is_identity or run.breakdown or len(alpha) >= self._rest
        self._changes.append((0.0, 0.0) if exact else self._changes_of(alpha, beta, nodes, weights))
        self.asymmetry = max(self.asymmetry, run.asymmetry)
        self.precision = max(self.precision, run.precision)
        self._rounding = max(self._rounding, self._rest * self.f.rounding(nodes, values, weights, self.precision))

    def _changes_of(self, alpha: Float64, beta: Float64, nodes: Float64, weights: Float64) -> tuple[float, float]:
        """What the sum changed by from half of the steps to three quarters, and from there to all."""
        rules = [quadrature(alpha[:m], beta[: m - 1]) for m in fewer_steps(len(alpha))]
        half, most, value = (float(w @ self.f.at(x, w, self.operator.dim)) for x, w in (*rules, (nodes, weights)))
        return self._rest * (most - half), self._rest * (value - most)
