"""What a Lanczos run returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from fastlanczos.arrays.cpu import Float64, is_tensor, on_device
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.cuda import cuda
from fastlanczos.gauss.quadrature import quadrature

__all__ = ["LanczosResult"]


@dataclass(frozen=True, eq=False, repr=False)
class LanczosResult:
    """A symmetric or Hermitian operator A on the Krylov space of a start vector: A V^T = V^T T + r e_m^T.

    Attributes
    ----------
    alpha : ndarray, shape (m,), float64
        Diagonal of T.
    beta : ndarray, shape (m - 1,), float64
        Off-diagonal of T, not negative.
    basis : array, shape (m, n), or None
        V: rows are the Lanczos vectors, orthonormal to rounding; a tensor if the run was on tensors, complex if its
        vectors were. None if it was not kept.
    residual_norm : float
        Norm of r: how far the space is from being invariant.
    num_steps : int
        m.
    breakdown : bool
        True if the run ended early because the Krylov space is invariant. The Ritz values are then eigenvalues.
    asymmetry : float
        How far the operator was from a symmetric one: max |v_j . (A v_k - T part)| over j < k, relative to the norm of
        T. About 1e-16 for a symmetric operator in float64.
    cuda : dict or None
        Of a run on a GPU, what its bits depend on: `blocks` that a vector was cut into and `stages` of shared memory.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> r = fl.lanczos(np.diag(np.arange(1.0, 201.0)), num_steps=60, seed=0)
    >>> values, vectors = r.eigh()
    >>> float(values[-1].round(6)), vectors.shape
    (200.0, (200, 60))
    """

    alpha: Float64
    beta: Float64
    basis: Any
    residual_norm: float
    num_steps: int
    breakdown: bool
    asymmetry: float
    cuda: dict[str, int] | None = None

    def __post_init__(self) -> None:
        self.alpha.flags.writeable = False
        self.beta.flags.writeable = False

    def tridiagonal(self) -> Float64:
        """Return T as a dense (m, m) float64 matrix."""
        return np.diag(self.alpha) + np.diag(self.beta, 1) + np.diag(self.beta, -1)

    def quadrature(self) -> tuple[Float64, Float64]:
        """Return (nodes, weights), each (m,): the spectral measure of the start vector; see `fastlanczos.quadrature`.

        The nodes are the Ritz values, ascending.
        """
        return quadrature(self.alpha, self.beta)

    def eigh(self) -> tuple[Any, Any]:
        """Return (Ritz values (m,) ascending, Ritz vectors (n, m) in columns), as `numpy.linalg.eigh` does.

        They are tensors, or arrays on a GPU, if the basis is one. Raises ValueError if no basis was kept; `quadrature`
        needs none."""
        if self.basis is None:
            raise ValueError(
                'Ritz vectors need the basis, which this run did not keep: run with reorthogonalize="full" and '
                "return_basis=True. (Ritz values alone: `quadrature()[0]`.)"
            )
        values, coefficients = scipy.linalg.eigh_tridiagonal(self.alpha, self.beta, lapack_driver="stev")
        if on_device(self.basis):
            return _ritz_pairs_on_device(values, coefficients, self.basis)
        basis = self.basis.numpy() if is_tensor(self.basis) else self.basis
        wide = np.complex128 if np.iscomplexobj(basis) else np.float64
        vectors = np.empty((basis.shape[1], self.num_steps), wide)
        block = 65536  # columns at a time, so that a float32 basis is never widened as a whole
        for first in range(0, basis.shape[1], block):
            part = basis[:, first : first + block].astype(wide, copy=False)
            np.matmul(part.T, coefficients, out=vectors[first : first + block])
        if is_tensor(self.basis):
            import torch

            return torch.from_numpy(values), torch.from_numpy(vectors)
        return values, vectors

    def __repr__(self) -> str:
        nodes, _ = self.quadrature()
        basis = "no basis" if self.basis is None else f"basis {tuple(self.basis.shape)} {self.basis.dtype}"
        ended = "breakdown (invariant subspace)" if self.breakdown else f"residual_norm={self.residual_norm:.3g}"
        return (
            f"LanczosResult(num_steps={self.num_steps}, Ritz values {nodes[0]:.6g} .. {nodes[-1]:.6g}, {ended}, "
            f"{basis}, asymmetry={self.asymmetry:.1e})"
        )


def _ritz_pairs_on_device(values: Float64, coefficients: Float64, basis: Any) -> tuple[Any, Any]:
    """Return Ritz values and vectors (n, m) on the GPU that the basis is on, from eigenvectors of T in columns."""
    framework = framework_of(basis, "the basis")
    on_gpu = []
    for x in (values, coefficients):
        array = framework.empty(x.shape, "float64")
        cuda().to_device(np.ascontiguousarray(x), array, framework.stream())
        on_gpu.append(array)
    return on_gpu[0], framework.cast(basis, "float64").T @ on_gpu[1]
