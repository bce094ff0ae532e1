"""Float64 vectors that are not simply here, with the arithmetic that searches need: on a GPU, or shared out over ranks.

On a GPU every operation is a kernel of ours, in memory of the user's library, on its stream: JAX's arrays never change,
Numba's have no arithmetic, and torch's and CuPy's take as many passes as there are operations. Of vectors that are
shared out each rank has a part in NumPy, and what goes over all entries is summed over the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.frameworks import Framework
from fastlanczos.engine.cuda import cuda
from fastlanczos.ranks.shared import Shared

__all__ = ["Arithmetic", "FarRows", "FarVector", "GpuArithmetic", "SharedArithmetic", "uploaded"]


class Arithmetic(Protocol):
    """The operations; `dim` is the length of what is here of a vector."""

    dim: int

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of up to four vectors, of which `out` may be one."""

    def of_rows(self, rows: Any, weights: NDArray[Any]) -> FarVector:
        """Return a combination of rows (m, n)."""

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows, on the host."""

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""

    def matrix(self, rows: int) -> Any:
        """Return memory for rows."""


class GpuArithmetic:
    """The operations on one device, with memory of the library of `framework`; `most_rows` go through at once."""

    def __init__(self, framework: Framework, dim: int, most_rows: int) -> None:
        self.framework = framework
        self.dim = dim
        self._cuda = cuda()
        probe = framework.empty((1,), "float64")
        self.device = self._cuda.device_of(probe)
        self._partial = framework.empty((max(1, most_rows) * self._cuda.vector_blocks(self.device),), "float64")

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""
        return FarVector(self.framework.empty((self.dim,), "float64"), self)

    def upload(self, values: NDArray[Any]) -> Any:
        """Return NumPy's numbers as an array of the library, in float64."""
        return uploaded(values, self.framework)

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of up to four vectors, of which `out` may be one."""
        arrays = [v.array for v in vectors]
        for array in arrays:
            self._settle(array)
        self._cuda.combine_vectors(out.array, [float(f) for f in factors], arrays, self.framework.stream())
        return out

    def of_rows(self, rows: Any, weights: NDArray[Any]) -> FarVector:
        """Return a combination of rows (m, n)."""
        out = self.empty()
        self._cuda.combine_rows(rows, self.upload(weights), out.array, self.framework.stream())
        return out

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows, on the host."""
        self._settle(z.array)
        products = self._cuda.inner(rows, z.array, factor, self._partial, self.framework.stream())
        return np.asarray(products)

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""
        self._settle(z.array)
        return float(self._cuda.largest(z.array, self._partial, self.framework.stream()))

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""
        return _View(matrix, index, self.dim)

    def matrix(self, rows: int) -> Any:
        """Return memory for rows."""
        return self.framework.empty((rows, self.dim), "float64")

    def _settle(self, array: Any) -> None:
        if not isinstance(array, _View):
            self.framework.settle(array)


