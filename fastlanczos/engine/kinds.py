"""Array types that vectors come in: NumPy, CPU tensors, and arrays on a GPU.

Results come back in the array type that was passed in. The array type also decides whether the run happens on the CPU
(`HostRun`) or on a GPU (`DeviceRun`)."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import dtype_name, is_complex, is_tensor, on_device
from fastlanczos.arrays.frameworks import Framework, framework_of
from fastlanczos.arrays.memory import available_memory
from fastlanczos.engine.cuda import available_device_memory, cuda
from fastlanczos.engine.device_run import DeviceRun
from fastlanczos.engine.far_space import DeviceSpace, SharedSpace
from fastlanczos.engine.far_vectors import FarVector, GpuArithmetic, SharedArithmetic, uploaded
from fastlanczos.engine.host_run import HostRun
from fastlanczos.engine.shared_device_run import SharedDeviceRun
from fastlanczos.ranks.shared import Shared

__all__ = [
    "DeviceKind",
    "Kind",
    "NumpyKind",
    "SharedDeviceKind",
    "SharedKind",
    "TorchKind",
    "kind_like",
    "shared_kind",
    "shared_of",
    "tensors",
]


class Kind(Protocol):
    """The arrays that a matvec takes and that a result is given in."""

    name: str
    dtype: str  # that a matvec gets its vector in

    def new_run(self, dim: int, max_steps: int, storage: str | None) -> HostRun | DeviceRun:
        """Return a run in memory of this kind."""

    def argument(self, vector: Any) -> Any:
        """Return the engine's vector, or block of columns, as a matvec gets it."""

    @property
    def is_complex(self) -> bool:
        """Whether vectors are complex: the engine's are then in complex128."""

    def shared(self, vector: Any) -> Any:
        """Return the engine's vector in the kind's library, sharing memory."""

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Return reserved memory for the engine's numbers, where it is."""

    def columns(self, vectors: list[Any]) -> Any:
        """Return the engine's vectors as columns of a block (n, p), as a matmat gets it."""

    def output(self, values: Any) -> Any:
        """Return the engine's rows as an array of a result, sharing memory."""

    def available_memory(self) -> int:
        """Return the bytes that there are for bases and vectors."""

    def length(self, dim: int) -> int:
        """Return how many of a vector's entries are here."""

    def longest(self, dim: int) -> int:
        """Return the most that are anywhere."""


class NumpyKind:
    """Plain NumPy arrays, in float64 or complex128."""

    name = "numpy"

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = dtype

    @property
    def is_complex(self) -> bool:
        """Whether vectors are complex."""
        return self.dtype.startswith("complex")

    @property
    def _engine_dtype(self) -> str:
        return "complex128" if self.is_complex else "float64"

    def new_run(self, dim: int, max_steps: int, storage: str | None) -> HostRun:
        """Return a run on the CPU."""
        return HostRun(dim, max_steps, storage, dtype=self._engine_dtype)

    def argument(self, vector: NDArray[Any]) -> Any:
        """Return the vector itself."""
        return vector

    def shared(self, vector: NDArray[Any]) -> Any:
        """Return the vector itself."""
        return vector

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Return an array."""
        return np.empty(shape, self._engine_dtype)

    def columns(self, vectors: list[NDArray[Any]]) -> Any:
        """Return a matrix whose columns are contiguous."""
        return self.argument(np.stack(vectors).T)

    def output(self, values: NDArray[Any]) -> Any:
        """Return the array itself."""
        return values

    def available_memory(self) -> int:
        """Return what the system says."""
        return available_memory()

    def length(self, dim: int) -> int:
        """Return all of them."""
        return dim

    def longest(self, dim: int) -> int:
        """Return all of them."""
        return dim


class SharedKind(NumpyKind):
    """Arrays of this rank's entries of vectors that are shared out: NumPy's, or CPU tensors of the given dtype."""

    def __init__(self, shared: Shared, tensors_in: str | None = None) -> None:
        super().__init__()
        self.shares = shared
        self._tensors_in = tensors_in

    def new_run(self, dim: int, max_steps: int, storage: str | None) -> HostRun:
        """Return a run on this rank's entries, in step with the others."""
        return HostRun(self.length(dim), max_steps, storage, self.shares)

    def new_space(self, dim: int, rows: int) -> SharedSpace:
        """Return a run that can be restarted."""
        return SharedSpace(rows, self.shares)

    def argument(self, vector: Any) -> Any:
        """Return this rank's part."""
        part = vector.array if isinstance(vector, FarVector) else vector
        if self._tensors_in is None:
            return part
        torch = sys.modules["torch"]
        return torch.from_numpy(part).to(getattr(torch, self._tensors_in))

    def output(self, values: NDArray[Any]) -> Any:
        """Return an array, or a tensor that shares its memory."""
        return values if self._tensors_in is None else sys.modules["torch"].from_numpy(values)

    def vector(self, part: NDArray[Any]) -> FarVector:
        """Return this rank's part as a vector to compute with."""
        return FarVector(part, SharedArithmetic(self.shares))

    def available_memory(self) -> int:
        """Return what the rank with the least has, so that all plan alike."""
        return int(self.shares.least(float(available_memory())))

    def length(self, dim: int) -> int:
        """Return this rank's."""
        return self.shares.local_dims[self.shares.group.rank]

    def longest(self, dim: int) -> int:
        """Return the most that a rank has."""
        return max(self.shares.local_dims)


