"""The adjoint of A -> x' f(A) b: vectors whose left' dA right is its derivative, from a Krylov space of b and one of x.

With A Q = Q T + ... and A P = P S + ..., Q e_1 = b / |b| and P e_1 = x / |x|, the Frechet derivative in the direction
x b' is P C Q', with C = |x| |b| U (F o s t') W' for S = U diag(sigma) U', T = W diag(theta) W', s = U' e_1, t = W' e_1
and F the divided differences f[sigma_i, theta_j] (Kandolf, Koskela, Relton and Schweitzer, "Computing low-rank
approximations of the Frechet derivative of a matrix function using Krylov subspace methods", Numer. Linear Algebra
Appl. 28 (2021), section 3). C has a low numerical rank, and each of its singular vectors is a product.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh_tridiagonal
from tqdm import tqdm

from fastlanczos.arrays.cpu import Float64
from fastlanczos.errors import level_of_caller
from fastlanczos.gradients.derivatives import divided_differences
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.operators.operator import Operator
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import on_host

__all__ = ["Adjoint", "adjoint"]

_FIRST, _GROWTH = 10, 1.3  # steps to the first look, and from each to the next
_RANK = 0.01  # of the tolerance: singular values of C below it are left out


@dataclass(frozen=True)
class Adjoint:
    """`left` and `right` (n, r) with d(x' f(A) b) = sum of left * (dA right), and `product`, f(A) x."""

    left: Float64
    right: Float64
    product: Float64


def adjoint(
    operator: Operator,
    f: MatrixFunction,
    derivative: MatrixFunction,
    x: Float64,
    b: Float64,
    tol: float,
    num_steps: int,
) -> Adjoint:
    """Return the adjoint at x and b, with steps until the last tenth of them changes less than `tol` of it.

    Both bases are kept meanwhile. Warns if `num_steps` do not do.
    """
    n = operator.dim
    nothing = np.zeros((n, 0))
    if not x.any():
        return Adjoint(nothing, nothing, np.zeros(n))
    starts = [x, b] if b.any() else [x]
    most = min(num_steps, n)
    plan_memory(operator, len(starts), most, "full", "float64", None)
    runs = [LanczosIteration(n, most, v0=np.array(v), like=operator.kind) for v in starts]
    norms = [float(np.linalg.norm(v)) for v in starts]
    steps = 0
    with tqdm(disable=True) as bar:
        while True:
            steps = min(most, max(_FIRST, int(_GROWTH * steps)))
            drive(runs, operator, bar=bar, until=steps)
            spectra = [_spectrum(run) for run in runs]
            theta, S = spectra[0]
            product = norms[0] * (S @ (f.at(theta, np.maximum(S[0] ** 2, 1e-300), n) * S[0]))
            left = _tail(product[:, None], runs[0])
            core = np.zeros((len(product), 0))
            if len(runs) == 2:
                core = norms[0] * norms[1] * _core(f, derivative, *spectra)
                left = max(left, _tail(core, runs[0]), _tail(core.T, runs[1]))
            if left <= tol or steps >= most or all(run.finished for run in runs):
                break
    if left > tol:
        warnings.warn(
            f"the gradient still changed by {left:.1e} of its norm when num_steps={num_steps} was reached, above "
            f"tol={tol:.1e}",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    bases = [on_host(run.result().basis) for run in runs]
    found = product @ bases[0]
    if len(runs) == 1:
        return Adjoint(nothing, nothing, found)
    U, s, Wt = np.linalg.svd(core)
    kept = s > max(_RANK * tol, np.finfo(np.float64).eps) * s[0] if s.size else s > 0
    root = np.sqrt(s[kept])
    return Adjoint(bases[0].T @ (U[:, : len(s)][:, kept] * root), bases[1].T @ (Wt[: len(s)][kept].T * root), found)


def _spectrum(run: LanczosIteration) -> tuple[Float64, Float64]:
    alpha, beta = run.alpha, run.beta
    return eigh_tridiagonal(alpha, beta) if len(alpha) > 1 else (alpha.copy(), np.ones((1, 1)))


def _core(f: MatrixFunction, derivative: MatrixFunction, first: tuple[Any, Any], second: tuple[Any, Any]) -> Float64:
    (sigma, U), (theta, W) = first, second
    F = divided_differences(f, derivative, sigma, theta)
    return np.asarray((U * U[0]) @ F @ (W * W[0]).T)


def _tail(C: Float64, run: LanczosIteration) -> float:
    """How much of C is in the last tenth of its rows, at least one: what those steps have changed."""
    if run.breakdown or run.num_steps == run.dim:
        return 0.0
    size = float(np.linalg.norm(C))
    return float(np.linalg.norm(C[-max(1, len(C) // 10) :])) / size if size > 0.0 else 0.0
