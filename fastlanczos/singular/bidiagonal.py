"""Golub and Kahan's bidiagonalization, both bases orthogonal to rounding: the fewest products where these are dear.

A V^T = U^T T with T upper bidiagonal, so that nothing is squared, and all singular values down to rounding in A come
from one chain, where B^H B needs a level for every few digits. The compiled step sweeps each basis once
(csrc/include/fastlanczos/bidiagonal.hpp). One-sided reorthogonalization (Simon and Zha, SIAM J. Sci. Comput. 21, 2000)
is not enough for that: on a geometric spectrum to 1e-14 left vectors are then orthogonal to 5e-2 only, and residuals
2e-5 of the norm (docs/singular.md).

One start vector shows one copy of each value. So the complement of what is found is looked into with a random vector
(`holds_more`): by the bound of hidden.py it holds nothing larger, or what it holds is found otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.hidden import acceptable, log_christoffel, probability_hidden
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.singular.gram import Gram
from fastlanczos.singular.rectangular import Block, Rectangular
from fastlanczos.singular.triplets import EPSILON, Triplets

__all__ = ["bidiagonalize", "holds_more"]

_LOOK = 0.03  # of the steps between two looks
_ROUNDING = 16.0 * EPSILON  # of the norm


def bidiagonalize(
    B: Rectangular,
    k: int,
    tol: float,
    start: Block,
    most: int,
    watch: Callable[[Float64, Float64], object],
    patience: int | None = None,
) -> tuple[Block, bool]:
    """Return right vectors (n, <= k) of the largest values from at most so many steps, and whether they have converged.

    `watch` gets values and estimates of residuals at each look. With `patience` it ends after so many steps if none has
    converged by then.
    """
    m, n = B.shape
    left, right = np.empty(m, B.dtype), np.empty(n, B.dtype)
    V = np.empty((most, n), B.dtype)
    run = _core.Bidiagonal(np.empty((most, m), B.dtype), V, left, right)
    if not run.start(np.ascontiguousarray(start, dtype=B.dtype)):
        raise ValueError("v0 is zero: a start vector needs a direction")
    next_look = k + 1 if patience is None else min(k + 1, patience)
    while True:
        if run.take_left(_column(B.multiply(right.copy()[:, None]))):
            run.take_right(_column(B.multiply_adjoint(left.copy()[:, None])))
        steps = run.steps
        if steps < next_look and not run.ended:
            continue
        next_look = steps + max(1, int(_LOOK * steps))
        values, residuals = _largest(run, k)
        watch(values, residuals)
        good = residuals <= np.maximum(tol * values, _ROUNDING * values[0])
        done = bool(good.all()) and steps >= k
        if done or run.ended or (patience is not None and steps >= patience and not good.any()):
            T = np.diag(run.alpha) + np.diag(run.beta[:-1], 1)
            return (scipy.linalg.svd(T)[2][:k] @ V[:steps]).T, done


def _column(block: Block) -> Block:
    return np.ascontiguousarray(block[:, 0])


def _largest(run: _core.Bidiagonal, k: int) -> tuple[Float64, Float64]:
    """The k largest values of T, descending, and what each leaves; nothing is squared.

    They are eigenvalues of the tridiagonal matrix with zeros on its diagonal and alpha_0, beta_0, alpha_1, ... beside
    it (Golub and Kahan, 1965), whose eigenvectors are right and left ones interleaved.
    """
    steps = run.steps
    beside = np.empty(2 * steps - 1)
    beside[::2], beside[1::2] = run.alpha, run.beta[:-1]
    first = 2 * steps - min(k, steps)
    values, vectors = scipy.linalg.eigh_tridiagonal(
        np.zeros(2 * steps), beside, select="i", select_range=(first, 2 * steps - 1)
    )
    return np.maximum(values[::-1], 0.0), run.remainder * np.sqrt(2.0) * np.abs(vectors[-1, ::-1])


def holds_more(B: Rectangular, found: Triplets, tol: float, most: int, generator: np.random.Generator) -> bool:
    """Whether the complement of triplets has a larger value than the smallest of them, or may have one.

    It has none but with a probability of 1e-6 where False is returned, as `eigsh` would find.
    """
    norm, limit = float(found.values.max()), float(found.values.min())
    limit = (limit + 64.0 * EPSILON * norm) ** 2
    n = B.shape[1] - found.values.size
    V, product = found.V, Gram(B, Triplets.none(B).V)

    def complement(x: Block) -> Block:
        return np.asarray(x - V @ (V.conj().T @ x))

    v0 = generator.standard_normal(B.shape[1]).astype(B.dtype)
    if B.dtype == "complex128":
        v0 = v0 + 1j * generator.standard_normal(v0.size)
    it = LanczosIteration(B.shape[1], min(most, n), v0=complement(complement(v0)))
    while True:
        v = complement(it.vector)
        more = it.step(complement(product.multiply(v)))
        steps = it.num_steps
        if it.breakdown or steps == n:
            return bool(scipy.linalg.eigvalsh_tridiagonal(it.alpha, it.beta)[-1] > limit)
        if steps >= 3 and (steps % max(1, int(_LOOK * steps)) == 0 or not more):
            alpha, beta = it.alpha, np.append(it.beta, it.residual_norm)
            if scipy.linalg.eigvalsh_tridiagonal(alpha, beta[:-1])[-1] > limit:
                return True
            if probability_hidden(log_christoffel(alpha, beta[:-1], limit), n) <= acceptable(tol):
                return False
        if not more:
            return True