class TorchKind(NumpyKind):
    """CPU tensors; a matvec gets its vector in `dtype`, since torch does not mix dtypes in a product."""

    name = "torch"

    def argument(self, vector: NDArray[Any]) -> Any:
        """Return a tensor in the kind's dtype."""
        torch = sys.modules["torch"]
        return torch.from_numpy(vector).to(getattr(torch, self.dtype))

    def shared(self, vector: NDArray[Any]) -> Any:
        """Return a tensor that shares the array's memory."""
        return sys.modules["torch"].from_numpy(vector)

    def output(self, values: NDArray[Any]) -> Any:
        """Return a tensor that shares the array's memory."""
        return sys.modules["torch"].from_numpy(values)


class DeviceKind:
    """Arrays on a GPU; a matvec gets its vector in `dtype`."""

    is_complex = False

    def __init__(self, framework: Framework, dtype: str) -> None:
        self.framework = framework
        self.name = framework.name
        self.dtype = dtype

    def new_run(self, dim: int, max_steps: int, storage: str | None) -> DeviceRun:
        """Return a run on the device."""
        return DeviceRun(dim, max_steps, storage, self.framework)

    def new_space(self, dim: int, rows: int) -> DeviceSpace:
        """Return a run that can be restarted."""
        return DeviceSpace(dim, rows, self.framework)

    def upload(self, values: NDArray[Any]) -> Any:
        """Return NumPy's numbers as an array of the framework, in float64."""
        return uploaded(values, self.framework)

    def vector(self, values: NDArray[Any]) -> FarVector:
        """Return NumPy's numbers as a vector to compute with."""
        return FarVector(self.upload(values), GpuArithmetic(self.framework, len(values), 1))

    def argument(self, vector: Any) -> Any:
        """Return the vector, in the kind's dtype."""
        return self.framework.cast(vector.array if isinstance(vector, FarVector) else vector, self.dtype)

    def shared(self, vector: Any) -> Any:
        """Return the vector itself."""
        return vector.array if isinstance(vector, FarVector) else vector

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Return memory on the device."""
        return self.framework.empty(shape, "float64")

    def columns(self, vectors: list[Any]) -> Any:
        """Return a matrix whose columns are contiguous."""
        return self.framework.columns([self.argument(vector) for vector in vectors])

    def output(self, values: Any) -> Any:
        """Return the rows themselves."""
        return values

    def available_memory(self) -> int:
        """Return what the driver says."""
        return available_device_memory(self.framework)

    def length(self, dim: int) -> int:
        """Return all of them."""
        return dim

    def longest(self, dim: int) -> int:
        """Return all of them."""
        return dim


class SharedDeviceKind(DeviceKind):
    """Arrays on each rank's GPU, of its entries of vectors that are shared out."""

    def __init__(self, framework: Framework, dtype: str, shared: Shared) -> None:
        super().__init__(framework, dtype)
        self.shares = shared

    def new_run(self, dim: int, max_steps: int, storage: str | None) -> SharedDeviceRun:
        """Return a run on this rank's entries, in step with the others."""
        return SharedDeviceRun(self.length(dim), max_steps, storage, self.framework, self.shares)

    def new_space(self, dim: int, rows: int) -> DeviceSpace:
        """Raise: restarts over ranks are on the CPU."""
        raise TypeError("eigsh over ranks works on the CPU: pass v0 as an array or tensor there, or leave it out")

    def available_memory(self) -> int:
        """Return what the rank with the least has, so that all plan alike."""
        return int(self.shares.least(float(super().available_memory())))

    def length(self, dim: int) -> int:
        """Return this rank's."""
        return self.shares.local_dims[self.shares.group.rank]

    def longest(self, dim: int) -> int:
        """Return the most that a rank has."""
        return max(self.shares.local_dims)


def shared_kind(shared: Shared, like: Any) -> SharedKind | SharedDeviceKind:
    """Return the kind of this rank's part of vectors: of tensors, or of arrays on a GPU, if `like` is one."""
    shared.asks = None
    if like is None or not (is_tensor(like) or on_device(like)):
        return SharedKind(shared)
    name = dtype_name(like.dtype)
    if on_device(like):
        cuda()
        return SharedDeviceKind(framework_of(like, "v0"), name, shared)
    return SharedKind(shared, name)


def kind_like(x: Any, what: str) -> Kind:
    """Return the kind of array that `x` is; None, and everything that is not an array of a library, count as NumPy.

    Raises RuntimeError for an array on a GPU where there is no CUDA engine to work on it.
    """
    if isinstance(x, (NumpyKind, DeviceKind)):
        return x
    if isinstance(getattr(x, "shared", None), Shared):  # an operator
        return SharedKind(x.shared)
    if x is None or not (is_tensor(x) or on_device(x)):
        return NumpyKind("complex128" if x is not None and is_complex(x) else "float64")
    if on_device(x):
        cuda()
    name = dtype_name(x.dtype)
    if on_device(x) and name.startswith("complex"):
        raise TypeError(
            f"{what} has dtype {x.dtype} and is on a GPU, where vectors are real: pass it as an array on the CPU, "
            "and A as a callable that takes arrays there (eigsh takes complex arrays on a GPU too)"
        )
    if name not in ("float64", "float32", "complex128", "complex64"):
        raise TypeError(f"{what} has dtype {x.dtype}; want float64, float32, complex128 or complex64")
    return DeviceKind(framework_of(x, what), name) if on_device(x) else TorchKind(name)


def shared_of(kind: Kind) -> Shared | None:
    """Return how vectors are shared out over ranks; None where each is whole."""
    return kind.shares if isinstance(kind, (SharedKind, SharedDeviceKind)) else None


def tensors(dtype: str) -> Kind:
    """Return the kind of CPU tensors of a dtype."""
    return TorchKind(dtype)
