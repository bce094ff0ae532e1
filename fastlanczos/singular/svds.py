"""`svds`: singular triplets of a matrix or operator of any shape, a drop-in for scipy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import warn_of_lost_gradient
from fastlanczos.eigenpairs.results import EigshInfo, EigshState
from fastlanczos.eigenpairs.search import Settings
from fastlanczos.singular.rectangular import Block, Rectangular, as_rectangular
from fastlanczos.singular.task import Task
from fastlanczos.singular.triplets import Triplets

__all__ = ["svds"]

_SOLVERS = ("arpack", "lobpcg", "propack")
_VECTORS = (True, False, "u", "vh")
_LARGEST_TOL = 0.1  # of residuals: beyond it nothing would be found


def svds(
    A: Any,
    k: int = 6,
    ncv: int | None = None,
    tol: float = 0,
    which: str = "LM",
    v0: Any = None,
    maxiter: int | None = None,
    return_singular_vectors: Any = True,
    solver: str | None = None,
    rng: Any = None,
    options: Any = None,
    *,
    random_state: Any = None,
    center: Any = False,
    multiplicities: bool = True,
    max_memory: int | None = None,
    return_info: bool = False,
    return_unconverged: bool = False,
    dim: tuple[int, int] | None = None,
    progress: bool = False,
    callback: Callable[[EigshState], object] | None = None,
) -> Any:
    """Find k singular triplets of a matrix, A v = s u and A^H u = s v, like scipy's `svds`.

    Values come from A itself, not from its square, and small ones are right to rounding in A's norm. All copies of
    multiple values are found, zeros included, and every triplet has been verified by a product with A and one with its
    adjoint. PCA of a sparse matrix: `u, s, vh = svds(X, k, center=True)`, scores `u * s`, variances `s**2 / (m - 1)`.

    Parameters
    ----------
    A : matrix, LinearOperator, tensor, object with shape, matvec and rmatvec, or pair of functions
        The matrix (m, n), real or complex; a pair of functions is (x -> A x, y -> A^H y), with `dim`.
    k : int
        How many triplets, 1 <= k <= min(m, n).
    ncv : int, optional
        Number of vectors of min(m, n) entries that are kept, as for `eigsh`.
    tol : float
        Its square is the residual norm relative to the value, as in scipy, which hands it to `eigsh` for A^H A; 0 means
        the precision of A's dtype.
    which : {"LM", "SM"}
        The largest or the smallest values. The smallest of a sparse matrix are found by a sparse factorization.
    v0 : array_like, shape (min(m, n),) or (min(m, n), p), optional
        Start vector, or vectors that are expected to be near those wanted, such as `vh.conj().T` of a problem like it.
        They are right ones (left ones if m < n).
    maxiter : int, optional
        Maximum number of restarts.
    return_singular_vectors : {True, False, "u", "vh"}
        Which vectors to return.
    solver, options
        For code that passes scipy's; there is one solver, which needs no options.
    rng, random_state : int, Generator or None
        Seed of the random vectors. None is a fixed seed, so the same call gives the same bits.
    center : bool or array_like, shape (n,)
        Subtract the means of A's columns, or this vector, from every row, without forming the result.
    multiplicities, max_memory, progress
        As for `eigsh`.
    return_info : bool
        Whether to return an `EigshInfo` as well: products, restarts, residuals.
    return_unconverged : bool
        Return the best triplets so far where some have not converged, instead of raising; see `EigshInfo.converged`.
    dim : tuple (m, n), optional
        The shape, for a pair of functions.
    callback : callable, optional
        Called with an `EigshState` at each restart or look, with estimates of values and of residual norms; it may
        raise StopIteration to end the run there.

    Returns
    -------
    u : array, shape (m, k)
        Left singular vectors, orthonormal, in A's dtype; None for "vh".
    s : ndarray, shape (k,)
        Singular values in ascending order, as scipy's ARPACK solver gives them.
    vh : array, shape (k, n)
        Right singular vectors, conjugated, in rows; None for "u". For tensors and arrays on a GPU all three are.
    info : EigshInfo
        Returned if `return_info` is True.

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong type, shape or value.
    NonFiniteError
        If a product has NaN or infinite entries.
    scipy.sparse.linalg.ArpackNoConvergence
        If restarts are not enough; `eigenvalues` and `eigenvectors` are the values and right vectors of those triplets
        that hold, `left` their left vectors.

    References
    ----------
    Golub and Kahan, SIAM J. Numer. Anal. 2 (1965); Simon and Zha, SIAM J. Sci. Comput. 21 (2000), one-sided
    reorthogonalization; Bjorck, Numerical Methods for Least Squares Problems (1996).

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> import fastlanczos as fl
    >>> A = sp.random_array((2000, 400), density=0.02, rng=0) + sp.eye_array(2000, 400)
    >>> u, s, vh = fl.svds(A, k=3)
    >>> u.shape, s.shape, vh.shape, bool(np.linalg.norm(A @ vh.T - u * s) < 1e-13)
    ((2000, 3), (3,), (3, 400), True)
    >>> u, s, vh = fl.svds(A, k=2, center=True)  # the first two principal components
    >>> bool(abs((u * s).sum(axis=0)).max() < 1e-12)
    True
    """
    warn_of_lost_gradient(A, "svds")
    _check(tol, which, maxiter, return_singular_vectors, solver, options)
    B = as_rectangular(A, dim)
    n = B.shape[1]
    if as_dimension(_integer(k, "k"), "k") > n:
        raise ValueError(f"`k` must be an integer satisfying 0 < k <= min(A.shape) = {n}, got {k}")
    k = int(k)
    if ncv is not None and _integer(ncv, "ncv") <= k:
        raise ValueError(f"`ncv` must be an integer satisfying k < ncv, got ncv = {ncv}, k = {k}")
    generator = np.random.default_rng(0 if rng is None and random_state is None else _first(rng, random_state))
    start = _start(v0, B)
    _center(B, center)
    B.find_unit(generator.standard_normal(n).astype(B.dtype))
    with tqdm(desc="svds", unit=" products", disable=not progress) as bar:
        task = Task(
            B,
            k,
            which,
            ncv,
            max_memory,
            Settings(
                tol=max(min(float(tol) ** 2, _LARGEST_TOL), B.precision),
                noisy=tol == 0,
                multiplicities=multiplicities,
                max_restarts=10 * n if maxiter is None else int(maxiter),
                generator=generator,
                bar=bar,
                callback=callback,
            ),
            patient=maxiter is not None,
        )
        try:
            found, left = task.solve(start)
        except BaseException as error:  # Ctrl-C too
            if task.state is not None:
                error.partial = task.state  # type: ignore[attr-defined]
            raise
    if found.values.size < k and not return_unconverged:
        u, values, vh = _answer(B, found, True)
        given_up = ArpackNoConvergence(
            f"{task.reason}; {found.values.size} of {k} triplets have converged", values, vh.conj().T
        )
        given_up.left = u  # type: ignore[attr-defined]
        raise given_up
    everything = found.joined(left)
    order = np.argsort(-np.concatenate([found.values, left.values]), kind="stable")
    converged = (np.arange(order.size) < found.values.size)[order]
    info = EigshInfo(task.products, task.restarts, everything.residuals[::-1] * B.unit, converged[::-1], task.how)
    answer = _answer(B, everything, return_singular_vectors)
    if not return_info:
        return answer
    return (*answer, info) if return_singular_vectors else (answer, info)


def _answer(B: Rectangular, found: Triplets, vectors: Any) -> Any:
    """Return u, s and vh of A, ascending, of its kind and precision."""
    order = np.argsort(found.values, kind="stable")
    s = (found.values[order] * B.unit).astype("float32" if B.single else "float64")
    if not vectors:
        return B.give(s)
    narrow = {"float64": "float32", "complex128": "complex64"}[B.dtype] if B.single else B.dtype
    U, V = (X[:, order].astype(narrow, copy=False) for x, X in (("u", found.U), ("v", found.V)))
    u, vh = (V, U.conj().T) if B.wide else (U, V.conj().T)
    return (
        B.give(np.ascontiguousarray(u)) if vectors in (True, "u") else None,
        B.give(s),
        B.give(np.ascontiguousarray(vh)) if vectors in (True, "vh") else None,
    )


def _start(v0: Any, B: Rectangular) -> Block | None:
    """Return the sum of start vectors, or None."""
    if v0 is None:
        return None
    v0 = np.atleast_1d(np.asarray(v0.detach().cpu() if hasattr(v0, "detach") else v0))
    if v0.dtype.kind not in "fc":
        raise ValueError(f"`v0` must be of floating or complex floating data type, got {v0.dtype}")
    n = B.shape[1]
    if v0.ndim not in (1, 2) or v0.shape[0] != n:
        raise ValueError(f"`v0` must have shape ({n},), or ({n}, p) for p vectors, got {v0.shape}")
    if v0.dtype.kind == "c" and B.dtype == "float64":
        raise TypeError("v0 is complex, and A is real: give its real part")
    if not np.all(np.isfinite(v0)) or not v0.any():
        raise ValueError("`v0` is zero, or has entries that are NaN or infinite")
    return np.asarray(v0 if v0.ndim == 1 else v0.sum(axis=1), dtype=B.dtype)


def _center(B: Rectangular, center: Any) -> None:
    if center is False or center is None:
        return
    if center is True:
        B.subtract(B.mean())
        return
    n = B.shape[0] if B.wide else B.shape[1]
    mean = np.asarray(center)
    if mean.shape != (n,) or mean.dtype.kind not in "fciub":
        raise ValueError(f"center must be False, True, or a vector of {n} numbers, one for each column of A")
    if mean.dtype.kind == "c" and B.dtype == "float64":
        raise TypeError("center is complex, and A is real")
    if not np.all(np.isfinite(mean)):
        raise ValueError("center has entries that are NaN or infinite")
    B.subtract(mean.astype(B.dtype))


def _first(*seeds: Any) -> Any:
    seed = next(s for s in seeds if s is not None)
    return np.random.default_rng(seed.randint(2**31)) if isinstance(seed, np.random.RandomState) else seed


def _integer(value: Any, name: str) -> int:
    if int(value) != value or isinstance(value, bool):
        raise ValueError(f"`{name}` must be an integer satisfying 0 < {name}, got {value!r}")
    if value < 1:
        raise ValueError(f"`{name}` must be an integer satisfying 0 < {name}, got {value!r}")
    return int(value)


def _check(tol: Any, which: Any, maxiter: Any, vectors: Any, solver: Any, options: Any) -> None:
    """Raise what is wrong with arguments, in words of what is wanted."""
    if solver is not None and solver not in _SOLVERS:
        raise ValueError(f"solver must be one of {set(_SOLVERS)} (which all mean the same here), got {solver!r}")
    if options:
        raise ValueError(f"options are for scipy's solvers, and there are none here: got {options!r}")
    if tol < 0 or not np.isfinite(tol):
        raise ValueError(f"`tol` must be a non-negative floating point value, got {tol!r}")
    if str(which).upper() not in ("LM", "SM"):
        raise ValueError(f"`which` must be in {{'LM', 'SM'}}, got {which!r}")
    if maxiter is not None and (int(maxiter) != maxiter or maxiter <= 0):
        raise ValueError(f"`maxiter` must be a positive integer, got {maxiter!r}")
    if not any(vectors is v or vectors == v for v in _VECTORS):
        raise ValueError(f"`return_singular_vectors` must be in {_VECTORS}, got {vectors!r}")
