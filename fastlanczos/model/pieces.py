"""A data set in pieces on the device: batches as they are, merged or cut, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from fastlanczos.model.batches import (
    Generators,
    batches_of,
    changes_from_pass_to_pass,
    merged,
    moved,
    num_samples,
    samples_or_none,
    tensors_in,
)
from fastlanczos.model.batches import split as cut
from fastlanczos.model.losses import BatchLoss

__all__ = ["Pieces"]


class Pieces:
    """The pieces of a data set, pass after pass the same ones; `totals` (samples, denominator) after a first pass."""

    def __init__(
        self, data: Any, device: torch.device, dtype: torch.dtype | None, devices: list[torch.device], progress: bool
    ) -> None:
        self.totals: tuple[int, float] | None = None
        self._data, self._device, self._dtype, self._devices = data, device, dtype, devices
        self._batches = batches_of(data)
        self._progress = progress
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let passes begin with the states that random number generators have when the next one does."""
        self._generators = Generators(self._data, self._devices)

    def rewound(self) -> AbstractContextManager[None]:
        """All generators as every pass begins with them, and afterwards as they were before."""
        return self._generators.rewound()

    def shown(self, things: Iterable[Any]) -> Iterable[Any]:
        """Show a progress bar over things that stand for pieces, where one is wanted."""
        return tqdm(things, desc="pieces", leave=False) if self._progress else things

    def first(self) -> Any:
        """Return the first batch, on the device."""
        with self.rewound():
            batch = next(iter(self._batches()), None)
        if batch is None:
            raise ValueError("data has no samples")
        return moved(batch, self._device, self._dtype)

    def changes(self) -> str:
        """Return how samples differ from pass to pass, "" where they are seen not to."""
        with self.rewound():
            first = next(iter(self._batches()), None)
        with self.rewound():
            return changes_from_pass_to_pass(self._data, first, self._batches)

    def identity(self) -> Any:
        """Return what shows that a list of batches is no longer the same."""
        if isinstance(self._data, (list, tuple)):
            return [(id(batch), [(id(t), t._version) for t in tensors_in(batch)]) for batch in self._data]
        try:
            return len(self._data)
        except TypeError:
            return None

    def num_samples_or_none(self) -> int | None:
        """Return how many samples there are, where that shows without a pass."""
        data = self._data
        if isinstance(data, (list, tuple)) and not isinstance(data[0], torch.Tensor):
            counts = [samples_or_none(batch) for batch in data]
            return None if any(c is None for c in counts) else sum(counts)  # type: ignore[arg-type]
        try:
            return len(data.dataset)
        except (AttributeError, TypeError):
            return None

    def batches(self) -> Iterator[Any]:
        """Go through the batches, each on the device: on a GPU the next one is copied while one is worked on."""
        if self._device.type != "cuda":
            for batch in self._batches():
                yield moved(batch, self._device, self._dtype)
            return
        copying = torch.cuda.Stream(self._device)
        waiting: tuple[Any, torch.cuda.Event] | None = None

        def arrived(batch: Any, copied: torch.cuda.Event) -> Any:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(copied)
            for t in tensors_in(batch):
                t.record_stream(stream)  # or the memory could be given away while the other stream still reads it
            return batch

        for batch in self._batches():
            copying.wait_stream(torch.cuda.current_stream(self._device))  # for batches that are made on the GPU
            with torch.cuda.stream(copying):
                coming = moved(batch, self._device, self._dtype), copying.record_event()
            if waiting is not None:
                yield arrived(*waiting)
            waiting = coming
        if waiting is not None:
            yield arrived(*waiting)

    def visit(self, visit: Callable[[Any], BatchLoss], size: int | None) -> tuple[int, float]:
        """Visit each piece of `size` samples (None: each batch); return the number of samples, and what sums over them
        are divided by."""
        samples, denominator, ratios = 0, 0.0, None
        with self.rewound():
            for piece in self.shown(self._pieces(size)):
                loss = visit(piece)
                samples += loss.num_samples
                denominator += loss.denominator
                if ratios is not None and (
                    len(ratios) != len(loss.ratios) or not np.allclose(ratios, loss.ratios, rtol=1e-6)
                ):
                    raise ValueError(
                        "loss_fn combines several means (weighted, with ignored targets, or over varying numbers of "
                        "terms), so the loss of the whole data set does not follow from those of its batches. Return "
                        'one of torch\'s loss functions as it is, or one value per sample with reduction="none"'
                    )
                ratios = loss.ratios
        if samples == 0:
            raise ValueError("data has no samples")
        if denominator == 0:
            raise ValueError("every target is ignored, or has weight zero: the mean loss is not defined")
        if self.totals is not None and self.totals[0] != samples:
            raise RuntimeError(
                f"data had {self.totals[0]} samples in an earlier pass and {samples} in this one: every pass must "
                "go through the same data set"
            )
        self.totals = samples, denominator
        return samples, denominator

    def _pieces(self, size: int | None) -> Iterator[Any]:
        waiting: list[Any] = []
        count = 0
        for batch in self.batches():
            if size is None:
                yield batch
                continue
            samples = num_samples(batch)
            if waiting and (count + samples > size or merged([waiting[0], batch]) is None):
                yield merged(waiting)
                waiting, count = [], 0
            if samples > size:
                yield from cut(batch, samples, size)
            else:
                waiting.append(batch)
                count += samples
        if waiting:
            yield merged(waiting)
