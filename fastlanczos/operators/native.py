"""Operators that multiply without Python: matrices in the engine's own threads, and compiled C functions.

A C function is given as a `scipy.LowLevelCallable` with the signature

    int matvec(intptr_t n, const double *x, double *y, void *user_data);

which writes A x (n float64) into y and returns 0, or anything else to stop the run with an error. `void` instead of
`int`, and no `user_data`, are understood as well; the first argument may be any integer type of 64 bits. It is called
without the GIL, from the thread that called fastlanczos, one vector at a time. A Numba `cfunc` of such a signature is
taken as it is:

    @numba.cfunc("int32(int64, CPointer(float64), CPointer(float64))")
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from scipy import LowLevelCallable

from fastlanczos import _core

__all__ = ["gram_matvec", "is_native_function", "matrix_matvec", "native_function"]

_DENSE: dict[str, Callable[..., _core.Matvec]] = {
    "float64": _core.DenseMatvec64,
    "float32": _core.DenseMatvec32,
    "complex128": _core.ComplexDenseMatvec128,
    "complex64": _core.ComplexDenseMatvec64,
}
_SPARSE: dict[tuple[str, str], Callable[..., _core.Matvec]] = {
    ("float64", "int32"): _core.SparseMatvec64With32,
    ("float64", "int64"): _core.SparseMatvec64With64,
    ("float32", "int32"): _core.SparseMatvec32With32,
    ("float32", "int64"): _core.SparseMatvec32With64,
    ("complex128", "int32"): _core.ComplexSparseMatvec128With32,
    ("complex128", "int64"): _core.ComplexSparseMatvec128With64,
    ("complex64", "int32"): _core.ComplexSparseMatvec64With32,
    ("complex64", "int64"): _core.ComplexSparseMatvec64With64,
}

_DENSE_GRAM: dict[str, Callable[..., _core.Matvec]] = {"float64": _core.DenseGram64, "float32": _core.DenseGram32}
_SPARSE_GRAM: dict[tuple[str, str], Callable[..., _core.Matvec]] = {
    ("float64", "int32"): _core.SparseGram64With32,
    ("float64", "int64"): _core.SparseGram64With64,
    ("float32", "int32"): _core.SparseGram32With32,
    ("float32", "int64"): _core.SparseGram32With64,
}

_MOST = 2**31  # numbers from 0 that int32 holds

_INTEGERS = ["long long", "int64_t", "intptr_t", "ssize_t", "ptrdiff_t", "npy_intp", "npy_int64", "Py_ssize_t"]
if struct.calcsize("l") == 8:
    _INTEGERS.append("long")
_SIGNATURE = re.compile(rf"(int|void) ?\(({'|'.join(_INTEGERS)}), ?double ?\*, ?double ?\*(, ?void ?\*)?\)")
_WANTED = (
    "want int (intptr_t n, const double *x, double *y, void *user_data): y = A x, returning 0. void for int, and no "
    "user_data, are as well"
)


def is_native_function(A: Any) -> bool:
    """Whether A is a `scipy.LowLevelCallable` or a Numba `cfunc`."""
    return isinstance(A, LowLevelCallable) or _is_numba_cfunc(A)


def native_function(A: Any, dim: int) -> _core.Matvec:
    """Return a compiled function as a native operator; TypeError where its signature is another one."""
    callable_ = LowLevelCallable(A.ctypes) if _is_numba_cfunc(A) else A
    spelled = callable_.signature
    signature = re.sub(r"\s+", " ", spelled.replace("const", "")).replace("( ", "(").replace(" )", ")").strip()
    match = _SIGNATURE.fullmatch(re.sub(r" ?, ?", ", ", signature))
    if match is None:
        raise TypeError(f"the native matvec has the signature {spelled!r}; {_WANTED}")
    capsule = tuple.__getitem__(callable_, 0)
    return _core.FunctionMatvec(capsule, dim, match[1] == "int", match[3] is not None)


def matrix_matvec(A: Any) -> _core.Matvec:
    """Return a square NumPy array or scipy sparse matrix as a native operator, on complex vectors if it is complex.

    float64 and float32, complex128 and complex64 are used where they lie (rows that are not contiguous, and sparse
    formats other than CSR, are copied once); other dtypes are widened to float64 once. Column numbers in int64 that fit
    into int32 are narrowed once, for about the time of a product: every product then reads a quarter less. Products are
    in float64 or complex128.
    """
    if scipy.sparse.issparse(A):
        values, columns, row_start = _compressed_rows(A)
        return _SPARSE[values.dtype.name, columns.dtype.name](values, columns, row_start)
    values = _contiguous_rows(A)
    return _DENSE[values.dtype.name](values)


def gram_matvec(B: Any, c: Any = None, d: Any = None) -> _core.Matvec:
    """Return (B - c d^T)^T (B - c d^T) for a real matrix B (m, n), which is read once in each product.

    Memory is shared as by `matrix_matvec`. Without c (m,) and d (n,) nothing is subtracted.
    """
    c, d = (np.empty(0) if x is None else np.ascontiguousarray(x, dtype=np.float64) for x in (c, d))
    if scipy.sparse.issparse(B):
        values, columns, row_start = _compressed_rows(B)
        gram = _SPARSE_GRAM[values.dtype.name, columns.dtype.name]
        return gram(values, columns, row_start, int(B.shape[1]), c, d)
    values = _contiguous_rows(B)
    return _DENSE_GRAM[values.dtype.name](values, c, d)


def _compressed_rows(A: Any) -> tuple[Any, Any, Any]:
    matrix = A.tocsr()
    values = _stored(matrix.data)
    index = "int64" if "int64" in (matrix.indices.dtype.name, matrix.indptr.dtype.name) else "int32"
    if index == "int64" and _fits_int32(matrix.indices, matrix.shape[1]) and _fits_int32(matrix.indptr, _MOST):
        index = "int32"
    columns, row_start = (np.ascontiguousarray(x, dtype=index) for x in (matrix.indices, matrix.indptr))
    return np.ascontiguousarray(values), columns, row_start


def _contiguous_rows(A: Any) -> Any:
    values = _stored(np.asarray(A))
    if values.shape[0] > 1 and (
        (values.shape[1] > 1 and values.strides[1] != values.itemsize) or values.strides[0] < 0
    ):
        values = np.ascontiguousarray(values)
    return values


def _fits_int32(numbers: Any, count: int) -> bool:
    """Whether all are in range(count) and in that of int32: the constructor could not refuse them any more."""
    return count <= _MOST and numbers.size > 0 and int(numbers.min()) >= 0 and int(numbers.max()) < count


def _stored(values: Any) -> Any:
    name = values.dtype.name
    return np.asarray(values, dtype=name if name in _DENSE else "float64")  # native byte order either way


def _is_numba_cfunc(A: Any) -> bool:
    return type(A).__module__.split(".")[0] == "numba" and hasattr(A, "ctypes") and hasattr(A, "address")
