"""Vectors that are not simply here, with the arithmetic that searches need: on a GPU, or shared out over ranks.

They are in float64, those on a GPU in complex128 too.

On a GPU every operation is a kernel of ours, in memory of the user's library, on its stream: JAX's arrays never change,
Numba's have no arithmetic, and torch's and CuPy's take as many passes as there are operations. Of vectors that are
shared out each rank has a part in NumPy, and what goes over all entries is summed over the ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.arrays.frameworks import Framework
from fastlanczos.engine.cuda import cuda
from fastlanczos.ranks.shared import Shared

__all__ = ["Arithmetic", "FarRows", "FarVector", "GpuArithmetic", "SharedArithmetic", "uploaded"]


class Arithmetic(Protocol):
    """The operations; `dim` is the length of what is here of a vector, `dtype` that of its entries."""

    dim: int
    dtype: str

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of up to four vectors, of which `out` may be one."""

    def of_rows(
        self, rows: Any, weights: NDArray[Any], start: FarVector | None = None, out: FarVector | None = None
    ) -> FarVector:
        """Write a combination of rows (m, n), added to `start` if there is one, into `out` or new memory."""

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows, on the host."""

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""

    def on_host(self, x: FarVector) -> NDArray[Any]:
        """Return what is here of a vector in NumPy."""

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""

    def some_rows(self, matrix: Any, first: int, count: int) -> Any:
        """Return neighbouring rows of a matrix, not copied."""

    def turn(self, rows: Any, rotation: NDArray[Any]) -> None:
        """Make combinations (l, m) of rows (m, n) the first of them, in place."""

    def matrix(self, rows: int) -> Any:
        """Return memory for rows."""


class GpuArithmetic:
    """The operations on one device, with memory of the library of `framework`; `most_rows` go through at once."""

    def __init__(self, framework: Framework, dim: int, most_rows: int, dtype: str = "float64") -> None:
        self.framework = framework
        self.dim = dim
        self.dtype = dtype
        self._cuda = cuda()
        probe = framework.empty((1,), "float64")
        self.device = self._cuda.device_of(probe)
        self._partial = framework.empty((max(1, most_rows) * self._cuda.vector_blocks(self.device),), dtype)
        self._maxima = framework.empty((self._cuda.vector_blocks(self.device),), "float64")

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""
        return FarVector(self.framework.empty((self.dim,), self.dtype), self)

    def upload(self, values: NDArray[Any]) -> Any:
        """Return NumPy's numbers as an array of the library, in the vectors' precision."""
        if self.dtype == "float64":
            return uploaded(values, self.framework)
        return self.framework.from_numpy(np.ascontiguousarray(values, dtype=self.dtype))

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of up to four vectors, of which `out` may be one."""
        arrays = [v.array for v in vectors]
        for array in arrays:
            self._settle(array)
        self._cuda.combine_vectors(out.array, [float(f) for f in factors], arrays, self.framework.stream())
        return out

    def of_rows(
        self, rows: Any, weights: NDArray[Any], start: FarVector | None = None, out: FarVector | None = None
    ) -> FarVector:
        """Write a combination of rows (m, n), added to `start` if there is one, into `out` or new memory."""
        out = out or self.empty()
        if start is not None:
            self._settle(start.array)
        begin = None if start is None else start.array
        self._cuda.combine_rows(rows, self.upload(weights), begin, out.array, self.framework.stream())
        return out

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows, conjugated if complex, on the host."""
        self._settle(z.array)
        products = self._cuda.inner(rows, z.array, factor, self._partial, self.framework.stream())
        return np.asarray(products)

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""
        self._settle(z.array)
        return float(self._cuda.largest(z.array, self._maxima, self.framework.stream()))

    def turn(self, rows: Any, rotation: NDArray[Any]) -> None:
        """Make combinations (l, m) of rows (m, n) the first of them, in place."""
        if len(rotation):
            self._cuda.turn_rows(rows, self.upload(rotation), self.framework.stream())

    def on_host(self, x: FarVector) -> NDArray[Any]:
        """Return the vector in NumPy."""
        return np.asarray(self.framework.to_numpy(x.copy().array))

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""
        return _View(matrix, index, None, self.dim)

    def some_rows(self, matrix: Any, first: int, count: int) -> Any:
        """Return neighbouring rows of a matrix, not copied."""
        return _View(matrix, first, count, self.dim)

    def matrix(self, rows: int) -> Any:
        """Return memory for rows."""
        return self.framework.empty((rows, self.dim), self.dtype)

    def _settle(self, array: Any) -> None:
        if not isinstance(array, _View):
            self.framework.settle(array)


class SharedArithmetic:
    """The operations on vectors that are shared out over ranks, with this rank's part of each in NumPy."""

    dtype = "float64"

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.dim = shared.local_dims[shared.group.rank]

    def empty(self) -> FarVector:
        """Return a vector of no particular entries."""
        return FarVector(np.empty(self.dim), self)

    def combination(self, factors: Sequence[float], vectors: Sequence[FarVector], out: FarVector) -> FarVector:
        """Write a combination of some vectors, of which `out` may be one."""
        total = np.zeros(self.dim) if not vectors else factors[0] * vectors[0].array
        for factor, v in zip(factors[1:], vectors[1:], strict=True):
            total += factor * v.array
        out.array[:] = total
        return out

    def of_rows(
        self, rows: Any, weights: NDArray[Any], start: FarVector | None = None, out: FarVector | None = None
    ) -> FarVector:
        """Write a combination of rows (m, n), added to `start` if there is one, into `out` or new memory."""
        out = out or self.empty()
        out.array[:] = np.einsum("i,ij->j", weights, rows) + (0.0 if start is None else start.array)
        return out

    def inner(self, rows: Any, z: FarVector, factor: float = 1.0) -> NDArray[Any]:
        """Return factor * z times each of some rows."""
        mine = np.einsum("ij,j->i", np.atleast_2d(rows), factor * z.array)
        return np.asarray(self.shared.gather(mine).sum(axis=0))

    def largest(self, z: FarVector) -> float:
        """Return the largest magnitude, infinite where an entry is not finite."""
        mine = np.abs(z.array).max(initial=0.0)
        return float(self.shared.gather(np.array([mine if np.isfinite(z.array).all() else np.inf])).max())

    def on_host(self, x: FarVector) -> NDArray[Any]:
        """Return this rank's part."""
        return np.asarray(x.array)

    def row(self, matrix: Any, index: int) -> Any:
        """Return a row of a matrix, not copied."""
        return np.atleast_2d(matrix)[index]

    def some_rows(self, matrix: Any, first: int, count: int) -> Any:
        """Return neighbouring rows of a matrix, not copied."""
        return np.atleast_2d(matrix)[first : first + count]

    def turn(self, rows: Any, rotation: NDArray[Any]) -> None:
        """Make combinations (l, m) of rows (m, n) the first of them, in place."""
        rows[: len(rotation)] = rotation @ rows

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

    def __matmul__(self, other: FarVector) -> Any:
        """x^T y of real vectors; of complex ones take x.conj() @ y."""
        return self._on.inner(self.array, other)[0]

    def conj(self) -> _Conjugate:
        """Return what gives inner products x^H y."""
        return _Conjugate(self)

    def inner(self, other: FarVector) -> Any:
        """Return x^H y."""
        return self._on.inner(self.array, other)[0]

    def __abs__(self) -> _Magnitudes:
        return _Magnitudes(self._on.largest(self))

    def norm(self) -> float:
        """Return the Euclidean norm, without overflow."""
        largest = self._on.largest(self)
        if not 0.0 < largest < np.inf:
            return largest
        unit = 2.0 ** -max(-1000, min(1000, int(np.frexp(largest)[1])))
        scaled = self * unit
        return float(np.sqrt(scaled.inner(scaled).real) / unit)

    def __getitem__(self, key: None) -> FarRows:
        """Return it as the only one of some rows, not copied."""
        if key is not None:
            raise TypeError("a vector on a GPU, or of many ranks, has no entries to read one by one")
        return FarRows(self.array, np.zeros(1, dtype=np.intp), self._on)


