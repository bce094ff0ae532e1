"""The kinds of arrays that vectors come in: the one place that knows NumPy from torch.

The engine works on contiguous float64 NumPy memory. Everything that enters is brought there by `as_float64`, which
widens but never narrows; everything that leaves goes through a `Kind`, so that who gave tensors gets tensors.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

__all__ = [
    "Float64",
    "Kind",
    "aligned_rows",
    "as_float64",
    "dtype_name",
    "float64_tensors",
    "is_tensor",
    "kind_like",
    "matrix_of_tensor",
    "precision_of",
]

# Floating types that float64 holds exactly, with the distance from 1 to the next number.
_PRECISIONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

_NO_CUDA = (
    "{what} is on a GPU ({where}), and this build of fastlanczos computes on the CPU alone: its CUDA engine "
    "(fastlanczos._cuda) does not exist yet. Pass CPU arrays (`.cpu()`, `.get()`), or a callable that moves "
    "the vector to the GPU and the product back."
)


def is_tensor(x: object) -> bool:
    """Whether `x` is a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def dtype_name(dtype: object) -> str:
    """The bare name of a NumPy, torch or JAX dtype: `float32`."""
    try:
        return np.dtype(dtype).name  # type: ignore[call-overload,no-any-return]
    except TypeError:
        return str(dtype).rsplit(".", 1)[-1]


def precision_of(dtype: object) -> float:
    """The rounding unit of a floating dtype, and that of float64 for every other one."""
    return _PRECISIONS.get(dtype_name(dtype), _PRECISIONS["float64"])


def require_cpu(x: Any, what: str) -> None:
    """Raise NotImplementedError for an array that lives on an accelerator."""
    if is_tensor(x):
        if x.device.type != "cpu":
            raise NotImplementedError(_NO_CUDA.format(what=what, where=x.device))
    elif hasattr(x, "__cuda_array_interface__"):
        raise NotImplementedError(_NO_CUDA.format(what=what, where=type(x).__module__.split(".")[0]))


def as_float64(x: Any, what: str, *, shape: tuple[int, ...] | None = None) -> Float64:
    """Return `x` as a contiguous float64 NumPy array, copied only where it is not one already.

    Integers and narrower floats are refused and accepted respectively: a float widens exactly, while a vector of
    integers is nearly always a mistake (a result that was truncated on its way).
    """
    require_cpu(x, what)
    if is_tensor(x):
        tensor = x.detach().resolve_conj().resolve_neg()
        name = dtype_name(tensor.dtype)
        values = tensor.double().numpy() if name in _PRECISIONS else np.empty(tuple(tensor.shape), np.int8)
    else:
        if x is None:
            raise TypeError(f"{what} is None: return a vector of float64 (or write it into one and return that)")
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"{what} is a masked array, whose mask would be lost: fill it first")
        values = np.asarray(x)
        name = dtype_name(values.dtype)
    if name not in _PRECISIONS:
        advice = "complex operators are not supported" if "complex" in name else "convert it to float64"
        raise TypeError(f"{what} has dtype {name}; want float64 (or float32, float16, bfloat16): {advice}")
    if shape is not None and values.shape != shape:
        raise ValueError(f"{what} has shape {tuple(values.shape)}; want {shape}")
    return np.asarray(values, dtype=np.float64, order="C")


class Kind(Protocol):
    """The arrays that a matvec takes and that a result is given in."""

    name: str

    def argument(self, vector: Float64) -> Any:
        """Return the vector as a matvec gets it."""

    def output(self, values: NDArray[Any]) -> Any:
        """Return an array of a result, sharing memory."""


class NumpyKind:
    """Plain NumPy arrays, in float64."""

    name = "numpy"

    def argument(self, vector: Float64) -> Any:
        """Return the vector itself."""
        return vector

    def output(self, values: NDArray[Any]) -> Any:
        """Return the array itself."""
        return values


class TorchKind:
    """CPU tensors; a matvec gets its vector in `dtype`, since torch does not mix dtypes in a product."""

    name = "torch"

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def argument(self, vector: Float64) -> Any:
        """Return a tensor in the kind's dtype."""
        return sys.modules["torch"].from_numpy(vector).to(self.dtype)

    def output(self, values: NDArray[Any]) -> Any:
        """Return a tensor that shares the array's memory."""
        return sys.modules["torch"].from_numpy(values)


def kind_like(x: Any, what: str) -> Kind:
    """Return the kind of array that `x` is; None and anything that is no tensor count as NumPy."""
    if x is not None:
        require_cpu(x, what)
    if not is_tensor(x):
        return NumpyKind()
    if dtype_name(x.dtype) not in _PRECISIONS:
        raise TypeError(f"{what} has dtype {x.dtype}; want torch.float64 or torch.float32")
    return TorchKind(x.dtype)


def float64_tensors() -> Kind:
    """Return the kind of a float64 CPU tensor."""
    return TorchKind(sys.modules["torch"].float64)


def matrix_of_tensor(tensor: Any) -> Any:
    """Return a CPU tensor as a NumPy array, or scipy CSR array where it is sparse, sharing memory where it can."""
    torch = sys.modules["torch"]
    matrix = tensor.detach().resolve_conj().resolve_neg()
    if matrix.dtype not in (torch.float64, torch.float32):
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
    line = 64 // np.dtype(dtype).itemsize
    stride = -(-columns // line) * line
    if rows > 1 and stride * np.dtype(dtype).itemsize % 65536 == 0:
        stride += 16 * line
    storage = np.empty(rows * stride + line, dtype)
    first = -storage.ctypes.data // storage.itemsize % line
    aligned = storage[first : first + rows * stride].reshape(rows, stride)
    return aligned[:, :columns]
