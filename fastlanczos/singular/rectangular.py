"""A matrix or operator of any shape, its columns' means subtracted if asked for, as products with blocks of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import dtype_name, is_tensor, matrix_of_tensor, on_device, precision_of
from fastlanczos.arrays.frameworks import Framework, framework_of
from fastlanczos.engine.kinds import tensors
from fastlanczos.errors import NonFiniteError
from fastlanczos.operators.entries import is_explicit
from fastlanczos.operators.operator import without_lists

__all__ = ["Rectangular", "as_rectangular"]

Block = NDArray[Any]
_LARGEST_EXPONENT = 100  # of the norm: beyond it squares of it may be no numbers
_ROWS = 4096  # of a float32 matrix that are widened at once


class Rectangular:
    """B, tall or square (m, n): A, or its adjoint if A is wider than high; less c d^H where c and d are given.

    `multiply` and `multiply_adjoint` take and return blocks of NumPy's columns, in `dtype`. `matrix` holds the entries
    of B in NumPy or scipy where these can be read. `count` is the number of products with B and its adjoint so far, of
    a vector each. `unit` is a power of two that B is divided by.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: str,
        forward: Callable[[Block], Any],
        adjoint: Callable[[Block], Any],
        *,
        matrix: Any = None,
        single: bool = False,
        wide: bool = False,
        give: Callable[[Any], Any] = np.asarray,
        framework: Framework | None = None,
        on_device: tuple[Any, Any] | None = None,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._forward, self._adjoint = forward, adjoint
        self.matrix = matrix
        self.single = single
        self.wide = wide
        self.give = give
        self.framework, self.on_device = framework, on_device
        self.precision = precision_of("float32" if single else "float64")
        self.c: Block | None = None
        self.d: Block | None = None
        self.unit = 1.0
        self.count = 0
        # Where B has been factored: (r, None) -> (_, y), B y nearest to r; (None, r) -> (x, _), the shortest with
        # B^H x = r.
        self.solve: Callable[[Block | None, Block | None], tuple[Block, Block]] | None = None

    def subtract(self, mean: Block) -> None:
        """Subtract a row vector from every row of A."""
        ones = np.ones(self.shape[1] if self.wide else self.shape[0])
        self.c, self.d = (mean.conj(), ones) if self.wide else (ones, mean.conj())

    def mean(self) -> Block:
        """Return the means of A's columns."""
        rows = self.shape[1] if self.wide else self.shape[0]
        ones = np.ones((rows, 1), self.dtype)
        sums = self.multiply(ones) if self.wide else self.multiply_adjoint(ones)
        return np.asarray(sums[:, 0].conj() / rows * self.unit)

    def multiply(self, X: Block) -> Block:
        """Return B X (m, p)."""
        Y = self._checked(self._forward(X), (self.shape[0], X.shape[1]), "A^H" if self.wide else "A")
        if self.c is not None and self.d is not None:
            Y = Y - self.c[:, None] * (self.d.conj() @ X)
        return Y if self.unit == 1.0 else Y / self.unit

    def multiply_adjoint(self, Y: Block) -> Block:
        """Return B^H Y (n, p)."""
        X = self._checked(self._adjoint(Y), (self.shape[1], Y.shape[1]), "A" if self.wide else "A^H")
        if self.c is not None and self.d is not None:
            X = X - self.d[:, None] * (self.c.conj() @ Y)
        return X if self.unit == 1.0 else X / self.unit

    def _checked(self, product: Any, shape: tuple[int, int], name: str) -> Block:
        self.count += shape[1]
        if product is None:
            raise TypeError(f"a product of {name} is None: it must be returned")
        found = np.asarray(product)
        if found.dtype.kind == "c" and self.dtype == "float64":
            raise TypeError(f"a product of {name} is complex, and A has a real dtype: give A a complex one")
        found = found.astype(self.dtype, copy=False)
        if found.shape != shape:
            raise ValueError(f"a product of {name} has shape {found.shape}; want {shape}")
        self.check_finite(found, f"product {self.count} of A")
        return found

    def check_finite(self, found: Block, what: str = "A") -> None:
        """Raise NonFiniteError for entries of a product, or of A itself, that are not finite."""
        bad = int(np.count_nonzero(~np.isfinite(found)))
        if bad:
            raise NonFiniteError(f"{what} has {bad} entries that are NaN or infinite", step=self.count, count=bad)

    def find_unit(self, x: Block) -> None:
        """Choose `unit` so that squares of products are numbers, as a product of a vector x tells."""
        product = self.multiply(x[:, None] / np.linalg.norm(x))
        exponent = int(np.frexp(np.abs(product).max())[1])
        if abs(exponent) > _LARGEST_EXPONENT:
            self.unit = 2.0 ** max(-1000, min(1000, exponent))