class _Conjugate:
    """A vector conjugated, to be multiplied with another one."""

    def __init__(self, x: FarVector) -> None:
        self._x = x

    def __matmul__(self, other: FarVector) -> Any:
        return self._x.inner(other)


class _Magnitudes:
    """What `abs(vector)` is good for: its largest entry."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def max(self) -> float:
        return self._largest


class _View:
    """Neighbouring rows of a matrix on a GPU, or one of them, as the CUDA array interface tells it."""

    def __init__(self, matrix: Any, first: int, count: int | None, dim: int) -> None:
        told = matrix.__cuda_array_interface__
        itemsize = int(told["typestr"][2:])
        strides, shape = told["strides"], told["shape"]
        step = dim * itemsize if len(shape) == 1 else shape[1] * itemsize if strides is None else strides[0]
        self._owner = matrix
        self.__cuda_array_interface__ = {
            **told,
            "shape": (dim,) if count is None else (count, dim),
            "strides": None if count is None else (step, itemsize),
            "data": (told["data"][0] + first * step, False),
        }


class FarRows:
    """Some rows (m, n) of a basis, not copied; an index gives a row, a slice or indices some of them.

    Arithmetic gives rows in memory of their own.
    """

    __array_ufunc__ = None

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

    def __setitem__(self, key: Any, new: Any) -> None:
        if isinstance(new, FarVector):
            self._on.combination([1.0], [new], self[key])
            return
        for to, vector in zip(self[key], new, strict=True):
            self._on.combination([1.0], [vector], to)

    def __iter__(self) -> Iterator[FarVector]:
        return (self[i] for i in range(len(self)))

    def array(self) -> Any:
        """Return the rows as a matrix (m, n) of the library's, in memory of its own."""
        copied = self._on.matrix(max(1, len(self)))
        for to in range(len(self)):
            self._on.combination([1.0], [self[to]], FarVector(self._on.row(copied, to), self._on))
        return copied if len(self) else copied[:0]

    # Blocks of vectors.

    def blank(self, count: int) -> FarRows:
        """Return memory for rows like these."""
        return FarRows(self._on.matrix(max(1, count)), np.arange(count), self._on)

    def made_of(self, vectors: Iterable[FarVector], count: int) -> FarRows:
        """Return copies of vectors as rows like these."""
        rows = self.blank(count)
        rows[:] = vectors
        return rows

    def copy(self) -> FarRows:
        """Return a copy."""
        return self.made_of(self, len(self))

    def count_not_finite(self) -> int:
        """Return how many entries are NaN or infinite."""
        bad = np.flatnonzero(np.isinf(abs(self).max(axis=1)))
        return sum(int(np.count_nonzero(~np.isfinite(self._on.on_host(self[int(i)])))) for i in bad)

    def __abs__(self) -> _LargestOfEach:
        return _LargestOfEach(np.array([self._on.largest(x) for x in self]))

    def __truediv__(self, divisors: NDArray[Any]) -> FarRows:
        quotients = self.blank(len(self))
        for x, d, to in zip(self, divisors.ravel(), quotients, strict=True):
            self._on.combination([1.0 / float(d)], [x], to)
        return quotients

    def _spans(self) -> list[tuple[slice, Any]]:
        """Neighbouring rows, as few times as it takes: which of these, and the matrix of them, not copied."""
        cuts = np.flatnonzero(np.diff(self._indices) != 1) + 1
        bounds = [0, *cuts.tolist(), len(self)]
        return [
            (slice(a, b), self._on.some_rows(self._matrix, int(self._indices[a]), b - a))
            for a, b in pairwise(bounds)
            if b > a
        ]

    def inner(self, block: FarRows) -> NDArray[Any]:
        """Return the inner products (m, p) of these rows, conjugated, with others (p, n)."""
        products = np.zeros((len(self), len(block)), self._on.dtype)
        for j, x in enumerate(block):
            for chosen, rows in self._spans():
                products[chosen, j] = self._on.inner(rows, x)
        return products

    def combination(
        self, weights: NDArray[Any], start: FarVector | None = None, out: FarVector | None = None
    ) -> FarVector:
        """Write a combination of the rows, added to `start` if there is one, into `out` or new memory."""
        out = out or self._on.empty()
        if not len(self):
            return self._on.combination(*(([], []) if start is None else ([1.0], [start])), out)
        for chosen, rows in self._spans():
            start = self._on.of_rows(rows, weights[chosen], start, out)
        return out

    def __rmatmul__(self, weights: NDArray[Any]) -> Any:
        if weights.ndim == 1:
            return self.combination(weights)
        combined = self.blank(len(weights))
        for w, to in zip(weights, combined, strict=True):
            self.combination(w, out=to)
        return combined

    def without(self, block: FarRows, coefficients: NDArray[Any]) -> FarRows:
        """Return a block (p, n) less combinations of these rows, with coefficients (m, p)."""
        reduced = self.blank(len(block))
        for c, x, to in zip(coefficients.T, block, reduced, strict=True):
            self.combination(-c, x, to)
        return reduced

    def turn(self, rotation: NDArray[Any]) -> None:
        """Make combinations (l, m) of all of these rows, which are neighbours, the first of them."""
        for _, rows in self._spans():
            self._on.turn(rows, rotation)


class _LargestOfEach:
    """What `abs(rows)` is good for: the largest entry of each."""

    def __init__(self, largest: Float64) -> None:
        self._largest = largest

    def max(self, axis: int | None = None) -> Any:
        return self._largest if axis == 1 else self._largest.max(initial=0.0)
