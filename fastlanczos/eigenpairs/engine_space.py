"""A space that grows by single vectors, in a run of the compiled engine or of a GPU's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.chain import Chain, Space
from fastlanczos.eigenpairs.hidden import log_christoffel, log_hidden_block
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["EngineSpace"]


class EngineSpace(Space):
    """Chains of single vectors, in a run of the compiled engine or of a GPU's arrays."""

    block = 1

    def __init__(self, run: Any, multiplier: Multiplier, bar: Any) -> None:
        self._run = run
        self._multiplier = multiplier
        self._bar = bar
        self.first = 0
        self.fresh = True
        self._begun = False
        self._asymmetry: float | None = None  # of the first chain: others see rounding errors of their own
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
        return float(self._run.max_projection) if self._asymmetry is None else self._asymmetry

    def start(self, vectors: Any, *, raw: bool = False) -> bool:
        """Begin a chain from a vector in the complement of all rows; False where nothing is left of it."""
        run = self._run
        if not self._begun:  # the run may hold another search's rows
            self._begun = True
            ok = bool(run.start(vectors[0]))
        else:
            self._asymmetry = self.asymmetry
            if run.steps > self.first and not run.breakdown:
                # What would have come next becomes a row that T couples to nothing.
                aside = run.vector + 0.0
                run.renew(aside)
                run.advance(0.0 * aside)
                self._aside.append(run.steps - 1)
            ok = bool(run.renew(vectors[0]))
        self._open()
        return ok

    def adopt(self, vectors: list[Any], values: Float64) -> None:
        """Begin with eigenvectors of these values as rows, without a product."""
        self._begun = True
        for i, x in enumerate(vectors):
            (self._run.renew if i else self._run.start)(x + 0.0)
            self._run.advance(0.0 * self._run.vector)
        self.forget(np.eye(len(vectors)), values)
        self._asymmetry = 0.0

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
        self.fresh, self.dropped = False, True

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
        self._asymmetry = self.asymmetry  # the run takes what is left of the found pairs' residuals for some
        exponent = max(-1000, min(1000, int(np.frexp(np.abs(found).max(initial=0.0))[1])))
        self._run.restart(
            np.ascontiguousarray(keep), found / 2.0**exponent, np.zeros(len(keep)), 1.0 * found.size, exponent
        )
        self._aside, self.dropped = [], False
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
        self.dropped = True
        self._others, self._coupling = others @ vectors if self._aside else np.empty((0, values.size)), []
        self.first, self.fresh = front, False

    def whole(self) -> NDArray[Any]:
        """Return the operator projected on all rows, with a product for each that was set aside."""
        run = self._run
        H = run.projected() * 2.0**run.exponent
        for row in self._aside:
            z = self._multiplier.product_of(run, run.rows(run.steps)[row] + 0.0)
            H[:, row] = H[row] = run.inner(run.steps, z)
        return np.asarray(H)

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


def _dot(x: Any, y: Any) -> float:
    """x . y; of NumPy's arrays without BLAS, whose threads would go on spinning beside the engine's."""
    if isinstance(x, np.ndarray):
        return float(np.einsum("i,i->", x, y))
    return float(x @ y)
