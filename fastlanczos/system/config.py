"""Information about this build: `show_config`, `get_include` and `get_library`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from fastlanczos import _core
from fastlanczos.arrays.memory import available_memory
from fastlanczos.engine.cuda import cuda_report
from fastlanczos.system.threads import get_num_threads

__all__ = ["config", "get_include", "get_library", "show_config"]

_PACKAGES = ("numpy", "scipy", "tqdm", "torch", "matplotlib", "scikit-learn", "cupy", "jax", "numba")


def get_include() -> str:
    """Return the folder to give a C++ compiler as an include path, for `#include "fastlanczos/step.hpp"`.

    Examples
    --------
    >>> import pathlib
    >>> import fastlanczos as fl
    >>> (pathlib.Path(fl.get_include()) / "fastlanczos" / "step.hpp").exists()
    True
    """
    package = Path(__file__).parent.parent
    installed = package / "include"
    return str(installed if installed.exists() else package.parent / "csrc" / "include")  # a development install


def get_library() -> str:
    """Return the path of the library that has the functions of `fastlanczos.h`, for ctypes, Numba, Julia.

    It is a Python extension, and loads in a Python process. A program without Python compiles
    `fastlanczos/c_interface.cpp` in the folder that `get_include` tells.

    Examples
    --------
    >>> import ctypes
    >>> import fastlanczos as fl
    >>> ctypes.CDLL(fl.get_library()).fastlanczos_interface_version()
    1
    """
    return str(_core.__file__)


def config() -> dict[str, dict[str, Any]]:
    """Return what `show_config` prints, as a dictionary of sections."""
    build = _core.build()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "fastlanczos": {
            "version": importlib.metadata.version("fastlanczos"),
            "compiler": build["compiler"],
        },
        "machine": {
            "processor": platform.machine(),
            "instruction set": build["instruction_set"],
            "cores": os.cpu_count(),
            "threads": get_num_threads(),
            "available memory": f"{available_memory() / 2**30:.1f} GiB",
            "cuda": cuda_report(),
        },
        "python": {"version": platform.python_version(), "system": platform.platform(), **versions},
    }


def show_config() -> None:
    """Print compiler, processor features, threads, CUDA, and versions of related packages.

    Examples
    --------
    >>> import fastlanczos as fl
    >>> fl.show_config()  # doctest: +ELLIPSIS
    fastlanczos
      version           ...
    """
    for section, entries in config().items():
        print(section)
        for name, value in entries.items():
            print(f"  {name:<17} {value}")
