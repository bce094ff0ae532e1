"""Samples v' f(A) v for random probes v, from runs without a basis that can be continued."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.brackets import Bounds, radau
from fastlanczos.gauss.quadrature import quadrature
from fastlanczos.gauss.truncation import algebraic_remainder, fewer_steps, series_remainder
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.operators.operator import Operator
from fastlanczos.probes.intervals import short_tail, standard_error
from fastlanczos.sums.deflation import Deflation
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import MatrixFunction

__all__ = ["Samples"]

_EXACT = (0.0,) * 5  # changes of a sample that is
_SMALL = 512  # dimensions, which are few enough for all of their steps to be made, and are reorthogonalized


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
        bounds: Bounds | None = None,
    ) -> None:
        self.operator, self.f, self.seeds, self.max_memory = operator, f, seeds, max_memory
        self.bounds = Bounds() if bounds is None else bounds
        self.num_steps = 1 if f.is_identity else min(num_steps, operator.dim)
        self.num_matvecs = 0
        self.offset = 0.0  # what is known of the sum beside the operator's
        self._most_steps = max(self.num_steps, 1 if f.is_identity else min(most_steps, operator.dim))
        self._taken_out = Deflation.none(operator.dim)
        self._first = 0  # the first probe's number: 0 is the deflation's, where there is one
        self._runs: list[LanczosIteration] = []  # of the first probes
        self._clear()

    def _clear(self) -> None:
        self._samples: list[float] = []
        self._changes: list[tuple[float, ...]] = []
        self._half_brackets: list[float] = []  # half the distance of two rules that hold a sample between them
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
            self._changes += [_EXACT] * number
            self._half_brackets += [0.0] * number
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

    @property
    def bracketed(self) -> bool:
        """Whether every sample lies between two rules."""
        return 0 < self.count == len(self._half_brackets)

    def truncation_error(self) -> float:
        """Return what the finite number of steps leaves of the mean over the probes: a bound, or an estimate.

        The estimate is the largest of what a geometric series of the changes leaves, what a power of the steps does
        (functions that are singular near the spectrum), and twice how much the last steps changed the sum to and fro
        (functions with kinks and jumps).
        """
        if self.bracketed:
            return float(np.mean(self._half_brackets))
        before, after, *last = np.mean(self._changes, axis=0)
        to_and_fro = 2.0 * np.abs(last).max()
        return float(max(series_remainder(before, after), algebraic_remainder(before, after), to_and_fro))

    def rounding_error(self) -> float:
        """Return what rounding leaves uncertain, of the probes and of what was taken out."""
        return self._rounding + self._taken_out.rounding

    def steps_for(self, aim: float) -> int:
        """Return how many steps are likely to bring the truncation error below `aim`, at most twice those so far."""
        before, after = np.abs(np.mean(self._changes, axis=0)[:2])
        # The changes are a quarter of the steps apart.
        quarters = np.log(aim / self.truncation_error()) / np.log(after / before) if 0 < after < before else 4.0
        m = self.num_steps
        return int(min(np.ceil(m * (1.0 + np.clip(quarters, 1.0, 4.0) / 4.0)) + 1, self._most_steps))

    def estimate(self) -> Estimate:
        """Return what the samples so far amount to."""
        samples = np.array(self._samples)
        return Estimate(
            self.offset + self._taken_out.trace + float(samples.mean()),
            0.0 if self._rest == 0 else float(standard_error(samples)),
            self.truncation_error() + self.rounding_error(),
            len(samples),
            self.num_matvecs + self._taken_out.num_matvecs,
            float(short_tail(samples)),
            {
                "method": "deflated" if self._taken_out.rank else "hutchinson",
                "quadrature": "bracket" if self.bracketed else "estimate",
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
        reorthogonalize = "full" if self.operator.dim <= _SMALL else "none"
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
                        self.operator.dim,
                        self._most_steps,
                        v0=v0,
                        like=self.operator.kind,
                        reorthogonalize=reorthogonalize,
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
        # A run that ended early is exact, and so is a single step for the trace itself. As many steps as dimensions are
        # if they were reorthogonalized.
        whole = run.reorthogonalize == "full" and len(alpha) >= self._rest
        exact = self.f.is_identity or run.breakdown or whole
        precision = max(self.precision, run.precision)
        other = value if exact else self._other_end(run, alpha, nodes, precision)
        if other is None:
            self._samples.append(self._rest * value)
        else:
            self._samples.append(self._rest * 0.5 * (value + other))
            self._half_brackets.append(self._rest * 0.5 * abs(value - other))
        self._changes.append(_EXACT if exact else self._changes_of(alpha, beta, nodes, weights))
        self.asymmetry = max(self.asymmetry, run.asymmetry)
        self.precision = max(self.precision, run.precision)
        self._rounding = max(self._rounding, self._rest * self.f.rounding(nodes, values, weights, self.precision))

    def _other_end(self, run: LanczosIteration, alpha: Float64, nodes: Float64, precision: float) -> float | None:
        """Return what the rule says that brackets the sample together with the Gauss rule, where there is one."""
        slack = 4.0 * precision * float(np.abs(nodes).max()) * np.sqrt(self.operator.dim)
        self.bounds.check(nodes, slack)
        f, m = self.f, len(alpha)
        if f.signs is None or (f.needs and not (self.bounds.low or 0.0) > 0.0 and f.needs != "nonnegative"):
            return None
        node = self.bounds.completing(f.signs, m)
        if node is None or (f.needs and (self.bounds.low is None or self.bounds.low < 0.0)):
            return None
        last = run.beta[m - 1] if run.num_steps > m else run.residual_norm
        beta = np.append(run.beta[: m - 1], last)
        # Where a Ritz value has converged to the bound, rounding may have taken it beyond.
        outward = 2.0 * slack if node == self.bounds.high else -2.0 * slack
        with np.errstate(all="ignore"):
            if not np.isfinite(f.call(np.array([node]))).all():
                return None  # such a bound bounds nothing
        for at in (node, node + outward):
            longer = radau(alpha, beta, at)
            if longer is not None and (not f.needs or at > 0.0 or (f.needs == "nonnegative" and at == 0.0)):
                x, w = quadrature(*longer)
                return float(w @ f.at(x, w, self.operator.dim))
        return None

    def _changes_of(self, alpha: Float64, beta: Float64, nodes: Float64, weights: Float64) -> tuple[float, ...]:
        """What the sum changed by: from half of the steps to three quarters, from there to all, in the last steps."""
        m = len(alpha)

        def value_of(steps: int) -> float:
            x, w = quadrature(alpha[:steps], beta[: steps - 1])
            return float(w @ self.f.at(x, w, self.operator.dim))

        half, most = (value_of(steps) for steps in fewer_steps(m))
        value = float(weights @ self.f.at(nodes, weights, self.operator.dim))
        last = [value - value_of(max(1, m - j)) for j in (1, 2, 3)]
        return tuple(self._rest * change for change in (most - half, value - most, *last))
