"""Arrays on the CPU: dtype checks, and conversion to the contiguous float64 or complex128 that the engine needs.

`as_float64` and `as_vector` convert everything that enters the CPU engine. They widen and never narrow."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fastlanczos.errors import level_of_caller

Float64 = NDArray[np.float64]

__all__ = [
    "Float64",
    "aligned_rows",
    "as_float64",
    "as_vector",
    "check_product",
    "dtype_name",
    "is_complex",
    "is_tensor",
    "matrix_of_tensor",
    "on_device",
    "precision_of",
    "warn_of_lost_gradient",
]

# Floating types that float64 holds exactly, with the distance from 1 to the next number.
_PRECISIONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_COMPLEX = {"complex128": 2.0**-52, "complex64": 2.0**-23}  # the same of complex ones, beside complex128


def is_tensor(x: object) -> bool:
    """Whether `x` is a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def warn_of_lost_gradient(A: Any, function: str) -> None:
    """Warn where A is a tensor or linear operator that requires a gradient, which numbers do not carry."""
    if getattr(A, "requires_grad", False) is not True:
        return
    torch = sys.modules.get("torch")
    if torch is None or not torch.is_grad_enabled():
        return
    warnings.warn(
        f"A requires a gradient, and fastlanczos.{function} returns plain numbers: fastlanczos.torch.{function} "
        "carries it. Pass A.detach(), or call under torch.no_grad(), if you do not want it",
        UserWarning,
        stacklevel=level_of_caller(),
    )


@cache  # asked for with every vector, and NumPy takes its time over the name
def dtype_name(dtype: object) -> str:
    """The bare name of a NumPy, torch or JAX dtype: `float32`."""
    try:
        return np.dtype(dtype).name  # type: ignore[call-overload,no-any-return]
    except TypeError:
        return str(dtype).rsplit(".", 1)[-1]


def precision_of(dtype: object) -> float:
    """The rounding unit of a floating dtype, and that of float64 for every other one."""
    return (_PRECISIONS | _COMPLEX).get(dtype_name(dtype), _PRECISIONS["float64"])


def is_complex(x: Any) -> bool:
    """Whether an array of any library, or a number or list, is of complex numbers."""
    return "complex" in dtype_name(x.dtype) if hasattr(x, "dtype") else bool(np.iscomplexobj(x))


def on_device(x: Any) -> bool:
    """Whether `x` is an array on a GPU; TypeError for a tensor on any other device than cpu or cuda."""
    if not is_tensor(x):
        return hasattr(x, "__cuda_array_interface__")
    if x.device.type not in ("cpu", "cuda"):
        raise TypeError(f"tensors on the device {str(x.device)!r} are not supported: move them to cpu or cuda")
    return bool(x.device.type == "cuda")


def check_product(x: Any, what: str, shape: tuple[int, ...] | None, *, complex_too: bool = False) -> None:
    """Raise TypeError or ValueError, naming `what`, unless x is a float array of the given shape.

    Where `complex_too`, complex numbers are as good.
    """
    if x is None:
        raise TypeError(f"{what} is None: the matvec must return its result, a float64 vector")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, and masks are not supported: fill it first")
    name = dtype_name(x.dtype) if hasattr(x, "dtype") else type(x).__name__
    if name not in _PRECISIONS and not (complex_too and name in _COMPLEX):
        advice = "convert it to float64"
        if "complex" in name:
            advice = (
                "for a complex Hermitian operator pass v0 (or like=) as a complex array, and vectors are complex128"
            )
        raise TypeError(f"{what} has dtype {name}; want float64 (or float32, float16, bfloat16): {advice}")
    if shape is not None and tuple(x.shape) != shape:
        raise ValueError(f"{what} has shape {tuple(x.shape)}; want {shape}")


def as_float64(x: Any, what: str, *, shape: tuple[int, ...] | None = None) -> Float64:
    """Return `x` as a contiguous float64 NumPy array, copied only where it is not one already.

    Narrower floats are accepted, because they widen exactly. Integers are refused: a vector of integers is nearly
    always a result that was truncated by mistake."""
    if on_device(x):
        raise TypeError(
            f"{what} is on a GPU, but the vector was on the CPU. To run on the GPU, pass v0 (or like=) as an array "
            "there; to run on the CPU, return the product as a CPU array (`.cpu()`, `.get()`)"
        )
    if x is not None and not is_tensor(x) and not isinstance(x, np.ma.MaskedArray):
        x = np.asarray(x)
    check_product(x, what, shape)
    if is_tensor(x):
        x = x.detach().resolve_conj().resolve_neg().double().numpy()
    return np.asarray(x, dtype=np.float64, order="C")


def as_vector(x: Any, what: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return `x` as contiguous float64 or complex128 as `dtype` says; as `as_float64`, with complex numbers allowed."""
    if dtype == "float64" or not is_complex(x):
        return as_float64(x, what, shape=shape).astype(dtype, copy=False)
    check_product(x if hasattr(x, "dtype") else np.asarray(x), what, shape, complex_too=True)
    if is_tensor(x):
        x = x.detach().resolve_conj().resolve_neg().numpy()
    return np.asarray(x, dtype=np.complex128, order="C")


def matrix_of_tensor(tensor: Any) -> Any:
    """Return a CPU tensor as a NumPy array, or scipy CSR array where it is sparse, sharing memory where it can."""
    torch = sys.modules["torch"]
    matrix = tensor.detach().resolve_conj().resolve_neg()
    if matrix.dtype not in (torch.float64, torch.float32, torch.complex128, torch.complex64):
        matrix = matrix.double()
    if matrix.layout == torch.strided:
        return matrix.numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        matrix = matrix.to_sparse_csr()
    parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
    return scipy.sparse.csr_array(tuple(part.numpy() for part in parts), shape=tuple(matrix.shape))


def aligned_rows(rows: int, columns: int, dtype: str) -> NDArray[Any]:
    """Return an uninitialised (rows, columns) array whose rows all begin on a cache line.

    Rows that start 64 KiB (or a multiple) apart would fall on the same cache sets and push each other out while a tile
    of all rows is in use, so such a distance is widened by one tile.
    """
    size = np.dtype(dtype).itemsize
    line = 64 // size
    stride = -(-columns // line) * line
    if rows > 1 and stride * size % 65536 == 0:
        stride += 16 * line
    storage = np.empty(rows * stride + line, dtype)
    first = -storage.__array_interface__["data"][0] // size % line
    aligned = storage[first : first + rows * stride].reshape(rows, stride)
    return aligned[:, :columns]
