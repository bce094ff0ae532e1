"""`as_operator` turns every accepted form of A into an `Operator`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse

from fastlanczos import _core
from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import (
    as_vector,
    dtype_name,
    is_complex,
    is_tensor,
    matrix_of_tensor,
    on_device,
    precision_of,
)
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.cuda import cuda, to_host
from fastlanczos.engine.kinds import Kind, NumpyKind, SharedKind, kind_like, shared_kind, tensors
from fastlanczos.operators.native import is_native_function, matrix_matvec, native_function
from fastlanczos.ranks.operator import ShardedOperator
from fastlanczos.ranks.shared import Shared

__all__ = ["Operator", "as_operator", "squared", "start_vector", "without_lists"]

_ACCEPTED = (
    "A must be a callable v -> A v (with dim=), a square NumPy array, scipy sparse matrix or LinearOperator, a torch "
    "tensor, a scipy.LowLevelCallable or Numba cfunc (with dim=), or an object with shape and matvec or @"
)


@dataclass(frozen=True)
class Operator:
    """A symmetric, or complex Hermitian, operator and its ways to multiply.

    `native` multiplies without Python. Otherwise `matvec` takes and returns vectors of the given kind, and `matmat`, if
    there is one, blocks of columns (n, p). `multiply_into(vectors, products)`, if there is one, writes the product of
    each vector into memory that is there, in the engine's dtype."""

    dim: int
    kind: Kind
    precision: float  # rounding unit of the coarsest type in it, as far as A tells
    native: _core.Matvec | None = None
    matvec: Callable[[Any], Any] | None = None
    matmat: Callable[[Any], Any] | None = None
    multiply_into: Callable[[list[Any], list[Any]], object] | None = None
    only_reads: bool = False  # a matvec that leaves its argument alone
    source: Any = None  # what owns the memory and code that `native` points to


def as_operator(A: Any, dim: int | None = None, *, v0: Any = None, shared: bool = False) -> Operator:
    """Return A as an `Operator`, its dimension from A, from `dim`, or from the start vector.

    Matrices (NumPy, scipy sparse, torch) multiply natively and in float64 or complex128 whatever they are stored in; on
    a GPU they are widened to float64 once. A callable gets vectors of the kind that v0 is: NumPy float64 or complex128,
    or torch in v0's dtype, or an array on a GPU. Vectors are complex if A says that it is, or v0 is. `shared` says
    whether vectors may be shared out over ranks.
    """
    if dim is not None:
        dim = as_dimension(dim, "dim")
    if isinstance(A, np.ma.MaskedArray):
        raise TypeError("A is a masked array, and masks are not supported: fill it first")
    A = without_lists(A, "A")
    if isinstance(A, ShardedOperator):
        if not shared:
            raise TypeError("A is a ShardedOperator: only lanczos, spectral_density, eigsh, trace and logdet take it")
        product = A.shared.watched(A.matvec)
        return Operator(_side(A, dim), shared_kind(A.shared, v0), precision_of("float64"), matvec=product, source=A)
    if isinstance(getattr(A, "shared", None), Shared):  # a network's curvature, with parts of the data on many ranks
        if not shared:
            raise TypeError("A has a group: only lanczos, spectral_density, eigsh, trace and logdet take it")
        precision = max(precision_of(getattr(A, "dtype", None)), float(getattr(A, "precision", 0.0)))
        return Operator(_side(A, dim), SharedKind(A.shared), precision, matvec=A.local_matvec, source=A)
    if on_device(A) or _is_sparse_of_cupy(A):
        return _device_matrix(A, dim)
    if is_tensor(A) or isinstance(A, np.ndarray) or scipy.sparse.issparse(A):
        _check_matrix(A)
        side = _side(A, dim)
        dtype = "complex128" if is_complex(A) or (v0 is not None and is_complex(v0)) else "float64"
        kind: Kind = tensors(dtype) if is_tensor(A) else NumpyKind(dtype)
        matrix = matrix_of_tensor(A) if is_tensor(A) else A
        if kind.is_complex and not is_complex(A):
            matrix = matrix.astype(np.complex128)
        return Operator(side, kind, precision_of(A.dtype), native=matrix_matvec(matrix), source=A)

    if isinstance(getattr(A, "native", None), _core.Matvec):  # an operator that brings its own
        return Operator(_side(A, dim), NumpyKind(), A.precision, native=A.native, source=A)
    kind = kind_like(_array_of_operator(A) if v0 is None else v0, "v0")
    if is_native_function(A):
        side = _dimension_of_callable(dim, v0)
        if kind.is_complex:
            raise TypeError("A is a compiled function, which multiplies real vectors, and v0 is complex")
        return Operator(side, kind, precision_of("float64"), native=native_function(A, side), source=A)
    if hasattr(A, "shape") and (hasattr(A, "matvec") or hasattr(A, "__matmul__")):
        if "complex" in dtype_name(getattr(A, "dtype", None)):
            kind = _complex(kind)
        matvec = A.matvec if hasattr(A, "matvec") else A.__matmul__
        precision = max(precision_of(getattr(A, "dtype", None)), float(getattr(A, "precision", 0.0) or 0.0))
        matmat, into = getattr(A, "matmat", None), getattr(A, "multiply_into", None)
        if matmat is None and _is_linear_operator(A):
            matmat = matvec
        return Operator(_side(A, dim), kind, precision, matvec=matvec, matmat=matmat, multiply_into=into, source=A)
    if callable(A):
        return Operator(_dimension_of_callable(dim, v0), kind, precision_of("float64"), matvec=A)
    raise TypeError(f"{_ACCEPTED}; got {type(A).__module__}.{type(A).__qualname__}")


