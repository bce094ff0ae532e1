"""A space that grows by blocks, of NumPy's vectors or a GPU's: real or complex, in any inner product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain, Space
from fastlanczos.eigenpairs.hidden import log_christoffel, log_hidden_block
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.long_vectors import inner_products, norm, turn, without

__all__ = ["BlockSpace"]

_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING_LEVEL = 32.0 * _EPSILON  # as in step.hpp


class BlockSpace(Space):
    """Chains of blocks: every product is orthogonalized twice against all rows (classical Gram-Schmidt).

    `rows` is memory for the rows (m, n), NumPy's or a GPU's. `multiply` takes and returns rows (p, n). `metric`
    multiplies a block with the M of the inner product x^H M y.
    """

    def __init__(
        self,
        rows: Any,
        dtype: str,
        multiply: Callable[[Any], Any],
        metric: Callable[[Any], Any] | None,
    ) -> None:
        self._max_steps, self.dim = (int(side) for side in rows.shape)
        self._rows = rows
        self._dtype = dtype
        self._H = np.zeros((self._max_steps, self._max_steps), dtype)
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
        largest = abs(vectors).max(axis=1)
        usable = (largest > 0.0) & np.isfinite(largest)
        vectors = vectors[usable] / largest[usable, None]
        vectors = self._unit(vectors)
        if raw and self._metric is not None and len(vectors):
            for _ in range(2):
                vectors, _ = self._reduced(vectors, self._steps)
            vectors = self._multiply(vectors)
            for _ in range(2):
                vectors, _ = self._reduced(vectors, self._steps)
            vectors = self._unit(vectors)
        self._append(vectors, 1e-13 * np.sqrt(self.dim))
        self.block = max(self._next, 1)
        self._before, self._since = [], slice(0, self.block)
        self.breakdown = self._next == 0
        self._coupling = np.zeros((self._next, 0), self._dtype)
        return not self.breakdown

    def adopt(self, vectors: list[Any], values: Float64) -> None:
        """Begin with eigenvectors of these values as rows, without a product."""
        for i, x in enumerate(vectors):
            self._rows[i] = x
        self._steps = len(vectors)
        self.forget(np.eye(len(vectors), dtype=self._dtype), values)

    def _unit(self, vectors: Any) -> Any:
        """Vectors of length 1, without those that have none."""
        sizes = np.array([self._norm(v) for v in vectors])
        return vectors[sizes > 0.0] / sizes[sizes > 0.0, None]

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
            self._coupling = np.zeros((self._next, self._steps - first), self._dtype)
            self._coupling[:, m - first :] = R
            self.breakdown = self._next == 0

    def _append(self, Z: Any, least: float | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Orthogonalize a block against all rows and store what is left behind them.

        Return the coefficients (steps, p) of the rows, and R (left, p) of what is left. A vector of which less than
        `least` remains, by default the rounding level of the chain's projected operator, is dropped.
        """
        m, p = self._steps, len(Z)
        Z, C = self._reduced(Z, m)
        Z, again = self._reduced(Z, m)  # both times for the whole block: a product of matrices
        left: list[NDArray[Any]] = []
        self._next = 0
        C = C + again
        own = C[self.first : m]
        for j in range(p):
            count = m + self._next
            z, within = self._reduced(Z[j : j + 1], count, m)
            length = self._norm(z[0])
            r = np.zeros(p, self._dtype)
            r[: self._next] = within[:, 0]
            if least is None:
                size = float(np.linalg.norm(own[:, j])) + length + float(np.linalg.norm(r))
                self._scale = max(self._scale, size)
            floor = _ROUNDING_LEVEL * self._scale if least is None else least
            if length > floor and count < self._max_steps and count < self.dim:
                z, rest = z / np.array([[length]]), 1.0
                if float(np.hypot(np.linalg.norm(again[:, j]), np.linalg.norm(within))) > 0.5 * length:
                    # Hardly anything was left: what is left now may be noise.
                    z, _ = self._reduced(z, count)
                    rest = self._norm(z[0])
                if rest > 1e-3:
                    self._rows[count] = z[0] / rest
                    r[self._next] = length * rest
                    self._next += 1
            left.append(r)
        R = np.array(left, dtype=self._dtype).reshape(p, p).T[: self._next]
        return C, R

    def _dots(self, count: int, Z: Any, first: int = 0) -> NDArray[Any]:
        if count == first:
            return np.zeros((0, len(Z)), self._dtype)
        return inner_products(self._rows[first:count], Z if self._metric is None else self._metric(Z))

    def _reduced(self, Z: Any, count: int, first: int = 0) -> tuple[Any, NDArray[Any]]:
        """A block less its parts along some rows, and their coefficients."""
        coefficients = self._dots(count, Z, first)
        return (without(Z, coefficients, self._rows[first:count]) if count > first else Z), coefficients

    def _norm(self, z: Any) -> float:
        if self._metric is None:
            return float(np.linalg.norm(z)) if isinstance(z, np.ndarray) else norm(z)
        plain = norm(z)
        product = self._metric(z[None])[0]
        squared = float((z.conj() @ product).real)
        if plain > 0.0:
            self._metric_size = max(self._metric_size, float(abs(product).max()) / plain)
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
        self.condense(np.eye(self.first, dtype=self._dtype), np.empty(0), vectors, values, whole=True)

    def condense(
        self, keep: NDArray[Any], found: Float64, vectors: NDArray[Any], values: Float64, *, whole: bool = False
    ) -> None:
        """Of the rows before the chain keep combinations (c, first), and what is set aside; of the chain some pairs."""
        self.dropped = True
        first, m, p = self.first, self._steps, self._next
        self._before.append((self._H[first:m, first:m].copy(), self._coupling, self._since))
        self._since = slice(values.size, values.size + p)
        aside = np.eye(first, dtype=self._dtype)[[] if whole else self._aside]
        front = np.vstack([keep, aside])
        beside = front.conj() @ self._H[:first, first:m] @ vectors
        before = self._H[:first, :first].copy() if whole else np.diag(np.r_[found, np.zeros(len(aside))])
        count = len(front) + values.size
        rotation = np.zeros((count, m), self._dtype)
        rotation[: len(front), :first] = front
        rotation[len(front) :, first:] = vectors.T
        turn(self._rows[:m], rotation)
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

    def forget(self, keep: NDArray[Any], found: Float64) -> None:
        """Make combinations of the rows (c, steps) the only ones: no chain is left."""
        turn(self._rows[: keep.shape[1]], keep)
        self._steps = self.first = len(keep)
        self._aside, self._next, self.dropped = [], 0, False
        self._H[:] = 0.0
        self._H[np.arange(found.size), np.arange(found.size)] = found
        self._coupling = np.zeros((0, 0), self._dtype)
        self.breakdown = True

    def sharpen(self, first: int) -> NDArray[np.bool_]:
        """Replace the rows from `first` on by what their products span, and tell which are left of them.

        For eigenvectors next to a shift: rounding makes solves asymmetric among them, by as much as the solves are
        large, so that T mixes them with others. The products have hardly anything else in them.
        """
        products = self._multiply(self._rows[first : self._steps])
        products = products / abs(products).max(axis=1)[:, None]
        last, self._steps, self._next = self._steps, first, 0
        left = []
        for j in range(len(products)):
            before = self._next
            self._append_one(products[j : j + 1])
            left.append(self._next > before)
        self._steps, self._next = first + self._next, 0
        self._H[:last, :last] = 0.0
        self.first = self._steps
        return np.array(left)

    def _append_one(self, z: Any) -> None:
        """Store what is left of a vector (1, n) behind the rows, unless that is noise."""
        count, size = self._steps + self._next, self._norm(z[0])
        for _ in range(3):
            z, _ = self._reduced(z, count)
        length = self._norm(z[0])
        if length > 1e-9 * size:
            z, _ = self._reduced(z / np.array([[length]]), count)
            self._rows[count] = z[0] / self._norm(z[0])
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
