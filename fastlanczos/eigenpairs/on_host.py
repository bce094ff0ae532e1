"""Operators on a GPU for searches on the CPU: matrices are copied, and of others the vectors go there and back.

Shifted and generalized problems are iterated with on the CPU if that is where they are factored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from fastlanczos.arrays.cpu import dtype_name, is_tensor, matrix_of_tensor, on_device
from fastlanczos.arrays.frameworks import Framework, framework_of

__all__ = ["framework_of_problem", "on_host"]


def framework_of_problem(operators: dict[str, Any]) -> Framework | None:
    """Return the library whose arrays on a GPU some of these are, or are made of; None where all are on the CPU."""
    for name, X in operators.items():
        if on_device(X):
            return framework_of(X, name)
        data = getattr(X, "data", None)
        if type(X).__module__.startswith("cupyx") and data is not None:
            return framework_of(data, name)
    return None


def on_host(X: Any, framework: Framework | None, like: Any) -> Any:
    """Return a matrix as NumPy's or scipy's, and another operator as one that takes NumPy's vectors.

    Of an operator of vectors on a GPU they are made like those of `like`, in its precision.
    """
    if X is None:
        return None
    if framework is None:
        return matrix_of_tensor(X) if is_tensor(X) and X.ndim == 2 else X
    if is_tensor(X) and X.ndim == 2:
        return matrix_of_tensor(X.detach().cpu())
    if on_device(X):
        return framework.to_numpy(X)
    if type(X).__module__.startswith("cupyx.scipy.sparse") and hasattr(X, "get") and hasattr(X, "data"):
        return X.get()
    multiply = X.matvec if hasattr(X, "matvec") else X.__matmul__ if hasattr(X, "__matmul__") else X
    dtype = dtype_name(getattr(X, "dtype", None) or getattr(like, "dtype", None))
    narrow = {"float64": "float32", "complex128": "complex64"} if dtype in ("float32", "complex64") else {}

    def product(x: NDArray[Any]) -> Any:
        x = np.ascontiguousarray(x.reshape(-1))
        return framework.to_numpy(multiply(framework.from_numpy(x.astype(narrow.get(x.dtype.name, x.dtype)))))

    shape = getattr(X, "shape", None)
    return product if shape is None else LinearOperator(tuple(shape), matvec=product, dtype=dtype)