def _complex(kind: Kind) -> Kind:
    """The kind of complex vectors beside a kind of real ones."""
    if not isinstance(kind, NumpyKind):
        raise TypeError("A is complex and v0 is on a GPU, where vectors are real: pass v0 as an array on the CPU")
    if kind.is_complex:
        return kind
    if kind.name == "numpy":
        return NumpyKind("complex128")
    return tensors("complex64" if kind.dtype == "float32" else "complex128")


def without_lists(A: Any, name: str) -> Any:
    """Return nested lists as an array and all else as it is; TypeError for a torch module, which is no operator."""
    if type(A) in (list, tuple):  # a LowLevelCallable is a kind of tuple
        return np.asarray(A)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(A, torch.nn.Module):
        raise TypeError(
            f"{name} is a torch module ({type(A).__name__}), not an operator. For the Hessian of its loss pass "
            "fastlanczos.torch.HessianOperator(model, loss_fn, data)"
        )
    return A


def squared(operator: Operator, norm: float) -> Operator:
    """Return 2 (A / norm)^2 - 1, whose lowest eigenvalues are A's of smallest magnitude."""
    if operator.native is not None:
        native = _core.ChebyshevMatvec(operator.native, 2, 0.0, norm)
        return replace(operator, native=native, matmat=None, multiply_into=None, source=operator)
    multiply = operator.matvec
    assert multiply is not None

    def matvec(v: Any) -> Any:
        before = v + 0.0  # a matvec may overwrite its argument
        return 2.0 * (multiply(multiply(v) / norm) / norm) - before

    return replace(operator, matvec=matvec, matmat=None, multiply_into=None, source=operator)


def _is_sparse_of_cupy(A: Any) -> bool:
    return type(A).__module__.startswith("cupyx.scipy.sparse") and hasattr(A, "data")


def _device_matrix(A: Any, dim: int | None) -> Operator:
    cuda()
    _check_matrix(A)
    side, precision = _side(A, dim), precision_of(A.dtype)
    if is_tensor(A):
        matrix = A.detach().double()
    elif hasattr(A, "astype"):
        matrix = A.astype("float64")
    else:
        matrix = A
    if not hasattr(matrix, "__matmul__"):
        raise TypeError(f"A is a {type(A).__module__}.{type(A).__qualname__}, which has no @: pass a callable")
    like = A.data.astype("float64") if _is_sparse_of_cupy(A) else matrix
    kind = kind_like(like, "A")
    multiply = matrix.__matmul__
    return Operator(side, kind, precision, matvec=multiply, matmat=multiply, only_reads=True, source=A)


def _is_linear_operator(A: Any) -> bool:
    """Whether A is one of the linear_operator library's (GPyTorch's), which multiply tensors only."""
    return type(A).__module__.split(".")[0] == "linear_operator"


def _array_of_operator(A: Any) -> Any:
    """An array of the kind that an operator works on, if not NumPy's: on a GPU, or of linear_operator's; or None."""
    if _is_linear_operator(A):
        return sys.modules["torch"].empty(1, dtype=A.dtype, device=A.device)
    if type(A).__module__.startswith("cupyx"):
        return sys.modules["cupy"].empty(1, "float64")
    torch = sys.modules.get("torch")
    device = getattr(A, "device", None)
    if torch is None or not isinstance(device, torch.device) or device.type != "cuda":
        return None
    return torch.empty(1, dtype=A.dtype, device=device)


def _dimension_of_callable(dim: int | None, v0: Any) -> int:
    if dim is None and v0 is not None and len(getattr(v0, "shape", np.shape(v0))) == 1:
        dim = len(v0)
    if not dim:
        raise ValueError("dim is missing: a callable does not tell the length of its vectors; pass dim=n")
    return dim


def start_vector(v0: Any, dim: int, dtype: str = "float64") -> np.ndarray[Any, np.dtype[Any]]:
    """Return a start vector in float64 or complex128, or raise what is wrong with it."""
    if on_device(v0):
        v0 = to_host(v0, framework_of(v0, "v0"))
    if not hasattr(v0, "dtype"):
        v0 = np.asarray(v0)  # a list of numbers
    if dtype_name(v0.dtype).startswith(("int", "uint")):
        v0 = np.asarray(v0, dtype=np.float64)  # integers are directions as good as any
    vector = as_vector(v0, "v0", (dim,), dtype)
    bad = int(np.count_nonzero(~np.isfinite(vector)))
    if bad:
        raise ValueError(f"v0 has {bad} entries that are NaN or infinite")
    if not vector.any():
        raise ValueError("v0 is zero: a start vector needs a direction")
    return vector


def _check_matrix(A: Any) -> None:
    name = dtype_name(A.dtype)
    if on_device(A) and "complex" in name:
        raise TypeError(
            f"A has dtype {name} and is on a GPU, where vectors are real: pass it as an array on the CPU (eigsh takes "
            "complex arrays on a GPU too)"
        )
    if name in ("longdouble", "float128", "float96", "clongdouble", "complex256", "complex192", "complex32"):
        raise TypeError(f"A has dtype {name}; want numbers that float64 or complex128 can hold (convert it first)")
    if not name.startswith(("float", "bfloat", "int", "uint", "bool", "complex")):
        raise TypeError(f"A has dtype {name}; want real or complex numbers that float64 can hold (convert it first)")


def _side(A: Any, dim: int | None) -> int:
    shape = tuple(A.shape)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"A must be square, got shape {shape}")
    side = as_dimension(int(shape[0]), "the side of A")
    if dim is not None and dim != side:
        raise ValueError(f"dim is {dim}, but A has shape {shape}")
    return side
