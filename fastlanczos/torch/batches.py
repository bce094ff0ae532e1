"""A data set as batches that can be gone through again and again, and the loss of each as a sum over its samples.

A pass leaves every random number generator that it may draw from as it was.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["Forward", "Loss", "batches_of", "generators_unchanged"]

Forward = Callable[[Callable[..., Any], Any], tuple[Any, Any]]


def batches_of(data: Any) -> Callable[[], Iterator[Any]]:
    """Return a function that begins a pass over the batches of `data`.

    `data` is an iterable of batches that can be iterated more than once, or one (input, target) pair of tensors.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, torch.Tensor) for part in data):
        return lambda: iter([data])
    if isinstance(data, torch.utils.data.Dataset):
        raise TypeError(
            "data is a Dataset, whose samples come one by one: wrap it in a DataLoader(data, batch_size=...)"
        )
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(
            f"data must be an iterable of batches (a DataLoader, a list) or two tensors, got {type(data).__name__}"
        )
    if hasattr(data, "__next__"):  # an iterator; nothing is drawn from it, nor any loader begun, to find out
        raise TypeError(
            f"data is a {type(data).__name__}, which can be gone through only once, and every product needs the whole "
            "data set: give a list of its batches, or a DataLoader"
        )
    return lambda: iter(data)


@contextmanager
def generators_unchanged(data: Any, device: torch.device) -> Iterator[None]:
    """Give torch's, NumPy's and Python's generators, and a loader's own, back the state that they had.

    Every pass then shuffles and augments alike, and training goes on as if there had been none.
    """
    own = {
        id(g): g
        for g in (
            getattr(data, "generator", None),
            getattr(getattr(data, "sampler", None), "generator", None),
        )
    }
    states = [(g, g.get_state()) for g in own.values() if isinstance(g, torch.Generator)]
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for generator, state in states:
            generator.set_state(state)


class Loss:
    """The loss of a batch, summed over its samples, and how many samples those are.

    `loss_fn(output, target)` may return the batch's mean (taken as such where nothing says otherwise), its sum
    (`reduction="sum"`, read from the loss where it has that attribute or keyword), or one value per sample.
    """

    def __init__(self, loss_fn: Callable[..., Any], reduction: str | None) -> None:
        if not callable(loss_fn):
            raise TypeError(f"loss_fn must be callable as loss_fn(output, target), got {type(loss_fn).__name__}")
        if reduction not in (None, "mean", "sum", "none"):
            raise ValueError(f'reduction must be "mean", "sum", "none" or None, got {reduction!r}')
        self._loss_fn = loss_fn
        self._reduction = reduction or _declared_reduction(loss_fn) or "mean"

    def __call__(self, output: Any, target: Any) -> tuple[torch.Tensor, int]:
        """Return (loss summed over the samples, number of samples)."""
        loss = self._loss_fn(output, target)
        if not isinstance(loss, torch.Tensor):
            raise TypeError(f"loss_fn must return a tensor, got {type(loss).__name__}")
        count = _num_samples(output, target)
        if loss.numel() == 1 and self._reduction != "none":
            return (loss.sum() * count if self._reduction == "mean" else loss.sum()), count
        if loss.shape != (count,):
            raise ValueError(
                f"loss_fn returned shape {tuple(loss.shape)} for a batch of {count} samples; want one number (the "
                f'mean, or with reduction="sum" the sum) or one value per sample, shape ({count},)'
            )
        return loss.sum(), count


def _declared_reduction(loss_fn: Any) -> str | None:
    keywords = loss_fn.keywords if isinstance(loss_fn, functools.partial) else {}
    declared = keywords.get("reduction", getattr(loss_fn, "reduction", None))
    return declared if declared in ("mean", "sum", "none") else None


def _num_samples(output: Any, target: Any) -> int:
    for part in (target, output):
        if isinstance(part, torch.Tensor) and part.ndim > 0:
            return int(part.shape[0])
    raise TypeError("neither target nor output is a tensor with a batch dimension: their samples cannot be counted")
