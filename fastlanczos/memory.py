"""How much memory there is to plan with."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "readable_bytes"]

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
