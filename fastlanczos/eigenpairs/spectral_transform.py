"""Operators that `eigsh` iterates with instead of A: their extreme eigenvalues are the wanted ones of a pencil.

| mode     | operator                        | inner product | its eigenvalue t is         |
|----------|---------------------------------|---------------|-----------------------------|
| no sigma | M^-1 A                          | M             | lambda                      |
| normal   | (A - sigma M)^-1 M              | M             | 1 / (lambda - sigma)        |
| buckling | (A - sigma M)^-1 A              | A             | lambda / (lambda - sigma)   |
| cayley   | (A - sigma M)^-1 (A + sigma M)  | M             | (lambda + sigma) / (lambda - sigma) |

after Ericsson and Ruhe (Math. Comp. 35, 1980) and Grimes, Lewis and Simon (SIAM J. Matrix Anal. Appl. 15, 1994).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, gmres, splu

from fastlanczos.arrays.cpu import Float64, dtype_name
from fastlanczos.operators.entries import is_explicit

# So much larger than b in A x = b, and A counts as nearly singular: it is factored with pivots.
_NEARLY_SINGULAR = 1e7
_LARGEST = 1e6  # of solves, in units of what a shift one unit of rounding off an eigenvalue makes of them
# Entries of the diagonal below this part of their row are no pivots, and so many of them may be: a shift that is the
# diagonal itself, and factors with the diagonal's order have 20 times as many entries as those with pivots.
_NO_PIVOT, _FEW = 1e-10, 0.1
_STRETCHES = 3  # of a random vector: the first is the mean of the spectrum, which may be far below the norm
_EPSILON = float(np.finfo(np.float64).eps)

__all__ = ["MODES", "SpectralTransform", "matvec_of", "transform"]

MODES = ("normal", "buckling", "cayley")

Matvec = Callable[[Any], Any]


@dataclass(frozen=True)
class SpectralTransform:
    """The operator to iterate with, the product of its inner product (None: the plain one), and the way back."""

    matvec: Matvec
    metric: Matvec | None
    values: Callable[[Float64], Float64]  # eigenvalues of the operator -> those of the pencil
    forward: Callable[[Float64], Float64]
    takes_blocks: bool = False  # matvec and metric multiply columns (n, p) as well
    sigma: float | None = None  # that was factored: a few units of rounding beside the one asked for if that is exact


def size_of(X: Any, multiply: Matvec | None, dim: int) -> float:
    """Return the norm of X, roughly: the largest row sum, or what a few products stretch; 1 for no matrix."""
    if X is None:
        return 1.0
    if is_explicit(X):
        return float(abs(X.tocsr() if scipy.sparse.issparse(X) else X).sum(axis=1).max())
    if multiply is None:
        return 1.0
    b = np.random.default_rng(0).standard_normal(dim)
    size = 0.0
    for _ in range(_STRETCHES):
        b = multiply(b / np.linalg.norm(b))
        largest = float(np.abs(b).max())
        if not 0.0 < largest < np.inf:
            break
        size = largest * float(np.linalg.norm(b / largest))
    return size


def matvec_of(X: Any, dim: int, name: str) -> Matvec:
    """Return x -> X x for a matrix, a LinearOperator, any object with matvec or @, or a callable."""
    shape = getattr(X, "shape", None)
    if shape is not None and tuple(shape) != (dim, dim):
        raise ValueError(f"{name} has shape {tuple(shape)}; want {(dim, dim)}, the shape of A")
    if is_explicit(X):
        if scipy.sparse.issparse(X):
            X = X.tocsr()
        return X.__matmul__  # type: ignore[no-any-return]
    if hasattr(X, "matvec"):
        return X.matvec  # type: ignore[no-any-return]
    if hasattr(X, "__matmul__"):
        return X.__matmul__  # type: ignore[no-any-return]
    if callable(X):
        return X  # type: ignore[no-any-return]
    raise TypeError(f"{name} must be a matrix, a LinearOperator or a callable, got {type(X).__name__}")


def transform(
    A: Any, M: Any, dim: int, *, sigma: float | None, mode: str, Minv: Any, OPinv: Any, dtype: str
) -> SpectralTransform:
    """Return the operator for a pencil (A, M); see the table above. M may be None, the identity."""
    multiply_a = matvec_of(A, dim, "A")
    multiply_m = None if M is None else matvec_of(M, dim, "M")
    explicit = is_explicit(A) and (M is None or is_explicit(M))
    if sigma is None:
        assert M is not None
        solve = _solver(M, dim, "M", dtype) if Minv is None else matvec_of(Minv, dim, "Minv")
        return SpectralTransform(
            lambda x: solve(multiply_a(x)), multiply_m, np.asarray, np.asarray, explicit and Minv is None
        )
    if OPinv is not None:
        solve = matvec_of(OPinv, dim, "OPinv")
        _check_inverse(solve, multiply_a, multiply_m, sigma, dim, dtype)
    else:
        solve, sigma = _shifted_solver(A, M, sigma, dim, dtype)
    blocks = explicit and OPinv is None
    s = sigma

    if mode == "normal":
        matvec: Matvec = solve if multiply_m is None else lambda x: solve(multiply_m(x))
        return SpectralTransform(
            matvec, multiply_m, lambda t: s + _reciprocal(t), lambda values: _reciprocal(values - s), blocks, s
        )
    if mode == "buckling":
        return SpectralTransform(
            lambda x: solve(multiply_a(x)),
            multiply_a,
            lambda t: s * t * _reciprocal(t - 1.0),
            lambda values: values * _reciprocal(values - s),
            blocks,
            s,
        )
    shifted_up = _identity if multiply_m is None else multiply_m
    return SpectralTransform(
        lambda x: solve(multiply_a(x) + s * shifted_up(x)),
        multiply_m,
        lambda t: s * (t + 1.0) * _reciprocal(t - 1.0),
        lambda values: (values + s) * _reciprocal(values - s),
        blocks,
        s,
    )


def _shifted_solver(A: Any, M: Any, sigma: float, dim: int, dtype: str) -> tuple[Matvec, float]:
    """Return b -> (A - sigma M)^-1 b, and the sigma of it: where that one is exactly singular, one beside it.

    A few units of rounding of the norm away, the factors are nearly singular, and as good as any for inverse iteration.
    So it is where a pivot is zero but for rounding errors of others: solutions of 1e40 have only one direction in them.
    """
    error: Exception | None = None
    size = size_of(M, None, dim)
    unit = _EPSILON * (size_of(A, None, dim) / size + abs(sigma))
    b = np.random.default_rng(0).standard_normal(dim).astype(dtype)
    for units in (0, 8, -8, 64, -64):
        shift = sigma + units * unit
        try:
            solve = _solver(_shifted(A, M, shift, dim), dim, "A - sigma M", dtype)
            with np.errstate(all="ignore"):
                if not is_explicit(A) or np.abs(solve(b)).max() * unit * size <= _LARGEST * np.abs(b).max():
                    return solve, shift
        except RuntimeError as singular:
            error = singular
    raise RuntimeError(
        "A - sigma M is exactly singular for every shift near sigma: A and M have a common null vector, and every "
        "number is an eigenvalue of the pencil"
    ) from error


def _check_inverse(
    solve: Matvec, multiply_a: Matvec, multiply_m: Matvec | None, sigma: float, dim: int, dtype: str
) -> None:
    """Raise ValueError if OPinv is the inverse of something else: its eigenvalues would be believed."""
    b = np.random.default_rng(0).standard_normal(dim).astype(dtype)
    x = np.asarray(solve(b))
    if x.shape == b.shape and not np.all(np.isfinite(x)):
        raise ValueError(
            f"OPinv b has {np.count_nonzero(~np.isfinite(x))} of {dim} entries that are NaN or infinite for a random "
            "vector b: A - sigma M may be exactly singular. Factor it for a sigma slightly beside"
        )
    parts = [multiply_a(x), -sigma * (x if multiply_m is None else multiply_m(x)), -b]
    size = sum(float(np.linalg.norm(part)) for part in parts)
    error = float(np.linalg.norm(parts[0] + parts[1] + parts[2])) / size
    if not error < 1e-3:
        raise ValueError(
            f"OPinv is not (A - sigma M)^-1: for a random vector b, (A - sigma M) OPinv b differs from b by "
            f"{error:.1e} (relative). Check that OPinv is for this sigma, and that it converges"
        )


def _identity(x: Any) -> Any:
    return x


def _reciprocal(x: Any) -> Float64:
    with np.errstate(divide="ignore"):
        return 1.0 / np.asarray(x, dtype=np.float64)


def _shifted(A: Any, M: Any, sigma: float, dim: int) -> Any:
    """A - sigma M, as a matrix where both are."""
    if is_explicit(A) and (M is None or is_explicit(M)):
        if scipy.sparse.issparse(A) and (M is None or scipy.sparse.issparse(M)):
            return A - sigma * (scipy.sparse.eye_array(dim, format="csc") if M is None else M)
        A = A.toarray() if scipy.sparse.issparse(A) else np.asarray(A)
        M = M.toarray() if scipy.sparse.issparse(M) else M
        return A - sigma * (np.eye(dim) if M is None else np.asarray(M))
    multiply_a = matvec_of(A, dim, "A")
    multiply_m = _identity if M is None else matvec_of(M, dim, "M")
    dtype = getattr(A, "dtype", None) or np.float64
    return LinearOperator((dim, dim), matvec=lambda x: multiply_a(x) - sigma * multiply_m(x), dtype=dtype)


def _solver(X: Any, dim: int, name: str, dtype: str) -> Matvec:
    """Return b -> X^-1 b: by a sparse or dense LU factorization, or by GMRES where X is only known by its products."""
    if scipy.sparse.issparse(X):
        return _sparse_lu(X.tocsc().astype(dtype), name)
    if isinstance(X, np.ndarray):
        with np.errstate(all="ignore"):
            factors = scipy.linalg.lapack.get_lapack_funcs("getrf", (X.astype(dtype),))(X.astype(dtype))
        if factors[2] > 0:
            raise RuntimeError(_singular(name))
        return lambda b: scipy.linalg.lu_solve(factors[:2], b)
    operator = X if hasattr(X, "shape") else LinearOperator((dim, dim), matvec=X, dtype=dtype)
    precision = 1e-13

    def solve(b: NDArray[Any]) -> NDArray[Any]:
        x, info = gmres(operator, b, rtol=precision, atol=0.0, restart=min(dim, 100), maxiter=100)
        if info != 0:
            raise ValueError(
                f"{name} is known only through its products, and GMRES did not solve with it to {precision:.0e} in "
                f"10,000 steps. Pass a solver of your own as {'Minv' if name == 'M' else 'OPinv'}, or pass the matrix"
            )
        return x  # type: ignore[no-any-return]

    return solve


def _sparse_lu(X: Any, name: str) -> Matvec:
    """Factor a symmetric sparse matrix: pivots on the diagonal keep it sparser, unless accuracy suffers."""
    b = np.random.default_rng(0).standard_normal(X.shape[0]).astype(X.dtype)
    try:
        largest = abs(X).max(axis=1).toarray().ravel()
        if np.mean(np.abs(X.diagonal()) <= _NO_PIVOT * largest) > _FEW:
            return splu(X).solve  # type: ignore[no-any-return]
        factors = splu(X, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

        def refined(b: NDArray[Any]) -> NDArray[Any]:
            x = factors.solve(b)
            return x + factors.solve(b - X @ x)  # type: ignore[no-any-return]

        norm = abs(X).sum(axis=1).max()
        for solve in (factors.solve, refined):
            x = solve(b)
            size = max(norm * np.abs(x).max(), np.abs(b).max())
            if not size < _NEARLY_SINGULAR * np.abs(b).max():
                break  # a tiny pivot may have spoiled what came after it, and x is too large to show that
            if np.all(np.isfinite(x)) and np.abs(X @ x - b).max() <= 1e-14 * size:
                return solve  # type: ignore[no-any-return]
    except RuntimeError:  # a zero on the diagonal
        pass
    try:
        return splu(X).solve  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise RuntimeError(_singular(name)) from error


def _singular(name: str) -> str:
    if name == "M":
        return "M is exactly singular: without sigma it must be positive definite"
    return "A - sigma M is exactly singular, so sigma is an eigenvalue: move sigma slightly"


def complex_of(*operators: Any) -> bool:
    """Whether one of them is complex."""
    return any("complex" in dtype_name(getattr(X, "dtype", None)) for X in operators)
