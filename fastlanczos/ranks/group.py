"""A group of ranks: torch's process groups and meshes, and mpi4py's communicators, asked the same few things."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from fastlanczos.arrays.cpu import Float64

__all__ = ["Group", "as_group"]


class Group(Protocol):
    """Some ranks. What one of them asks, all have to ask, in the same order."""

    rank: int
    size: int

    def gather(self, numbers: Float64) -> Float64:
        """Return the numbers (m,) of every rank, (size, m), in the order of the ranks; all give equally many."""

    def share(self, thing: Any) -> list[Any]:
        """Return every rank's object, which can be pickled."""

    def gather_tensors(self, tensor: Any) -> list[Any]:
        """Return every rank's tensor, all of one size and dtype."""

    def exchange(self, message: Any, everyones: Any) -> None:
        """Write every rank's message (m,) into an array (ranks m,), both on a GPU, in the stream's order."""

    def add_up(self, tensor: Any) -> None:
        """Replace a tensor by the sum of every rank's, which has the same bits on all of them."""


class _TorchGroup:
    """A process group of torch.distributed."""

    def __init__(self, group: Any) -> None:
        import torch

        self._torch = torch
        self._dist = torch.distributed
        self._group = self.process_group = group
        self.rank = self._dist.get_rank(group)
        self.size = self._dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError("this rank is not in the group that was given")
        # NCCL moves what is on a GPU alone.
        self._device = "cuda" if self._dist.get_backend(group) == "nccl" else "cpu"

    def gather(self, numbers: Float64) -> Float64:
        """Return the numbers of every rank."""
        mine = self._torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float64)).to(self._device)
        everyones = [self._torch.empty_like(mine) for _ in range(self.size)]
        self._dist.all_gather(everyones, mine, group=self._group)
        return np.asarray(self._torch.stack(everyones).cpu().numpy())

    def share(self, thing: Any) -> list[Any]:
        """Return every rank's object."""
        everyones: list[Any] = [None] * self.size
        self._dist.all_gather_object(everyones, thing, group=self._group)
        return everyones

    def gather_tensors(self, tensor: Any) -> list[Any]:
        """Return every rank's tensor."""
        moved = tensor.to(self._device).contiguous()
        everyones = [self._torch.empty_like(moved) for _ in range(self.size)]
        self._dist.all_gather(everyones, moved, group=self._group)
        return [theirs.to(tensor.device) for theirs in everyones]

    def exchange(self, message: Any, everyones: Any) -> None:
        """Write every rank's message into an array; NCCL's collectives wait for nobody."""
        self._dist.all_gather_into_tensor(everyones, message, group=self._group)

    def add_up(self, tensor: Any) -> None:
        """Replace a tensor by the sum of every rank's."""
        moved = tensor.to(self._device)
        self._dist.all_reduce(moved, group=self._group)
        if moved is not tensor:
            tensor.copy_(moved)


class _MpiGroup:
    """A communicator of mpi4py."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())

    def gather(self, numbers: Float64) -> Float64:
        """Return the numbers of every rank."""
        mine = np.ascontiguousarray(numbers, dtype=np.float64)
        everyones = np.empty((self.size, mine.size))
        self._communicator.Allgather(mine, everyones)
        return everyones

    def share(self, thing: Any) -> list[Any]:
        """Return every rank's object."""
        return list(self._communicator.allgather(thing))

    def gather_tensors(self, tensor: Any) -> list[Any]:
        """Return every rank's tensor."""
        mine = tensor.cpu().numpy()
        everyones = np.empty((self.size, *mine.shape), mine.dtype)
        self._communicator.Allgather(np.ascontiguousarray(mine), everyones)
        return [tensor.new_tensor(theirs) for theirs in everyones]

    def exchange(self, message: Any, everyones: Any) -> None:
        """Raise: MPI's calls are not on a stream."""
        raise TypeError(
            "vectors on GPUs are shared out over torch.distributed groups (NCCL), not over MPI communicators"
        )

    def add_up(self, tensor: Any) -> None:
        """Replace a tensor by the sum of every rank's."""
        mine = tensor.cpu().numpy().copy()
        total = np.empty_like(mine)
        self._communicator.Allreduce(mine, total)
        tensor.copy_(tensor.new_tensor(total))


def as_group(group: Any) -> Group:
    """Return a group as what this package asks; TypeError for anything else than torch's and mpi4py's.

    `group` is a ProcessGroup, a DeviceMesh of one dimension, or a communicator. None is not a group: pass
    torch.distributed.group.WORLD or MPI.COMM_WORLD for all ranks.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available():
        mesh = getattr(sys.modules.get("torch.distributed.device_mesh"), "DeviceMesh", None)
        if mesh is not None and isinstance(group, mesh):
            if group.ndim != 1:
                raise ValueError(
                    f"a DeviceMesh must have one dimension, got {group.ndim}: pass one of them, mesh[name]"
                )
            return _TorchGroup(group.get_group())
        if isinstance(group, torch.distributed.ProcessGroup):
            return _TorchGroup(group)
    if hasattr(group, "Get_rank") and hasattr(group, "Allgather"):
        return _MpiGroup(group)
    raise TypeError(
        "group must be a torch.distributed ProcessGroup (torch.distributed.group.WORLD is all ranks), a DeviceMesh, or "
        f"an mpi4py communicator (MPI.COMM_WORLD), got {type(group).__module__}.{type(group).__qualname__}"
    )
