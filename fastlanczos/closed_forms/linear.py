"""y = x W^T + b."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["linear"]

Grad = Any  # a tensor, or None where none is needed


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, vectors: Vectors) -> torch.Tensor:
    """Return x W^T + b for x (..., in), weight (out, in), bias (out,)."""
    rows = x.reshape(-1, x.shape[-1])
    y: torch.Tensor = _Linear.apply(rows, weight, bias, vectors)
    return y.view(*x.shape[:-1], weight.shape[0])


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: Grad, vectors: Vectors) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.vectors = vectors
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            grads: tuple[Grad, ...] = _LinearGradient.apply(grad, x, weight, ctx.needs_input_grad, ctx.vectors)
            return (*grads, None)
        return (*_linear_gradient(grad, x, weight, ctx.needs_input_grad, ctx.vectors.several), None)


class _LinearGradient(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, needs: tuple[bool, ...], vectors: Vectors
    ) -> tuple[Grad, ...]:
        ctx.save_for_backward(grad, x, weight)
        ctx.vectors = vectors
        ctx.set_materialize_grads(False)
        return _linear_gradient(grad, x, weight, needs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_x: Grad, u_weight: Grad, u_bias: Grad) -> tuple[Grad, ...]:
        grad, x, weight = ctx.saved_tensors
        needs_grad, needs_x, needs_weight = ctx.needs_input_grad[:3]
        needs_x, needs_weight = needs_x and not ctx.vectors.pushed, needs_weight and not ctx.vectors.pushed
        several = ctx.vectors.several
        to_grad = to_x = to_weight = None
        if needs_grad:
            if u_weight is not None and u_bias is not None and not several:
                to_grad, u_bias = torch.addmm(u_bias, x, u_weight.T), None
            elif u_weight is not None:
                to_grad = (u_weight @ x.T).T if several else x @ u_weight.T
            if u_x is not None:
                if to_grad is None or several:  # torch.vmap makes of addmm one product for each vector
                    along = u_x @ weight.T
                    to_grad = along if to_grad is None else to_grad + along
                else:
                    to_grad = to_grad.addmm_(u_x, weight.T)
            if u_bias is not None:
                to_grad = u_bias.expand(grad.shape) if to_grad is None else to_grad + u_bias
        if needs_x and u_weight is not None:
            to_x = (u_weight.T @ grad.T).T if several else grad @ u_weight
        if needs_weight and u_x is not None:
            to_weight = (u_x.T @ grad).T if several else grad.T @ u_x
        return to_grad, to_x, to_weight, None, None


def _linear_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, needs: tuple[bool, ...], several: bool = False
) -> tuple[Grad, ...]:
    columns = grad.T.contiguous() if several else grad.T  # which makes it one matrix product of several vectors'
    return (
        grad @ weight if needs[0] else None,
        columns @ x if needs[1] else None,
        grad.sum(0) if needs[2] else None,
    )
