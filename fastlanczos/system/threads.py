"""The number of threads of the engine: by call, by environment variable, and through threadpoolctl."""

from __future__ import annotations

import importlib.metadata
import os
import warnings

from fastlanczos import _core
from fastlanczos.arguments import as_dimension

__all__ = ["get_num_threads", "set_num_threads"]


def get_num_threads() -> int:
    """Return the maximum number of threads that the engine uses.

    Examples
    --------
    >>> import fastlanczos as fl
    >>> fl.get_num_threads() >= 1
    True
    """
    return int(_core.num_threads())


def set_num_threads(threads: int) -> None:
    """Set the maximum number of threads of the engine in this process; results have the same bits for any number.

    At import it is FASTLANCZOS_NUM_THREADS if set, otherwise OMP_NUM_THREADS, otherwise the number of processors that
    the process may use. `threadpoolctl.threadpool_limits` limits it as well (user_api "fastlanczos").

    Parameters
    ----------
    threads : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no integer, or below 1.

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


def _threads_from_environment() -> None:
    asked = os.environ.get("FASTLANCZOS_NUM_THREADS")
    if asked is None:
        return
    try:
        set_num_threads(int(asked))
    except ValueError:
        warnings.warn(f"FASTLANCZOS_NUM_THREADS={asked!r} is not a number of threads: not used", stacklevel=2)


def _tell_threadpoolctl() -> None:
    try:
        from threadpoolctl import LibController, register
    except ImportError:  # not installed, or older than 3.3, which knows its own libraries only
        return

    class Controller(LibController):  # type: ignore[misc]
        user_api = "fastlanczos"
        internal_api = "fastlanczos"
        filename_prefixes = ("_core",)
        check_symbols = ("fastlanczos_get_num_threads", "fastlanczos_set_num_threads")

        def get_num_threads(self) -> int:
            return int(self.dynlib.fastlanczos_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fastlanczos_set_num_threads(num_threads)

        def get_version(self) -> str:
            return importlib.metadata.version("fastlanczos")

    register(Controller)


_threads_from_environment()
_tell_threadpoolctl()
