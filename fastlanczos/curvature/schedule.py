"""How products are computed within the available memory: which graphs are kept, and the size of the pieces."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fastlanczos.arrays.memory import available_memory, readable_bytes

__all__ = ["GraphSize", "Schedule", "choose", "memory_budget", "pays_together", "seconds"]

_SMALL_GRAPH = 4 * 2**20  # below it the cost of a product is that of launching operations: batches are put together
_MERGED_GRAPH = 16 * 2**20
_WORKING = (
    6  # graphs' worth of memory that building one, or a product through it, takes besides, where none is measured
)
_UNSEEN = 1.25  # what operations need for themselves while they run
_PAYS = 0.95  # of the time one by one, or several vectors together are not worth their memory
_KINDS = ("kept", "rebuilt", "on disk", "forward")


@dataclass(frozen=True)
class Schedule:
    """How an operator computes its products. Pass `H.schedule` to another operator to make it do the same.

    Parameters
    ----------
    graphs : {"kept", "rebuilt", "on disk", "forward"}
        Graphs of the gradient are built once and kept in memory, rebuilt for each product, kept in temporary files, or
        not used ("forward": forward over reverse).
    batch_size : int or None
        Samples of a piece: batches are merged or cut to this size. None leaves them as they are.
    together : int or None
        Vectors of a block that go through a graph at once; None until a first block has been timed.
    channels_last : bool
        Whether images lie in memory with the channels of a pixel next to one another.
    graph_bytes : int
        Memory of all graphs, estimated from a part.

    Examples
    --------
    >>> from fastlanczos.torch import Schedule
    >>> print(Schedule("rebuilt", batch_size=32))
    graphs rebuilt in pieces of 32 samples
    """

    graphs: str = "kept"
    batch_size: int | None = None
    together: int | None = None
    channels_last: bool = False
    graph_bytes: int = 0

    def __post_init__(self) -> None:
        if self.graphs not in _KINDS:
            raise ValueError(f"graphs must be one of {', '.join(_KINDS)}; got {self.graphs!r}")

    def __str__(self) -> str:
        text = "forward over reverse" if self.graphs == "forward" else f"graphs {self.graphs}"
        if self.batch_size is not None:
            text += f" in pieces of {self.batch_size} samples"
        if self.graph_bytes:
            text += f" ({readable_bytes(self.graph_bytes)} in all)"
        if self.channels_last:
            text += ", channels last"
        if self.together is not None:
            text += f", {self.together} vectors together" if self.together > 1 else ", vectors one by one"
        return text


@dataclass(frozen=True)
class GraphSize:
    """The bytes that a graph of so many samples takes: fixed + per_sample * samples.

    `working` are the same two numbers for what building it, or a product through it, takes besides.
    """

    fixed: float
    per_sample: float
    working: tuple[float, float] | None = None

    def of(self, samples: int) -> float:
        """Return the bytes for a graph of `samples`."""
        return self.fixed + self.per_sample * samples

    def working_of(self, samples: int) -> float:
        """Return the bytes that are needed for a moment beside such a graph."""
        fixed, per_sample = self._working()
        return fixed + per_sample * samples

    def fitting(self, budget: float) -> int:
        """Return the number of samples whose graph, and what is needed beside it, take at most `budget` bytes."""
        fixed, per_sample = self._working()
        return int((budget - self.fixed - fixed) / max(1.0, self.per_sample + per_sample) + 1e-9)

    def _working(self) -> tuple[float, float]:
        if self.working is None:
            return _WORKING * self.fixed, _WORKING * self.per_sample
        return _UNSEEN * self.working[0], _UNSEEN * self.working[1]


def choose(
    size: GraphSize,
    batch: int,
    total: int | None,
    separable: Callable[[], bool],
    max_memory: int | None,
    device: torch.device,
) -> Schedule:
    """Return the fastest schedule that stays within `max_memory` bytes (None: half of what is available).

    `batch` is the number of samples of a batch, `total` of all (None: not known, taken for one batch until it shows).
    `separable()` tells whether a batch's loss is the sum of its parts' losses.
    """
    budget = memory_budget(max_memory, device)
    batches = 1 if total is None else max(1, -(-total // batch))
    all_bytes = size.fixed * batches + size.per_sample * max(total or 0, batch)
    working = size.working_of(batch)
    if all_bytes + working <= budget:
        pieces = None
        if batches > 1 and size.of(batch) < _SMALL_GRAPH and separable():
            most = min(_MERGED_GRAPH, budget / (2 + _WORKING)) // max(1.0, size.per_sample)
            pieces = int(min(max(batch, most), total or most))
        return Schedule("kept", pieces, graph_bytes=int(all_bytes))
    if size.of(batch) + working <= budget:
        return Schedule("rebuilt", graph_bytes=int(all_bytes))
    fitting = size.fitting(budget)
    if fitting >= 1 and separable():
        return Schedule("rebuilt", fitting, graph_bytes=int(all_bytes))
    return Schedule("on disk", graph_bytes=int(all_bytes))


def memory_budget(max_memory: int | None, device: torch.device) -> int:
    """Return the bytes to plan with: `max_memory`, by default half of what is available on the device."""
    if max_memory is not None:
        return max_memory
    return (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()) // 2


def pays_together(one_by_one: Callable[[], object], together: Callable[[], object], vectors: int) -> bool:
    """Whether several vectors cost less together than one by one, by a short trial."""
    single = seconds(one_by_one)
    try:
        both = seconds(together)
    except RuntimeError:  # an operation that torch.vmap cannot do; the repr says what came of it
        return False
    if single < 0.1:  # cheap enough to look again, now that memory and kernels are warm
        single = min(single, seconds(one_by_one))
        if both >= _PAYS * vectors * single:  # the first time is not the best: it would be a pity to go by that
            both = min(both, seconds(together))
    return both < _PAYS * vectors * single


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work()` takes."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
