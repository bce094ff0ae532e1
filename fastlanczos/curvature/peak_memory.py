"""The memory that torch's operations hold at their peak, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["PeakMemory"]


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside, beside those of `known`, as they come and go.

    `now` is what is alive, `peak` the most that was since the last `restart()`. What an operation needs for itself
    while it runs is not seen.
    """

    def __init__(self, known: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        # By storage, each kept from being garbage as Python sees it by the tensors that use it.
        self._seen = weakref.WeakKeyDictionary({t.untyped_storage(): 0 for t in known if t.layout == torch.strided})

    def restart(self) -> None:
        """Begin a new peak."""
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation, and take note of the memory that it returns."""
        result = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves(result):
            if isinstance(t, torch.Tensor) and t.layout == torch.strided:
                self._note(t.untyped_storage())
        return result

    def _note(self, storage: Any) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size
