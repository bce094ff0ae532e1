"""`svds`: singular triplets of a matrix or operator of any shape, a drop-in for scipy's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.eigenpairs.multiplier import OutOfProducts
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import make_plan
from fastlanczos.eigenpairs.results import Eigenpairs, EigshInfo, EigshState, NotConverged
from fastlanczos.eigenpairs.search import Search, Settings
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.cuda import to_host
from fastlanczos.errors import NotSymmetricError
from fastlanczos.singular.dense import affordable, cheaper, solve_dense
from fastlanczos.singular.gram import Gram, LargestEnd
from fastlanczos.singular.inverse import SmallestEnd, can_be_factored
from fastlanczos.singular.levels import by_levels
from fastlanczos.singular.rectangular import Block, Rectangular, as_rectangular
from fastlanczos.singular.triplets import Triplets, rayleigh_ritz

__all__ = ["svds"]

_SOLVERS = ("arpack", "lobpcg", "propack")
_VECTORS = (True, False, "u", "vh")
# Up to this shorter side A is written out for LAPACK where neither `ncv` nor `maxiter` is given ...
_SMALL, _TINY = 256, 32  # (if a product may be dear)
_LARGEST_TOL = 0.1  # of residuals: beyond it nothing would be found
_PATIENCE = 20  # ... and, up to a larger one, after this many products for each column.


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
        task = _Task(
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


class _Task:
    """One call: how the triplets are found, and what it took."""

    def __init__(
        self,
        B: Rectangular,
        k: int,
        which: str,
        ncv: int | None,
        max_memory: int | None,
        settings: Settings,
        *,
        patient: bool,
    ) -> None:
        self._B, self._k, self._which = B, k, which
        self._ncv, self._max_memory = ncv, max_memory
        self._settings = settings
        self._patient = patient
        self._uncounted = self.restarts = 0
        self.state: EigshState | None = None
        self.reason = "not converged"
        self.how = "dear"
        self.stopped = False  # by the callback

    @property
    def products(self) -> int:
        """Products with A and with its adjoint, and solves."""
        return self._B.count + self._uncounted

    def solve(self, start: Block | None) -> tuple[Triplets, Triplets]:
        """Return the triplets that hold, and others that do not."""
        B, k, which = self._B, self._k, self._which
        n, none = B.shape[1], Triplets.none(B)
        many = n <= _TINY or (2 * k >= n and affordable(B))
        at_once = self._ncv is None and (many or (start is None and (n <= self._small() or cheaper(B, k))))
        if k == n or at_once:
            return solve_dense(B, which, k), none
        may_write_out = not self._patient and affordable(B)
        if which == "SM" and may_write_out and self._ncv is None and B.on_device is None:
            return solve_dense(B, which, k), none
        limit = _PATIENCE * n if may_write_out else None
        try:
            found, left = self._largest(start, limit) if which == "LM" else self._smallest(start, limit)
        except (OutOfProducts, NotConverged, NotSymmetricError) as error:
            self.reason = str(error)
            found, left = none, none
            everything = getattr(error, "everything", None)
            if everything is not None and everything.pairs.values.size and not may_write_out:
                V = np.linalg.qr(np.asarray(everything.pairs.vectors).T)[0]
                triplets = rayleigh_ritz(B, V, none, 0.0)
                found, left = self._sorted_out(triplets, float(triplets.values[0]))
                self.reason = str(error)
        if found.values.size < k and may_write_out and not self.stopped:
            return solve_dense(B, which, k), none
        return found, left

    def _largest(self, start: Block | None, limit: int | None) -> tuple[Triplets, Triplets]:
        return self._by_levels(LargestEnd(self._B), limit, start)

    def _smallest(self, start: Block | None, limit: int | None) -> tuple[Triplets, Triplets]:
        B = self._B
        norm = self._norm()
        if norm == 0.0:
            return Triplets.of_zero(B, self._k), Triplets.none(B)
        if can_be_factored(B):
            return self._by_levels(SmallestEnd(B, norm), None, start, norm)
        pairs = self._search(Gram(B, Triplets.none(B).V), self._k, start, "SA", limit)
        triplets = rayleigh_ritz(B, pairs.vectors.T, Triplets.none(B), norm)
        return self._sorted_out(triplets, norm)

    def _small(self) -> int:
        B = self._B
        if B.dtype != "float64" or B.matrix is None:
            return _SMALL if B.dtype != "float64" else _TINY
        return _SMALL

    def _norm(self) -> float:
        """B's norm, to a few digits."""
        pairs = self._search(Gram(self._B, Triplets.none(self._B).V), 1, None, "LA", None, tol=1e-2)
        return float(np.sqrt(max(pairs.values[-1], 0.0)))

    def _by_levels(
        self, end: Any, limit: int | None, start: Block | None, norm: float = 0.0
    ) -> tuple[Triplets, Triplets]:
        def search(operator: Any, count: int, begin: Block | None) -> Eigenpairs:
            tols = [max(self._settings.tol, noise) for noise in operator.noises]
            while True:
                try:
                    return self._search(operator, count, begin, "LA", limit, tols[0])
                except NotConverged:
                    tols = tols[1:]
                    if not tols or self.stopped:
                        raise
                except NotSymmetricError:
                    if not isinstance(end, SmallestEnd) or not end.soften():
                        raise

        found, left = by_levels(self._B, self._k, self._settings.tol, end, search, start, norm)
        self._explain(left)
        return found, left

    def _explain(self, left: Triplets) -> None:
        if left.values.size:
            worst = int(np.argmax(left.residuals))
            self.reason = (
                f"{left.values.size} triplets failed verification: for the value {left.values[worst]:.6g} a residual "
                f"norm is {left.residuals[worst]:.1e}. Products are not exact enough, or it is too small for A^H A"
            )

    def _sorted_out(self, triplets: Triplets, norm: float) -> tuple[Triplets, Triplets]:
        holds = triplets.hold(self._B, self._settings.tol, norm)
        found, left = triplets.chosen(np.flatnonzero(holds)), triplets.chosen(np.flatnonzero(~holds))
        self._explain(left)
        return found, left

    def _search(
        self, operator: Any, count: int, start: Block | None, which: str, limit: int | None, tol: float | None = None
    ) -> Eigenpairs:
        B = self._B
        v0 = start
        if B.framework is not None and isinstance(operator, Gram):
            v0 = B.framework.from_numpy(
                self._settings.generator.standard_normal(B.shape[1]).astype(B.dtype) if start is None else start
            )
        pencil = Pencil(operator, None, None, sigma=None, mode="normal", Minv=None, OPinv=None, v0=v0)
        plan = make_plan(pencil, count, self._ncv, self._max_memory, which)
        self.how = "dear" if plan.grows else "cheap"
        settings = replace(self._settings, tol=self._settings.tol if tol is None else tol, callback=self._watch)
        search = Search(pencil, Wanted(which, count), plan, settings)
        before = self._B.count
        try:
            pairs = search.solve(None if v0 is None else pencil.start_vector(v0), limit)
        finally:
            self.restarts += search.restarts
            if self._B.count == before:  # they were native, two in one, or solves
                self._uncounted += search.products * (2 if isinstance(operator, Gram) else 1)
        vectors = pairs.vectors
        if not isinstance(vectors, np.ndarray):
            assert B.framework is not None
            vectors = to_host(vectors.array(), B.framework)
        return Eigenpairs(pencil.values(pairs.values), np.array(vectors))

    def _watch(self, state: EigshState) -> None:
        """Tell the caller in terms of singular values."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.sqrt(np.maximum(state.values, 0.0))
            residuals = np.where(values > 0.0, state.residuals / values, np.sqrt(state.residuals))
        self.state = replace(
            state, num_products=self.products, values=values * self._B.unit, residuals=residuals * self._B.unit
        )
        if self._settings.callback is not None:
            try:
                self._settings.callback(self.state)
            except StopIteration:
                self.stopped = True
                raise


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
