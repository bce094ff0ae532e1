"""The number of eigenvalues in an interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.gauss.quadrature import quadratures
from fastlanczos.operators.operator import Operator, as_operator
from fastlanczos.probes.draw import seed_sequence
from fastlanczos.sums.accuracy import Accuracy, narrow
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.exact import Factorization
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.rules import Recurrence, Value, values_of
from fastlanczos.sums.samples import Samples

__all__ = ["eigencount"]

_STEPS = 100


def eigencount(
    A: Any,
    low: float,
    high: float,
    dim: int | None = None,
    *,
    num_probes: int | None = None,
    num_steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_matvecs: int | None = None,
    bounds: Any = None,
    seed: Any = None,
    max_memory: int | None = None,
    like: Any = None,
    progress: bool = False,
) -> Estimate:
    """Estimate how many eigenvalues lie in [low, high].

    Parameters
    ----------
    A, dim, num_probes, num_steps, rtol, atol, max_matvecs, seed, max_memory, like, progress
        As in `trace`.
    low, high : float
        Ends of the interval; they may be infinite.
    num_steps : int, optional
        Number of Lanczos steps for each probe, by default 100.
    bounds : (low, high), optional
        As in `trace`: no eigenvalue is beyond them, and so none is in doubt at an end that is.

    Returns
    -------
    Estimate
        Its quadrature error is a bound, by the inequalities of Chebyshev, Markov and Stieltjes: a probe's measure below
        a point lies between the rule's weights with and without the nodes next to it.

    References
    ----------
    Lin, Saad and Yang, "Approximating spectral densities of large matrices", SIAM Review 58 (2016).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> e = fl.eigencount(np.diag(np.r_[np.zeros(300), np.linspace(1, 2, 100)]), 0.5, 3.0, seed=0)
    >>> bool(abs(e.value - 100) < e.half_width())
    True
    """
    if not low <= high:
        raise ValueError(f"low must not be above high, got [{low}, {high}]")
    operator = as_operator(A, dim, v0=like)
    accuracy = Accuracy.asked_for(rtol, atol, max_matvecs)
    exact = None
    if num_probes is None and num_steps is None and accuracy is not None:
        exact = Factorization(operator, _inside(low, high))
    if num_probes is None:
        num_probes = 20 if accuracy is None else 10
    num_probes = as_dimension(num_probes, "num_probes")
    num_steps = _STEPS if num_steps is None else as_dimension(num_steps, "num_steps")
    if exact is not None and exact.is_the_way("auto", num_probes * num_steps, accuracy):
        return exact.estimate(0)
    most_steps = num_steps if accuracy is None else accuracy.most_steps(num_steps)
    within = Bounds.given(bounds)
    samples = _Counts(operator, low, high, num_steps, most_steps, seed_sequence(seed), max_memory, within)
    total = num_probes * samples.num_steps if accuracy is None else None
    with tqdm(total=total, desc="eigencount", unit="product", disable=not progress) as bar:
        if accuracy is None:
            samples.draw(num_probes, bar)
        else:
            worth = np.inf if exact is None else exact.products
            if not narrow(samples, accuracy, num_probes, bar, worth) and exact is not None:
                return exact.estimate(samples.num_matvecs)
    warn_if_asymmetric(samples.asymmetry, samples.precision)
    return samples.estimate()


def _inside(low: float, high: float) -> MatrixFunction:
    return MatrixFunction("count", lambda x: ((x >= low) & (x <= high)).astype(np.float64))


class _Counts(Samples):
    """Probes' shares in an interval, whose error has a bound in the place of an estimate: f jumps."""

    def __init__(
        self,
        operator: Operator,
        low: float,
        high: float,
        num_steps: int,
        most_steps: int,
        seeds: np.random.SeedSequence,
        max_memory: int | None,
        bounds: Bounds,
    ) -> None:
        super().__init__(operator, _inside(low, high), num_steps, most_steps, seeds, max_memory, bounds)
        least = -np.inf if bounds.low is None else bounds.low
        most = np.inf if bounds.high is None else bounds.high
        self._ends = [end for end in (low, high) if least <= end <= most]

    def truncation_error(self) -> float:
        """Return a bound on what the finite number of steps leaves."""
        return float(np.mean([changes[1] for changes in self._changes]))

    def steps_for(self, aim: float) -> int:
        """Return how many steps are likely to bring it below `aim`: it falls as nodes lie closer."""
        more = min(2.0, max(1.25, self.truncation_error() / aim))
        return int(min(np.ceil(more * self.num_steps), self._most_steps))

    def _values(self, runs: list[Recurrence]) -> list[Value]:
        found = values_of(self.f, self.operator.dim, runs, self.bounds, self.precision, estimated=False)
        rules = quadratures([run.shorter(len(run.alpha)) for run in runs])
        return [
            value
            if run.exact
            else replace(value, changes=(0.0, run.size * sum(_uncertain(*rule, t) for t in self._ends)))
            for run, rule, value in zip(runs, rules, found, strict=True)
        ]


def _uncertain(nodes: Float64, weights: Float64, t: float) -> float:
    """How much of the measure may lie on the other side of t than the rule says: the node on either side of it."""
    used = weights > 0
    x, w = nodes[used], weights[used]
    if t < x[0] or t > x[-1]:
        return 0.0
    right = int(np.searchsorted(x, t))
    left = max(0, right - 1)
    return float(max(w[left], w[min(right, len(w) - 1)]))
