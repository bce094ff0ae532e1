"""The choice of a schedule from the first batch: memory of its graph, whether it can be cut, layout of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from fastlanczos.curvature.graphs import Graph
from fastlanczos.curvature.peak_memory import PeakMemory
from fastlanczos.curvature.schedule import GraphSize, Schedule, choose, memory_budget, seconds
from fastlanczos.model.batches import num_samples, samples_or_none, tensors_in
from fastlanczos.model.batches import split as cut
from fastlanczos.model.function import Evaluation

__all__ = ["Look", "measure", "plan"]

_TOGETHER, _SMALL_GRAPH = 10, 16 * 2**20
MANY = 16 * 2**20  # bytes of parameters, from which on a product through a small graph costs as much as a whole one
_CLEARLY = 0.9  # of the time, or a new layout is not worth other last bits


@dataclass(frozen=True)
class Look:
    """The first batch, and what an operator does with one.

    `parameters` are the bytes of those that are differentiated in. `evaluate(piece)` and `build(piece, evaluation)` are
    the two steps to a graph, `known()` the tensors that every graph shares, `draws()` tells whether a forward pass has
    taken random numbers, `lay_out(channels_last)` sets how images lie in memory from now on.
    """

    batch: Any
    parameters: int
    evaluate: Callable[[Any], Evaluation]
    build: Callable[[Any, Evaluation], Graph]
    known: Callable[[], list[torch.Tensor]]
    draws: Callable[[], bool]
    lay_out: Callable[[bool], None]


def plan(
    look: Look, total: int | None, max_memory: int | None, device: torch.device, *, by_clock: bool
) -> tuple[Schedule, GraphSize]:
    """Return the fastest schedule for `total` samples (None: not known) within `max_memory`, and the graphs' size.

    What trials would find out is decided `by_clock`, or by rules that hold for most networks and give the same bits in
    every run: images go with their channels last on a CPU, vectors go together through small graphs of other models.
    """
    budget = memory_budget(max_memory, device)

    def is_plenty(size: GraphSize, batch: int) -> bool:
        number = max(total or 0, batch)
        return size.of(number) + size.working_of(number) <= budget

    size, coupled, convolutional, samples = measure(look, is_plenty)
    schedule = choose(size, samples, total, lambda: not coupled and _separable(look, samples), max_memory, device)
    if look.parameters > MANY:
        # Each vector is as large as what vectors together would read once, and a trial costs three products.
        schedule = replace(schedule, together=1)
    if not by_clock:
        together = 1 if convolutional or size.of(samples) > _SMALL_GRAPH else schedule.together or _TOGETHER
        schedule = replace(
            schedule,
            together=together,
            channels_last=convolutional and device.type == "cpu" and _can_have_channels_last(look, samples),
        )
    elif convolutional:
        schedule = replace(schedule, channels_last=_faster_with_channels_last(look, samples))
    look.lay_out(schedule.channels_last)
    return schedule, size


def measure(look: Look, is_plenty: Callable[[GraphSize, int], bool] | None = None) -> tuple[GraphSize, bool, bool, int]:
    """Build graphs of parts of the batch, and a product through each.

    Returns the graphs' size, whether samples are coupled and images convolved, and how many samples the batch has. With
    many parameters, where a product takes as long as for a whole batch, the first graph is enough where `is_plenty(its
    size, samples of the batch)`.
    """
    count = samples_or_none(look.batch)
    sizes = [count]
    if count is not None and count >= 8:
        sizes = [4, 8] if count >= 32 else [2, 4]
    known = [*look.known(), *tensors_in(look.batch)]
    graphs, working = [], []
    for size in sizes:
        piece = look.batch if size == count else cut(look.batch, count, size)[0]  # type: ignore[arg-type]
        with PeakMemory(known) as memory:
            evaluation = look.evaluate(piece)
            graph = look.build(piece, evaluation)
            leaves, number = evaluation.leaves, evaluation.loss.num_samples
            coupled, convolutional = evaluation.interception.coupled, evaluation.interception.convolutional
            graph.check()
            del evaluation
            graphs.append((number, memory.now))
            building = memory.peak - memory.now
            first = GraphSize(*_line(graphs))
            if is_plenty and count and look.parameters > MANY and is_plenty(first, count):
                return first, coupled, convolutional, count
            memory.restart()
            graph.product([torch.zeros_like(leaf) for leaf in leaves], several=False)
            working.append((number, max(building, memory.peak - graphs[-1][1])))
            del graph
    samples = number if count is None or len(sizes) == 1 else count
    return GraphSize(*_line(graphs), _line(working)), coupled, convolutional, samples


def _line(points: list[tuple[int, int]]) -> tuple[float, float]:
    """Return (bytes that are always needed, bytes of a sample) by one or two measurements (samples, bytes)."""
    (first, low), (last, high) = points[0], points[-1]
    if last == first:
        return 0.0, high / max(1, last)
    slope = max(0.0, (high - low) / (last - first))
    return max(0.0, low - slope * first), slope


def _separable(look: Look, samples: int) -> bool:
    """Whether the loss of a batch is the sum of its halves'."""
    if look.draws() or samples < 2 or num_samples(look.batch) != samples:
        return False
    with torch.no_grad():
        few = min(samples, 16)
        some = look.batch if few == samples else cut(look.batch, samples, few)[0]
        whole = look.evaluate(some).loss
        parts = [look.evaluate(piece).loss for piece in cut(some, few, -(-few // 2))]
    sums = sum(float(p.total) for p in parts), sum(p.denominator for p in parts)
    scale = sum(abs(float(p.total)) for p in parts)
    tolerance = 1e3 * torch.finfo(whole.total.dtype).eps
    return bool(
        abs(sums[0] - float(whole.total)) <= tolerance * scale
        and abs(sums[1] - whole.denominator) <= 1e-6 * abs(whole.denominator)
    )


def _can_have_channels_last(look: Look, samples: int) -> bool:
    look.lay_out(True)
    piece = _part(look, samples, 2)
    try:
        look.build(piece, look.evaluate(piece))
    except RuntimeError:  # a model that views images as rows, which then do not lie so
        return False
    return True


def _part(look: Look, samples: int, few: int) -> Any:
    if samples_or_none(look.batch) != samples or few >= samples:
        return look.batch
    return cut(look.batch, samples, few)[0]


def _faster_with_channels_last(look: Look, samples: int) -> bool:
    """Try by the clock whether products are faster where the channels of images lie next to one another."""
    piece = _part(look, samples, 32)

    def product_time() -> float:
        evaluation = look.evaluate(piece)
        graph = look.build(piece, evaluation)
        vector = [torch.ones_like(leaf) for leaf in evaluation.leaves]
        return min(seconds(lambda: graph.product(vector, several=False)) for _ in range(3))

    plain = product_time()
    if not _can_have_channels_last(look, samples):
        return False
    return product_time() < _CLEARLY * plain
