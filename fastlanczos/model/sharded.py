"""Models whose parameters are DTensors, of FSDP2 or of tensor parallelism: gathered, and called without their hooks.

FSDP2's hooks gather and free parameters around each module, and what they free a second derivative needs. So a model is
called with the hooks of torch.distributed out of the way, on parameters that are gathered beforehand, or by hooks of
this package (gathering.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastlanczos.ranks.group import as_group

__all__ = ["Sharding", "bare", "local", "sharding_of", "whole"]

Stretches = NDArray[np.int64]  # (m, 2): where stretches of neighbours begin and end


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

    `layouts[name][rank]` are the stretches (m, 2) of a parameter of the model, first and end of each, that a rank has
    to itself: of what several have, each of them gets its portion.
    `copies` is how many ranks have the same data. `units` is the class of modules that can be gathered one by one
    (FSDP2's), None where parameters lie in other ways.
    """

    def __init__(self, group: Any, layouts: dict[str, list[Stretches]], copies: int, units: type | None) -> None:
        self.group = group
        self.layouts = layouts
        self.copies = copies
        self.units = units

    def parts(self, sizes: dict[str, int]) -> list[Stretches]:
        """Return each rank's stretches of the flat vector of some parameters of these sizes."""
        firsts = np.concatenate([[0], np.cumsum(list(sizes.values()))[:-1]]).astype(np.int64)
        moved = [[first + s for s in self.layouts[name]] for name, first in zip(sizes, firsts, strict=True)]
        return [np.concatenate(of_rank) for of_rank in zip(*moved, strict=True)]

    def piece(self, name: str, p: torch.Tensor, rank: int) -> torch.Tensor:
        """Return this rank's entries of a parameter, flat, not copied where they are neighbours."""
        if _is_dtensor(p):  # there are units: all of its entries here are this rank's alone
            return local(p).flatten()
        flat = p.detach().flatten()
        some = [flat[first:end] for first, end in self.layouts[name][rank].tolist()]
        return some[0] if len(some) == 1 else torch.cat(some or [flat[:0]])


def sharding_of(model: torch.nn.Module, group: Any) -> Sharding | None:
    """Return how a model's parameters lie on the ranks of its mesh; None where none is a DTensor."""
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
    named = dict(model.named_parameters())
    everyones = members.share([_stretches(p) for p in named.values()])
    layouts, alone = {}, True
    for (name, p), of_ranks in zip(named.items(), zip(*everyones, strict=True), strict=True):
        layouts[name], divided = _each_once(of_ranks)
        alone = alone and not (divided and _is_dtensor(p))
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    copies = _copies(model, members.size, kind)
    fsdp = kind is not None and any(isinstance(module, kind) for module in model.modules())
    return Sharding(group, layouts, copies, kind if alone and fsdp and copies == 1 else None)


def _group_of(mesh: Any) -> Any:
    if mesh.ndim == 1:
        return mesh.get_group()
    if mesh.size() == torch.distributed.get_world_size():
        return torch.distributed.group.WORLD
    raise ValueError(f"the parameters lie on {mesh}, a part of the world: pass the group of its ranks as group=")


def _stretches(p: torch.Tensor) -> Stretches:
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


def _each_once(of_ranks: Sequence[Stretches]) -> tuple[list[Stretches], bool]:
    """A parameter's stretches on every rank, those that several have divided among them, and whether there are such."""
    same: dict[bytes, list[int]] = {}
    for rank, stretches in enumerate(of_ranks):
        same.setdefault(stretches.tobytes(), []).append(rank)
    parts = list(of_ranks)
    for ranks in same.values():
        for portion, rank in enumerate(ranks):
            parts[rank] = _portion(of_ranks[rank], portion, len(ranks))
    return parts, any(len(ranks) > 1 and len(of_ranks[ranks[0]]) for ranks in same.values())


def _portion(stretches: Stretches, portion: int, of: int) -> Stretches:
    """One of `of` portions of equally many entries."""
    lengths = stretches[:, 1] - stretches[:, 0]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    low, high = total * portion // of, total * (portion + 1) // of
    begins = ends - lengths
    first = stretches[:, 0] + np.clip(low - begins, 0, lengths)
    last = stretches[:, 0] + np.clip(high - begins, 0, lengths)
    return np.asarray(np.stack([first, last], axis=1)[last > first])


def _copies(model: torch.nn.Module, size: int, kind: type | None) -> int:
    """How many ranks have the same data: those that differ in what is not FSDP2's part of the mesh."""
    for module in model.modules():
        is_unit = kind is not None and isinstance(module, kind)
        state = module._get_fsdp_state() if is_unit else None  # type: ignore[operator]
        group = getattr(state, "_fsdp_param_group", None)
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
