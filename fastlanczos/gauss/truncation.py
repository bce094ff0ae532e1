"""The error that a finite number of Lanczos steps leaves, estimated from the rules of fewer steps of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.engine.host_run import HostRun
from fastlanczos.gauss.quadrature import quadrature

__all__ = ["fewer_steps", "series_remainder", "shorter_rules"]


def fewer_steps(num_steps: int) -> tuple[int, int]:
    """Return a half and three quarters of the steps: with all of them, three rules a quarter apart."""
    return max(1, num_steps // 2), max(1, 3 * num_steps // 4)


def series_remainder(before: Any, after: Any) -> Float64:
    """Return twice what a geometric series would still add whose last two terms had the sizes `before` and `after`.

    Where the terms do not fall nothing is known, and the estimate is what the two have added.
    """
    before, after = np.abs(before), np.abs(after)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = after / before
        rest = 2.0 * after * ratio / (1.0 - ratio)
    falling = after < before
    return np.asarray(np.where(falling, np.minimum(rest, before + after), before + after))


def shorter_rules(nodes: Float64, weights: Float64) -> list[tuple[Float64, Float64]]:
    """Return the Gauss rules (nodes, weights) of a half and three quarters of the steps that gave this one, shape (m,).

    They are those of the measure that the rule itself is: Lanczos on its nodes gives the tridiagonal matrix back, but
    for ghosts, nodes that a run without reorthogonalization has found several times.
    """
    used = weights > 0
    x, mass = nodes[used], float(weights.sum())
    run = HostRun(len(x), len(x), "float64")
    run.start(np.sqrt(weights[used]))
    while not run.finished:
        run.advance(x * run.vector)
    rules = []
    for m in fewer_steps(run.steps):
        shorter, shares = quadrature(run.alpha[:m], run.beta[: m - 1])
        rules.append((shorter, mass * shares))
    return rules
