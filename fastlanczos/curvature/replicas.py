"""A model that every rank has, each with its part of the data: whole vectors and sums over the ranks.

Every rank's products are means over its own samples. The matrix is the mean over all of them, so products are weighted
with the ranks' denominators (samples, or weights, or targets that are not ignored) and added up. Runs keep no more
than this rank's part of their vectors and of the basis; a product gathers its vector, and keeps its part of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from fastlanczos.arrays.cpu import Float64
from fastlanczos.ranks.group import as_group
from fastlanczos.ranks.shared import Shared

__all__ = ["Replicas", "unwrapped"]


class Replicas:
    """The ranks of `group`, with an n-th part of `dim` entries each."""

    def __init__(self, group: Any, dim: int) -> None:
        members = as_group(group)
        self.shared = Shared(members, [len(part) for part in np.array_split(np.arange(dim), members.size)])

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the other ranks of an error in here, and raise RankError where another has had one."""
        try:
            yield
        except BaseException:
            self.shared.tell(0)
            raise
        self.shared.gather(np.empty(0))

    def total(self, number: float) -> float:
        """Return the sum over the ranks."""
        return self.shared.total(number)

    def add_up(self, vectors: Sequence[torch.Tensor], weight: float, divisor: float) -> None:
        """Replace float64 vectors by the ranks' sums of weight times theirs, divided by `divisor`."""
        for vector in vectors:
            vector.mul_(weight)
            self.shared.group.add_up(vector)
            if divisor != 1.0:
                vector.div_(divisor)

    def whole(self, part: Float64) -> Float64:
        """Return the vector of which each rank has a part."""
        longest = max(self.shared.local_dims)
        padded = np.zeros(longest)
        padded[: part.size] = part
        everyones = self.shared.gather(padded)
        return np.concatenate([row[:length] for row, length in zip(everyones, self.shared.local_dims, strict=True)])


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model within torch.compile's and DistributedDataParallel's wrappers, without a second derivative."""
    model = getattr(model, "_orig_mod", model)
    parallel = torch.nn.parallel.DistributedDataParallel
    return getattr(model.module, "_orig_mod", model.module) if isinstance(model, parallel) else model
