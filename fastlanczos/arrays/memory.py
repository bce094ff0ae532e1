"""How much memory is available, and the error text if a basis does not fit."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "readable_bytes", "too_large"]

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CGROUP_USAGES = (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
_UNKNOWN = 4 * 2**30  # assumed where the system does not say


def available_memory() -> int:
    """Return the bytes that can be allocated without swapping, as far as the system tells.

    On Linux this heeds the limit of the container that the process runs in.
    """
    free = _system_memory()
    for limit, usage in zip(_CGROUP_LIMITS, _CGROUP_USAGES, strict=True):
        try:
            left = int(limit.read_text()) - int(usage.read_text())
        except (OSError, ValueError):  # no such controller, or no limit ("max")
            continue
        free = min(free, max(left, 0))
    return free


def readable_bytes(count: int) -> str:
    """Return a number of bytes as people write it: `1.5 GiB`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def too_large(dim: int, rows: int, basis_dtype: str, vectors: int, limit: int, is_complex: bool = False) -> str:
    """Return the error text for a basis and working vectors (float64) that do not fit into `limit` bytes."""
    columns = 2 * dim if is_complex else dim
    row = columns * (4 if basis_dtype == "float32" else 8)
    others = 8 * columns * vectors
    options = []
    narrow = 4 * columns * rows + others + 16 * columns  # two rows are kept in float64 as well
    if basis_dtype == "float64" and narrow <= limit:
        options.append(f'basis_dtype="float32" ({readable_bytes(narrow)})')
    fitting = (limit - others) // row
    if fitting >= 1:
        options.append(f"num_steps={min(fitting, rows)}")
    if others + 8 * columns <= limit:
        options.append('reorthogonalize="none" (no basis; as accurate for a density)')
    return (
        f"the basis of {rows} vectors of length {dim} needs {readable_bytes(row * rows + others)} in {basis_dtype}, "
        f"working vectors included, and there are {readable_bytes(limit)}. "
        f"What fits: {'; or '.join(options) if options else 'nothing, the vectors alone are too large'}"
    )


def _system_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN
