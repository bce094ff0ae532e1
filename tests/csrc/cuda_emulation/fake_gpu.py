"""A framework whose arrays live on the emulated GPU, for the Python side of the CUDA engine.

`build` compiles the engine on the emulation, `FakeGpu` is it; `Array` is as much of an array library as tests need. An
array's memory is the emulated device's: nothing but this module and the kernels may touch it, and `np.asarray` of it
fails, as it does for a GPU's.
"""

import ctypes
import fcntl
import importlib.util
import math
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pybind11

HERE = Path(__file__).parent


def build(folder):
    """Return the engine compiled on the emulation: once for all processes of a test run, otherwise in `folder`.

    A test run names its own folder in the environment variable FASTLANCZOS_EMULATION.
    """
    library = Path(os.environ.get("FASTLANCZOS_EMULATION", folder)) / "_cuda.so"
    with open(library.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed
        if not library.exists():
            _compile(library)
    return library


def _compile(library):
    includes = [
        HERE,
        HERE.parent.parent.parent / "csrc" / "include",
        pybind11.get_include(),
        sysconfig.get_path("include"),
    ]
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    command = ["g++", *flags, "-Wno-unknown-pragmas", *(f"-I{p}" for p in includes), str(HERE / "module.cpp")]
    subprocess.run([*command, "-o", str(library)], check=True)


class FakeGpu:
    """The emulated device: its engine (`module`), its settings, and what it has counted."""

    def __init__(self, library):
        spec = importlib.util.spec_from_file_location("_cuda", library)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.lib = ctypes.CDLL(str(library))
        for name in ("allocate", "used", "launches", "synchronizations", "strays", "most_queued"):
            getattr(self.lib, f"emulation_{name}").restype = ctypes.c_size_t
        self.lib.emulation_busy.restype = ctypes.c_longlong
        self.configure()

    def configure(self, multiprocessors=3, shared_bytes=48 * 1024, seed=0, cooperative=True, memory=1 << 30):
        """Choose the device."""
        self.lib.emulation_configure(
            multiprocessors, ctypes.c_size_t(shared_bytes), seed, int(cooperative), ctypes.c_size_t(memory)
        )
        self.expect()

    def expect(self, stream=0, deferring=False):
        """Expect all on a stream, the one that the framework tells from now on; launches may wait for a question."""
        self.stream = stream
        self.lib.emulation_expect(ctypes.c_void_p(stream), int(deferring))

    @property
    def strays(self):
        """Launches, copies and questions on another stream since `expect`."""
        return self.lib.emulation_strays()

    @property
    def most_queued(self):
        """The most launches that have waited at one time since `expect`."""
        return self.lib.emulation_most_queued()

    @property
    def busy(self):
        """Questions that are still answered with busy."""
        return self.lib.emulation_busy()

    def stay_busy(self, questions):
        """Say so many times that work is under way when asked."""
        self.lib.emulation_stay_busy(ctypes.c_longlong(questions))

    @property
    def used(self):
        """Bytes that are allocated."""
        return self.lib.emulation_used()

    @property
    def launches(self):
        """Kernels launched so far."""
        return self.lib.emulation_launches()

    @property
    def synchronizations(self):
        """Times that the host has waited for the device so far."""
        return self.lib.emulation_synchronizations()


class OutOfMemoryError(RuntimeError):
    """As torch's: no MemoryError."""


class Memory:
    """An allocation, released with the last array in it."""

    def __init__(self, gpu, nbytes):
        self.gpu = gpu
        self.address = gpu.lib.emulation_allocate(ctypes.c_size_t(max(nbytes, 1)))
        if not self.address:
            raise OutOfMemoryError(f"the GPU is out of memory: tried to allocate {nbytes} bytes")

    def __del__(self):
        self.gpu.lib.emulation_release(ctypes.c_void_p(self.address))


class Array:
    """An array on the emulated GPU."""

    def __init__(self, memory, values):
        self._memory, self._values = memory, values

    @classmethod
    def empty(cls, gpu, shape, dtype):
        """Return uninitialised memory."""
        dtype = np.dtype(dtype)
        memory = Memory(gpu, math.prod(shape) * dtype.itemsize)
        raw = (ctypes.c_char * max(math.prod(shape) * dtype.itemsize, 1)).from_address(memory.address)
        return cls(memory, np.frombuffer(raw, dtype, count=math.prod(shape)).reshape(shape))

    @classmethod
    def of(cls, gpu, values):
        """Return a copy of host values."""
        values = np.asarray(values)
        array = cls.empty(gpu, values.shape, values.dtype)
        array._values[...] = values
        return array

    def get(self):
        """Return a copy on the host."""
        return self._values.copy()

    @property
    def __cuda_array_interface__(self):
        x = self._values
        strides = None if x.flags.c_contiguous else x.strides
        data = (x.__array_interface__["data"][0], False)
        return {"shape": x.shape, "typestr": x.dtype.str, "data": data, "strides": strides, "version": 3}

    def __array__(self, *_, **__):
        raise TypeError("an array on the GPU is not converted implicitly")

    def _new(self, values):
        return Array.of(self._memory.gpu, values)

    def __getitem__(self, key):
        return Array(self._memory, self._values[key])

    def __mul__(self, other):
        return self._new(self._values * (other._values if isinstance(other, Array) else other))

    __rmul__ = __mul__

    def __matmul__(self, other):
        return self._new(self._values @ other._values)

    def astype(self, dtype):
        """Return a copy in another dtype."""
        return self._new(self._values.astype(dtype))

    def conj(self):
        """Return the complex conjugate."""
        return self._new(self._values.conj())

    def __len__(self):
        return len(self._values)

    shape = property(lambda self: self._values.shape)
    dtype = property(lambda self: self._values.dtype)
    ndim = property(lambda self: self._values.ndim)
    T = property(lambda self: Array(self._memory, self._values.T))


class DLTensor(ctypes.Structure):
    """DLPack's tensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class DLManagedTensor(ctypes.Structure):
    """DLPack's tensor and who frees it."""

    _fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class DLPackArray:
    """Another library's array, which speaks DLPack alone; `device_type` 2 is CUDA."""

    __module__ = "another_library"

    def __init__(self, array, device_type=2):
        self.array, self.device_type = array, device_type
        self.shape, self.dtype, self.streams = array.shape, array.dtype, []

    def __dlpack_device__(self):
        return self.device_type, 0

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        x = self.array._values
        self._shape = (ctypes.c_int64 * x.ndim)(*x.shape)
        self._strides = (ctypes.c_int64 * x.ndim)(*(s // x.itemsize for s in x.strides))
        offset = 16  # the data's pointer is 16 bytes early
        tensor = DLTensor(x.__array_interface__["data"][0] - offset, self.device_type, 0, x.ndim, 2, 8 * x.itemsize, 1,
                          self._shape, self._strides, offset)  # fmt: skip
        self._managed = DLManagedTensor(tensor, None, None)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._managed), b"dltensor", None)


class Framework:
    """What fastlanczos/arrays/frameworks.py wants to know of a library, for `Array`."""

    name = "fake_gpu"

    def __init__(self, like):
        self.gpu = like._memory.gpu

    def empty(self, shape, dtype):
        """Return an array."""
        return Array.empty(self.gpu, shape, dtype)

    def pooled(self):
        """Return 0: there is no pool."""
        return 0

    def stream(self):
        """Return a handle that no call may drop."""
        return self.gpu.stream

    def cast(self, x, dtype):
        """Return a contiguous array."""
        values = x._values
        return x if values.dtype == dtype and values.flags.c_contiguous else x._new(values.astype(dtype))

    def columns(self, vectors):
        """Return a matrix whose columns are contiguous."""
        return Array.of(self.gpu, np.stack([v._values for v in vectors])).T

    def rows(self, block):
        """Return the transpose."""
        return self.cast(block.T, "float64")

    def adopt(self, x):
        """Return an array of another library's, by the CUDA array interface or DLPack."""
        host = self.gpu.module.to_host(x, 0)
        return Array.of(self.gpu, host)

    def settle(self, x):
        """Nothing to wait for."""

    def to_numpy(self, x):
        """Return a copy on the host."""
        return x.get()

    def from_numpy(self, x):
        """Return a copy on the device."""
        return Array.of(self.gpu, np.ascontiguousarray(x))


sys.modules.setdefault("fake_gpu", sys.modules[__name__])
