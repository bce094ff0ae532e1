"""What Lanczos runs give of v' f(A) v: the Gauss rule, the rules of fewer steps, and a rule on the other side of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.brackets import Bounds, radau
from fastlanczos.gauss.quadrature import quadratures
from fastlanczos.gauss.truncation import fewer_steps
from fastlanczos.sums.functions import MatrixFunction

__all__ = ["EXACT", "Recurrence", "Value", "last_changes", "values_of"]

EXACT = (0.0, 0.0)  # changes of a value that no further step changes


@dataclass(frozen=True)
class Recurrence:
    """A run's tridiagonal matrix: `alpha` (m,), and `beta` (m,) whose last entry leads to the next step.

    `size` is the squared norm of its start vector; `exact` says that no further step would change anything.
    """

    alpha: Float64
    beta: Float64
    size: float
    exact: bool

    def shorter(self, steps: int) -> tuple[Float64, Float64]:
        """Return diagonal and off-diagonal of the first steps."""
        return self.alpha[:steps], self.beta[: steps - 1]


@dataclass(frozen=True)
class Value:
    """v' f(A) v.

    `changes` are those of the Gauss rule from half of the steps to three quarters, and from there to all.
    `half_bracket` is half the distance of two rules that hold it between them, `value` then the middle; None where
    there are none. `gauss` is the Gauss rule's value, `norm` the largest absolute node.
    """

    value: float
    gauss: float
    changes: tuple[float, float]
    half_bracket: float | None
    rounding: float
    norm: float


def values_of(
    f: MatrixFunction, dim: int, runs: Sequence[Recurrence], bounds: Bounds, precision: float, *, estimated: bool = True
) -> list[Value]:
    """Return the value of each run, f called once for all rules of a kind. Without `estimated` changes are left out."""
    rules = quadratures([run.shorter(len(run.alpha)) for run in runs])
    nodes, weights = np.concatenate([x for x, _ in rules]), np.concatenate([w for _, w in rules])
    ends = np.cumsum([len(x) for x, _ in rules])[:-1]
    at = f.at(nodes, weights, dim)
    doubts = np.split(weights * f.uncertainty(nodes, at, precision), ends)
    gauss = [float(part.sum()) for part in np.split(weights * at, ends)]
    others = _other_ends(f, dim, runs, rules, gauss, bounds, precision)
    fewer = [i for i, run in enumerate(runs) if estimated and not run.exact]
    before = _of_fewer(f, dim, [(runs[i], fewer_steps(len(runs[i].alpha))) for i in fewer])
    changes = [EXACT] * len(runs)
    for i, (half, most) in zip(fewer, before, strict=True):
        changes[i] = most - half, gauss[i] - most
    return [
        Value(
            run.size * (value if other is None else 0.5 * (value + other)),
            run.size * value,
            (run.size * changed[0], run.size * changed[1]),
            None if other is None else 0.5 * run.size * abs(value - other),
            run.size * float(doubt.sum()),
            float(np.abs(x).max()),
        )
        for run, (x, _), value, other, changed, doubt in zip(runs, rules, gauss, others, changes, doubts, strict=True)
    ]


def last_changes(f: MatrixFunction, dim: int, runs: Sequence[Recurrence], values: Sequence[Value]) -> Float64:
    """Return how much the last one, two and three steps changed the Gauss rule of each run, shape (runs, 3)."""
    open_ = [i for i, run in enumerate(runs) if not run.exact]
    steps = [tuple(max(1, len(runs[i].alpha) - j) for j in (1, 2, 3)) for i in open_]
    before = _of_fewer(f, dim, [(runs[i], m) for i, m in zip(open_, steps, strict=True)])
    changes = np.zeros((len(runs), 3))
    for i, found in zip(open_, before, strict=True):
        changes[i] = values[i].gauss - runs[i].size * np.array(found)
    return changes


def _of_fewer(f: MatrixFunction, dim: int, of: Sequence[tuple[Recurrence, tuple[int, ...]]]) -> list[list[float]]:
    """Return f by the Gauss rules of each run's first steps, for the numbers of steps beside it."""
    found = iter(f.integrals(quadratures([run.shorter(m) for run, steps in of for m in steps]), dim))
    return [[next(found) for _ in steps] for _, steps in of]


def _other_ends(
    f: MatrixFunction,
    dim: int,
    runs: Sequence[Recurrence],
    rules: Sequence[tuple[Float64, Float64]],
    gauss: list[float],
    bounds: Bounds,
    precision: float,
) -> list[float | None]:
    """Return what the rule says that brackets the value together with the Gauss rule; None where there is none."""
    others: list[float | None] = [value if run.exact else None for run, value in zip(runs, gauss, strict=True)]
    completed = {}
    for i, (run, (nodes, _)) in enumerate(zip(runs, rules, strict=True)):
        slack = 4.0 * precision * float(np.abs(nodes).max()) * np.sqrt(dim)
        bounds.check(nodes, slack)
        longer = None if run.exact else _completed(f, run, bounds, slack)
        if longer is not None:
            completed[i] = longer
    for i, other in zip(completed, f.integrals(quadratures(list(completed.values())), dim), strict=True):
        others[i] = other
    return others


def _completed(f: MatrixFunction, run: Recurrence, bounds: Bounds, slack: float) -> tuple[Float64, Float64] | None:
    """Return the matrix of the Gauss-Radau rule whose error has the other sign, where the bounds provide one."""
    if f.signs is None:
        return None
    zero_is_in = f.needs == "nonnegative"
    if f.needs and (bounds.low is None or bounds.low < 0.0 or (bounds.low == 0.0 and not zero_is_in)):
        return None
    node = bounds.completing(f.signs, len(run.alpha))
    if node is None:
        return None
    with np.errstate(all="ignore"):
        if not np.isfinite(f.call(np.array([node]))).all():
            return None  # such a bound bounds nothing
    # Where a Ritz value has converged to the bound, rounding may have taken it beyond.
    outward = 2.0 * slack if node == bounds.high else -2.0 * slack
    for at in (node, node + outward):
        if not f.needs or at > 0.0 or (zero_is_in and at == 0.0):
            longer = radau(run.alpha, run.beta, at)
            if longer is not None:
                return longer
    return None
