"""How large the arrays of a run are that lies in a compiler's memory: `flat_run.hpp`, `cuda/flat_run.cuh`."""

from __future__ import annotations

from typing import NamedTuple

from fastlanczos.engine.cuda import cuda

__all__ = ["BREAKDOWN", "MAX_PROJECTION", "NOT_FINITE", "NUMBERS", "STEPS", "FlatSizes", "flat_sizes"]

# Places in a run's numbers, followed by alpha, beta and h.
STEPS, BREAKDOWN, MAX_PROJECTION, NOT_FINITE, NUMBERS = 0, 3, 5, 6, 7


class FlatSizes(NamedTuple):
    """Rows of the basis and how far apart they are, numbers in `recent`, and numbers of the state for each step."""

    rows: int
    stride: int
    recent: int
    width: int


def flat_sizes(n: int, m: int, rows: str | None, device: int | None) -> FlatSizes:
    """Return the sizes for m steps of dimension n; `device` is a GPU's number, or None for the CPU.

    A GPU wants its rows to begin at 16 bytes, and room for what its blocks tell one another.
    """
    recent = {None: 1, "float32": 2, "float64": 0}[rows] * (n + n % 2)
    count, entries = 0 if rows is None else m, NUMBERS + 3 * m
    if device is None:
        return FlatSizes(count, n, recent, -(-entries // m))
    width = -(-max(entries, cuda().workspace_entries(m, m, rows or "none", device)) // m)
    return FlatSizes(count, -(-n // 4) * 4, recent, width + width % 2)
