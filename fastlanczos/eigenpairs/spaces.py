"""Krylov spaces that grow: rows of finished chains, which are kept, and one chain that is being extended.

A chain is a Krylov space of the operator in the complement of all rows before it. Those rows stay where they are, Ritz
vectors that have not converged included, since what a chain looks for is orthogonal to all of them. The vector (or
block) with which a chain would have gone on is `set aside`: it becomes a row without a product. Then the operator
couples the chain to rows before it only through such rows.

`EngineSpace` extends chains of single vectors in the compiled engine, `BlockSpace` chains of blocks in calls of NumPy,
real or complex, in any inner product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.hidden import log_christoffel, log_hidden_block
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["BlockSpace", "Chain", "EngineSpace"]

_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING_LEVEL = 32.0 * _EPSILON  # as in step.hpp


@dataclass(frozen=True)
class Chain:
    """Ritz pairs of a chain, those at the wanted ends, ascending: column i of `vectors` combines the chain's rows.

    `ends` are its extreme Ritz values. `residuals` are norms; `beside` is the part of them in rows set aside.
    """

    values: Float64
    vectors: NDArray[Any]
    residuals: Float64
    beside: Float64
    ends: tuple[float, float]


class _Space:
    """What both have in common: which rows are whose."""

    first: int  # row at which the chain begins
    steps: int
    max_steps: int
    fresh: bool  # the chain has not been restarted
    breakdown: bool
    block: int  # vectors that the chain began with
    _before: list[tuple[Any, Any, slice]]  # H, coupling and first rows of the chain before each of its restarts

    def _log_before(self, t: float) -> float:
        return float(sum(min(0.0, log_hidden_block(H, S, rows, t)) for H, S, rows in self._before))

    @property
    def length(self) -> int:
        """Rows of the chain."""
        return self.steps - self.first

    @property
    def full(self) -> bool:
        """Whether the chain cannot be extended without a restart."""
        return self.steps + 2 * self.block >= self.max_steps

    def _pairs(self, wanted: Wanted, H: Any, S: Any, beside: Any) -> Chain:
        """Ritz pairs of H (a, a), or of (alpha, beta), with the coupling S (p, a) of what comes next."""
        if isinstance(H, tuple):
            values, vectors = _ends_of(H[0], H[1], wanted)
        else:
            values, vectors = scipy.linalg.eigh(H, driver="evd")
        ends = (float(values[0]), float(values[-1]))
        chosen = np.sort(_candidates(wanted, values))
        values, vectors = values[chosen], vectors[:, chosen]
        coupled = np.linalg.norm(beside @ vectors, axis=0) if beside.size else np.zeros(values.size)
        outward = np.linalg.norm(S @ vectors, axis=0) if S.size else np.zeros(values.size)
        return Chain(values, vectors, np.hypot(outward, coupled), coupled, ends)


class EngineSpace(_Space):
    """Chains of single vectors, in a run of the compiled engine or of a GPU's arrays."""

    block = 1

    def __init__(self, run: Any, multiplier: Multiplier, bar: Any) -> None:
        self._run = run
        self._multiplier = multiplier
        self._bar = bar
        self.first = 0
        self.fresh = True
        self._aside: list[int] = []
        self._coupling: list[list[float]] = []  # of the chain's rows, one after the other, to what is set aside
        self._others = np.empty((0, 0))  # the same of what a restart left
        self._before = []
        self._since = 0  # the chain's first row that is not left of a restart

    @property
    def steps(self) -> int:
        """Rows in all."""
        return int(self._run.steps)

    @property
    def max_steps(self) -> int:
        """Rows that there is room for."""
        return int(self._run.max_steps)

    @property
    def breakdown(self) -> bool:
        """Whether the chain is invariant."""
        return bool(self._run.breakdown)

    @property
    def asymmetry(self) -> float:
        """The largest inner product that a symmetric operator would have made zero."""
        return float(self._run.max_projection)

    def start(self, vectors: Any) -> bool:
        """Begin a chain from a vector in the complement of all rows; False where nothing is left of it."""
        run = self._run
        if run.steps == 0:
            ok = bool(run.start(vectors[0]))
        else:
            if run.steps > self.first and not run.breakdown:
                # What would have come next becomes a row that T couples to nothing.
                aside = run.vector + 0.0
                run.renew(aside)
                run.advance(0.0 * aside)
                self._aside.append(run.steps - 1)
            ok = bool(run.renew(vectors[0]))
        self._open()
        return ok

    def _open(self) -> None:
        self.first = self.steps
        self.fresh = True
        self._coupling = []
        self._others = np.empty((len(self._aside), 0))
        self._before, self._since = [], 0

    def expand(self, steps: int) -> None:
        """Take so many steps, or as many as there is room for."""
        run = self._run
        steps = min(steps, run.max_steps - 2 - run.steps)
        if steps < 1:
            return
        if not self._aside:
            self._multiplier.fill(run, None, steps, self._bar)
            return
        for _ in range(steps):
            # The operator is (I - P) A (I - P), with P on what is set aside: left in the vector, the rounding errors
            # along it would grow from step to step.
            rows, vector = run.rows(run.steps), run.vector
            for row in self._aside:
                vector -= _dot(rows[row], vector) * rows[row]
            z = self._multiplier.product_of(run, vector)
            coupling = []
            for row in self._aside:
                coupling.append(_dot(rows[row], z))
                z = z - coupling[-1] * rows[row]
            if not run.advance(z):
                raise self._multiplier.not_finite(run, z)
            self._coupling.append(coupling)
            self._bar.update(1)
            if run.finished:
                return

    def _beside(self) -> Float64:
        new = np.array(self._coupling, dtype=float).reshape(len(self._coupling), len(self._aside)).T
        return np.hstack([self._others, new]) if self._aside else np.empty((0, 0))

    def _projected(self) -> tuple[Float64, Float64]:
        unit = 2.0**self._run.exponent
        T = self._run.projected()[self.first :, self.first :] * unit
        S = np.zeros((1, len(T)))
        S[0, -1] = 0.0 if self.breakdown else self._run.remainder * unit
        return T, S

    def ritz(self, wanted: Wanted) -> Chain:
        """Return the Ritz pairs of the chain that may be wanted."""
        T, S = self._projected()
        H = (np.diag(T).copy(), np.diag(T, 1).copy()) if self.fresh else T
        return self._pairs(wanted, H, S, self._beside())

    def log_hidden(self, t: float) -> float:
        """Return the logarithm of the weight that a hidden eigenvalue t may have in the chain's random vector."""
        T, S = self._projected()
        if not self.fresh:
            return self._log_before(t) + min(0.0, log_hidden_block(T, S, slice(self._since, self._since + 1), t))
        if t < T[0, 0]:
            T, t = -T, -t
        return log_christoffel(np.diag(T), np.abs(np.diag(T, 1)), t)

    def restart(self, vectors: NDArray[Any], values: Float64) -> None:
        """Keep some of the chain's Ritz vectors."""
        run, first = self._run, self.first
        self._note(values.size)
        others = self._beside()
        rotation = np.zeros((first + values.size, run.steps))
        rotation[np.arange(first), np.arange(first)] = 1.0
        rotation[first:, first:] = vectors.T
        theta = np.concatenate([np.diag(run.projected())[:first], values / 2.0**run.exponent])
        self._restart(rotation, theta, run.remainder * vectors[-1])
        self._others, self._coupling = others @ vectors if self._aside else np.empty((0, values.size)), []
        self.fresh = False

    def _note(self, kept: int) -> None:
        self._before.append((*self._projected(), slice(self._since, self._since + 1)))
        self._since = kept

    def _restart(self, rotation: NDArray[Any], theta: Float64, coupling: Float64) -> None:
        run = self._run
        s = np.zeros(theta.size)
        s[theta.size - coupling.size :] = coupling
        scale = float(np.abs(run.projected()).sum(axis=1).max(initial=0.0))
        run.restart(np.ascontiguousarray(rotation), theta, s, scale, run.exponent)

    def forget(self, keep: NDArray[Any], found: Float64) -> None:
        """Make combinations of the rows (c, steps), eigenvectors of these values, the only ones: no chain is left."""
        exponent = max(-1000, min(1000, int(np.frexp(np.abs(found).max(initial=0.0))[1])))
        self._run.restart(
            np.ascontiguousarray(keep), found / 2.0**exponent, np.zeros(len(keep)), 1.0 * found.size, exponent
        )
        self._aside = []
        self._open()

    def condense(self, keep: NDArray[Any], found: Float64, vectors: NDArray[Any], values: Float64) -> None:
        """Of the rows before the chain keep combinations (c, first), and what is set aside; of the chain some pairs."""
        run, first = self._run, self.first
        self._note(values.size)
        others, aside = self._beside(), np.eye(first)[self._aside]
        front = len(keep) + len(aside)
        rotation = np.zeros((front + values.size, run.steps))
        rotation[: len(keep), :first], rotation[len(keep) : front, :first] = keep, aside
        rotation[front:, first:] = vectors.T
        theta = np.concatenate([found, np.zeros(len(aside)), values]) / 2.0**run.exponent
        self._restart(rotation, theta, run.remainder * vectors[-1])
        self._aside = list(range(len(keep), front))
        self._others, self._coupling = others @ vectors if self._aside else np.empty((0, values.size)), []
        self.first, self.fresh = front, False

    @property
    def num_aside(self) -> int:
        """Rows that are set aside."""
        return len(self._aside)

    def combine(self, coefficients: NDArray[Any]) -> Any:
        """Return combinations (c, steps) of the rows, in memory of their own or in that of the rows."""
        self._run.restart(
            np.ascontiguousarray(coefficients), np.zeros(len(coefficients)), np.zeros(len(coefficients)), 0.0, 0
        )
        self._aside, self.first = [], len(coefficients)
        return self._run.rows(len(coefficients))

    def mixed(self, weights: NDArray[Any]) -> Any:
        """Return one combination of the rows."""
        return self._run.combine(weights)


