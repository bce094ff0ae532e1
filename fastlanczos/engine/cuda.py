"""The compiled CUDA engine: whether it is there, what it reports, and transfers between a GPU and NumPy."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

from fastlanczos.arrays.frameworks import Framework

__all__ = ["available_device_memory", "cuda", "cuda_report", "to_host"]

_cuda: ModuleType | None = None
_missing = "not built (no nvcc)"
if importlib.util.find_spec("fastlanczos._cuda") is not None:
    try:
        from fastlanczos import _cuda
    except ImportError as error:  # the CPU engine works without it; whoever asks for a GPU is told
        _missing = f"built, but it cannot be loaded: {error}"


def cuda() -> ModuleType:
    """Return the CUDA engine; RuntimeError where there is none, or no GPU that it can use."""
    if _cuda is None:
        raise RuntimeError(
            f"arrays on a GPU need fastlanczos' CUDA engine, which is {_missing}. Install the CUDA toolkit and "
            "reinstall with FASTLANCZOS_CUDA=1 in the environment, or pass CPU arrays"
        )
    if _cuda.device_count() == 0:
        report = _cuda.describe()
        raise RuntimeError(
            f"fastlanczos' CUDA engine finds no GPU ({report['problem'] or 'none is there'}). It needs a driver for "
            f"CUDA {_version(report['runtime'])}, found "
            f"{_version(report['driver']) if report['driver'] else 'no driver'}. Without a GPU pass CPU arrays"
        )
    return _cuda


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def cuda_report() -> str:
    """Return a line on the CUDA engine and the GPUs it finds, for people."""
    if _cuda is None:
        return _missing
    report = _cuda.describe()
    if not report["devices"]:
        return f"built, but no GPU: {report['problem'] or 'none is there'}"
    return "; ".join(
        f"{d['name']} (sm_{''.join(map(str, d['compute_capability']))}, {d['multiprocessors']} multiprocessors)"
        for d in report["devices"]
    )


def to_host(x: Any, framework: Framework) -> Any:
    """Return an array of a GPU as NumPy's; waits for it."""
    framework.settle(x)
    return cuda().to_host(x, framework.stream())


def available_device_memory(framework: Framework) -> int:
    """Return the bytes that are free on the framework's device, and those that its pool holds for later."""
    device = cuda().device_of(framework.empty((1,), "float64"))
    return int(cuda().memory_info(device)[0]) + framework.pooled()
