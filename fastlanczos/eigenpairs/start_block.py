"""Vectors that are expected to be near the wanted eigenvectors: what is known from them before a search begins.

If the first is an eigenvector to the tolerance, Rayleigh and Ritz, with a product each, tell which are: these are rows
of the search from its beginning, and the complement is looked into as ever. The first chain begins from the sum of the
others, the next ones, before any that begins from a random vector, from the sum of what is left of them. So they guide
the search and decide nothing: what random starts must not hide is the same as without them.

Vectors with errors of their own, each in another direction, help a single chain by its weight in the wanted space
alone, and a block of chains takes as many products as it has vectors: docs/eigenpairs.md has both, measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["Settled", "StartBlock"]

_ROUNDING = 64.0 * float(np.finfo(np.float64).eps)  # of the norm

_INDEPENDENT = 1e-8  # of the largest singular value: directions below it are noise
_PRESENT = 0.5  # of the square of a direction's length, which must be left of it to count as not found


@dataclass(frozen=True)
class Settled:
    """Eigenvectors that were known, of a run's kind, about the operator's norm, and the products that it took."""

    values: Float64
    vectors: list[Any]
    residuals: Float64
    norm: float
    products: int


class StartBlock:
    """Vectors (n, p), as `convert` makes them those of a run."""

    def __init__(self, vectors: NDArray[Any], convert: Callable[[NDArray[Any]], Any]) -> None:
        vectors = vectors / np.linalg.norm(vectors, axis=0)
        U, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
        self._first = np.ascontiguousarray(vectors[:, 0])
        self._orthonormal = U[:, sizes > _INDEPENDENT * sizes[0]]
        self._convert = convert
        self._converted = [convert(np.ascontiguousarray(u)) for u in self._orthonormal.T]

    def first(self) -> Any:
        """Return the sum of all."""
        return self._convert(self._orthonormal.sum(axis=1))

    def settle(self, multiply: Callable[[NDArray[Any]], NDArray[Any]], tol: float) -> Settled:
        """Return the eigenvectors among combinations of the vectors, to `tol` of each value or to rounding.

        If the first vector is none, the others are hardly, and no more products are made.
        """
        other = np.random.default_rng(0).standard_normal(len(self._first)).astype(self._first.dtype)
        product, rest = multiply(self._first), multiply(other / np.linalg.norm(other))
        value = float((self._first.conj() @ product).real)
        norm = max(float(np.linalg.norm(product)), float(np.linalg.norm(rest)))  # it may be large elsewhere
        residual = float(np.linalg.norm(product - value * self._first))
        if residual > max(tol * abs(value), _ROUNDING * norm):
            return Settled(np.empty(0), [], np.empty(0), norm, 2)
        X = self._orthonormal
        products = np.column_stack([multiply(np.ascontiguousarray(x)) for x in X.T])
        H = X.conj().T @ products
        values, Y = np.linalg.eigh((H + H.conj().T) / 2.0)
        X = X @ Y
        residuals = np.linalg.norm(products @ Y - X * values, axis=0)
        norm = max(norm, float(np.abs(values).max()))
        good = residuals <= np.maximum(tol * np.abs(values), _ROUNDING * norm)
        vectors = [self._convert(np.ascontiguousarray(x)) for x in X[:, good].T]
        return Settled(values[good], vectors, residuals[good], norm, X.shape[1] + 2)

    def left(self, found: list[Any]) -> Any:
        """Return the sum of the directions that orthonormal vectors do not hold; None where there is none."""
        C = np.array([[x.conj() @ b for b in self._converted] for x in found])
        C = C.reshape(len(found), len(self._converted))
        rest, directions = np.linalg.eigh(np.eye(len(self._converted)) - C.conj().T @ C)
        missing = self._orthonormal @ directions[:, rest > _PRESENT]
        return self._convert(missing.sum(axis=1)) if missing.shape[1] else None
