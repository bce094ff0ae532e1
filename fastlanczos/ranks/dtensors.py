"""A run's rows as DTensors, which torch.distributed.checkpoint saves, and other ranks take up in parts of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.ranks.shared import Shared

__all__ = ["from_dtensor", "is_dtensor", "to_dtensor"]

_ENTRIES = 2**22  # of whole rows that are in memory at once


def to_dtensor(shared: Shared, rows: NDArray[Any], filled: int) -> Any:
    """Return rows (m, local_dim), of which the first `filled` count, as a DTensor (m, n) cut as torch cuts columns."""
    import torch
    from torch.distributed.tensor import DTensor, Shard

    mine = _columns(shared)
    part = np.zeros((len(rows), mine.stop - mine.start), rows.dtype)
    for some in _some_rows(filled, shared.dim):
        part[some] = shared.whole_rows(rows[some])[:, mine]
    shape = torch.Size([len(rows), shared.dim])
    return DTensor.from_local(
        torch.from_numpy(part), _mesh(shared), [Shard(1)], run_check=False, shape=shape, stride=(shared.dim, 1)
    )


def from_dtensor(shared: Shared, rows: Any, filled: int, out: NDArray[Any]) -> None:
    """Write this rank's part of the first `filled` rows of a DTensor (m, n) into `out`."""
    for some in _some_rows(filled, shared.dim):
        out[some] = shared.part(rows[some].full_tensor().cpu().numpy())


def is_dtensor(x: Any) -> bool:
    """Whether x is a DTensor; never imports torch."""
    return hasattr(x, "full_tensor") and hasattr(x, "placements")


def _some_rows(count: int, dim: int) -> list[slice]:
    each = max(1, _ENTRIES // dim)
    return [slice(first, min(first + each, count)) for first in range(0, count, each)]


def _columns(shared: Shared) -> slice:
    """What torch.chunk gives a rank."""
    each = -(-shared.dim // shared.group.size)
    first = min(shared.group.rank * each, shared.dim)
    return slice(first, min(first + each, shared.dim))


def _mesh(shared: Shared) -> Any:
    from torch.distributed.device_mesh import DeviceMesh

    group = getattr(shared.group, "process_group", None)
    if group is None:
        raise TypeError("the state of a run over an MPI communicator cannot be saved: use a torch.distributed group")
    return DeviceMesh.from_group(group, "cpu")
