"""`eigsh`: eigenpairs of a symmetric or Hermitian operator, a drop-in for scipy's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import warn_of_lost_gradient
from fastlanczos.eigenpairs.dense_pencil import solve_dense
from fastlanczos.eigenpairs.interval import Moved, check_interval, pairs_in
from fastlanczos.eigenpairs.multiplier import OutOfProducts
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import make_plan
from fastlanczos.eigenpairs.results import EigshInfo, EigshState, NotConverged
from fastlanczos.eigenpairs.search import MOST_NOISE, Search, Settings
from fastlanczos.eigenpairs.spectral_transform import MODES
from fastlanczos.eigenpairs.stack import is_stack, solve_stack
from fastlanczos.eigenpairs.wanted import WHICH, Wanted
from fastlanczos.engine.kinds import SharedKind
from fastlanczos.errors import NotSymmetricError, warn_if_asymmetric
from fastlanczos.operators.entries import is_explicit

__all__ = ["eigsh"]

# Up to this side an operator is written out as a matrix, for LAPACK, where neither `ncv` nor `maxiter` is given ...
_SMALL = 256
_TINY = 32  # the same where a product may be dear
# ... and up to this one where restarts fail, or have taken this many products for each column of the matrix.
_MODERATE, _PATIENCE = 2048, 20


def eigsh(
    A: Any,
    k: int = 6,
    M: Any = None,
    sigma: float | None = None,
    which: str = "LM",
    v0: Any = None,
    ncv: int | None = None,
    maxiter: int | None = None,
    tol: float = 0,
    return_eigenvectors: bool = True,
    Minv: Any = None,
    OPinv: Any = None,
    mode: str = "normal",
    rng: Any = None,
    *,
    interval: tuple[float, float] | None = None,
    multiplicities: bool = True,
    max_memory: int | None = None,
    preconditioner: Any = None,
    return_info: bool = False,
    return_unconverged: bool = False,
    dim: int | None = None,
    progress: bool = False,
    callback: Callable[[EigshState], object] | None = None,
) -> Any:
    """Find k eigenpairs of a symmetric or Hermitian operator, A x = lambda x or A x = lambda M x, like scipy's `eigsh`.

    All copies of multiple eigenvalues are found, whatever the start vector, and every pair has been verified with a
    product of its own, or all with one of a random combination. Where a product costs more than sweeping the default
    basis (a dense or scattered matrix, a callable, a solve) the basis grows as far as memory allows, for the fewest
    products. Small operators are formed by n products and solved by LAPACK: for n <= 256 (32 if a product is dear, 2048
    if half of all pairs are wanted) at once if neither `ncv` nor `maxiter` is given, for n <= 2048 if restarts fail or
    20 n products were not enough and `maxiter` is not given. docs/eigenpairs.md lists the differences from scipy.

    Parameters
    ----------
    A : matrix, LinearOperator, tensor, object with shape and matvec or @, or callable
        The operator, as for `lanczos`; complex ones must be Hermitian. A callable needs `dim`. An array (b, n, n) or a
        list of matrices is a stack: all are solved, in threads; M, sigma, v0 and k may be lists with one for each.
    k : int
        How many pairs, 1 <= k <= n.
    M : matrix, LinearOperator or callable, optional
        Second matrix of the pencil, by default the identity. It must be positive definite; with sigma, positive
        semidefinite. In buckling mode A must be positive definite instead, and M may be indefinite.
    sigma : float, optional
        Find eigenvalues near sigma, with products of (A - sigma M)^-1: by a sparse or dense LU factorization, by
        `OPinv` if given, or by GMRES if only products of A are known. sigma may be an eigenvalue. If A - sigma M is
        exactly singular, a few units of rounding beside sigma are factored.
    which : {"LM", "SM", "LA", "SA", "BE"}
        Largest or smallest magnitude, largest or smallest value, or half from each end (one more from the high end if k
        is odd). With sigma this refers to the transformed values, so "LM" means nearest to sigma. "SM" without sigma
        needs many products if the operator is indefinite; for a matrix, sigma=0 is faster.
    v0 : array_like, shape (n,) or (n, p), optional
        Start vector, or vectors that are expected to be near the wanted eigenvectors, as those of a problem like this
        one: if they are exact, one product each finds them again. What random starts must not hide is looked for as
        ever. Pass an array on a GPU for a callable that works there.
    ncv : int, optional
        Number of vectors of n entries that are kept, k < ncv; by default 2 k + 20 if products are cheap, otherwise up
        to 300 or 15 k. At most ncv + 8 vectors are in use; with sigma, M or complex A at least 4 k + 60.
    maxiter : int, optional
        Maximum number of restarts, by default 10 n.
    tol : float
        Residual norm relative to the eigenvalue; 0 means the precision of A's dtype. Eigenvalues are more accurate than
        that: their error is about the residual squared over the gap. With 0, products of an operator that agree with
        a symmetric matrix to 1e-3 only give the digits that they carry, with an `AsymmetryWarning`.
    return_eigenvectors : bool
        Whether to return vectors as well.
    Minv, OPinv : matrix, LinearOperator or callable, optional
        Products with M^-1 and with (A - sigma M)^-1.
    mode : {"normal", "buckling", "cayley"}
        With sigma, the transformation: 1 / (lambda - sigma), lambda / (lambda - sigma) or (lambda + sigma) / (lambda -
        sigma).
    rng : int, Generator or None
        Seed of the random vectors. None is a fixed seed, so the same call gives the same bits.
    interval : tuple (low, high), optional
        Find all pairs in it instead of k; an end may be infinite. Those of matrices are counted by factorizations, and
        found by shifts; of other operators more and more pairs are found, from an end or from the middle. A value that
        is an end of the interval to rounding may or may not be among them.
    multiplicities : bool
        Whether to look for further copies of multiple eigenvalues, which one start vector does not show. Without it, a
        third to a half fewer products, and some copies may be missing, as with ARPACK.
    max_memory : int, optional
        Bytes that the vectors may take; by default half of what is available.
    preconditioner : matrix, LinearOperator or callable, optional
        P r for a residual r, where P approximates (A - lambda I)^-1, for which="SA" or "LA": generalized Davidson. A
        callable of two arguments gets the shift lambda as well.
    return_info : bool
        Whether to return an `EigshInfo` as well: products, restarts, residuals.
    return_unconverged : bool
        Return the best pairs so far where some have not converged, instead of raising: k of them, or as many as there
        are. `EigshInfo.converged` tells which have been verified.
    dim : int, optional
        n. Needed only if A has no shape.
    progress : bool
        Show a progress bar that counts products.
    callback : callable, optional
        Called with an `EigshState` at each restart, or look at a growing basis; it may raise StopIteration to
        end the run there.

    Returns
    -------
    w : ndarray, shape (k,)
        Eigenvalues in ascending order. Without `return_eigenvectors` and without sigma their order is scipy's, the most
        wanted last. float32 if A is in single precision, otherwise float64.
    v : array, shape (n, k)
        Eigenvectors v[:, i] in A's dtype, orthonormal in M's inner product (in buckling mode in A's). Not returned if
        `return_eigenvectors` is False. For tensors and arrays on a GPU, w and v are of the same type. Of a stack w is
        (b, k) and v (b, n, k), or a list where sizes differ, and `info` a list.
    info : EigshInfo
        Returned if `return_info` is True.

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong type, shape or value, and for operators that are not symmetric.
    NonFiniteError
        If a product has NaN or infinite entries.
    scipy.sparse.linalg.ArpackNoConvergence
        If `maxiter` restarts are not enough, or products are too inexact for `tol`. Its `eigenvalues` and
        `eigenvectors` are the pairs that were verified.
    MemoryError
        If `max_memory` does not hold k + 3 vectors.
    RuntimeError
        If M is singular without sigma, or A and M have a common null vector.

    Ctrl-C, and exceptions of a callable, carry the last `EigshState` as `partial`.

    References
    ----------
    Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000), thick restart; Zhou and Saad, ibid. 29 (2007), Chebyshev
    filters; Kuczynski and Wozniakowski, ibid. 13 (1992), random starts.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> import fastlanczos as fl
    >>> n = 1000
    >>> A = sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    >>> w, v = fl.eigsh(A, k=3, which="LA")
    >>> w.round(5).tolist(), v.shape
    ([3.99991, 3.99996, 3.99999], (1000, 3))
    >>> fl.eigsh(A, k=2, sigma=0)[0].round(8).tolist()
    [9.85e-06, 3.94e-05]
    """
    warn_of_lost_gradient(A, "eigsh")
    given: dict[str, Any] = dict(ncv=ncv, maxiter=maxiter, tol=tol, rng=rng, multiplicities=multiplicities)
    given.update(max_memory=max_memory, return_unconverged=return_unconverged, callback=callback)
    if is_stack(A):
        if (
            Minv is not None
            or OPinv is not None
            or preconditioner is not None
            or dim is not None
            or callback is not None
        ):
            raise ValueError("of a stack of matrices Minv, OPinv, preconditioner, dim and callback are not taken")
        given.update(k=k, M=M, sigma=sigma, which=which, v0=v0, mode=mode, interval=interval)
        w, V, infos = solve_stack(A, given, progress, partial(eigsh, return_info=True))
        asked = [w, *[V] * return_eigenvectors, *[infos] * return_info]
        return tuple(asked) if len(asked) > 1 else w
    if interval is not None:
        if which != "LM" or sigma is not None or Minv is not None or preconditioner is not None or v0 is not None:
            raise ValueError("interval takes the place of k, which, sigma, v0 and preconditioner: leave them out")
        w, V, info = pairs_in(A, M, check_interval(interval), dim, _Finder(A, M, dim, {**given, "progress": progress}))
        answer = (w, V, info) if return_info else (w, V)
        return answer if return_eigenvectors else (w, info) if return_info else w
    _check(k, which, maxiter, tol, M, sigma, Minv, OPinv, mode)
    if max_memory is not None:
        as_dimension(max_memory, "max_memory")
    for_numpy = which == "SM" or preconditioner is not None
    pencil = Pencil(A, M, dim, sigma=sigma, mode=mode, Minv=Minv, OPinv=OPinv, v0=v0, for_numpy=for_numpy)
    n = pencil.dim
    if k > n:
        raise ValueError(f"k = {k}: a {n} x {n} operator has no more than {n} eigenvalues")
    if ncv is not None and as_dimension(ncv, "ncv") <= k:
        raise ValueError(f"ncv must be greater than k: got ncv = {ncv}, k = {k}")
    block = pencil.start_block(v0) if len(getattr(v0, "shape", ())) == 2 else None
    start = block.first() if block is not None else None if v0 is None else pencil.start_vector(v0)
    # Of a matrix the entries tell whether it is symmetric; products may carry less than the precision of their dtype.
    noisy = tol == 0 and not is_explicit(A)
    tol = max(float(tol), pencil.precision)
    if pencil.asymmetry > max(100.0 * pencil.precision, tol):
        raise NotSymmetricError(pencil.asymmetry)
    wanted = Wanted(which, k)
    if preconditioner is not None:
        _check_preconditioned(pencil, which)
    plan = make_plan(pencil, k, ncv, max_memory, which, preconditioner is not None)
    how = "dear" if plan.grows else "cheap"

    def finished(values: Any, vectors: Any, asymmetry: float, num: int, restarts: int, residuals: Any) -> Any:
        warn_if_asymmetric(max(asymmetry, pencil.asymmetry), pencil.precision)
        info = EigshInfo(num, restarts, residuals, np.ones(k, dtype=bool), how)
        return _result(pencil, wanted, values, vectors, return_eigenvectors, info if return_info else None)

    def dense() -> Any:
        found = solve_dense(pencil, wanted, tol, MOST_NOISE if noisy else 0.0)
        return None if found is None else finished(*found, n, 0, np.zeros(k))

    small = n <= (_TINY if plan.grows and not plan.blocks else _SMALL) or (2 * k >= n and n <= _MODERATE)
    small = small and preconditioner is None
    if (ncv is None and maxiter is None and small) or k == n or (ncv is not None and ncv >= n):
        answer = dense()
        if answer is not None:
            return answer

    # Products before LAPACK is asked, and, where it cannot answer, as many as the restarts allow.
    limits = [_PATIENCE * n, None] if maxiter is None and n <= _MODERATE else [None]
    with tqdm(desc="eigsh", unit=" products", disable=not progress) as bar:
        settings = Settings(
            tol=tol,
            noisy=noisy,
            multiplicities=multiplicities,
            max_restarts=10 * n if maxiter is None else int(maxiter),
            generator=np.random.default_rng(0 if rng is None else rng),
            bar=bar,
            callback=callback,
        )
        search = Search(pencil, wanted, plan, settings, preconditioner)
        search.start = block
        for limit in limits:
            try:
                pairs = search.solve(start, limit)
                break
            except (OutOfProducts, NotConverged) as error:
                if limit is not None and not search.ended_by_callback:
                    answer = dense()
                    if answer is not None:
                        return answer
                if isinstance(error, NotConverged):
                    if return_unconverged:
                        return _unconverged(pencil, wanted, error, search, how, return_eigenvectors, return_info)
                    part = error.pairs
                    values, vectors = _result(pencil, wanted, pencil.values(part.values), part.vectors, True, None)
                    raise ArpackNoConvergence(
                        f"{error}; {part.values.size} of {k} pairs have converged", values, vectors
                    ) from None
            except BaseException as error:  # Ctrl-C too
                if search.state is not None:
                    error.partial = search.state  # type: ignore[attr-defined]
                raise
    return finished(
        pencil.values(pairs.values), pairs.vectors, search.asymmetry, search.products, search.restarts, search.residuals
    )


class _Finder:
    """`eigsh` of one operator, or of it less `center` times the identity, with the same arguments each time."""

    def __init__(self, A: Any, M: Any, dim: int | None, given: dict[str, Any]) -> None:
        self._A, self._M, self._dim, self._given = A, M, dim, given

    def __call__(self, *, center: float = 0.0, **how: Any) -> Any:
        if center == 0.0:
            return eigsh(self._A, M=self._M, dim=self._dim, return_info=True, **self._given, **how)
        if self._M is not None:
            raise ValueError("an interval inside of the spectrum of a pencil needs matrices whose entries can be read")
        w, V, info = eigsh(Moved(self._A, self._dim, center), return_info=True, **self._given, **how)
        return w + center, V, info


def _unconverged(
    pencil: Pencil, wanted: Wanted, error: NotConverged, search: Search, how: str, vectors: bool, with_info: bool
) -> Any:
    """Return what a search that failed had in the end."""
    pairs, count = error.pairs, error.pairs.values.size
    residuals, good = np.zeros(count), np.ones(count, dtype=bool)
    if error.everything is not None:
        pairs, residuals, good = error.everything.pairs, error.everything.residuals, error.everything.good
    info = EigshInfo(search.products, search.restarts, residuals, good, how)
    return _result(pencil, wanted, pencil.values(pairs.values), pairs.vectors, vectors, info if with_info else None)


def _result(
    pencil: Pencil, wanted: Wanted, values: Any, vectors: Any, return_eigenvectors: bool, info: EigshInfo | None
) -> Any:
    if not return_eigenvectors and not pencil.is_shifted and wanted.which != "BE":
        order = wanted.order(values)[::-1]  # scipy's order
        vectors = None
    else:
        order = np.argsort(values, kind="stable")
    if not np.array_equal(order, np.arange(order.size)):
        values, vectors = values[order], None if vectors is None else vectors[order]
        info = None if info is None else replace(info, residuals=info.residuals[order], converged=info.converged[order])
    answer = pencil.result(values, vectors, return_eigenvectors)
    if info is None:
        return answer
    return (*answer, info) if return_eigenvectors else (answer, info)


def _check_preconditioned(pencil: Pencil, which: str) -> None:
    if pencil.is_transformed:
        raise ValueError("preconditioner is for A x = lambda x: with sigma or M give OPinv or Minv")
    if isinstance(pencil.operator.kind, SharedKind):
        raise TypeError("preconditioner is for vectors that are not shared out over ranks: leave it out")
    if which not in ("LA", "SA"):
        raise ValueError(f'preconditioner needs which="SA" or "LA", the end that it is for; got {which!r}')


def _check(k: Any, which: Any, maxiter: Any, tol: Any, M: Any, sigma: Any, Minv: Any, OPinv: Any, mode: Any) -> None:
    """Raise what is wrong with arguments, in words of what is wanted."""
    as_dimension(k, "k")
    if which not in WHICH:
        raise ValueError(f"which must be one of {', '.join(WHICH)}; got {which!r}")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
    if maxiter is not None:
        as_dimension(maxiter, "maxiter")
    if isinstance(tol, (str, bool)) or not np.isscalar(tol) or not 0.0 <= float(tol) < 1.0:  # type: ignore[arg-type]
        raise ValueError(f"tol must be a number in [0, 1), got {tol!r}")
    if sigma is None:
        if mode != "normal":
            raise ValueError(f'mode="{mode}" is a transformation around sigma: give sigma')
        if OPinv is not None:
            raise ValueError("OPinv is (A - sigma M)^-1: give sigma as well")
        if Minv is not None and M is None:
            raise ValueError("Minv is given without M")
        return
    if isinstance(sigma, complex) or not np.isscalar(sigma) or not np.isfinite(sigma):  # type: ignore[call-overload]
        raise ValueError(f"sigma must be a finite real number, got {sigma!r}")
    if Minv is not None:
        raise ValueError("Minv is not used with sigma: give OPinv, which is (A - sigma M)^-1")
    if mode != "normal" and sigma == 0:
        raise ValueError(f'mode="{mode}" needs a sigma other than 0: with sigma=0 the operator is constant')
