"""Cross entropy with class indices and weights of the terms, in blocks of rows.

Of the arrays (terms, classes), which are a language model's largest by far, a graph keeps one: the gradient, from which
the second derivative follows. With g_c = w (p_c - [c = y]) for a term of class y and weight w, and n = <g, u> / w,

    w (p - p p') u  =  g_c (u_c - u_y - n)  for c != y,  and  -(g_y + w) n  for c = y,

in which nothing cancels where p is nearly one of y.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["cross_entropy"]

Grad = Any  # a tensor, or None where none is needed
_BLOCK = 2**18  # entries of a block of rows, so that it stays in a core's cache


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, vectors: Vectors) -> torch.Tensor:
    """Return sum_i w_i (log sum_c exp z_ic - z_i,target) for logits (terms, classes), weights (terms,)."""
    loss: torch.Tensor = _CrossEntropy.apply(logits, target, weights, vectors)
    return loss


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, vectors: Vectors
    ) -> torch.Tensor:
        lse = torch.cat([logits[rows].logsumexp(1) for rows in _blocks(logits)])
        ctx.save_for_backward(logits, lse, target, weights)
        ctx.vectors = vectors
        return (weights * (lse - logits.gather(1, target[:, None])[:, 0])).sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        logits, lse, target, weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _CrossEntropyGradient.apply(grad, logits, lse, target, weights, ctx.vectors), None, None, None
        return _scores(logits, lse, target, weights) * grad, None, None, None


class _CrossEntropyGradient(Function):
    """grad_logits = grad w (p - e_target), with grad the cotangent of the summed loss."""

    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, logits: Any, lse: Any, target: Any, weights: Any, vectors: Vectors
    ) -> torch.Tensor:
        scores = _scores(logits, lse, target, weights)
        result = scores if float(grad) == 1.0 else scores * grad  # the very same array, where a loss is not scaled
        ctx.save_for_backward(grad, scores, target, weights)
        ctx.vectors = vectors
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[Grad, ...]:
        grad, scores, target, weights = ctx.saved_tensors
        rest = None, None, None, None
        inverse = torch.where(weights == 0, 0.0, 1 / weights)
        places = target[:, None]
        if ctx.vectors.several:
            along = (scores * u).sum(1)
            n = (along * inverse)[:, None]
            at_target = -grad * n * (scores.gather(1, places) + weights[:, None])
            to_logits = (scores * (u - u.gather(1, places) - n) * grad).scatter(1, places, at_target)
            return (along.sum() if ctx.needs_input_grad[0] else None), to_logits, *rest
        to_logits, total = torch.empty_like(u, memory_format=torch.contiguous_format), u.new_zeros(())
        for rows in _blocks(u):
            g, v, block, place = scores[rows], u[rows], to_logits[rows], places[rows]
            along = torch.mul(g, v, out=block).sum(1)
            total += along.sum()
            n = (along * inverse[rows])[:, None]
            torch.sub(v, v.gather(1, place) + n, out=block).mul_(g).mul_(grad)
            block.scatter_(1, place, -grad * n * (g.gather(1, place) + weights[rows, None]))
        return (total if ctx.needs_input_grad[0] else None), to_logits, *rest


def _blocks(x: torch.Tensor) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, x.shape[1]))
    return (slice(start, start + step) for start in range(0, max(1, x.shape[0]), step))


def _scores(logits: torch.Tensor, lse: Any, target: Any, weights: Any) -> torch.Tensor:
    """Return w (p - e_target)."""
    scores = torch.empty_like(logits, memory_format=torch.contiguous_format)
    for rows in _blocks(logits):
        block = torch.sub(logits[rows], lse[rows, None], out=scores[rows]).exp_()
        # p_target - 1 as the sum of the others: what is left of 1 where a term is nearly certain.
        block.scatter_(1, target[rows, None], 0.0)
        block.scatter_(1, target[rows, None], -block.sum(1, keepdim=True)).mul_(weights[rows, None])
    return scores
