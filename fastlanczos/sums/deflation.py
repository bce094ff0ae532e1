"""A low-rank part of an operator that is known exactly, so that only the rest is left to chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlanczos.arrays import Float64
from fastlanczos.iteration import LanczosIteration
from fastlanczos.operators import Operator
from fastlanczos.plan import plan_memory
from fastlanczos.probes import probe
from fastlanczos.runs import lanczos_runs
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import on_host

__all__ = ["Deflation", "deflation", "pays"]

_CONVERGED = 1e-7  # of the norm: the eigenvalue's own error is the square of that
_CONVERGED_LOOSELY = 1e-2
_PAYS = 1 / 3  # of the variance that may be left for a deflation to be worth its products


@dataclass(frozen=True)
class Deflation:
    """Orthonormal rows `vectors` (r, n) and the trace of f(A) on their span; r = 0 leaves everything to probes.

    `rounding` is what rounding leaves uncertain of that trace.
    """

    vectors: Float64
    trace: float
    num_matvecs: int
    values: Float64  # f at the eigenvalue of each row; empty where the rows are no eigenvectors
    rounding: float = 0.0

    @property
    def rank(self) -> int:
        """The number of rows."""
        return len(self.vectors)

    def start(self, index: int, seeds: np.random.SeedSequence, distribution: str = "sphere") -> Float64:
        """Return probe `index` on the complement of the span: E[w w'] is the projector onto it."""
        n = self.vectors.shape[1]
        v = probe(n, seeds, index, distribution)
        if self.rank == 0:
            return v
        for _ in range(2):
            v = v - self.vectors.T @ (self.vectors @ v)
        if distribution == "sphere":
            v *= np.sqrt((n - self.rank) / (v @ v))
        return v

    def complement(self, v: Float64) -> Float64:
        """Return v without its part in the span."""
        return v - self.vectors.T @ (self.vectors @ v) if self.rank else v


def pays(f: MatrixFunction, run: LanczosIteration) -> bool:
    """Whether what a run knows exactly is more than two thirds of the variance of probes, by its own weights."""
    theta, S = np.linalg.eigh(run.result().tridiagonal())
    weights = S[0] ** 2
    values = f.at(theta, np.maximum(weights, np.finfo(np.float64).tiny), run.dim)
    spread = weights * (values - weights @ values) ** 2
    # For the trace of A itself the whole Krylov space is taken out, converged or not.
    accuracy = _CONVERGED_LOOSELY if f.is_identity else _CONVERGED
    known = run.residual_norm * np.abs(S[-1]) <= accuracy * np.abs(theta).max()
    return bool(spread[~known].sum() < _PAYS * spread.sum())


def deflation(
    operator: Operator, f: MatrixFunction, num_steps: int, seeds: np.random.SeedSequence, bar: Any
) -> Deflation:
    """Find what one Lanczos run, from a probe that is used for nothing else, knows exactly.

    For the trace of A itself that is its trace on the whole Krylov space; for f(A), f at the eigenvalues that have
    converged. Raises MemoryError where the run's basis does not fit.
    """
    dim = operator.dim
    steps = min(num_steps, dim)
    plan = plan_memory(operator, 1, steps, "full", "float64", None)
    ((_, iteration),) = lanczos_runs(operator, lambda index: probe(dim, seeds, index), range(1), steps, plan, bar)
    run, precision = iteration.result(), max(operator.precision, iteration.precision)
    theta, S = np.linalg.eigh(run.tridiagonal())
    values = f.at(theta, np.maximum(S[0] ** 2, np.finfo(np.float64).tiny), dim)
    rows = on_host(run.basis)
    if f.is_identity:
        rounding = f.rounding(theta, theta, np.ones(len(theta)), precision)
        return Deflation(rows, float(run.alpha.sum()), run.num_steps, np.zeros(0), rounding)
    converged = run.residual_norm * np.abs(S[-1]) <= _CONVERGED * np.abs(theta).max()
    vectors, found = S[:, converged].T @ rows, values[converged]
    rounding = f.rounding(theta, values, converged.astype(np.float64), precision)
    return Deflation(vectors, float(found.sum()), run.num_steps, found, rounding)
