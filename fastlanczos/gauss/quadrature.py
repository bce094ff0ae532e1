"""Gauss quadrature from symmetric tridiagonal matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64, check_product, on_device
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.cuda import cuda, to_host

__all__ = ["quadrature", "quadratures", "spectral_norm"]


def quadrature(alpha: Any, beta: Any) -> tuple[Float64, Float64]:
    """Return nodes and weights of the Gauss quadrature rules of symmetric tridiagonal matrices.

    For T with diagonal `alpha` and off-diagonal `beta`, T = S diag(nodes) S^T, the weights are the squared first
    components S[0]**2, so that `sum(weights * f(nodes))` is the (1, 1) entry of f(T). When T comes from m Lanczos steps
    started at v, this is the quadrature rule for the spectral measure of v, exact for polynomials to degree 2m - 1.

    Parameters
    ----------
    alpha : array_like, shape (..., m), float64
        Diagonals; leading dimensions are a batch. If alpha and beta are on a GPU, so is the result.
    beta : array_like, shape (..., m - 1), float64
        Off-diagonals. Signs do not matter; zeros split the matrix.

    Returns
    -------
    nodes, weights : ndarray, shape (..., m), float64
        Nodes ascending along the last axis; the weights are not negative and sum to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or an entry is not finite.
    TypeError
        If the entries are not real numbers.

    References
    ----------
    Golub and Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23 (1969), section 4.

    Examples
    --------
    The rule of the Legendre polynomials with two nodes is exact for cubics:

    >>> import fastlanczos as fl
    >>> nodes, weights = fl.quadrature([0.0, 0.0], [1 / 3**0.5])
    >>> nodes.round(4).tolist(), weights.round(4).tolist()
    ([-0.5774, 0.5774], [0.5, 0.5])
    """
    if on_device(alpha):
        return _on_device(alpha, beta)
    a, b = _real("alpha", alpha), _real("beta", beta)
    if a.ndim == 0 or a.shape[-1] == 0:
        raise ValueError(f"alpha must have shape (..., m) with m >= 1, got {a.shape}")
    if b.shape != (*a.shape[:-1], a.shape[-1] - 1):
        raise ValueError(
            f"beta must have shape {(*a.shape[:-1], a.shape[-1] - 1)} beside alpha of shape {a.shape}, got {b.shape}"
        )
    m = a.shape[-1]
    count = a.size // m
    for name, x in (("alpha", a), ("beta", b)):
        bad = int(np.count_nonzero(~np.isfinite(x)))
        if bad:
            raise ValueError(f"{name} has {bad} entries that are NaN or infinite")
    nodes, weights, failed = _core.quadrature(a.reshape(count, m), b.reshape(count, m - 1))
    if failed:
        raise ArithmeticError(f"the QL iteration did not converge for {failed} of {count} matrices")
    return nodes.reshape(a.shape), weights.reshape(a.shape)


def quadratures(matrices: Sequence[tuple[Float64, Float64]]) -> list[tuple[Float64, Float64]]:
    """Return (nodes, weights) of each matrix (alpha, beta), those of one size computed together."""
    alike: dict[int, list[int]] = {}
    for i, (alpha, _) in enumerate(matrices):
        alike.setdefault(len(alpha), []).append(i)
    rules: list[tuple[Float64, Float64]] = [(np.empty(0), np.empty(0))] * len(matrices)
    for some in alike.values():
        nodes, weights = quadrature([matrices[i][0] for i in some], [matrices[i][1] for i in some])
        for i, x, w in zip(some, nodes, weights, strict=True):
            rules[i] = x, w
    return rules


def spectral_norm(alpha: Float64, beta: Float64) -> float:
    """Return the largest absolute eigenvalue of a tridiagonal matrix."""
    nodes, _ = quadrature(alpha, beta)
    return float(np.abs(nodes).max())


def _on_device(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Do the same for arrays on a GPU: nodes and weights are there."""
    framework = framework_of(alpha, "alpha")
    check_product(alpha, "alpha", None)
    check_product(beta, "beta", None)
    shape = tuple(alpha.shape)
    if not shape or shape[-1] == 0:
        raise ValueError(f"alpha must have shape (..., m) with m >= 1, got {shape}")
    if tuple(beta.shape) != (*shape[:-1], shape[-1] - 1):
        raise ValueError(
            f"beta must have shape {(*shape[:-1], shape[-1] - 1)} beside alpha of shape {shape}, got {beta.shape}"
        )
    if not on_device(beta):
        raise TypeError("alpha is on a GPU and beta is not: give both on one side")
    m = shape[-1]
    count = math.prod(shape[:-1])
    nodes, weights = framework.empty(shape, "float64"), framework.empty(shape, "float64")
    workspace, failed = framework.empty((3 * count * m,), "float64"), framework.empty((count,), "int32")
    a, b = framework.cast(alpha, "float64"), framework.cast(beta, "float64")
    for x in (a, b):
        framework.settle(x)
    if count > 0:
        cuda().quadrature(count, m, a, b, nodes, weights, workspace, failed, framework.stream())
        why = to_host(failed, framework)
        for code, problem in ((2, "have entries that are NaN or infinite"), (1, "did not converge")):
            if bad := int(np.count_nonzero(why == code)):
                raise (ValueError if code == 2 else ArithmeticError)(f"{bad} of {count} matrices {problem}")
    return nodes, weights


def _real(name: str, x: Any) -> Float64:
    values = np.asarray(x)
    if values.dtype.kind not in "fiu":
        # An empty list has no dtype of its own; NumPy makes it float64.
        raise TypeError(f"{name} must be real numbers, got dtype {values.dtype}")
    return np.asarray(values, dtype=np.float64, order="C")
