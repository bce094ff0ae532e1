"""A Lanczos run on NumPy's arrays, real or complex, in any inner product.

The compiled engine works in float64 on the CPU, where one sweep over the basis a step is enough. This run has the
surface of it that thick restarts need, and orthogonalizes every vector twice (classical Gram-Schmidt, four sweeps) in
calls of NumPy's: for complex Hermitian operators, and for generalized problems, whose inner product has a product with
M between update and dot products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64

__all__ = ["ArrayRun"]

_ROUNDING_LEVEL = 32.0 * float(np.finfo(np.float64).eps)  # as in step.hpp
_COLUMNS = 4096  # of a basis that a restart replaces at a time


class ArrayRun:
    """`max_steps` rows at most in `dim` dimensions.

    `basis` is memory for the rows, (max_steps, dim), `as_vector` turns a product into one of its rows or raises, and
    `metric` multiplies with the M of the inner product x^H M y. `from_numpy` and `to_numpy` convert small arrays to and
    from those of the basis.
    """

    interrupted = False

    def __init__(
        self,
        basis: Any,
        as_vector: Callable[[Any, str], Any],
        *,
        metric: Callable[[Any], Any] | None = None,
        from_numpy: Callable[[Any], Any],
        to_numpy: Callable[[Any], Any],
    ) -> None:
        self.max_steps, self.dim = (int(side) for side in basis.shape)
        self._basis = basis
        self._as_vector = as_vector
        self._is_plain = metric is None
        self._metric: Callable[[Any], Any] = (lambda x: x) if metric is None else metric
        self._from_numpy = from_numpy
        self._to_numpy = to_numpy
        self._candidate: Any = None
        self.steps = 0
        self.exponent = 0
        self.breakdown = False
        self.max_projection = 0.0
        self._scale = 0.0
        self._metric_size = 0.0  # of the entries of M x for a unit x, the largest so far
        self._projected = np.zeros((self.max_steps, self.max_steps))
        self._coupling = np.zeros(0)  # of the candidate to the rows

    @property
    def launched(self) -> int:
        """Steps that were asked for: those that are finished."""
        return self.steps

    # What T is made of.

    def projected(self) -> Float64:
        """Return T in units of 2^exponent, shape (steps, steps)."""
        return self._projected[: self.steps, : self.steps].copy()

    @property
    def remainder(self) -> float:
        """Norm of what A leaves outside the space, in units of 2^exponent."""
        return float(self._coupling[-1]) if self.steps and self._coupling.size == self.steps else 0.0

    @property
    def finished(self) -> bool:
        """Whether the memory is full or the space invariant."""
        return self.breakdown or self.steps == self.max_steps

    # Vectors.

    @property
    def vector(self) -> Any:
        """The unit vector whose product the next step takes, in memory of its own."""
        return self._candidate + 0.0

    def rows(self, count: int) -> Any:
        """Return the first rows, not copied."""
        return self._basis[:count]

    def product(self, x: Any, what: str) -> Any:
        """Return a product as a row's equal; TypeError or ValueError that names `what` for anything else."""
        return self._as_vector(x, what)

    def combine(self, weights: Float64) -> Any:
        """Return the combination of the rows, in memory of its own."""
        return self._array(weights) @ self._basis[: weights.size]

    def inner(self, count: int, z: Any) -> Any:
        """Return the inner products of the first rows with a vector, as NumPy."""
        return self._to_numpy(self._dots(count, z))

    def distance(self, row: int, z: Any, value: float) -> float:
        """Return the norm of z - value times a row, without overflow."""
        remainder = z - value * self._basis[row]
        largest = float(abs(remainder).max())
        return largest * self._norm(remainder / largest) if 0.0 < largest < np.inf else largest

    def count_not_finite(self, z: Any) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite."""
        return int(np.count_nonzero(~np.isfinite(self._to_numpy(z)))), ""

    # The iteration.

    def start(self, v0: Any) -> bool:
        """Begin a run; False where v0 is zero or not finite."""
        self.steps, self.exponent, self.breakdown, self.max_projection = 0, 0, False, 0.0
        self._coupling = np.zeros(0)
        return self.renew(v0)

    def advance(self, z: Any) -> bool:
        """Take a step with the product of `vector`; False, and nothing changed, where z is not finite."""
        k = self.steps
        largest = float(abs(z).max())
        if not np.isfinite(largest):
            return False
        self._rescale(largest, k)
        self._basis[k] = self._candidate
        w = z * 2.0**-self.exponent
        # T's new row is known but for its diagonal: what else shows in the dot products is the operator's asymmetry.
        first = self._dots(k + 1, w)
        w = w - first @ self._basis[: k + 1]
        second = self._dots(k + 1, w)
        w = w - second @ self._basis[: k + 1]
        dots = self._to_numpy(first + second)
        beta = self._norm(w)
        known = self._coupling[:k] if self._coupling.size == k else np.zeros(k)
        self.max_projection = max(self.max_projection, float(np.abs(dots[:k] - known).max(initial=0.0)) * self._unit)
        self._projected[k, :k] = self._projected[:k, k] = known
        self._projected[k, k] = dots[k].real
        self._scale = max(self._scale, abs(float(dots[k].real)) + float(np.abs(known).sum()) + beta)
        self.steps = k + 1
        self._coupling = np.zeros(k + 1)
        self.breakdown = beta <= _ROUNDING_LEVEL * self._scale or self.steps == self.dim
        if not self.breakdown:
            w = w / beta
            w = w - self._dots(k + 1, w) @ self._basis[: k + 1]
            rest = self._norm(w)
            # Where hardly anything was left, what is left now is noise.
            self.breakdown = not rest > 1e-3
            if not self.breakdown:
                self._candidate = w / rest
                self._coupling[k] = beta * rest
        return True

    def restart(self, rotation: Any, theta: Float64, coupling: Float64, scale: float, exponent: int) -> None:
        """Replace the rows by combinations of them; see Lanczos::restart in step.hpp."""
        count = len(theta)
        if count:
            factors = self._array(rotation)
            for first in range(0, self.dim, _COLUMNS):
                columns = slice(first, first + _COLUMNS)
                self._basis[:count, columns] = factors @ self._basis[: self.steps, columns]
        self.steps, self.exponent, self._scale = count, exponent, scale
        self._projected[:] = 0.0
        self._projected[np.arange(count), np.arange(count)] = theta
        self._coupling = np.array(coupling, dtype=np.float64)

    def renew(self, v: Any) -> bool:
        """Take v, orthogonalized against all rows, as the candidate; False where nothing is left of it."""
        self._coupling = np.zeros(self.steps)
        self.breakdown = True
        largest = float(abs(v).max())
        if not 0.0 < largest < np.inf or self.steps == self.dim:
            return False
        v = v / largest
        before = norm = self._norm(v)
        if not norm > 0.0:
            return False
        v = v / norm
        for trial in range(5):
            v = v - self._dots(self.steps, v) @ self._basis[: self.steps] if self.steps else v
            norm = self._norm(v)
            if not norm > 1e-13 * np.sqrt(self.dim):
                return False
            v = v / norm
            if trial > 0 and norm > 0.5 * before:
                break
            before = 1.0
        self._candidate = v
        self.breakdown = False
        return True

    # Arithmetic.

    @property
    def _unit(self) -> float:
        return float(2.0**self.exponent)

    def _array(self, values: Any) -> Any:
        """NumPy's numbers as an array of the basis's dtype and library."""
        return self._from_numpy(np.asarray(values))

    def _dots(self, count: int, w: Any) -> Any:
        return self._basis[:count].conj() @ self._metric(w)

    def _norm(self, w: Any) -> float:
        """The norm of w in the inner product, which must not be negative beyond the rounding of a semidefinite M."""
        plain = float((w.conj() @ w).real)
        if self._is_plain:
            return float(np.sqrt(plain))
        product = self._metric(w)
        squared = float((w.conj() @ product).real)
        largest = float(abs(product).max())
        if plain > 0.0:
            self._metric_size = max(self._metric_size, largest / np.sqrt(plain))
        if squared < -1e-10 * self._metric_size * plain:
            raise ValueError(
                f"the inner product is not positive definite: x^H M x = {squared:.1e} where x^H x = {plain:.1e}. "
                'M must be positive definite (A, with mode="buckling")'
            )
        return float(np.sqrt(max(squared, 0.0)))

    def _rescale(self, largest: float, k: int) -> None:
        """Take a power of two out of T where a square of the product could overflow or vanish."""
        if largest == 0.0:
            return
        above = max(-1000, min(1000, int(np.frexp(largest)[1]))) - self.exponent
        if above <= 100 and (k > 0 or above >= -100):
            return
        change = 2.0**-above
        self._projected *= change
        self._coupling = self._coupling * change
        self._scale *= change
        self.exponent += above
