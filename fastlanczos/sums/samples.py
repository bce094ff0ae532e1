"""Samples v' f(A) v for random probes v, from runs without a basis that can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.engine.kinds import shared_of
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.gauss.truncation import algebraic_remainder, series_remainder
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.operators.operator import Operator
from fastlanczos.probes.draw import probe
from fastlanczos.probes.intervals import short_tail, standard_error
from fastlanczos.ranks.group import Group
from fastlanczos.ranks.portions import in_portions
from fastlanczos.sums.deflation import OBSERVED_GROWTH, Deflation
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.preconditioner import Preconditioned
from fastlanczos.sums.rules import EXACT, Recurrence, Value, last_changes, values_of

__all__ = ["Observer", "Samples"]

_NEGLIGIBLE = 0.02  # of the probes' standard error: changes below it are not looked at more closely
_SMALL = 512  # dimensions, which are few enough for all of their steps to be made, and are reorthogonalized


class _Measured(NamedTuple):
    """What is kept of a run: T, how far its products were from symmetric ones and exact ones, and their number."""

    recurrence: Recurrence
    max_projection: float
    precision: float
    products: int


class Observer(Protocol):
    """Who looks at the runs while they are in memory, with their bases."""

    def precondition(self, inner: Preconditioned) -> None:
        """Be told that runs are of R' A R."""

    def take_out(self, known: Deflation) -> None:
        """Be told what probes leave out."""

    def see(self, index: int, run: LanczosIteration, num_steps: int, size: float) -> None:
        """Look at the first steps of probe `index`, whose start vector has the squared norm `size`; again, where the
        run has gone on."""


