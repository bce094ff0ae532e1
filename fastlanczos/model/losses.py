"""The loss of a batch as a sum, and its part of the divisor of the mean over the data set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fastlanczos.model.batches import num_samples
from fastlanczos.model.interception import LossCall

__all__ = ["BatchLoss", "Loss"]


@dataclass(frozen=True)
class BatchLoss:
    """`total` is the loss summed over what its mean averages over, `denominator` how much that is.

    `call` is the call of torch's loss function that gave it, where it was one. `ratios` are what the means inside a
    composed loss divide by, for one sample: the same for every batch, or the batches cannot be put together.
    """

    total: torch.Tensor
    denominator: float
    num_samples: int
    outputs: Any
    call: LossCall | None
    ratios: tuple[float, ...]


class Loss:
    """`loss_fn(output, target)`, or with None the model's own loss (`output.loss`).

    It may return the batch's mean, its sum (`reduction="sum"`, read from the loss where it says so), or one value per
    sample. A mean of torch's own loss functions is put together as torch would take it over all samples at once: with
    weights and ignored targets it divides by the weights that count.
    """

    def __init__(self, loss_fn: Callable[..., Any] | None, reduction: str | None) -> None:
        if loss_fn is not None and not callable(loss_fn):
            raise TypeError(
                f"loss_fn must be callable as loss_fn(output, target), or None for the model's own loss, got "
                f"{type(loss_fn).__name__}"
            )
        if reduction not in (None, "mean", "sum", "none"):
            raise ValueError(f'reduction must be "mean", "sum", "none" or None, got {reduction!r}')
        self._loss_fn = loss_fn
        self._reduction = reduction or _declared_reduction(loss_fn)

    def __call__(self, output: Any, target: Any, batch: Any, calls: list[LossCall]) -> BatchLoss:
        """Return the loss of a batch; `calls` fills with torch's loss functions as they are called."""
        loss = _own_loss(output) if self._loss_fn is None else self._loss_fn(output, target)
        if not isinstance(loss, torch.Tensor):
            raise TypeError(f"loss_fn must return a tensor, got {type(loss).__name__}")
        count = num_samples(target, output, batch)
        call = next((c for c in calls if c.value is loss), None)
        reduction = self._reduction or (None if call is None else call.reduction)
        ratios = tuple(c.denominator / count for c in calls if c.reduction == "mean") if call is None else ()
        if reduction == "none" or loss.shape == (count,):
            if loss.ndim == 0 or (call is None and loss.shape[0] != count):
                raise ValueError(_wrong_shape(loss, count))
            return BatchLoss(loss.sum(), float(loss.numel()), count, output, call, ratios)
        if loss.numel() != 1:
            raise ValueError(_wrong_shape(loss, count))
        if reduction == "sum":
            return BatchLoss(loss.sum(), float(count), count, output, call, ratios)
        if call is not None and call.reduction == "mean":
            return BatchLoss(call.total, call.denominator, count, output, call, ())
        return BatchLoss(loss.sum() * count, float(count), count, output, call, ratios)


def _own_loss(output: Any) -> Any:
    loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if loss is None:
        raise TypeError(
            f"loss_fn is None, so the model must compute its own loss, but its output ({type(output).__name__}) has "
            'none: pass loss_fn(output, target), or batches with the key "labels" to a model that computes one'
        )
    return loss


def _wrong_shape(loss: torch.Tensor, count: int) -> str:
    return (
        f"loss_fn returned shape {tuple(loss.shape)} for a batch of {count} samples; want one number (the mean, or "
        f'with reduction="sum" the sum) or one value per sample, shape ({count},)'
    )


def _declared_reduction(loss_fn: Any) -> str | None:
    keywords = loss_fn.keywords if isinstance(loss_fn, functools.partial) else {}
    declared = keywords.get("reduction", getattr(loss_fn, "reduction", None))
    return declared if declared in ("mean", "sum", "none") else None