class BlockSpace(_Space):
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
        self.dim, self.max_steps = dim, max_steps
        self._rows = np.empty((max_steps, dim), dtype)
        self._H = np.zeros((max_steps, max_steps), dtype)
        self._multiply = multiply
        self._metric = metric
        self._next = 0  # vectors after the rows: the block to multiply
        self._coupling = np.zeros((0, 0), dtype)  # of these to the chain
        self._scale = 0.0
        self._metric_size = 0.0
        self.steps = self.first = 0
        self.block = 1
        self.fresh = True
        self.breakdown = False
        self.asymmetry = 0.0
        self._aside: list[int] = []
        self._before = []
        self._since = slice(0, 1)

    def start(self, vectors: Any) -> bool:
        """Begin a chain from a block (p, n) in the complement of all rows; False where nothing is left of it."""
        if self.steps > self.first and not self.breakdown:
            self._aside += range(self.steps, self.steps + self._next)
            H, (p, a) = self._H, self._coupling.shape
            H[self.steps : self.steps + p, self.first : self.steps] = self._coupling
            H[self.first : self.steps, self.steps : self.steps + p] = self._coupling.conj().T
            self.steps += p
        self._next = 0
        self.first = self.steps
        self.fresh = True
        self._scale = 0.0
        largest = np.abs(vectors).max(axis=1)
        usable = (largest > 0.0) & np.isfinite(largest)
        vectors = vectors[usable] / largest[usable, None]
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
            first, m, p = self.first, self.steps, self._next
            Z = self._multiply(self._rows[m : m + p])
            self.steps = m + p
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
            self._coupling = np.zeros((self._next, self.steps - first), self._rows.dtype)
            self._coupling[:, m - first :] = R
            self.breakdown = self._next == 0

    def _append(self, Z: NDArray[Any], least: float | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Orthogonalize a block against all rows and store what is left behind them.

        Return the coefficients (steps, p) of the rows, and R (left, p) of what is left. A vector of which less than
        `least` remains, by default the rounding level of the chain's projected operator, is dropped.
        """
        m, p = self.steps, len(Z)
        C = self._dots(m, Z)
        Z = Z - C.T @ self._rows[:m]
        left: list[NDArray[Any]] = []
        self._next = 0
        own = C[self.first : m]
        for j in range(p):
            z = Z[j]
            count = m + self._next
            c = self._dots(count, z[None])[:, 0]
            z = z - c @ self._rows[:count]
            norm = self._norm(z)
            C[:, j] += c[:m]
            r = np.zeros(p, self._rows.dtype)
            r[: self._next] = c[m:]
            if least is None:
                size = float(np.linalg.norm(own[:, j])) + norm + float(np.linalg.norm(r))
                self._scale = max(self._scale, size)
            floor = _ROUNDING_LEVEL * self._scale if least is None else least
            if norm > floor and count < self.max_steps and count < self.dim:
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

    def _dots(self, count: int, Z: NDArray[Any]) -> NDArray[Any]:
        Z = Z if self._metric is None else self._metric(Z)
        # The rows are long: conjugated is what is short.
        return (self._rows[:count] @ Z.conj().T).conj() if np.iscomplexobj(Z) else self._rows[:count] @ Z.T

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
        return self._H[self._aside, self.first : self.steps]

    def ritz(self, wanted: Wanted) -> Chain:
        """Return the Ritz pairs of the chain that may be wanted."""
        H: Any = self._H[self.first : self.steps, self.first : self.steps]
        if self.block == 1:  # T is real
            H = (np.diag(H).real, np.abs(np.diag(H, 1))) if self.fresh else H.real
        return self._pairs(wanted, H, self._coupling, self._beside())

    def log_hidden(self, t: float) -> float:
        """Return the logarithm of the weight that a hidden eigenvalue t may have in the chain's random vectors."""
        H = self._H[self.first : self.steps, self.first : self.steps]
        if self.block == 1 and self.fresh:
            alpha, beta = np.diag(H).real, np.abs(np.diag(H, 1))
            return log_christoffel(-alpha, beta, -t) if t < alpha[0] else log_christoffel(alpha, beta, t)
        return self._log_before(t) + min(0.0, log_hidden_block(H, self._coupling, self._since, t))

    def restart(self, vectors: NDArray[Any], values: Float64) -> None:
        """Keep some of the chain's Ritz vectors."""
        self.condense(np.eye(self.first, dtype=self._rows.dtype), np.empty(0), vectors, values, whole=True)

    def condense(
        self, keep: NDArray[Any], found: Float64, vectors: NDArray[Any], values: Float64, *, whole: bool = False
    ) -> None:
        """Of the rows before the chain keep combinations (c, first), and what is set aside; of the chain some pairs."""
        first, m, p = self.first, self.steps, self._next
        self._before.append((self._H[first:m, first:m].copy(), self._coupling, self._since))
        self._since = slice(values.size, values.size + p)
        aside = np.eye(first, dtype=self._rows.dtype)[[] if whole else self._aside]
        front = np.vstack([keep, aside])
        beside = front.conj() @ self._H[:first, first:m] @ vectors
        count = len(front) + values.size
        rotation = np.zeros((count, m), self._rows.dtype)
        rotation[: len(front), :first] = front
        rotation[len(front) :, first:] = vectors.T
        self._rotate(rotation)
        self._rows[count : count + p] = self._rows[m : m + p].copy()
        self._H[:] = 0.0
        if not whole:
            self._aside = list(range(len(keep), len(front)))
        self.first, self.steps = len(front), count
        self._H[: self.first, self.first : count] = beside
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
        self.steps = self.first = len(keep)
        self._aside, self._next = [], 0
        self._H[:] = 0.0
        self._coupling = np.zeros((0, 0), self._rows.dtype)
        self.breakdown = True

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
        return weights @ self._rows[: self.steps]


def _dot(x: Any, y: Any) -> float:
    """x . y; of NumPy's arrays without BLAS, whose threads would go on spinning beside the engine's."""
    if isinstance(x, np.ndarray):
        return float(np.einsum("i,i->", x, y))
    return float(x @ y)


def _candidates(wanted: Wanted, values: Float64) -> NDArray[np.intp]:
    """Of ascending values those that may be among the wanted: k, and one more, at each end that counts."""
    count, k = values.size, wanted.k + 1
    if wanted.which == "SM":
        return np.arange(count)
    if wanted.which in ("LM", "BE"):
        return np.unique(np.concatenate([np.arange(min(k, count)), np.arange(max(count - k, 0), count)]))
    return np.arange(max(count - k, 0), count) if wanted.which == "LA" else np.arange(min(k, count))


def _ends_of(alpha: Float64, beta: Float64, wanted: Wanted) -> tuple[Float64, Float64]:
    """Eigenpairs of a tridiagonal T at both ends, k and one more where they count, one at the other."""
    m, k = alpha.size, wanted.k + 1
    low = 1 if wanted.which == "LA" else k
    high = 1 if wanted.which == "SA" else k
    if 3 * (low + high) >= m or wanted.which == "SM":
        return scipy.linalg.eigh_tridiagonal(alpha, beta)  # type: ignore[no-any-return]
    parts = [
        scipy.linalg.eigh_tridiagonal(alpha, beta, select="i", select_range=chosen)
        for chosen in ((0, low - 1), (m - high, m - 1))
    ]
    return np.concatenate([w for w, _ in parts]), np.hstack([V for _, V in parts])