class SharedArithmetic:
    """The operations on vectors that are shared out over ranks, with this rank's part of each in NumPy."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.dim = shared.local_dims[shared.group.rank]

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""
        return FarVector(np.empty(self.dim), self)

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of some vectors, of which `out` may be one."""
        total = factors[0] * vectors[0].array
        for factor, v in zip(factors[1:], vectors[1:], strict=True):
            total += factor * v.array
        out.array[:] = total
        return out

    def of_rows(self, rows: Any, weights: NDArray[Any]) -> FarVector:
        """Return a combination of rows (m, n)."""
        return FarVector(np.einsum("i,ij->j", weights, rows), self)

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows."""
        mine = np.einsum("ij,j->i", np.atleast_2d(rows), factor * z.array)
        return np.asarray(self.shared.gather(mine).sum(axis=0))

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""
        mine = np.abs(z.array).max(initial=0.0)
        return float(self.shared.gather(np.array([mine if np.isfinite(z.array).all() else np.inf])).max())

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""
        return matrix[index]

    def matrix(self, rows: int) -> Any:
        """Return memory for rows."""
        return np.empty((rows, self.dim))


def uploaded(values: NDArray[Any], framework: Framework) -> Any:
    """Return NumPy's numbers as an array of a framework's, in float64."""
    host = np.ascontiguousarray(values, dtype=np.float64)
    array = framework.empty(host.shape, "float64")
    cuda().to_device(host, array, framework.stream())
    return array


class FarVector:
    """A vector (n,); `array` is what is at hand of it: an array of the GPU's library, or this rank's part."""

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to this class

    def __init__(self, array: Any, on: Arithmetic) -> None:
        self.array = array
        self._on = on

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (self._on.dim,)

    def copy(self) -> FarVector:
        """Return a copy in an array of the library's."""
        return self._on.combination([1.0], [self], self._on.empty())

    def combined(self, factors: Sequence[float], vectors: Sequence[FarVector]) -> FarVector:
        """Become a combination of up to four vectors, this one among them or not; returns itself."""
        return self._on.combination(factors, vectors, self)

    def __add__(self, other: Any) -> FarVector:
        if isinstance(other, FarVector):
            return self._on.combination([1.0, 1.0], [self, other], self._on.empty())
        return self.copy() if other == 0.0 else NotImplemented

    def __sub__(self, other: FarVector) -> FarVector:
        return self._on.combination([1.0, -1.0], [self, other], self._on.empty())

    def __mul__(self, factor: float) -> FarVector:
        return self._on.combination([factor], [self], self._on.empty())

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> FarVector:
        return self._on.combination([1.0 / divisor], [self], self._on.empty())

    def __matmul__(self, other: FarVector) -> float:
        return float(self._on.inner(self.array, other)[0])

    def conj(self) -> FarVector:
        """Return the vector, which is real."""
        return self

    def __abs__(self) -> _Magnitudes:
        return _Magnitudes(self._on.largest(self))

    def norm(self) -> float:
        """Return the Euclidean norm, without overflow."""
        largest = self._on.largest(self)
        if not 0.0 < largest < np.inf:
            return largest
        unit = 2.0 ** -max(-1000, min(1000, int(np.frexp(largest)[1])))
        scaled = self * unit
        return float(np.sqrt(scaled @ scaled) / unit)

    def __getitem__(self, key: None) -> list[FarVector]:
        if key is not None:
            raise TypeError("a vector on a GPU, or of many ranks, has no entries to read one by one")
        return [self]


class _Magnitudes:
    """What `abs(vector)` is good for: its largest entry."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def max(self) -> float:
        return self._largest


class _View:
    """A row of a matrix on a GPU, as the CUDA array interface tells it."""

    def __init__(self, matrix: Any, row: int, dim: int) -> None:
        told = matrix.__cuda_array_interface__
        itemsize = int(told["typestr"][2:])
        strides = told["strides"]
        step = strides[0] if strides is not None else told["shape"][1] * itemsize
        self._owner = matrix
        self.__cuda_array_interface__ = {
            **told,
            "shape": (dim,),
            "strides": None,
            "data": (told["data"][0] + row * step, False),
        }


class FarRows:
    """Some rows (m, n) of a basis, not copied; an index gives a row, a slice or indices some of them."""

    def __init__(self, matrix: Any, indices: NDArray[np.intp], on: Arithmetic) -> None:
        self._matrix = matrix
        self._indices = indices
        self._on = on

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return len(self._indices), self._on.dim

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return FarVector(self._on.row(self._matrix, int(self._indices[key])), self._on)
        return FarRows(self._matrix, self._indices[key], self._on)

    def __setitem__(self, key: int, vector: FarVector) -> None:
        self._on.combination([1.0], [vector], self[key])

    def array(self) -> Any:
        """Return the rows as a matrix (m, n) of the library's, in memory of its own."""
        copied = self._on.matrix(max(1, len(self)))
        for to in range(len(self)):
            self._on.combination([1.0], [self[to]], FarVector(self._on.row(copied, to), self._on))
        return copied if len(self) else copied[:0]