def as_rectangular(A: Any, dim: Any = None) -> Rectangular:
    """Return A as what has products both ways.

    A is a matrix (NumPy, scipy sparse, torch, on a GPU), a LinearOperator or object with shape, matvec and rmatvec, or
    a pair of functions (x -> A x, y -> A^H y) with `dim` = (m, n).
    """
    if isinstance(A, np.ma.MaskedArray):
        raise TypeError("A is a masked array, and masks are not supported: fill it first")
    if type(A) is tuple and len(A) == 2 and all(callable(f) for f in A):
        if type(dim) is not tuple or len(dim) != 2:
            raise ValueError(f"two functions do not tell the shape of A: pass dim=(m, n), got {dim!r}")
        shape = as_dimension(dim[0], "dim[0]"), as_dimension(dim[1], "dim[1]")
        A = LinearOperator(shape, matvec=A[0], rmatvec=A[1], dtype=np.float64)
    A = without_lists(A, "A")
    give: Callable[[Any], Any] = np.asarray
    if is_tensor(A) and not on_device(A):
        _check(A)
        give = tensors("float64").output
        A = matrix_of_tensor(A)
    gpu = on_device(A) or type(A).__module__.startswith("cupyx.scipy.sparse")
    if not (gpu or is_explicit(A)):
        if not hasattr(A, "shape"):
            raise TypeError(
                "A must be a matrix, a LinearOperator, an object with shape, matvec and rmatvec, or two functions "
                f"(x -> A x, y -> A^H y) with dim=(m, n); got {type(A).__module__}.{type(A).__qualname__}"
            )
        A = aslinearoperator(A)
    _check(A)
    m, n = (int(side) for side in A.shape)
    if dim is not None and tuple(dim) != (m, n):
        raise ValueError(f"dim is {dim}, but A has shape {(m, n)}")
    name = dtype_name(A.dtype)
    dtype, single = "complex128" if "complex" in name else "float64", name in ("float32", "complex64")
    wide = m < n
    shape = (n, m) if wide else (m, n)
    if gpu:
        return _of_gpu(A, shape, dtype, single=single, wide=wide)
    if is_explicit(A):
        B = A.conj().T if wide else A
        forward, adjoint = _products_of_matrix(B)
        return Rectangular(shape, dtype, forward, adjoint, matrix=B, single=single, wide=wide, give=give)
    both = A.matmat, _adjoint_of(A)
    return Rectangular(shape, dtype, *(both[::-1] if wide else both), single=single, wide=wide)


def _check(A: Any) -> None:
    shape = tuple(A.shape)
    if len(shape) != 2:
        raise ValueError(f"A must have two dimensions, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"`A` must not be empty, got shape {shape}")
    name = dtype_name(A.dtype)
    if name in ("longdouble", "float128", "float96", "clongdouble") or not name.startswith(
        ("float", "bfloat", "int", "uint", "bool", "complex")
    ):
        raise ValueError(f"`A` must be of numeric data type, one that float64 or complex128 can hold, got {name}")


def _products_of_matrix(B: Any) -> tuple[Callable[[Block], Any], Callable[[Block], Any]]:
    if scipy.sparse.issparse(B):
        transposed = B.conj().T  # type: ignore[attr-defined]
        return lambda X: B @ X, lambda Y: transposed @ Y
    if B.dtype.itemsize >= np.dtype("float64" if B.dtype.kind != "c" else "complex128").itemsize:
        return lambda X: B @ X, lambda Y: (Y.conj().T @ B).conj().T

    def rows(first: int, dtype: Any) -> Block:
        return np.asarray(B[first : first + _ROWS], dtype=dtype)

    def forward(X: Block) -> Block:
        return np.vstack([rows(i, X.dtype) @ X for i in range(0, len(B), _ROWS)])

    def adjoint(Y: Block) -> Block:
        return np.asarray(
            sum(rows(i, Y.dtype).conj().T @ Y[i : i + _ROWS] for i in range(0, len(B), _ROWS)), dtype=Y.dtype
        )

    return forward, adjoint


def _adjoint_of(A: LinearOperator) -> Callable[[Block], Any]:
    def adjoint(Y: Block) -> Any:
        try:
            try:
                return A.rmatmat(Y)
            except TypeError:  # scipy's, of an operator that has no rmatvec; or the caller's own
                return np.column_stack([A.rmatvec(y) for y in Y.T])
        except NotImplementedError:
            raise TypeError("A has no products with its adjoint: give it rmatvec, y -> A^H y") from None

    return adjoint


def _of_gpu(A: Any, shape: tuple[int, int], dtype: str, *, single: bool, wide: bool) -> Rectangular:
    framework = framework_of(A.data if not on_device(A) else A, "A")
    if is_tensor(A):
        A = A.detach()
    elif not hasattr(A, "__matmul__"):
        raise TypeError(f"A is a {type(A).__module__}.{type(A).__qualname__}, which has no @: pass a LinearOperator")
    B = A.conj().T if wide else A
    adjoint = B.conj().T
    name = dtype_name(A.dtype)

    def carried(matrix: Any) -> Callable[[Block], Any]:
        return lambda X: framework.to_numpy(matrix @ framework.from_numpy(np.ascontiguousarray(X.astype(name))))

    return Rectangular(
        shape,
        dtype,
        carried(B),
        carried(adjoint),
        single=single,
        wide=wide,
        give=framework.from_numpy,
        # Complex vectors are iterated with on the CPU, and go to the GPU and back in each product.
        framework=None if dtype == "complex128" else framework,
        on_device=None if dtype == "complex128" else (B, adjoint),
    )
