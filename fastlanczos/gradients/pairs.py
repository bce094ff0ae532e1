"""Pairs of vectors whose left' dA right is an unbiased estimate of d tr f(A), from the runs that estimate tr f(A)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

from fastlanczos.arrays.cpu import Float64
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.sums.deflation import Deflation
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.preconditioner import LowRank, Preconditioned

__all__ = ["Pairs"]


class Pairs:
    """d tr f(A) = tr f'(A) dA: with w a probe and u = f'(A) w from its Krylov space, E[u' dA w]; and f'(theta) v' dA v
    of each eigenvector that was taken out.

    For the inverse, the derivative of each sample itself: -(A^-1 w)' dA (A^-1 w). With a preconditioner, log and
    inverse alike are u = (R' A R)^-1 w, multiplied by R.
    """

    def __init__(self, derivative: MatrixFunction, of_inverse: bool, dim: int) -> None:
        """`of_inverse` says whether f is the inverse."""
        self._derivative, self._of_inverse, self._dim = derivative, of_inverse, dim
        self._preconditioned: Preconditioned | None = None
        self._probes: dict[int, tuple[Float64, Float64]] = {}
        self._known: tuple[Any, Float64] = np.zeros((0, dim)), np.zeros(0)

    def precondition(self, inner: Preconditioned) -> None:
        """Be told that runs are of R' A R."""
        self._preconditioned = inner

    def take_out(self, known: Deflation) -> None:
        """Take the eigenvectors that probes leave out, each with f' of its eigenvalue."""
        weights = np.ones(known.rank)
        if known.nodes.size:
            weights = self._derivative.at(known.nodes, np.ones(known.rank), self._dim)
        self._known = known.vectors, weights

    def see(self, index: int, run: LanczosIteration, num_steps: int, size: float) -> None:
        """Keep the probe and its u after so many steps."""
        alpha, beta = run.alpha[:num_steps], run.beta[: num_steps - 1]
        theta, S = eigh_tridiagonal(alpha, beta) if num_steps > 1 else (alpha.copy(), np.ones((1, 1)))
        inverted = self._of_inverse or self._preconditioned is not None
        f = MatrixFunction("inv", np.reciprocal, "nonzero") if inverted else self._derivative
        coefficients = S @ (f.at(theta, np.maximum(S[0] ** 2, 1e-300), self._dim) * S[0])
        basis = run.result().basis
        assert basis is not None
        length = np.sqrt(size)
        if isinstance(basis, torch.Tensor):
            rows = basis[:num_steps]
            weights = torch.from_numpy(length * coefficients).to(rows)
            self._probes[index] = length * rows[0], weights @ rows
        else:
            rows = basis[:num_steps]
            self._probes[index] = length * rows[0], (length * coefficients) @ rows

    @property
    def is_preconditioned(self) -> bool:
        """Whether runs are of R' A R."""
        return self._preconditioned is not None

    def drawn(self) -> torch.Tensor:
        """Return the probes themselves, (n, p)."""
        return self._columns(0)

    def _columns(self, which: int) -> torch.Tensor:
        """Return w or u of every probe; there is none where all is known exactly."""
        some = [torch.as_tensor(pair[which]) for pair in self._probes.values()]
        return torch.stack(some, dim=1) if some else torch.zeros((self._dim, 0), dtype=torch.float64)

    def known(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left and right (n, r) of what is known exactly."""
        vectors, weights = self._known
        rows = torch.as_tensor(np.asarray(vectors))
        return rows.T * torch.from_numpy(np.ascontiguousarray(weights)), rows.T

    def control(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Return left, right (n, r) and a diagonal (n,) whose sum is P^-1, where log det P is known and P of low rank.

        tr(K^-1 dK) = tr(P^-1 dK) + tr((K^-1 - P^-1) dK): P is near K, and the probes estimate the rest only.
        """
        inner = self._preconditioned
        if inner is None or self._of_inverse or not isinstance(inner.P, LowRank):
            return None
        root = 1.0 / np.sqrt(inner.P.diagonal)
        rows = inner.P.U * root[:, None]
        weights = -inner.P.g / (1.0 + inner.P.g)
        return torch.from_numpy(rows * weights), torch.from_numpy(rows), torch.from_numpy(root**2)

    def probes(self, controlled: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left and right (n, p) of the probes, of which the mean is to be taken; less P^-1 if `controlled`."""
        w, u = self._columns(0), self._columns(1)
        inner = self._preconditioned
        if inner is not None:
            w, u = (torch.from_numpy(inner.P.inverse_root(x.numpy())) for x in (w, u))
        if self._of_inverse:
            return -u, u
        return (u - w if controlled else u), w
