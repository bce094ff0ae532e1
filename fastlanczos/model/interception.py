"""Replacements of torch functions while a model and its loss are evaluated.

Common layers get derivatives in closed form. Batch norm uses the requested statistics. Each loss function of torch
records the divisor of its mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fastlanczos.closed_forms.batch_norm import batch_norm
from fastlanczos.closed_forms.cross_entropy import cross_entropy
from fastlanczos.closed_forms.replacements import REPLACEMENTS, plain
from fastlanczos.closed_forms.vectors import Vectors
from fastlanczos.model.statistics import BatchNormStatistics, LayerReached, Moments

__all__ = ["Interception", "LossCall"]

F = torch.nn.functional


@dataclass(frozen=True)
class LossCall:
    """One call of a loss function: its value, its sum over terms, and what turns the sum into torch's mean.

    `scores_of` are the tensors (terms, ...) of which each term sees its own row, `weights` the terms' weights, `family`
    the distribution whose negative logarithm the loss is.
    """

    value: torch.Tensor
    total: torch.Tensor
    denominator: float
    reduction: str
    scores_of: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    family: str | None = None


class Interception(TorchFunctionMode):
    """Stands between a model and torch during one evaluation.

    Afterwards `losses` lists the calls of loss functions, `coupled` says that a batch norm made the samples of a batch
    depend on one another, `convolutional` that there was a convolution of images.
    """

    def __init__(self, statistics: BatchNormStatistics, *, closed: bool, collect: Moments | None = None) -> None:
        super().__init__()
        self.statistics = statistics
        self.closed = closed
        self.vectors = Vectors()
        self.losses: list[LossCall] = []
        self.coupled = self.convolutional = False
        self._collect = collect
        self._layer = 0

    @property
    def closing(self) -> bool:
        """Whether closed forms are used; they do not see what autocast casts."""
        return self.closed and not _autocasting()

    @contextmanager
    def checkpointed(self) -> Iterator[Callable[[], Interception]]:
        """Leave out closed forms inside: a checkpoint's recomputation must save what its forward pass has saved.

        Yields what makes the interception for the recomputation.
        """
        closed, layer = self.closed, self._layer

        def again() -> Interception:
            interception = Interception(self.statistics, closed=False)
            interception._layer = layer
            return interception

        self.closed = False
        try:
            yield again
        finally:
            self.closed = closed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`, or what stands in its place."""
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is F.cross_entropy:
            return self._cross_entropy(*args, **kwargs)
        if func in _ELEMENTWISE:
            return self._elementwise(func, args, kwargs)
        if func is F.nll_loss:
            return self._nll_loss(args, kwargs)
        self.convolutional = self.convolutional or func is torch.conv2d
        if func is F.multi_head_attention_forward:
            return self._through(func, args, kwargs)
        if self.closing and func in REPLACEMENTS:
            return REPLACEMENTS[func](func, self.vectors, *args, **kwargs)
        if func in _EMBEDDINGS and kwargs.get("sparse"):  # a dense gradient is what can be differentiated again
            return func(*args, **{**kwargs, "sparse": False})
        return func(*args, **kwargs)

    def _through(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function of torch that is made of others, so that these come here as well.

        torch lets a mode see the outermost call alone. The function asks at its beginning whether there is a mode, and
        is told once that there is none.
        """
        asked = F.has_torch_function

        def once(tensors: Any) -> bool:
            F.has_torch_function = asked
            return False

        F.has_torch_function = once
        try:
            with self:
                return func(*args, **kwargs)
        finally:
            F.has_torch_function = asked

    def _batch_norm(
        self,
        x: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        kind = self.statistics.kind or ("batch" if training else "running")
        mean = var = None
        if kind == "running":
            if running_mean is None or running_var is None:
                raise ValueError(
                    'batch_statistics="running", but a batch-norm layer has none (track_running_stats=False); use '
                    '"batch" or "population"'
                )
            mean, var = running_mean, running_var
        elif kind == "population":
            if self._layer < len(self.statistics.layers):
                mean, var = (s.to(x.dtype) for s in self.statistics.layers[self._layer])
                self._layer += 1
            elif self._collect is not None:
                self._collect.add(x)
                raise LayerReached
            else:
                raise RuntimeError(
                    "the model used more batch-norm layers than in an earlier pass: population statistics need the "
                    "same ones in all"
                )
        else:
            self.coupled = True
        if not self.closing or not plain(x, weight, bias):
            return F.batch_norm(x, mean, var, weight, bias, mean is None, 0.0, eps)
        if mean is None and x.numel() == x.shape[1]:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)  # one value a channel: torch's error
        return batch_norm(x, weight, bias, mean, var, eps, self.vectors)

    def _cross_entropy(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        logits, rows = input, target
        terms = input.shape[:1] + input.shape[2:]
        if input.ndim > 2 and target.shape in (input.shape, terms):  # or torch says what is wrong
            logits = input.movedim(1, -1).flatten(0, -2)
            rows = target.flatten() if target.shape == terms else target.movedim(1, -1).flatten(0, -2)

        def by_torch(reduction: str) -> torch.Tensor:
            loss = F.cross_entropy(
                logits, rows, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
            )
            return loss.view(terms) if reduction == "none" else loss

        if size_average is not None or reduce is not None:
            reduction = torch.nn._reduction.legacy_get_string(size_average, reduce)
        if input.ndim < 2 or reduction not in ("mean", "sum", "none"):
            return by_torch(reduction)
        if target.dtype.is_floating_point:
            value, count = by_torch(reduction), float(len(logits))
            total = value * count if reduction == "mean" else value.sum()
            family = None if weight is not None else "categorical"
            return self._note(value, total, count, reduction, logits, torch.ones_like(logits[:, 0]), family)
        indices, weights = _terms(logits, target, weight, ignore_index)
        if label_smoothing or reduction == "none" or not self.closing or not plain(logits):
            value, denominator = by_torch(reduction), float(weights.sum())
            total = by_torch("sum") if reduction == "mean" else value.sum()
        else:
            _check_classes(indices, logits)
            total, denominator = cross_entropy(logits, indices, weights, self.vectors), float(weights.sum())
            value = total / denominator if reduction == "mean" else total
        family = None if label_smoothing and weight is not None else "categorical"
        return self._note(value, total, denominator, reduction, logits, weights, family)

    def _nll_loss(self, args: Any, kwargs: Any) -> torch.Tensor:
        value: torch.Tensor = F.nll_loss(*args, **kwargs)
        bound = _arguments(F.nll_loss, args, kwargs)
        if bound["size_average"] is not None or bound["reduce"] is not None or bound["input"].ndim < 2:
            return value
        log_p = bound["input"] if bound["input"].ndim == 2 else bound["input"].movedim(1, -1).flatten(0, -2)
        _, weights = _terms(log_p, bound["target"], bound["weight"], bound["ignore_index"])
        total = value.sum()
        if bound["reduction"] == "mean":
            total = F.nll_loss(**{**bound, "reduction": "sum"})
        return self._note(value, total, float(weights.sum()), bound["reduction"], log_p, weights, None)

    def _elementwise(self, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        value: torch.Tensor = func(*args, **kwargs)  # which looks at the shapes
        bound = _arguments(func, args, kwargs)
        if bound.get("size_average") is not None or bound.get("reduce") is not None:
            return value
        if bound.get("weight") is not None and func not in _WEIGHTS_KEEP_THE_MEAN:
            return value
        reduction, x = bound["reduction"], bound["input"]
        if reduction not in ("mean", "sum", "none") or x.ndim == 0:
            return value
        terms = float(torch.broadcast_shapes(x.shape, bound["target"].shape).numel())
        if func is F.mse_loss and reduction != "none":  # whose own forward derivative in reverse torch fails at
            total = ((x - bound["target"]) ** 2).sum()
            value = total / terms if reduction == "mean" else total
        else:
            total = value * terms if reduction == "mean" else value.sum()
        family = "gaussian" if func is F.mse_loss and bound.get("weight") is None else None
        rows = x if x.shape == bound["target"].shape else None
        return self._note(value, total, terms, reduction, rows, None, family)

    def _note(
        self,
        value: torch.Tensor,
        total: torch.Tensor,
        denominator: float,
        reduction: str,
        scores_of: torch.Tensor | None,
        weights: torch.Tensor | None,
        family: str | None,
    ) -> torch.Tensor:
        self.losses.append(LossCall(value, total, denominator, reduction, scores_of, weights, family))
        return value


_EMBEDDINGS = {F.embedding, F.embedding_bag}

_ELEMENTWISE = {
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
}


_WEIGHTS_KEEP_THE_MEAN = {F.binary_cross_entropy, F.binary_cross_entropy_with_logits}


def _autocasting() -> bool:
    """Whether torch casts the arguments of operations, which the closed forms do not see."""
    return bool(torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"))


def _terms(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return class indices (terms,) and weights (terms,), zero where the target is ignored."""
    indices = target.flatten()
    kept = indices != ignore_index
    indices = torch.where(kept, indices, 0)
    weights = kept.to(logits.dtype)
    if weight is not None:
        weights = weights * weight.to(logits.dtype)[indices]
    return indices, weights


def _check_classes(indices: torch.Tensor, logits: torch.Tensor) -> None:
    if len(indices) != len(logits):
        raise ValueError(f"cross_entropy got {len(logits)} rows of logits and {len(indices)} targets")
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < logits.shape[1]:
        raise IndexError(
            f"targets go from {int(indices.min())} to {int(indices.max())}, but there are {logits.shape[1]} classes"
        )


def _arguments(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    bound = inspect.signature(func).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)
