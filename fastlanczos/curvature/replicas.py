"""A model that every rank has, each with its part of the data: whole vectors and sums over the ranks.

Every rank's products are means over its own samples. The matrix is the mean over all of them, so products are weighted
with the ranks' denominators (samples, or weights, or targets that are not ignored) and added up. Runs keep no more
than this rank's part of their vectors and of the basis; a product gathers its vector, and keeps its part of the sum.
A model whose parameters are DTensors is gathered as well while it is multiplied with; vectors lie as its parameters do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fastlanczos.arrays.cpu import Float64
from fastlanczos.curvature.schedule import Schedule
from fastlanczos.model.gathering import Gathering
from fastlanczos.model.parameters import ParameterSpace
from fastlanczos.model.sharded import Sharding
from fastlanczos.model.statistics import Moments
from fastlanczos.ranks.group import as_group
from fastlanczos.ranks.shared import Shared

__all__ = ["Replicas", "unwrapped"]


class Replicas:
    """The ranks of `group`, with as much each of the flat vector of parameters of these `sizes`, or as `sharding` says.

    With `gathering` products are sums over the ranks as they come, of this rank's entries alone.
    """

    def __init__(
        self, group: Any, sizes: dict[str, int], sharding: Sharding | None = None, *, of_all_data: bool = False
    ) -> None:
        dim = sum(sizes.values())
        self.gathering: Gathering | None = None
        self.piece: Callable[[str, torch.Tensor], torch.Tensor] | None = None  # this rank's of a parameter
        members = as_group(group if sharding is None else sharding.group)
        self.copies = 1
        # Parameters that are gathered, and statistics of all data, are asked for by all ranks or none.
        self.agree = sharding is not None or of_all_data
        if sharding is None:
            self.shared = Shared(members, [len(part) for part in np.array_split(np.arange(dim), members.size)])
        else:
            self.copies = sharding.copies
            parts = sharding.parts(sizes)
            self.shared = Shared(members, [int((part[:, 1] - part[:, 0]).sum()) for part in parts], parts)

    def any(self, true: bool) -> bool:
        """Return whether it is true on some rank."""
        return self.shared.least(-float(true)) < 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the other ranks of an error in here, and raise RankError where another has had one."""
        try:
            yield
        except BaseException:
            if self.gathering is None:  # otherwise the others wait for parameters, and are told when the process ends
                self.shared.tell(0)
            raise
        self.shared.gather(np.empty(0))

    def total(self, number: float) -> float:
        """Return the sum over the ranks, of which some may have the same data."""
        return self.shared.total(number) / self.copies

    def gather_by_module(
        self, model: torch.nn.Module, sharding: Sharding, space: ParameterSpace, schedule: Schedule | None
    ) -> tuple[ParameterSpace, Schedule | None]:
        """Gather parameters by modules from now on if they lie so; the space that products have, and their schedule."""
        if sharding.units is None:
            return space, schedule
        schedule = schedule or Schedule("rebuilt")
        if schedule.graphs not in ("kept", "rebuilt"):
            raise ValueError(f"sharded parameters take graphs that are kept or rebuilt, the schedule is: {schedule}")
        self.gathering = Gathering(model, sharding.units, self.shared, sharding.layouts)
        self.agree = True
        rank = self.shared.group.rank
        self.piece = lambda name, p: sharding.piece(name, p, rank)
        own = {name: int((s[rank][:, 1] - s[rank][:, 0]).sum()) for name, s in sharding.layouts.items()}
        return space.pieces(own), replace(schedule, together=1)

    def mine(self, vector: torch.Tensor) -> torch.Tensor:
        """Return what products take of a whole vector."""
        if self.gathering is None:
            return vector
        return torch.from_numpy(self.shared.part(vector.cpu().numpy())).to(vector.device)

    def added_up(self, vectors: Sequence[torch.Tensor], weight: float, divisor: float) -> list[torch.Tensor]:
        """Return the whole of float64 vectors that products made: the ranks' sums of weight times theirs, divided."""
        if self.gathering is not None:  # they are sums already, and pieces
            scaled = [v.cpu().numpy() * (weight / divisor) for v in vectors]
            return [torch.from_numpy(self.whole(v)).to(vectors[0].device) for v in scaled]
        for vector in vectors:
            vector.mul_(weight)
            self.shared.group.add_up(vector)
            if divisor * self.copies != 1.0:
                vector.div_(divisor * self.copies)
        return list(vectors)

    def merged(self, moments: Moments) -> Moments:
        """Return the moments of all ranks' batches, added up in the ranks' order."""
        mean, squares = (torch.as_tensor(x, dtype=torch.float64) for x in (moments.mean, moments.squares))
        told = self.shared.gather(np.array([moments.size, mean.numel()], dtype=np.float64))
        channels = int(told[told[:, 0] > 0, 1].max(initial=0))
        numbers = np.zeros(2 * channels)
        if moments.size:
            numbers[:] = torch.cat([mean, squares]).cpu().numpy()
        total = Moments()
        for (size, _), theirs in zip(told, self.shared.gather(numbers), strict=True):
            if size:
                total.merge(int(size), *torch.from_numpy(theirs).to(mean.device).split(channels))
        return total

    def tell_of_failure(self) -> None:
        """Tell ranks that wait in `merged` that this one has no moments to give."""
        self.shared.tell(2)

    def whole(self, part: Float64) -> Float64:
        """Return the vector of which each rank has a part."""
        return np.asarray(self.shared.whole_rows(part[None])[0])


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model within torch.compile's and DistributedDataParallel's wrappers, without a second derivative."""
    model = getattr(model, "_orig_mod", model)
    parallel = torch.nn.parallel.DistributedDataParallel
    return getattr(model.module, "_orig_mod", model.module) if isinstance(model, parallel) else model
