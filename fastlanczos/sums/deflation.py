"""Deflation: a low-rank part of the sum is known exactly, and probes estimate only the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.quadrature import quadrature
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.operators.operator import Operator
from fastlanczos.probes.draw import probe
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import on_host

__all__ = ["OBSERVED_GROWTH", "Deflation", "deflation", "deflation_that_pays"]

_CONVERGED = 1e-7  # of the norm: the eigenvalue's own error is the square of that
_CONVERGED_LOOSELY = 1e-2
OBSERVED_GROWTH = 4  # times as many steps as now that runs with a basis have memory for
_PAYS = 1 / 3  # of the variance that may be left for a deflation to be worth its products


@dataclass(frozen=True)
class Deflation:
    """Orthonormal rows `vectors` (r, n), real or complex, and the trace of f(A) on their span; r = 0 leaves everything
    to probes.

    `rounding` is what rounding leaves uncertain of that trace.
    """

    vectors: NDArray[Any]
    trace: float
    num_matvecs: int
    values: Float64  # f at the eigenvalue of each row; empty where the rows are no eigenvectors
    rounding: float = 0.0
    nodes: Float64 = field(default_factory=lambda: np.zeros(0))  # these eigenvalues

    @classmethod
    def none(cls, dim: int) -> Deflation:
        """Return what takes nothing out."""
        return cls(np.zeros((0, dim)), 0.0, 0, np.zeros(0))

    @property
    def rank(self) -> int:
        """The number of rows."""
        return len(self.vectors)

    def start(self, index: int, seeds: np.random.SeedSequence, distribution: str = "sphere") -> NDArray[Any]:
        """Return probe `index` on the complement of the span: E[w w'] is the projector onto it."""
        n = self.vectors.shape[1]
        v = probe(n, seeds, index, distribution)
        if self.rank == 0:
            return v
        for _ in range(2):
            v = self.complement(v)
        if distribution == "sphere":
            v *= np.sqrt((n - self.rank) / np.vdot(v, v).real)
        return v

    def complement(self, v: NDArray[Any]) -> NDArray[Any]:
        """Return v without its part in the span."""
        return v - self.vectors.T @ (self.vectors.conj() @ v) if self.rank else v


def deflation(
    operator: Operator,
    f: MatrixFunction,
    num_steps: int,
    seeds: np.random.SeedSequence,
    bar: Any,
    looked: LanczosIteration | None = None,
) -> Deflation:
    """Find what the run of probe 0, which is used for nothing else, knows exactly.

    For the trace of A itself that is its trace on the whole Krylov space; for f(A), f at the eigenvalues that have
    converged. `looked` is that run, where it was made already. Raises MemoryError if the run's basis does not fit.
    """
    dim = operator.dim
    steps = min(num_steps, dim)
    spent = 0 if looked is None else looked.num_steps
    iteration = looked
    if iteration is None or iteration.reorthogonalize == "none":
        plan_memory(operator, 1, steps, "full", "float64", None)
        iteration = LanczosIteration(dim, steps, v0=probe(dim, seeds, 0), like=operator.kind)
        drive([iteration], operator, bar=bar)
        spent += iteration.num_steps
    run, precision = iteration.result(), max(operator.precision, iteration.precision)
    theta, S = np.linalg.eigh(run.tridiagonal())
    values = f.at(theta, np.maximum(S[0] ** 2, np.finfo(np.float64).tiny), dim)
    rows = on_host(run.basis)
    if f.is_identity:
        rounding = float(f.uncertainty(theta, theta, precision).sum())
        return Deflation(rows, float(run.alpha.sum()), spent, np.zeros(0), rounding)
    converged = run.residual_norm * np.abs(S[-1]) <= _CONVERGED * np.abs(theta).max()
    vectors, found = S[:, converged].T @ rows, values[converged]
    rounding = float(f.uncertainty(theta, values, precision)[converged].sum())
    return Deflation(vectors, float(found.sum()), spent, found, rounding, theta[converged])


def deflation_that_pays(
    operator: Operator,
    f: MatrixFunction,
    num_steps: int,
    most_steps: int,
    seeds: np.random.SeedSequence,
    bar: Any,
    keep_basis: bool = False,
) -> tuple[Deflation, LanczosIteration | None]:
    """Return the deflation, where it pays and fits; otherwise none, and the run of probe 0 that told so.

    That run may go on for up to `most_steps`. It has a basis if `keep_basis`.
    """
    run = _look(operator, f, num_steps, most_steps, seeds, bar, keep_basis)
    if _pays(f, run):
        try:
            return deflation(operator, f, num_steps, seeds, bar, run), None
        except MemoryError:
            pass
    return Deflation.none(operator.dim), run


def _look(
    operator: Operator,
    f: MatrixFunction,
    num_steps: int,
    most_steps: int,
    seeds: np.random.SeedSequence,
    bar: Any,
    keep_basis: bool,
) -> LanczosIteration:
    """Return the run of probe 0, whose Ritz values tell whether a deflation pays.

    For the trace of A itself it has a basis, where one fits, and is then the deflation; for f(A), whose probes take as
    many steps, it has none and may go on as a sample, for up to `most_steps`.
    """
    steps = min(num_steps, operator.dim)
    rows = "full" if keep_basis else "auto" if f.is_identity else "none"
    plan = plan_memory(operator, 1, steps, rows, "float64", None)
    most = OBSERVED_GROWTH * steps if keep_basis else 1 if plan.reorthogonalize == "full" else operator.dim
    iteration = LanczosIteration(
        operator.dim,
        min(max(steps, min(most, most_steps)), operator.dim),
        v0=probe(operator.dim, seeds, 0),
        like=operator.kind,
        reorthogonalize=plan.reorthogonalize,
    )
    drive([iteration], operator, bar=bar, until=steps)
    return iteration


def _pays(f: MatrixFunction, run: LanczosIteration) -> bool:
    """Whether what a run knows exactly is more than two thirds of the variance of probes, by its own weights."""
    alpha, beta = run.alpha, run.beta
    # Squares of the first and last components of T's eigenvectors; LAPACK's threads would spin beside the engine's.
    (theta, _), (weights, last) = quadrature([alpha, alpha[::-1]], [beta, beta[::-1]])
    values = f.at(theta, np.maximum(weights, np.finfo(np.float64).tiny), run.dim)
    spread = weights * (values - weights @ values) ** 2
    # For the trace of A itself the whole Krylov space is taken out, converged or not.
    accuracy = _CONVERGED_LOOSELY if f.is_identity else _CONVERGED
    known = run.residual_norm * np.sqrt(last) <= accuracy * np.abs(theta).max()
    return bool(spread[~known].sum() < _PAYS * spread.sum())
