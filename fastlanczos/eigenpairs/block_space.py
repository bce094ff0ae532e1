"""A space that grows by blocks, in calls of NumPy: real or complex, in any inner product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain, Space
from fastlanczos.eigenpairs.hidden import log_christoffel, log_hidden_block
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["BlockSpace"]

_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING_LEVEL = 32.0 * _EPSILON  # as in step.hpp


class BlockSpace(Space):
    """Chains of blocks in NumPy: every product is orthogonalized twice against all rows (classical Gram-Schmidt).

    `multiply` takes and returns rows (p, n). `metric` multiplies a block with the M of the inner product x^H M y.
    """

    def __init__(
        self,
        dim: int,
        max_steps: int,
        dtype: str,
        multiply: Callable[[Any], Any],
        metric: Callable[[Any], Any] | None,
    ) -> None:
        self.dim, self._max_steps = dim, max_steps
        self._rows = np.empty((max_steps, dim), dtype)
        self._H = np.zeros((max_steps, max_steps), dtype)
        self._multiply = multiply
        self._metric = metric
        self._next = 0  # vectors after the rows: the block to multiply
        self._coupling = np.zeros((0, 0), dtype)  # of these to the chain
        self._scale = 0.0
        self._metric_size = 0.0
        self._steps = self.first = 0
        self.block = 1
        self.fresh = True
        self.breakdown = False
        self.asymmetry = 0.0
        self._aside: list[int] = []
        self._before = []
        self._since = slice(0, 1)

    @property
    def steps(self) -> int:
        """Rows in all."""
        return self._steps

    @property
    def max_steps(self) -> int:
        """Rows that there is room for."""
        return self._max_steps

    def start(self, vectors: Any, *, raw: bool = False) -> bool:
        """Begin a chain from a block (p, n) in the complement of all rows; False where nothing is left of it.

        `raw` vectors may have parts that a semidefinite M does not see: a product takes them away, of what is left
        when the rows are taken out, since those next to a shift would be all of it.
        """
        if self._steps > self.first and not self.breakdown:
            self._aside += range(self._steps, self._steps + self._next)
            H, p = self._H, len(self._coupling)
            H[self._steps : self._steps + p, self.first : self._steps] = self._coupling
            H[self.first : self._steps, self._steps : self._steps + p] = self._coupling.conj().T
            self._steps += p
        self._next = 0
        self.first = self._steps
        self.fresh = True
        self._scale = 0.0
        largest = np.abs(vectors).max(axis=1)
        usable = (largest > 0.0) & np.isfinite(largest)
        vectors = vectors[usable] / largest[usable, None]
        sizes = np.array([self._norm(v) for v in vectors])
        vectors = vectors[sizes > 0.0] / sizes[sizes > 0.0, None]
        if raw and self._metric is not None and len(vectors):
            for _ in range(2):
                vectors = vectors - self._dots(self._steps, vectors).T @ self._rows[: self._steps]
            vectors = self._multiply(vectors)
            for _ in range(2):
                vectors = vectors - self._dots(self._steps, vectors).T @ self._rows[: self._steps]
            sizes = np.array([self._norm(v) for v in vectors])
            vectors = vectors[sizes > 0.0] / sizes[sizes > 0.0, None]
        self._append(np.array(vectors), 1e-13 * np.sqrt(self.dim))
        self.block = max(self._next, 1)
        self._before, self._since = [], slice(0, self.block)
        self.breakdown = self._next == 0
        self._coupling = np.zeros((self._next, 0), self._rows.dtype)
        return not self.breakdown

    def expand(self, steps: int) -> None:
        """Take so many steps, of a block of products each, or as many as there is room for."""
        for _ in range(steps):
            if self.full or self.breakdown:
                return
            first, m, p = self.first, self._steps, self._next
            Z = self._multiply(self._rows[m : m + p])
            self._steps = m + p
            C, R = self._append(Z, None)
            H = self._H
            H[:m, m : m + p] = C[:m]
            known = self._coupling.conj().T  # (a, p): T's new columns are known but for the diagonal block
            if m > first:
                self.asymmetry = max(self.asymmetry, float(np.abs(C[first:m] - known).max()))
            H[first:m, m : m + p] = known
            H[m : m + p, first:m] = self._coupling
            diagonal = C[m : m + p]
            H[m : m + p, m : m + p] = 0.5 * (diagonal + diagonal.conj().T)
            self._coupling = np.zeros((self._next, self._steps - first), self._rows.dtype)
            self._coupling[:, m - first :] = R
            self.breakdown = self._next == 0

    def _append(self, Z: NDArray[Any], least: float | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Orthogonalize a block against all rows and store what is left behind them.

        Return the coefficients (steps, p) of the rows, and R (left, p) of what is left. A vector of which less than
        `least` remains, by default the rounding level of the chain's projected operator, is dropped.
        """
        m, p = self._steps, len(Z)
        C = self._dots(m, Z)
        Z = Z - C.T @ self._rows[:m]
        again = self._dots(m, Z)  # both times for the whole block: a product of matrices
        Z = Z - again.T @ self._rows[:m]
        left: list[NDArray[Any]] = []
        self._next = 0
        C = C + again
        own = C[self.first : m]
        for j in range(p):
            z = Z[j]
            count = m + self._next
            c = np.concatenate([again[:, j], self._dots(count, z[None], m)[:, 0]])
            z = z - c[m:] @ self._rows[m:count]
            norm = self._norm(z)
            r = np.zeros(p, self._rows.dtype)
            r[: self._next] = c[m:]
            if least is None:
                size = float(np.linalg.norm(own[:, j])) + norm + float(np.linalg.norm(r))
                self._scale = max(self._scale, size)
            floor = _ROUNDING_LEVEL * self._scale if least is None else least
            if norm > floor and count < self._max_steps and count < self.dim:
                z, rest = z / norm, 1.0
                if float(np.linalg.norm(c)) > 0.5 * norm:
                    # Hardly anything was left: what is left now may be noise.
                    c = self._dots(count, z[None])[:, 0]
                    z = z - c @ self._rows[:count]
                    rest = self._norm(z)
                if rest > 1e-3:
                    self._rows[count] = z / rest
                    r[self._next] = norm * rest
                    self._next += 1
            left.append(r)
        R = np.array(left, dtype=self._rows.dtype).reshape(p, p).T[: self._next]
        return C, R

    def _dots(self, count: int, Z: NDArray[Any], first: int = 0) -> NDArray[Any]:
        if count == first:
            return np.zeros((0, len(Z)), self._rows.dtype)
        Z = Z if self._metric is None else self._metric(Z)
        rows = self._rows[first:count]
        # The rows are long: conjugated is what is short.
        return np.asarray((rows @ Z.conj().T).conj() if np.iscomplexobj(Z) else rows @ Z.T)

    def _norm(self, z: NDArray[Any]) -> float:
        plain = float(np.linalg.norm(z))
        if self._metric is None:
            return plain
        product = self._metric(z[None])[0]
        squared = float((z.conj() @ product).real)
        if plain > 0.0:
            self._metric_size = max(self._metric_size, float(np.abs(product).max()) / plain)
        if squared < -1e-10 * self._metric_size * plain**2:
            raise ValueError(
                f"the inner product is not positive definite: x^H M x = {squared:.1e} where x^H x = {plain**2:.1e}. "
                'M must be positive definite (A, with mode="buckling")'
            )
        return float(np.sqrt(max(squared, 0.0)))

    def _beside(self) -> NDArray[Any]:
        """The coupling of the chain to what was set aside."""
        return self._H[self._aside, self.first : self._steps]

    def ritz(self, wanted: Wanted) -> Chain:
        """Return the Ritz pairs of the chain that may be wanted."""
        H: Any = self._H[self.first : self._steps, self.first : self._steps]
        if self.block == 1:  # T is real
            H = (np.diag(H).real, np.abs(np.diag(H, 1))) if self.fresh else H.real
        return self._pairs(wanted, H, self._coupling, self._beside())

    def log_hidden(self, t: float) -> float:
        """Return the logarithm of the weight that a hidden eigenvalue t may have in the chain's random vectors."""
        H = self._H[self.first : self._steps, self.first : self._steps]
        if self.block == 1 and self.fresh:
            alpha, beta = np.diag(H).real, np.abs(np.diag(H, 1))
            return log_christoffel(alpha, beta, t)
        return self._log_before(t) + min(0.0, log_hidden_block(H, self._coupling, self._since, t))

    def restart(self, vectors: NDArray[Any], values: Float64) -> None:
        """Keep some of the chain's Ritz vectors."""
        self.condense(np.eye(self.first, dtype=self._rows.dtype), np.empty(0), vectors, values, whole=True)

    def condense(
        self, keep: NDArray[Any], found: Float64, vectors: NDArray[Any], values: Float64, *, whole: bool = False
    ) -> None:
        """Of the rows before the chain keep combinations (c, first), and what is set aside; of the chain some pairs."""
        first, m, p = self.first, self._steps, self._next
        self._before.append((self._H[first:m, first:m].copy(), self._coupling, self._since))
        self._since = slice(values.size, values.size + p)
        aside = np.eye(first, dtype=self._rows.dtype)[[] if whole else self._aside]
        front = np.vstack([keep, aside])
        beside = front.conj() @ self._H[:first, first:m] @ vectors
        before = self._H[:first, :first].copy() if whole else np.diag(np.r_[found, np.zeros(len(aside))])
        count = len(front) + values.size
        rotation = np.zeros((count, m), self._rows.dtype)
        rotation[: len(front), :first] = front
        rotation[len(front) :, first:] = vectors.T
        self._rotate(rotation)
        self._rows[count : count + p] = self._rows[m : m + p].copy()
        self._H[:] = 0.0
        if not whole:
            self._aside = list(range(len(keep), len(front)))
        self.first, self._steps = len(front), count
        self._H[: self.first, self.first : count] = beside
        self._H[: self.first, : self.first] = before
        at = np.arange(self.first, count)
        self._H[at, at] = values
        self._coupling = self._coupling @ vectors
        self.fresh = False

    def _rotate(self, rotation: NDArray[Any]) -> None:
        m, width = rotation.shape[1], 4096
        for first in range(0, self.dim, width):
            columns = slice(first, first + width)
            self._rows[: len(rotation), columns] = rotation @ self._rows[:m, columns]

    def forget(self, keep: NDArray[Any], found: Float64) -> None:
        """Make combinations of the rows (c, steps) the only ones: no chain is left."""
        self._rotate(keep)
        self._steps = self.first = len(keep)
        self._aside, self._next = [], 0
        self._H[:] = 0.0
        self._H[np.arange(found.size), np.arange(found.size)] = found
        self._coupling = np.zeros((0, 0), self._rows.dtype)
        self.breakdown = True

    def sharpen(self, first: int) -> NDArray[np.bool_]:
        """Replace the rows from `first` on by what their products span, and tell which are left of them.

        For eigenvectors next to a shift: rounding makes solves asymmetric among them, by as much as the solves are
        large, so that T mixes them with others. The products have hardly anything else in them.
        """
        products = self._multiply(self._rows[first : self._steps])
        products = products / np.abs(products).max(axis=1)[:, None]
        last, self._steps, self._next = self._steps, first, 0
        left = []
        for z in products:
            before = self._next
            self._append_one(z)
            left.append(self._next > before)
        self._steps, self._next = first + self._next, 0
        self._H[:last, :last] = 0.0
        self.first = self._steps
        return np.array(left)

    def _append_one(self, z: NDArray[Any]) -> None:
        """Store what is left of a vector behind the rows, unless that is noise."""
        count, size = self._steps + self._next, self._norm(z)
        for _ in range(3):
            z = z - self._dots(count, z[None])[:, 0] @ self._rows[:count]
        norm = self._norm(z)
        if norm > 1e-9 * size:
            z = z / norm
            z = z - self._dots(count, z[None])[:, 0] @ self._rows[:count]
            self._rows[count] = z / self._norm(z)
            self._next += 1

    def whole(self) -> NDArray[Any]:
        """Return the operator projected on all rows, with a product for each that was set aside."""
        H = self._H[: self._steps, : self._steps].copy()
        if self._aside:
            columns = self._dots(self._steps, self._multiply(self._rows[self._aside]))
            H[:, self._aside], H[self._aside] = columns, columns.conj().T
        return H

    @property
    def num_aside(self) -> int:
        """Rows that are set aside."""
        return len(self._aside)

    def combine(self, coefficients: NDArray[Any]) -> Any:
        """Return combinations (c, steps) of the rows."""
        self.forget(coefficients, np.empty(0))
        return self._rows[: len(coefficients)]

    def mixed(self, weights: NDArray[Any]) -> Any:
        """Return one combination of the rows."""
        return weights @ self._rows[: self._steps]
