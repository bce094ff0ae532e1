"""What this build of fastlanczos is and how it runs: `show_config`, and the number of threads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import warnings
from pathlib import Path
from typing import Any

from fastlanczos import _core
from fastlanczos.memory import available_memory
from fastlanczos.operators import as_dimension

__all__ = ["config", "get_include", "get_num_threads", "set_num_threads", "show_config"]

_PACKAGES = ("numpy", "scipy", "tqdm", "torch", "matplotlib", "scikit-learn", "cupy", "jax", "numba")


def get_num_threads() -> int:
    """Return how many threads the engine uses at most.

    Examples
    --------
    >>> import fastlanczos as fl
    >>> fl.get_num_threads() >= 1
    True
    """
    return int(_core.num_threads())


def set_num_threads(threads: int) -> None:
    """Set how many threads the engine uses at most; results do not depend on it, to the bit.

    At import this is FASTLANCZOS_NUM_THREADS where that is set, otherwise what OpenMP would use (OMP_NUM_THREADS). In a
    process that was forked it is 1, since OpenMP's threads stay behind in the parent; leave it there.

    Parameters
    ----------
    threads : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        Where `threads` is no integer, or below 1.

    Examples
    --------
    >>> import fastlanczos as fl
    >>> before = fl.get_num_threads()
    >>> fl.set_num_threads(1)
    >>> fl.get_num_threads()
    1
    >>> fl.set_num_threads(before)
    """
    _core.set_num_threads(as_dimension(threads, "threads"))


def get_include() -> str:
    """Return the folder to give a C++ compiler as an include path, for `#include "fastlanczos/step.hpp"`.

    Examples
    --------
    >>> import pathlib
    >>> import fastlanczos as fl
    >>> (pathlib.Path(fl.get_include()) / "fastlanczos" / "step.hpp").exists()
    True
    """
    package = Path(__file__).parent
    installed = package / "include"
    return str(installed if installed.exists() else package.parent / "csrc" / "include")  # a development install


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
            "openmp": build["openmp"] or "not found when this was built: one thread",
        },
        "machine": {
            "processor": platform.machine(),
            "instruction set": build["instruction_set"],
            "cores": os.cpu_count(),
            "threads": get_num_threads(),
            "available memory": f"{available_memory() / 2**30:.1f} GiB",
            "cuda": "no CUDA engine in this version",
        },
        "python": {"version": platform.python_version(), "system": platform.platform(), **versions},
    }


def show_config() -> None:
    """Print the build, the processor features in use, threads, CUDA, and the versions of what is around.

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


def _threads_from_environment() -> None:
    asked = os.environ.get("FASTLANCZOS_NUM_THREADS")
    if asked is None:
        return
    try:
        set_num_threads(int(asked))
    except ValueError:
        warnings.warn(f"FASTLANCZOS_NUM_THREADS={asked!r} is not a number of threads: not used", stacklevel=2)


_threads_from_environment()
if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not live on in a forked child, and waiting for them would never end.
    os.register_at_fork(after_in_child=lambda: _core.set_num_threads(1))
