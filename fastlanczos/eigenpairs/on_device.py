"""Operators on a GPU for searches that stay there: products of far vectors with far vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import dtype_name, is_tensor, on_device
from fastlanczos.engine.far_vectors import FarVector, GpuArithmetic
from fastlanczos.operators.entries import is_explicit

__all__ = ["DeviceProduct", "can_stay"]

_NARROW = {"float64": "float32", "complex128": "complex64"}
_REAL = ("float64", "float32", "float16", "bfloat16")
_COMPLEX = ("complex128", "complex64")


def can_stay(*operators: Any) -> bool:
    """Whether all of these, None apart, are matrices on a GPU or multiply vectors there."""
    return not any(is_explicit(X) or (is_tensor(X) and not on_device(X)) for X in operators if X is not None)


class DeviceProduct:
    """x -> X x for far vectors; NumPy's are carried there and back.

    `X` is a matrix, a callable or an operator; `name` is what errors call it. Vectors are made in the precision of X,
    or of `like` where X does not tell.
    """

    def __init__(self, X: Any, name: str, like: Any, arithmetic: GpuArithmetic) -> None:
        self._name = name
        self._on = arithmetic
        dtype = dtype_name(getattr(X, "dtype", None) or getattr(like, "dtype", None))
        single = dtype in ("float32", "complex64")
        self._dtype = _NARROW[arithmetic.dtype] if single else arithmetic.dtype
        if single or (dtype == "float64" and arithmetic.dtype == "complex128"):
            X = self._widened(X)  # a matrix widens once, for all its products
        self._multiply = X.matvec if hasattr(X, "matvec") else X.__matmul__ if hasattr(X, "__matmul__") else X

    def _widened(self, X: Any) -> Any:
        if is_tensor(X):
            self._dtype = self._on.dtype
            return X.detach().to(dtype=getattr(self._on.framework.torch, self._on.dtype))  # type: ignore[attr-defined]
        if (on_device(X) or type(X).__module__.startswith("cupyx.scipy.sparse")) and hasattr(X, "astype"):
            self._dtype = self._on.dtype
            return X.astype(self._on.dtype)
        return X

    def __call__(self, x: FarVector | NDArray[Any]) -> Any:
        """Return the product, of the kind that x is."""
        framework, on = self._on.framework, self._on
        if isinstance(x, np.ndarray):
            far = self(FarVector(on.upload(x.reshape(-1)), on))
            return np.asarray(framework.to_numpy(far.array))
        # A matvec may overwrite its argument, and a row of a basis is no array of its library's.
        product = self._multiply(framework.cast(x.copy().array, self._dtype))
        self._check(product)
        return FarVector(framework.cast(product, on.dtype), on)

    def _check(self, product: Any) -> None:
        what, dim = f"a product of {self._name}", self._on.dim
        if product is None:
            raise TypeError(f"{what} is None: the matvec must return its result")
        if not on_device(product):
            raise TypeError(
                f"{what} is a {type(product).__module__}.{type(product).__qualname__} on the CPU, but the vector was "
                "on a GPU: return an array there"
            )
        name = dtype_name(product.dtype)
        if name not in _REAL + (_COMPLEX if self._on.dtype == "complex128" else ()):
            advice = "pass a complex v0, or give the operator a complex dtype" if name in _COMPLEX else "convert it"
            raise TypeError(f"{what} has dtype {name}; want {self._on.dtype}: {advice}")
        if tuple(product.shape) != (dim,):
            raise ValueError(f"{what} has shape {tuple(product.shape)}; want {(dim,)}")
