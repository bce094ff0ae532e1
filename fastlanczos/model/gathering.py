"""Parameters of FSDP2's units gathered while a unit runs, and freed after it: no rank ever holds the whole model.

Each rank has a piece of every parameter, and these are the leaves. The gathered parameter is a differentiable function
of them: the derivative of a gather is a sum over the ranks of which each takes its piece, whose derivative is a gather
again. What torch saves of a gathered parameter for a derivative is its name alone; it is gathered once more when the
derivative is taken. All ranks must go the same way through the model, equally often.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.multiprocessing.reductions import StorageWeakRef

from fastlanczos.ranks.shared import Shared

__all__ = ["Gathering"]


Places = list[tuple[torch.nn.Module, str, str]]  # a module, its parameter's name there, and in the model


@dataclass(frozen=True)
class _Layout:
    """Where the ranks' pieces of one parameter lie: stretches (m, 2) of it for each rank."""

    shared: Shared
    shape: torch.Size
    stretches: list[NDArray[np.int64]]

    @property
    def sizes(self) -> list[int]:
        """Entries of each rank's piece."""
        return [int((s[:, 1] - s[:, 0]).sum()) for s in self.stretches]

    def gathered(self, piece: torch.Tensor) -> torch.Tensor:
        """Return the whole parameter."""
        padded = piece.new_zeros(max(self.sizes))
        padded[: piece.numel()] = piece.detach()
        everyones = self.shared.gather_tensors(padded)
        whole = piece.new_empty(self.shape.numel())
        for theirs, stretches in zip(everyones, self.stretches, strict=True):
            at = 0
            for first, end in stretches.tolist():
                whole[first:end] = theirs[at : at + end - first]
                at += end - first
        return whole.reshape(self.shape)

    def summed(self, whole: torch.Tensor) -> torch.Tensor:
        """Return this rank's piece of the sum over the ranks."""
        whole = whole.detach()
        total = self.shared.sum_tensors((whole.to_dense() if whole.is_sparse else whole).flatten())
        own = self.stretches[self.shared.group.rank].tolist()
        return torch.cat([total[first:end] for first, end in own] or [total[:0]])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: torch.Tensor, layout: _Layout) -> torch.Tensor:
        ctx.layout = layout
        return layout.gathered(piece)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Sum.apply(gradients[0], ctx.layout), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: torch.Tensor, layout: _Layout) -> torch.Tensor:
        ctx.layout = layout
        return layout.summed(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Gather.apply(gradients[0], ctx.layout), None


class Gathering:
    """Gathers a model's parameters unit by unit.

    A unit, an FSDP2 module without those inside it, has its parameters as long as it runs. Where a module of it runs
    alone, as a checkpoint is recomputed, that has its own.
    """

    def __init__(self, model: torch.nn.Module, kind: type, shared: Shared, layouts: dict[str, list[Any]]) -> None:
        names: dict[int, str] = {id(p): name for name, p in model.named_parameters()}
        shapes = {name: p.shape for name, p in model.named_parameters()}
        self._layouts = {name: _Layout(shared, shapes[name], stretches) for name, stretches in layouts.items()}
        self._units: list[tuple[torch.nn.Module, Places]] = []
        self._collect(model, model, kind, names, [])
        self._alive: dict[int, tuple[StorageWeakRef, str]] = {}
        self.most_gathered = 0  # bytes of gathered parameters that were there at one time

    def _collect(self, module: Any, unit: Any, kind: type, names: dict[int, str], places: list[Any]) -> None:
        if module is unit:
            self._units.append((unit, places))
        places += [(module, key, names[id(p)]) for key, p in module._parameters.items() if p is not None]
        for child in module.children():
            if isinstance(child, kind):
                self._collect(child, child, kind, names, [])
            else:
                self._collect(child, unit, kind, names, places)

    @contextmanager
    def within(self, pieces: dict[str, torch.Tensor], *, again: bool = False) -> Iterator[None]:
        """Let modules have their gathered parameters while they run, and save these by name.

        Not as a checkpoint is run `again`: it must see itself what is saved.
        """
        handles, waiting = [], []

        def watch(module: torch.nn.Module, running: _Running) -> None:
            waiting.append(running)
            handles.append(module.register_forward_pre_hook(running.enter, prepend=True))
            handles.append(module.register_forward_hook(running.leave, always_call=True))

        for unit, places in self._units:
            whole = _Running(self, places, pieces)
            watch(unit, whole)
            for module in {id(place[0]): place[0] for place in places if place[0] is not unit}.values():
                own = [place for place in places if place[0] is module]
                watch(module, _Running(self, own, pieces, within=whole))
        try:
            with nullcontext() if again else self.saving(pieces):
                yield
        finally:
            for handle in handles:
                handle.remove()
            for running in waiting:
                running.restore()

    @contextmanager
    def saving(self, pieces: dict[str, torch.Tensor]) -> Iterator[None]:
        """Save by name what graphs built inside save of gathered parameters."""

        def pack(t: torch.Tensor) -> Any:
            name = self._name_of(t) if t.layout == torch.strided else None
            return t if name is None else (name, t.shape, t.stride(), t.storage_offset())

        def unpack(packed: Any) -> torch.Tensor:
            if isinstance(packed, torch.Tensor):
                return packed
            name, shape, strides, offset = packed
            whole = self.remember(self._layouts[name].gathered(pieces[name]), name)
            return whole.as_strided(shape, strides, offset)

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield

    def gathered(self, piece: torch.Tensor, name: str) -> torch.Tensor:
        """Return a whole parameter as a function of this rank's piece."""
        whole: torch.Tensor = _Gather.apply(piece, self._layouts[name])
        return self.remember(whole, name)

    def remember(self, whole: torch.Tensor, name: str) -> torch.Tensor:
        """Take note of whose memory this is, as long as it is there."""
        storage = whole.untyped_storage()
        self._alive = {at: (ref, n) for at, (ref, n) in self._alive.items() if not ref.expired()}
        self._alive[storage.data_ptr()] = (StorageWeakRef(storage), name)
        item = whole.element_size()
        self.most_gathered = max(
            self.most_gathered, item * sum(self._layouts[n].shape.numel() for _, n in self._alive.values())
        )
        return whole

    def _name_of(self, t: torch.Tensor) -> str | None:
        ref, name = self._alive.get(t.untyped_storage().data_ptr(), (None, None))
        return name if ref is not None and not ref.expired() else None


class _Running:
    """Modules whose parameters are whole while one of them runs, unless that is `within` a unit that does."""

    def __init__(
        self, gathering: Gathering, places: Places, pieces: dict[str, Any], within: _Running | None = None
    ) -> None:
        self._gathering, self._places, self._pieces, self._within = gathering, places, pieces, within
        self._own: list[Any] = []
        self._depth = 0

    def enter(self, module: Any, arguments: Any) -> None:
        self._depth += 1
        if self._depth > 1 or (self._within is not None and self._within._depth > 0):
            return
        whole: dict[str, torch.Tensor] = {}
        for at, key, name in self._places:
            if name not in whole:
                whole[name] = self._gathering.gathered(self._pieces[name], name)
            self._own.append((at._parameters, key, at._parameters[key]))
            at._parameters[key] = whole[name]

    def leave(self, module: Any, arguments: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.restore()

    def restore(self) -> None:
        for parameters, key, own in reversed(self._own):
            parameters[key] = own
        self._own, self._depth = [], 0
