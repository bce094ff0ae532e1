"""`lanczos`: the whole run, for any operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.result import LanczosResult
from fastlanczos.operators.operator import as_operator

__all__ = ["lanczos"]

_DEFAULT_STEPS = 100


def lanczos(
    A: Any,
    dim: int | None = None,
    num_steps: int | None = None,
    *,
    v0: Any = None,
    seed: Any = None,
    reorthogonalize: str = "full",
    return_basis: bool = True,
    basis_dtype: str = "float64",
    progress: bool = False,
    callback: Callable[[LanczosIteration], object] | None = None,
) -> LanczosResult:
    """Run Lanczos on a symmetric or Hermitian operator: A V^T = V^T T + r e_m^T, with V orthonormal to rounding.

    Parameters
    ----------
    A : callable, array, sparse matrix, LinearOperator, tensor, LowLevelCallable or object
        The operator: a callable v -> A v (give `dim`); a square NumPy array, scipy sparse matrix or CPU torch tensor
        (multiplied in float64, in the engine's threads, from float64 or float32 storage); a compiled function (give
        `dim`): a `scipy.LowLevelCallable` of signature `int (intptr_t n, const double *x, double *y, void *user_data)`
        that writes A x into y and returns 0, or a Numba `cfunc` of one; or any object with `shape` and `matvec` or `@`.
        It must be symmetric, or complex Hermitian: vectors are then complex128.

        Matrices and compiled functions run without Python and without the GIL.
    dim : int, optional
        Length n of the vectors. Needed only if A has no shape.
    num_steps : int, optional
        Number of steps m, by default min(n, 100). The run ends earlier if it finds an invariant subspace, and at n
        steps at the latest.
    v0 : array_like, shape (n,), optional
        Start vector. With a torch tensor, a callable A gets tensors of its dtype, and the basis is a tensor. For a
        complex Hermitian A that does not tell its dtype, pass a complex one.
    seed : int, SeedSequence, Generator or None
        Seed of the random start vector if v0 is not given. The same seed gives the same bits for any number of threads.
    reorthogonalize : {"full", "none"}
        "full" keeps V orthonormal to rounding. "none" is the three-term recurrence in constant memory. Converged
        eigenvalues then appear several times; spectral densities are not affected.
    return_basis : bool
        Whether the result has V. If False, its memory is freed at the end.
    basis_dtype : {"float64", "float32"}
        Storage of V. With float32, V is orthonormal to about 1e-8 and T as accurate as with float64.
    progress : bool
        Show a progress bar.
    callback : callable, optional
        Called with the `LanczosIteration` after each step; it may raise StopIteration to end the run there.

    Returns
    -------
    LanczosResult
        `alpha`, `beta`, `basis`, `residual_norm`, `num_steps`, `breakdown`, `asymmetry`; `eigh()`, `quadrature()`.

    Raises
    ------
    TypeError, ValueError
        For arguments and products of the wrong type, shape or dtype.
    NonFiniteError
        If a product has NaN or infinite entries.
    RuntimeError
        If a compiled function returns a status other than 0.
    BaseException
        Whatever A raises, and KeyboardInterrupt. Every exception carries the finished steps as `partial`, a
        LanczosResult.

    Warns
    -----
    AsymmetryWarning
        If the products are not those of one symmetric matrix.

    References
    ----------
    Lanczos (1950); the reorthogonalization is that of Bielich et al., arXiv 2104.01253, with one sweep over V a step.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = np.linspace(0.0, 1.0, 10_000) ** 2
    >>> r = fl.lanczos(lambda v: d * v, dim=10_000, num_steps=200, seed=0)
    >>> r.num_steps, r.basis.shape, r.breakdown
    (200, (200, 10000), False)
    >>> bool(abs(r.basis @ r.basis.T - np.eye(200)).max() < 1e-13)
    True
    """
    operator = as_operator(A, dim, v0=v0, shared=True)
    steps = min(operator.dim, _DEFAULT_STEPS) if num_steps is None else as_dimension(num_steps, "num_steps")
    iteration = LanczosIteration(
        operator.dim,
        steps,
        v0=v0,
        seed=seed,
        like=operator.kind,
        reorthogonalize=reorthogonalize,
        basis_dtype=basis_dtype,
    )
    with tqdm(total=steps, desc="Lanczos", unit="step", disable=not progress) as bar:
        drive([iteration], operator, bar=bar, callback=None if callback is None else lambda: callback(iteration))
    warn_if_asymmetric(iteration.asymmetry, max(iteration.precision, operator.precision))
    result = iteration.result()
    return result if return_basis else replace(result, basis=None)
