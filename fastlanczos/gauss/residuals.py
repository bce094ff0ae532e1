"""Residuals of a rule's nodes: how far the measure that a node stands for spreads around it.

A Ritz vector's spectral measure has its mean at the Ritz value and its standard deviation in the residual's norm,
beta_m |S_mk|, with beta_m the coupling to the next step and S_mk the last component of T's eigenvector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.quadrature import quadratures

__all__ = ["converged", "lowest_residual", "residuals_of"]


def residuals_of(matrices: Sequence[tuple[Float64, Float64]]) -> list[Float64]:
    """Return the residuals of all nodes, ascending, for each (alpha, beta), (m,) both."""
    backwards = quadratures([(alpha[::-1], beta[:-1][::-1]) for alpha, beta in matrices])
    return [abs(beta[-1]) * np.sqrt(last) for (_, beta), (_, last) in zip(matrices, backwards, strict=True)]


def lowest_residual(beta: Float64, nodes: Float64, weights: Float64) -> float:
    """Return the residual of the lowest node alone, from S_1k S_mk = prod_j beta_j / prod_i (theta_k - theta_i)."""
    if not weights[0] > 0.0 or len(nodes) == 1:
        return abs(float(beta[-1]))
    with np.errstate(divide="ignore"):
        logarithm = np.log(np.abs(beta[:-1])).sum() - np.log(np.maximum(nodes[1:] - nodes[0], 1e-300)).sum()
    return float(abs(beta[-1]) * min(1.0, np.exp(min(0.0, logarithm - 0.5 * np.log(weights[0])))))


def converged(nodes: Float64, residuals: Float64) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the nodes whose residual is at most half of the distance to the next one, and those at both ends."""
    gaps = np.diff(nodes, prepend=-np.inf, append=np.inf)
    near = residuals <= 0.5 * np.minimum(gaps[:-1], gaps[1:])
    near[[0, -1]] = True
    return np.flatnonzero(near)
