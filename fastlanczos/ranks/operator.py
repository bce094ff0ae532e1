"""`ShardedOperator`: an operator whose rows, and with them all vectors, are shared out over ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastlanczos.ranks.group import Group, as_group
from fastlanczos.ranks.shared import Shared

__all__ = ["ShardedOperator"]


class ShardedOperator:
    """A symmetric operator of dimension n, of which each rank has `local_dim` rows.

    Every rank makes one, with its own part, and calls the same functions of this package in the same order. A vector of
    length n is, on each rank, the `local_dim` entries that are its own; rank 0 has the first ones. Values, T and
    densities are whole, and the same on all ranks to the last bit. Vectors are local.

    Parameters
    ----------
    matvec : callable
        The local entries of x, a NumPy array (local_dim,) or, with a tensor as v0 or like=, a tensor on its device, to
        the local entries of A x. What it needs of other ranks' entries it gets itself, in the group's own calls.
    local_dim : int
        How many of the n entries are this rank's; may be 0.
    group : ProcessGroup, DeviceMesh or mpi4py communicator
        The ranks: `torch.distributed.group.WORLD` or `MPI.COMM_WORLD` for all.

    Attributes
    ----------
    shape : tuple of int
        (n, n).
    local_dim : int
        Rows of this rank.
    first : int
        The first of them.

    Raises
    ------
    TypeError, ValueError
        If the group is none, `local_dim` is negative, or no rank has any rows.

    Examples
    --------
    On two ranks (`torchrun --nproc-per-node 2`), each with half of a diagonal matrix:

    >>> import fastlanczos as fl, numpy as np, torch.distributed as dist, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> dist.init_process_group("gloo", store=dist.FileStore(folder.name + "/store", 1), rank=0, world_size=1)
    >>> n, rank, ranks = 1000, dist.get_rank(), dist.get_world_size()
    >>> mine = np.array_split(np.arange(1.0, n + 1), ranks)[rank]
    >>> A = fl.ShardedOperator(lambda x: mine * x, len(mine), dist.group.WORLD)
    >>> A
    ShardedOperator(1000 x 1000, rows 0 to 999 on rank 0 of 1)
    >>> low, high = fl.spectral_density(A, num_probes=2, num_steps=200, seed=0).extremes
    >>> round(low), round(high)
    (1, 1000)
    >>> dist.destroy_process_group()
    """

    def __init__(self, matvec: Callable[[Any], Any], local_dim: int, group: Any) -> None:
        if not callable(matvec):
            raise TypeError(f"matvec must be a callable, got {type(matvec).__name__}")
        members: Group = as_group(group)
        if isinstance(local_dim, bool) or int(local_dim) != local_dim or local_dim < 0:
            raise ValueError(f"local_dim must be 0 or a positive whole number, got {local_dim!r}")
        self.local_dim = int(local_dim)
        self.shared = Shared(members, [int(count) for count in members.share(self.local_dim)])
        if self.shared.dim == 0:
            raise ValueError("local_dim is 0 on every rank: the operator has no rows")
        self.shape = (self.shared.dim, self.shared.dim)
        self.first = self.shared.first
        self.matvec = matvec

    def __repr__(self) -> str:
        n, last = self.shape[0], self.first + self.local_dim - 1
        rows = f"rows {self.first} to {last}" if self.local_dim else "no rows"
        group = self.shared.group
        return f"ShardedOperator({n} x {n}, {rows} on rank {group.rank} of {group.size})"
