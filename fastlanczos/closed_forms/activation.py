"""Functions that act on each entry alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["activation"]

Grad = Any  # a tensor, or None where none is needed


def activation(x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor], vectors: Vectors) -> torch.Tensor:
    """Return f(x) for a function that acts on each entry alone, and has two derivatives."""
    # A copy, since x is needed later on, and a model may change it in place where its activation does not need it.
    y: torch.Tensor = _Activation.apply(x.clone(), f, vectors)
    return y


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor], vectors: Vectors) -> torch.Tensor:
        with torch.enable_grad():
            along = x.detach().requires_grad_()
            y = f(along)
            (slope,) = torch.autograd.grad(y, along, torch.ones_like(y))
        ctx.save_for_backward(x, slope)
        ctx.f, ctx.vectors = f, vectors
        return y.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _ActivationGradient.apply(grad, x, slope, ctx.f, ctx.vectors), None, None
        return grad * slope, None, None


class _ActivationGradient(Function):
    """grad_x = grad f'(x)."""

    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, x: Any, slope: Any, f: Callable[[torch.Tensor], torch.Tensor], vectors: Vectors
    ) -> Any:
        with torch.enable_grad():
            along = x.detach().requires_grad_()
            y = f(along)
            (first,) = torch.autograd.grad(y, along, torch.ones_like(y), create_graph=True)
            (bend,) = torch.autograd.grad(first, along, grad, materialize_grads=True)
        ctx.save_for_backward(slope, bend)
        ctx.vectors = vectors
        return grad * slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[Grad, ...]:
        slope, bend = ctx.saved_tensors
        return (
            u * slope if ctx.needs_input_grad[0] else None,
            u * bend if ctx.needs_input_grad[1] and not ctx.vectors.pushed else None,
            None,
            None,
            None,
        )
