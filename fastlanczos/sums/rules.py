"""What Lanczos runs give of v' f(A) v: the Gauss rule, the rules of fewer steps, and a rule on the other side of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.brackets import Bounds, radau
from fastlanczos.gauss.quadrature import quadratures
from fastlanczos.gauss.residuals import converged, lowest_residual, residuals_of
from fastlanczos.gauss.truncation import fewer_steps
from fastlanczos.sums.functions import MatrixFunction

__all__ = ["EXACT", "Recurrence", "Value", "last_changes", "values_of"]

_EPSILON = float(np.finfo(np.float64).eps)
_STEEP = 100.0  # times its value at the lowest node that f may be at rounding's distance from 0
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
    there are none. `blur` is how much of it hangs on where the measure around a node lies. `gauss` is the Gauss rule's
    value, `norm` the largest absolute node.
    """

    value: float
    gauss: float
    changes: tuple[float, float]
    half_bracket: float | None
    blur: float
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
    blurs = _blurs(f, dim, runs, rules) if estimated and None in others else [0.0] * len(runs)
    return [
        Value(
            run.size * (value if other is None else 0.5 * (value + other)),
            run.size * value,
            (run.size * changed[0], run.size * changed[1]),
            None if other is None else 0.5 * run.size * abs(value - other),
            run.size * blur,
            run.size * float(doubt.sum()),
            float(np.abs(x).max()),
        )
        for run, (x, _), value, other, changed, blur, doubt in zip(
            runs, rules, gauss, others, changes, blurs, doubts, strict=True
        )
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


def _blurs(
    f: MatrixFunction, dim: int, runs: Sequence[Recurrence], rules: Sequence[tuple[Float64, Float64]]
) -> list[float]:
    """Return for each run what f is in doubt by if the measure at a node lies half and half to both sides of it.

    A node stands for eigenvalues around it, at about the distance of its residual. All rules agree where f jumps, has a
    kink or a singularity between such eigenvalues, as long as no node is on the other side. Nodes whose residual is as
    large as the distance to the next one are those that have not converged: differences of rules see them move.
    """
    blurs = [0.0] * len(runs)
    open_ = [i for i, run in enumerate(runs) if not run.exact]
    if not open_ or (f.signs is not None and not f.needs):  # nothing, or exp
        return blurs
    if f.signs is not None and all(rules[i][0][0] > 0.0 for i in open_):  # smooth above 0
        residuals = np.array([lowest_residual(runs[i].beta, *rules[i]) for i in open_])
        nodes, shares = (np.array([rules[i][k][0] for i in open_]) for k in (0, 1))
        far = np.flatnonzero(residuals > nodes)  # where the short way may have suffered from nodes found twice
        for j, r in zip(far, residuals_of([(runs[open_[j]].alpha, runs[open_[j]].beta) for j in far]), strict=True):
            residuals[j] = min(residuals[j], r[0])
        gaps = np.array([rules[i][0][1] - rules[i][0][0] if len(rules[i][0]) > 1 else np.inf for i in open_])
        least = dim * _EPSILON * max(float(rules[i][0][-1]) for i in open_)
        for i, doubt in zip(open_, shares * _doubts_near_zero(f, nodes, residuals, gaps, least), strict=True):
            blurs[i] = float(doubt)
        return blurs
    all_ = residuals_of([(runs[i].alpha, runs[i].beta) for i in open_])
    within = [converged(rules[i][0], r) for i, r in zip(open_, all_, strict=True)]
    nodes = np.concatenate([rules[i][0][k] for i, k in zip(open_, within, strict=True)])
    doubts = _doubts(f, nodes, np.concatenate([r[k] for r, k in zip(all_, within, strict=True)]))
    ends = np.cumsum([len(k) for k in within])[:-1]
    for i, k, doubt in zip(open_, within, np.split(doubts, ends), strict=True):
        blurs[i] = float(rules[i][1][k] @ doubt) + (0.0 if f.needs else _doubt_at_zero(f, *rules[i]))
    return blurs


def _beside(f: MatrixFunction, x: Float64) -> Float64:
    """Return f at points beside the nodes, NaN where it is not defined: a user's f needs to be on the spectrum only."""
    try:
        values = np.asarray(f.call(x))
    except Exception:
        return np.full(x.shape, np.nan)
    return values.astype(np.float64) if values.dtype.kind in "fiub" else np.full(x.shape, np.nan)


def _doubts(f: MatrixFunction, x: Float64, r: Float64) -> Float64:
    """Return f's second difference at a distance r, less four times that at half of it, which leaves smooth f out."""
    with np.errstate(all="ignore"):
        low, high, lower, higher, here = np.split(
            _beside(f, np.concatenate([x - r, x + r, x - r / 2, x + r / 2, x])), 5
        )
        whole, half = low + high - 2.0 * here, lower + higher - 2.0 * here
        doubt = np.minimum(np.abs(whole - 4.0 * half), np.maximum(np.abs(whole), np.abs(half)))
    return np.where(np.isfinite(doubt), doubt, 0.0)


def _doubts_near_zero(f: MatrixFunction, x: Float64, r: Float64, gap: Float64, least: float) -> Float64:
    """Return the doubt at lowest nodes of a function that is smooth above 0, and singular there.

    Where the residual says that the measure may reach down to 0, and the node is apart from the next one, it is taken
    for lognormal if f changes slowly, such as the logarithm. If f grows beyond all bounds nothing is known, and the
    measure may be at `least`.
    """
    doubts = np.where(r <= 0.5 * gap, _doubts(f, x, np.minimum(r, 0.9 * x)), 0.0)
    far = r > x
    if far.any():
        centre, width = x[far], np.log1p((r[far] / x[far]) ** 2)
        low, high = (centre * np.exp(-0.5 * width + sign * np.sqrt(width)) for sign in (-1.0, 1.0))
        with np.errstate(all="ignore"):
            at = [_beside(f, t) for t in (low, high, centre, np.full_like(centre, least))]
        mild = np.where(r[far] <= 0.5 * gap[far], np.abs(at[0] + at[1] - 2.0 * at[2]), 0.0)
        doubts[far] = np.where(np.abs(at[3]) > _STEEP * np.abs(at[2]), np.abs(at[3]), np.maximum(doubts[far], mild))
    return doubts


def _doubt_at_zero(f: MatrixFunction, nodes: Float64, weights: Float64) -> float:
    """Return what a cusp or jump of f at 0, between two nodes, puts in doubt: the weight beside it may all be at 0."""
    k = int(np.searchsorted(nodes, 0.0))
    if k in (0, len(nodes)) or nodes[k] == 0.0:
        return 0.0
    left, right = nodes[k - 1], nodes[k]
    with np.errstate(all="ignore"):
        at_left, at_zero, at_right = _beside(f, np.array([left, 0.0, right]))
        off = abs(float(at_zero - (at_left * right - at_right * left) / (right - left)))
    return 2.0 * float(max(weights[k - 1], weights[k])) * off if np.isfinite(off) else 0.0


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
