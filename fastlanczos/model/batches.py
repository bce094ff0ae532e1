"""A data set as batches that can be gone through again and again, taken apart and put together.

A pass leaves every random number generator that it may draw from as it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = [
    "Generators",
    "batches_of",
    "changes_from_pass_to_pass",
    "merged",
    "moved",
    "num_samples",
    "samples_or_none",
    "split",
    "tensors_in",
]


def batches_of(data: Any) -> Callable[[], Iterator[Any]]:
    """Return a function that begins a pass over the batches of `data`.

    `data` is an iterable of batches that can be iterated more than once, or one (input, target) pair of tensors.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, torch.Tensor) for part in data):
        return lambda: iter([data])
    if isinstance(data, torch.utils.data.Dataset):
        raise TypeError("data is a Dataset, which gives single samples: wrap it in a DataLoader(data, batch_size=...)")
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(
            f"data must be an iterable of batches (a DataLoader, a list) or two tensors, got {type(data).__name__}"
        )
    if hasattr(data, "__next__"):  # an iterator; nothing is drawn from it, nor any loader begun, to find out
        raise TypeError(
            f"data is a {type(data).__name__}, which can be gone through only once, but every product needs the whole "
            "data set: pass a list of its batches, or a DataLoader"
        )
    return lambda: iter(data)


class Generators:
    """The states that random number generators had when a pass over the data began.

    Every pass begins with them, so that all shuffle and augment alike, and afterwards each generator (torch's, NumPy's,
    Python's, a loader's own) has the state back that it had before, as if there had been no pass.
    """

    def __init__(self, data: Any, devices: list[torch.device]) -> None:
        own = (getattr(data, "generator", None), getattr(getattr(data, "sampler", None), "generator", None))
        self._own = list({id(g): g for g in own if isinstance(g, torch.Generator)}.values())
        self._devices = [d for d in devices if d.type == "cuda"]
        self._first: Any = None

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Set all to the states that they had when this was entered for the first time, and back again at the end."""
        before = self._states()
        if self._first is None:
            self._first = before
        self._set(self._first)
        try:
            yield
        finally:
            self._set(before)

    def _states(self) -> Any:
        return (
            random.getstate(),
            np.random.get_state(),  # noqa: NPY002
            torch.get_rng_state(),
            [torch.cuda.get_rng_state(d) for d in self._devices],
            [g.get_state() for g in self._own],
        )

    def _set(self, states: Any) -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        for device, state in zip(self._devices, states[3], strict=True):
            torch.cuda.set_rng_state(state, device)
        for generator, state in zip(self._own, states[4], strict=True):
            generator.set_state(state)


def changes_from_pass_to_pass(data: Any, first: Any, again: Callable[[], Iterator[Any]]) -> str:
    """Return how the data differ from one pass to the next ("" where they do not), by a look at a few samples.

    Samples of a DataLoader's data set are read twice, under other states of the generators: a shuffling loader with
    fixed samples is fine, since every pass shuffles alike, but samples that are augmented are new ones each time.
    """
    dataset: Any = getattr(data, "dataset", None)
    if isinstance(data, torch.utils.data.DataLoader) and hasattr(dataset, "__getitem__") and len(dataset):
        pairs = []
        for index in {0, len(dataset) - 1}:
            pair = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                pair.append(dataset[index])
            pairs.append(pair)
        return "" if all(_same(a, b) for a, b in pairs) else "samples are augmented at random"
    if isinstance(data, (list, tuple)):
        return ""
    return "" if _same(first, next(again(), None)) else "a second pass gives other batches (shuffled or augmented)"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    try:
        return bool(a == b) or type(a) is type(b)
    except Exception:  # objects of which only the type can be compared
        return type(a) is type(b)


def _mapped(function: Callable[[torch.Tensor], Any], batch: Any) -> Any:
    """Return the batch with `function` applied to each tensor in it."""
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: _mapped(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(function, value) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(_mapped(function, value) for value in batch)
    return batch


def moved(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Return the batch on `device`, its floating-point tensors in `dtype` where one is given."""

    def to(t: torch.Tensor) -> torch.Tensor:
        return t.to(device, dtype if dtype is not None and t.is_floating_point() else t.dtype, non_blocking=True)

    return _mapped(to, batch)


def num_samples(*parts: Any) -> int:
    """Return the leading dimension of the first tensor found in `parts`."""
    for part in parts:
        values = part.values() if isinstance(part, Mapping) else part if isinstance(part, (tuple, list)) else [part]
        for value in values:
            if isinstance(value, torch.Tensor) and value.ndim > 0:
                return int(value.shape[0])
    raise TypeError("samples cannot be counted: neither target nor output is a tensor with a batch dimension")


def samples_or_none(batch: Any) -> int | None:
    """Return the samples of a batch, None where no tensor of it tells."""
    try:
        return num_samples(batch)
    except TypeError:
        return None


def tensors_in(batch: Any) -> list[torch.Tensor]:
    """Return all tensors of a batch, however deep."""
    found: list[torch.Tensor] = []
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else [batch]
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (Mapping, tuple, list)):
            found += tensors_in(value)
    return found


def split(batch: Any, count: int, size: int) -> list[Any]:
    """Return the batch of `count` samples in pieces of at most `size`: each tensor of that many rows is cut."""

    def part(start: int) -> Any:
        return _mapped(lambda t: t[start : start + size] if t.ndim and t.shape[0] == count else t, batch)

    return [part(start) for start in range(0, count, size)]


def merged(batches: list[Any]) -> Any:
    """Return one batch of the samples of all, or None where they do not have one form."""
    first = batches[0]
    if isinstance(first, torch.Tensor):
        if any(not isinstance(b, torch.Tensor) or b.shape[1:] != first.shape[1:] or not b.ndim for b in batches):
            return None
        return torch.cat(batches)
    if isinstance(first, Mapping):
        parts = {key: merged([b[key] for b in batches]) for key in first if all(key in b for b in batches)}
        return None if len(parts) < len(first) or any(p is None for p in parts.values()) else parts
    if type(first) in (tuple, list):
        if any(len(b) != len(first) for b in batches):
            return None
        columns = [merged(list(column)) for column in zip(*batches, strict=True)]
        return None if any(c is None for c in columns) else type(first)(columns)
    return None