class Samples:
    """The probes so far, of `num_steps` steps each, on the complement of what is taken out.

    Runs stay in memory as far as they fit, so that `grow` takes them further; those that do not begin again, and so do
    all that are shared out among the ranks of a `group`.
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
        group: Group | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._shared = shared_of(operator.kind)
        self._group = group  # among whose ranks the probes are shared out
        self.operator, self.f, self.seeds, self.max_memory = operator, f, seeds, max_memory
        self.bounds = Bounds() if bounds is None else bounds
        self.num_steps = 1 if f.is_identity else min(num_steps, operator.dim)
        self.num_matvecs = 0
        self.offset = 0.0  # what is known of the sum beside the operator's
        self.transform: Callable[[Float64], Float64] | None = None  # of probes, to start vectors of any length
        self._sizes: dict[int, float] = {}  # squared norms of the kept runs' start vectors
        self._most_steps = max(self.num_steps, 1 if f.is_identity else min(most_steps, operator.dim))
        self._taken_out = Deflation.none(operator.dim)
        self._first = 0  # the first probe's number: 0 is the deflation's, where there is one
        self._runs: list[LanczosIteration] = []  # of the first probes
        self._clear()

    def _clear(self) -> None:
        self._samples: list[float] = []
        self._changes: list[tuple[float, float]] = []
        self._evaluated: list[tuple[Recurrence, Value]] = []
        self._blurs: list[float] = []
        self._last: tuple[int, Float64] = 0, np.zeros(3)  # changes in the last steps, summed over so many probes
        self._half_brackets: list[float] = []  # half the distance of two rules that hold a sample between them
        self._ended: list[Recurrence] = []  # of which samples are still to be made
        self._projections: list[float] = []
        self._rounding = 0.0
        self.asymmetry, self.precision = 0.0, self.operator.precision

    @property
    def count(self) -> int:
        """The number of probes."""
        return len(self._samples) + len(self._ended)

    @property
    def _rest(self) -> int:
        """The dimension of the complement."""
        return self.operator.dim - self._taken_out.rank

    def take_out(self, known: Deflation) -> None:
        """Leave a part that is known to it; there must be no samples yet."""
        self._taken_out, self._first = known, 1
        if self._observer is not None:
            self._observer.take_out(known)

    def draw(self, number: int, bar: Any) -> None:
        """Draw so many probes more."""
        if self._rest == 0:
            self._samples += [0.0] * number
            self._changes += [EXACT] * number
            self._blurs += [0.0] * number
            self._half_brackets += [0.0] * number
        else:
            self._run(range(self.count, self.count + number), bar)
        self._evaluate()

    def adopt(self, run: LanczosIteration) -> None:
        """Take a run from probe 0 as the first sample."""
        self._see(self.count, run, float(self._rest))
        self._note(self._measure(run, float(self._rest), run.num_steps))
        if self._most_steps > self.num_steps:
            self._runs.append(run)

    def grow(self, num_steps: int, bar: Any) -> None:
        """Take all probes to so many steps."""
        count, runs = self.count, list(self._runs)
        self.num_steps = min(num_steps, self._most_steps)
        if runs and runs[0].max_steps < self.num_steps:  # their bases are too small
            runs, self._runs = [], []
        self._clear()
        lockstep = self._plan(count).lockstep
        for first in range(0, len(runs), lockstep):
            group = runs[first : first + lockstep]
            before = [run.num_steps for run in group]
            drive(group, self.operator, bar=bar, until=self.num_steps)
            for run, steps in zip(group, before, strict=True):
                size = self._sizes.get(self.count, float(self._rest))
                self._see(self.count, run, size)
                self._note(self._measure(run, size, run.num_steps - steps))
        self._run(range(len(runs), count), bar)
        self._evaluate()

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
        (functions that are singular near the spectrum), what the measure's spread around its nodes puts in doubt (the
        same inside clusters), and twice how much the last steps changed the sum to and fro (functions with kinks and
        jumps). The last is looked at where the others are not negligible beside the choice of
        probes: it takes three rules more of each.
        """
        if self.bracketed:
            return float(np.mean(self._half_brackets))
        before, after = np.mean(self._changes, axis=0)
        remainder = float(max(series_remainder(before, after), algebraic_remainder(before, after)))
        remainder = max(remainder, float(np.mean(self._blurs)))
        noise = float(standard_error(np.array(self._samples))) if self.count > 1 else 0.0
        if max(abs(before), abs(after)) <= _NEGLIGIBLE * noise:
            return remainder
        return max(remainder, 2.0 * float(np.abs(self._last_changes()).max()))

    def _last_changes(self) -> Float64:
        """Return how much the last one, two and three steps changed the mean over the probes."""
        known, total = self._last
        some = self._evaluated[known:]
        if some:
            runs, values = [run for run, _ in some], [value for _, value in some]
            new = last_changes(self.f, self.operator.dim, runs, values).sum(axis=0)
            self._last = len(self._evaluated), total + new
        return self._last[1] / max(1, self.count)

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
        if self._observer is not None:
            return plan_memory(self.operator, number, self._longest, "full", "float64", self.max_memory)
        return plan_memory(self.operator, number, self.num_steps, "none", "float64", self.max_memory)

    @property
    def _longest(self) -> int:
        """How far new runs may go: with a basis, not as far as all."""
        if self._observer is None:
            return self._most_steps
        return min(self._most_steps, OBSERVED_GROWTH * self.num_steps)

    def _see(self, index: int, run: LanczosIteration, size: float) -> None:
        if self._observer is not None:
            self._observer.see(index, run, min(run.num_steps, self.num_steps), size)

    def _run(self, indices: range, bar: Any) -> None:
        if not indices:
            return
        if self._group is None:
            for measured in self._measured(indices, bar):
                self._note(measured)
        else:
            for measured in in_portions(self._group, indices, lambda some: self._measured(some, bar)):
                self._note(measured)

    def _measured(self, indices: range, bar: Any) -> Iterator[_Measured]:
        """Run probes, and yield what is kept of each."""
        plan = self._plan(len(indices))
        reorthogonalize = "full" if self.operator.dim <= _SMALL or self._observer is not None else "none"
        free: list[LanczosIteration] = []  # whose memory is used again
        for first in range(0, len(indices), plan.lockstep):
            some = indices[first : first + plan.lockstep]
            group, sizes = [], []
            for index in some:
                v0 = self._start(index)
                size = float(self._rest)
                if self.transform is not None:
                    v0 = self.transform(v0)
                    size = float(v0 @ v0)
                sizes.append(size)
                if free:
                    run = free.pop()
                    run.restart(v0)
                else:
                    run = LanczosIteration(
                        self.operator.dim,
                        self._longest,
                        v0=v0,
                        like=self.operator.kind,
                        reorthogonalize=reorthogonalize,
                    )
                group.append(run)
            drive(group, self.operator, bar=bar, until=self.num_steps)
            for run, index, size in zip(group, some, sizes, strict=True):
                bar.update(self.num_steps - run.num_steps)  # an invariant subspace saves the rest
                kept = self._most_steps > self.num_steps and len(self._runs) + plan.lockstep < plan.fitting
                if kept and len(self._runs) == index and self._group is None:
                    self._runs.append(run)
                    self._sizes[index] = size
                else:
                    free.append(run)
                self._see(index, run, size)
                yield self._measure(run, size, run.num_steps)

    def _start(self, index: int) -> Any:
        if self._shared is not None:
            return probe(self.operator.dim, self.seeds, self._first + index, shared=self._shared)
        return self._taken_out.start(self._first + index, self.seeds)

    def _measure(self, run: LanczosIteration, size: float, products: int) -> _Measured:
        """Return what is kept of a run that so many products have just been made for."""
        m, beta = min(run.num_steps, self.num_steps), run.beta
        beta = beta[:m] if run.num_steps > m else np.append(beta[: m - 1], run.residual_norm)
        # A run that ended early is exact, and so is a single step for the trace itself. As many steps as dimensions are
        # if they were reorthogonalized.
        whole = run.reorthogonalize == "full" and m >= self._rest
        exact = self.f.is_identity or run.breakdown or whole
        recurrence = Recurrence(run.alpha[:m], beta, size, exact)
        return _Measured(recurrence, run.max_projection, run.precision, products)

    def _note(self, measured: _Measured) -> None:
        """Take note of a run; `_evaluate` then makes a sample of it."""
        self._ended.append(measured.recurrence)
        self._projections.append(measured.max_projection)
        self.precision = max(self.precision, measured.precision)
        self.num_matvecs += measured.products

    def _evaluate(self) -> None:
        """Make samples of the runs that have ended since the last call, all at once."""
        if self._ended:
            values = self._values(self._ended)
            self._evaluated += zip(self._ended, values, strict=True)
            for value, projection in zip(values, self._projections, strict=True):
                self._samples.append(value.value)
                self._changes.append(value.changes)
                self._blurs.append(value.blur)
                if value.half_bracket is not None:
                    self._half_brackets.append(value.half_bracket)
                self._rounding = max(self._rounding, value.rounding)
                if projection > 0.0:
                    self.asymmetry = max(self.asymmetry, projection / value.norm if value.norm > 0.0 else 0.0)
            self._ended, self._projections = [], []

    def _values(self, runs: list[Recurrence]) -> list[Value]:
        return values_of(self.f, self.operator.dim, runs, self.bounds, self.precision)
