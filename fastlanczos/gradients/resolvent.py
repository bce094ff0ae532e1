"""(lambda - A)^+ r on the complement of some eigenvectors, by MINRES."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import LinearOperator, minres

from fastlanczos.arrays.cpu import Float64

__all__ = ["RTOL", "resolvents"]

RTOL = 1e-10  # of the right side, to which the equations are solved
_ACCEPTED = 1e-6  # above which a residual is an error
_REFINEMENTS = 5


def resolvents(multiply: Callable[[Float64], Float64], values: Float64, vectors: Float64, right: Float64) -> Float64:
    """Return y_i, columns (n, k), with (values_i - A) y_i = right_i on the complement of the orthonormal columns.

    Raises ValueError where an eigenvalue of the complement coincides with values_i: there is no such vector.
    """
    n = len(vectors)
    found = np.zeros_like(right)

    def outside(v: Float64) -> Float64:
        return v - vectors @ (vectors.T @ v)

    for i, value in enumerate(values):
        r = outside(outside(right[:, i]))
        size = float(np.linalg.norm(r))
        if size <= 10 * np.finfo(np.float64).eps * float(np.linalg.norm(right[:, i])):
            continue

        def product(v: Float64, value: float = float(value)) -> Float64:
            inside = outside(v)
            return outside(value * inside - multiply(inside))

        system = LinearOperator((n, n), matvec=product, dtype=np.float64)
        y, rest = np.zeros(n), r
        for _ in range(_REFINEMENTS):  # MINRES loses what rounding costs its recurrences; the residual shows it
            with np.errstate(over="ignore", invalid="ignore"):  # a system without a solution
                step, _ = minres(system, rest, rtol=RTOL, maxiter=20 * n)
            if not np.isfinite(step).all():
                break
            y = y + outside(step)
            rest = outside(r - product(y))
            if np.linalg.norm(rest) <= RTOL * size:
                break
        residual = float(np.linalg.norm(rest)) / size
        if not residual <= _ACCEPTED:
            raise ValueError(
                f"the vector of the value {value:.9g} has no derivative: another value, which is not among those asked "
                f"for, coincides with it or lies too close (a residual of {residual:.1e} is left). Ask for all copies "
                "of it (a larger k), and let the loss depend on the space that they span, not on its basis"
            )
        found[:, i] = y
    return found
