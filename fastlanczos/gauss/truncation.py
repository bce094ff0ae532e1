"""The error that a finite number of Lanczos steps leaves, estimated from the rules of fewer steps of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.engine.host_run import HostRun
from fastlanczos.gauss.quadrature import quadrature

__all__ = ["algebraic_remainder", "fewer_steps", "series_remainder", "shorter_rules"]


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


def algebraic_remainder(before: Any, after: Any) -> Float64:
    """Return what is left of an error that falls like a power of the number of steps.

    `before` is the change from half of the steps to three quarters, `after` that from there to all. Where the error is
    e at m steps and (m / j)^p e at j, after / before = ((4/3)^p - 1) / (2^p - (4/3)^p), which is below log(4/3) /
    log(3/2) = 0.71. Beyond that, nothing is known but that all so far may be wrong.
    """
    before, after = np.abs(before), np.abs(after)
    powers = np.linspace(0.02, 60.0, 3000)
    ratios = ((4 / 3) ** powers - 1.0) / (2.0**powers - (4 / 3) ** powers)  # descending
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.interp(-after / before, -ratios, powers)
        rest = after / ((4 / 3) ** p - 1.0)
    return np.asarray(np.where(after > 0.0, np.where(before > 0.0, rest, 50.0 * after), 0.0))


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
