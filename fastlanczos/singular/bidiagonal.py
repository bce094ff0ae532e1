"""Golub and Kahan's bidiagonalization, both bases orthogonal to rounding: the fewest products where these are dear.

A V^T = U^T T with T upper bidiagonal, so that nothing is squared, and all singular values down to rounding in A come
from one chain, where B^H B needs a level for every few digits. One-sided reorthogonalization (Simon and Zha, SIAM J.
Sci. Comput. 21, 2000) is not enough for that: on a geometric spectrum to 1e-14 left vectors are then orthogonal to
5e-2 only, and residuals 2e-5 of the norm (docs/singular.md).

One start vector shows one copy of each value. So the complement of what is found is looked into with a random vector
(`holds_more`): by the bound of hidden.py it holds nothing larger, or what it holds is found otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from fastlanczos.eigenpairs.hidden import acceptable, log_christoffel, probability_hidden
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON, Triplets

__all__ = ["bidiagonalize", "holds_more"]

_LOOK = 0.03  # of the steps between two looks
_ROUNDING = 16.0 * EPSILON  # of the norm
_INVARIANT = 32.0 * EPSILON


def bidiagonalize(
    B: Rectangular, k: int, tol: float, start: Block, most: int, watch: Callable[[Block, Block], object]
) -> tuple[Block, bool]:
    """Return right vectors (n, <= k) of the largest values from at most so many steps, and whether they have converged.

    `watch` gets values and estimates of residuals at each look.
    """
    m, n = B.shape
    V, U = np.empty((most + 1, n), B.dtype), np.empty((most, m), B.dtype)
    diagonal, beside = np.zeros(most), np.zeros(most)
    V[0] = start / np.linalg.norm(start)
    scale, next_look = 0.0, k + 1
    for j in range(most):
        u, diagonal[j] = _left_over(B.multiply(V[j : j + 1].T)[:, 0], U[:j])
        U[j] = u
        scale = max(scale, diagonal[j])
        v, beside[j] = _left_over(B.multiply_adjoint(u[:, None])[:, 0], V[: j + 1])
        scale = max(scale, beside[j])
        V[j + 1] = v
        steps = j + 1
        ends = min(diagonal[j], beside[j]) <= _INVARIANT * scale
        if steps < next_look and not ends and steps < most:
            continue
        next_look = steps + max(1, int(_LOOK * steps))
        T = np.diag(diagonal[:steps]) + np.diag(beside[: steps - 1], 1)
        left, values, right = scipy.linalg.svd(T)
        residuals = beside[j] * np.abs(left[-1, :k])
        watch(values[:k], residuals)
        done = bool(np.all(residuals <= np.maximum(tol * values[:k], _ROUNDING * values[0])))
        if (done and steps >= k) or ends or steps == most:
            return (right[:k] @ V[:steps]).T, done and steps >= k
    raise AssertionError("there is at least one step")


def _left_over(x: Block, rows: Block) -> tuple[Block, float]:
    """Return what the rows leave of a vector, as a unit vector, and its length; zeros where there is nothing."""
    size = float(np.linalg.norm(x))
    for _ in range(2):
        x = x - (rows.conj() @ x) @ rows
    length = float(np.linalg.norm(x))
    if length <= _INVARIANT * size:
        return np.zeros_like(x), 0.0
    x = x / length
    x = x - (rows.conj() @ x) @ rows  # where little was left
    return x / np.linalg.norm(x), length


def holds_more(B: Rectangular, found: Triplets, tol: float, most: int, generator: np.random.Generator) -> bool:
    """Whether the complement of triplets has a larger value than the smallest of them, or may have one.

    It has none but with a probability of 1e-6 where False is returned, as `eigsh` would find.
    """
    norm, limit = float(found.values.max()), float(found.values.min())
    limit = (limit + 64.0 * EPSILON * norm) ** 2
    n = B.shape[1] - found.values.size
    V = np.empty((most + 1, B.shape[1]), B.dtype)
    taken = found.V.T
    v = generator.standard_normal(B.shape[1]).astype(B.dtype)
    if B.dtype == "complex128":
        v = v + 1j * generator.standard_normal(v.size)
    V[0] = _left_over(v, taken)[0]
    alpha, beta = np.zeros(most), np.zeros(most)
    for j in range(min(most, n)):
        z = B.multiply_adjoint(B.multiply(V[j : j + 1].T))[:, 0]
        alpha[j] = float((V[j].conj() @ z).real)
        w, beta[j] = _left_over(z - (taken.conj() @ z) @ taken, V[: j + 1])
        V[j + 1], _ = _left_over(w, taken) if beta[j] else (w, 0.0)
        steps = j + 1
        if beta[j] == 0.0 or steps == n:
            largest = scipy.linalg.eigvalsh_tridiagonal(alpha[:steps], beta[: steps - 1])[-1]
            return bool(largest > limit)
        if steps < 3 or steps % max(1, int(_LOOK * steps)):
            continue
        largest = scipy.linalg.eigvalsh_tridiagonal(alpha[:steps], beta[: steps - 1])[-1]
        if largest > limit:
            return True
        if probability_hidden(log_christoffel(alpha[:steps], beta[: steps - 1], limit), n) <= acceptable(tol):
            return False
    return True
