"""Libraries with arrays on a GPU: how each allocates memory, converts arrays, and tells its stream.

The engine reads any array as pointer, shape and strides; this file does the rest. No library is imported before the
user has imported it."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from fastlanczos.arrays.cpu import dtype_name

__all__ = ["FRAMEWORKS", "Framework", "framework_of"]


class Framework(Protocol):
    """The arrays of one library on one device; `like` is one of them."""

    name: str

    def __init__(self, like: Any) -> None: ...

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return uninitialised memory, in the library's own pool."""

    def pooled(self) -> int:
        """Return the bytes that the library's pool has free on the device."""

    def stream(self) -> int:
        """Return the stream that the library works on now, as CUDA's handle; 0 is the default one."""

    def cast(self, x: Any, dtype: str) -> Any:
        """Return x in float32 or float64, contiguous: x itself where it is that already."""

    def columns(self, vectors: list[Any]) -> Any:
        """Return vectors as the columns of a matrix (n, p), in memory of its own."""

    def rows(self, block: Any) -> Any:
        """Return the columns of a block as contiguous rows, in float64."""

    def adopt(self, x: Any) -> Any:
        """Return another library's array as one of this one, in the same memory and in this one's stream's order."""

    def settle(self, x: Any) -> None:
        """Wait until x may be used on the engine's stream, where the library's own stream is another one."""

    def to_numpy(self, x: Any) -> Any:
        """Return a copy on the host, of any dtype."""

    def from_numpy(self, x: Any) -> Any:
        """Return a copy of NumPy's array on the device, of any dtype."""


class Torch:
    """Tensors of PyTorch."""

    name = "torch"

    def __init__(self, like: Any) -> None:
        self.torch = sys.modules["torch"]
        self.device = like.device

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return a tensor."""
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=self.device)

    def pooled(self) -> int:
        """Return what torch's caching allocator holds."""
        cuda = self.torch.cuda
        return int(cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device))

    def stream(self) -> int:
        """Return torch's current stream on the device."""
        return int(self.torch.cuda.current_stream(self.device).cuda_stream)

    def cast(self, x: Any, dtype: str) -> Any:
        """Return a tensor without history."""
        return x.detach().resolve_conj().resolve_neg().to(getattr(self.torch, dtype)).contiguous()

    def columns(self, vectors: list[Any]) -> Any:
        """Return a matrix whose columns are contiguous."""
        return self.torch.stack(vectors).T

    def rows(self, block: Any) -> Any:
        """Return the transpose."""
        return self.cast(block.T, "float64")

    def adopt(self, x: Any) -> Any:
        """Return a tensor, by DLPack."""
        return self.torch.from_dlpack(x)

    def settle(self, x: Any) -> None:
        """Nothing: the engine works on torch's own stream."""

    def to_numpy(self, x: Any) -> Any:
        """Return an array."""
        return x.detach().resolve_conj().resolve_neg().cpu().numpy()

    def from_numpy(self, x: Any) -> Any:
        """Return a tensor."""
        return self.torch.as_tensor(x, device=self.device)


class Cupy:
    """Arrays of CuPy."""

    name = "cupy"

    def __init__(self, like: Any) -> None:
        self.cupy = sys.modules["cupy"]
        self.device = like.device

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return an array out of CuPy's pool."""
        with self.device:
            return self.cupy.empty(shape, dtype)

    def pooled(self) -> int:
        """Return what CuPy's default pool holds."""
        with self.device:
            return int(self.cupy.get_default_memory_pool().free_bytes())

    def stream(self) -> int:
        """Return CuPy's current stream on the device."""
        with self.device:
            return int(self.cupy.cuda.get_current_stream().ptr)

    def cast(self, x: Any, dtype: str) -> Any:
        """Return a contiguous array."""
        return self.cupy.ascontiguousarray(x, dtype=dtype)

    def columns(self, vectors: list[Any]) -> Any:
        """Return a matrix whose columns are contiguous."""
        return self.cupy.stack(vectors).T

    def rows(self, block: Any) -> Any:
        """Return the transpose."""
        return self.cast(block.T, "float64")

    def adopt(self, x: Any) -> Any:
        """Return an array, by DLPack."""
        return self.cupy.from_dlpack(x)

    def settle(self, x: Any) -> None:
        """Nothing: the engine works on CuPy's own stream."""

    def to_numpy(self, x: Any) -> Any:
        """Return an array."""
        return self.cupy.asnumpy(x)

    def from_numpy(self, x: Any) -> Any:
        """Return an array."""
        with self.device:
            return self.cupy.asarray(x)


