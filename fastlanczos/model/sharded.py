"""Models whose parameters are DTensors, of FSDP2 or of tensor parallelism: gathered, and called without their hooks.

FSDP2's hooks gather and free parameters around each module, and what they free a second derivative needs. So a model is
called on parameters that are gathered beforehand, with the hooks of torch.distributed out of the way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastlanczos.ranks.group import Group, as_group

__all__ = ["Sharding", "bare", "local", "sharding_of", "whole"]


def whole(t: torch.Tensor) -> torch.Tensor:
    """Return all entries of a DTensor, which all ranks have to ask for; any other tensor as it is."""
    return t.detach().full_tensor() if _is_dtensor(t) else t  # type: ignore[attr-defined,no-any-return]


def local(t: torch.Tensor) -> torch.Tensor:
    """Return this rank's entries of a DTensor, not copied; any other tensor as it is."""
    return t.detach().to_local() if _is_dtensor(t) else t  # type: ignore[attr-defined,no-any-return]


@contextmanager
def bare(model: torch.nn.Module) -> Iterator[None]:
    """Take the hooks of torch.distributed out of all modules for a while."""
    taken = []
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            if any(_is_of_distributed(hook) for hook in hooks.values()):
                taken.append((hooks, list(hooks.items())))
    try:
        for hooks, before in taken:
            for key, hook in before:
                if _is_of_distributed(hook):
                    del hooks[key]
        yield
    finally:
        for hooks, before in taken:  # in the order in which they were
            hooks.clear()
            hooks.update(before)


class Sharding:
    """How the entries of some parameters lie on the ranks of a group.

    `parts[rank]` are the stretches (m, 2) of the flat vector, first and end of each, that a rank has to itself: of what
    several have, each of them gets its portion. `copies` is how many ranks have the same data.
    """

    def __init__(self, group: Any, parts: list[NDArray[np.int64]], copies: int) -> None:
        self.group = group
        self.parts = parts
        self.copies = copies


def sharding_of(model: torch.nn.Module, parameters: dict[str, torch.Tensor], group: Any) -> Sharding | None:
    """Return how a model's chosen parameters lie on the ranks of its mesh; None where no parameter is a DTensor."""
    meshes = {p.device_mesh for p in model.parameters() if _is_dtensor(p)}  # type: ignore[attr-defined]
    if not meshes:
        return None
    largest = max(meshes, key=lambda mesh: mesh.ndim)
    if group is None:
        group = _group_of(largest)
    members = as_group(group)
    if members.size != largest.size():
        raise ValueError(
            f"the parameters lie on a mesh of {largest.size()} ranks, and group has {members.size}: leave group out"
        )
    first, mine = 0, []
    for p in parameters.values():
        mine.append(first + _stretches(p))
        first += p.numel()
    return Sharding(group, _each_once(members, mine), _copies(model, members.size))


def _group_of(mesh: Any) -> Any:
    if mesh.ndim == 1:
        return mesh.get_group()
    if mesh.size() == torch.distributed.get_world_size():
        return torch.distributed.group.WORLD
    raise ValueError(f"the parameters lie on {mesh}, a part of the world: pass the group of its ranks as group=")


def _stretches(p: torch.Tensor) -> NDArray[np.int64]:
    """The entries of this rank in the flat parameter, (m, 2): where stretches of neighbours begin and end."""
    if not _is_dtensor(p):
        return np.array([[0, p.numel()]])
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = p.device_mesh, p.placements  # type: ignore[attr-defined]
    places = torch.arange(p.numel(), device=p.device).reshape(p.shape)
    everywhere = DTensor.from_local(places, mesh, [Replicate()] * mesh.ndim, run_check=False)
    own = everywhere.redistribute(placements=placements).to_local().flatten().cpu().numpy()
    if not own.size:
        return np.empty((0, 2), dtype=np.int64)
    cuts = np.flatnonzero(np.diff(own) != 1)
    return np.stack([own[np.r_[0, cuts + 1]], own[np.r_[cuts, own.size - 1]] + 1], axis=1)


def _each_once(members: Group, mine: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The stretches of every rank, with those that several ranks have divided among them."""
    everyones = members.share(mine)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in everyones]
    for of_ranks in zip(*everyones, strict=True):  # one parameter
        same: dict[bytes, list[int]] = {}
        for rank, stretches in enumerate(of_ranks):
            same.setdefault(stretches.tobytes(), []).append(rank)
        for ranks in same.values():
            for portion, rank in enumerate(ranks):
                parts[rank].append(_portion(of_ranks[rank], portion, len(ranks)))
    return [np.concatenate(part) for part in parts]


def _portion(stretches: NDArray[np.int64], portion: int, of: int) -> NDArray[np.int64]:
    """One of `of` portions of equally many entries."""
    lengths = stretches[:, 1] - stretches[:, 0]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    low, high = total * portion // of, total * (portion + 1) // of
    begins = ends - lengths
    first = stretches[:, 0] + np.clip(low - begins, 0, lengths)
    last = stretches[:, 0] + np.clip(high - begins, 0, lengths)
    return np.asarray(np.stack([first, last], axis=1)[last > first])


def _copies(model: torch.nn.Module, size: int) -> int:
    """How many ranks have the same data: those that differ in what is not FSDP2's part of the mesh."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", ())
    for module in model.modules():
        group = getattr(module._get_fsdp_state(), "_fsdp_param_group", None) if isinstance(module, kind) else None
        if group is not None:
            return size // int(group.mesh_info.mesh.size())
    tensor_parallel = any(
        _is_of_distributed(hook) for module in model.modules() for hook in module._forward_pre_hooks.values()
    )
    return size if tensor_parallel else 1


def _is_of_distributed(hook: Any) -> bool:
    return (getattr(hook, "__module__", None) or "").startswith("torch.distributed.")


def _is_dtensor(t: Any) -> bool:
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(t, module.DTensor)