class Numba:
    """Device arrays of Numba, which convert nothing: products have to be float64 and contiguous."""

    name = "numba"

    def __init__(self, like: Any) -> None:
        self.cuda = sys.modules["numba"].cuda

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return a device array."""
        return self.cuda.device_array(shape, dtype)

    def pooled(self) -> int:
        """Return 0: Numba has no pool."""
        return 0

    def stream(self) -> int:
        """Return the default stream, on which Numba launches where no other is named."""
        return 0

    def cast(self, x: Any, dtype: str) -> Any:
        """Return x, or raise TypeError."""
        if dtype_name(x.dtype) != dtype or not x.is_c_contiguous():
            raise TypeError(f"Numba's device arrays must be contiguous {dtype}: this one is {x.dtype}")
        return x

    def columns(self, vectors: list[Any]) -> Any:
        """Raise: Numba's arrays have no blocks."""
        raise TypeError("Numba's device arrays cannot be stacked into a block: pass an operator without matmat")

    def rows(self, block: Any) -> Any:
        """Raise: Numba's arrays have no blocks."""
        raise TypeError("Numba's device arrays cannot be transposed: pass an operator without matmat")

    def adopt(self, x: Any) -> Any:
        """Return a device array, by the CUDA array interface."""
        return self.cuda.as_cuda_array(x)

    def settle(self, x: Any) -> None:
        """Nothing: launches without a stream go to the default one."""

    def to_numpy(self, x: Any) -> Any:
        """Return an array."""
        return x.copy_to_host()

    def from_numpy(self, x: Any) -> Any:
        """Return a device array."""
        return self.cuda.to_device(x)


class Jax:
    """Arrays of JAX, which never change: a matvec gets a copy, and each step waits for JAX's stream."""

    name = "jax"

    def __init__(self, like: Any) -> None:
        self.jax = sys.modules["jax"]
        self.device = next(iter(like.devices()))
        if not self.jax.config.jax_enable_x64:
            raise TypeError('float64 is switched off in JAX: call jax.config.update("jax_enable_x64", True) first')

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return an array that nobody else sees, so that the engine may write into it."""
        memory = self.jax.device_put(self.jax.numpy.zeros(shape, dtype), self.device)
        return memory.block_until_ready()

    def pooled(self) -> int:
        """Return what JAX has taken beforehand and not used, where it tells."""
        statistics = self.device.memory_stats() or {}
        return max(0, int(statistics.get("pool_bytes", 0)) - int(statistics.get("bytes_in_use", 0)))

    def stream(self) -> int:
        """Return the default stream: JAX does not tell its own."""
        return 0

    def cast(self, x: Any, dtype: str) -> Any:
        """Return an array that shares no memory with the engine's."""
        return self.jax.numpy.array(x, dtype=dtype, copy=True)

    def columns(self, vectors: list[Any]) -> Any:
        """Return a matrix."""
        return self.jax.numpy.stack(vectors).T

    def rows(self, block: Any) -> Any:
        """Return the transpose."""
        return self.cast(block.T, "float64")

    def adopt(self, x: Any) -> Any:
        """Return an array, by DLPack."""
        return self.jax.dlpack.from_dlpack(x)

    def settle(self, x: Any) -> None:
        """Wait for JAX."""
        x.block_until_ready()

    def to_numpy(self, x: Any) -> Any:
        """Return an array."""
        return self.jax.device_get(x)

    def from_numpy(self, x: Any) -> Any:
        """Return an array."""
        return self.jax.device_put(x, self.device)


# By the first word of the module that an array's type is from.
FRAMEWORKS: dict[str, type[Framework]] = {
    "torch": Torch,
    "cupy": Cupy,
    "cupyx": Cupy,
    "numba": Numba,
    "numba_cuda": Numba,
    "jax": Jax,
    "jaxlib": Jax,
}


def framework_of(x: Any, what: str) -> Framework:
    """Return the framework of an array on a GPU, or raise TypeError."""
    name = type(x).__module__.split(".")[0]
    if name not in FRAMEWORKS:
        raise TypeError(
            f"{what} is a {type(x).__module__}.{type(x).__qualname__} on a GPU; supported are arrays of torch, "
            "CuPy, JAX and Numba"
        )
    return FRAMEWORKS[name](x)
