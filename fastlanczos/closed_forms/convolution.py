"""Convolutions of one, two and three dimensions, in groups, with strides and dilations."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["Stencil", "convolution"]

Grad = Any  # a tensor, or None where none is needed
_aten = torch.ops.aten


class Stencil(NamedTuple):
    """How a convolution's kernel goes over the image: one number for each of its dimensions, and the groups."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stencil: Stencil, vectors: Vectors
) -> torch.Tensor:
    """Return x (samples, in, ...) convolved with weight (out, in / groups, ...), and bias (out,) added."""
    y: torch.Tensor = _Convolution.apply(x, weight, bias, stencil, vectors)
    return y


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: Grad, how: Stencil, vectors: Vectors) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.vectors = how, vectors
        return _convolved(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            grads: tuple[Grad, ...] = _ConvolutionGradient.apply(grad, x, weight, ctx.how, needs, ctx.vectors)
            return (*grads, None, None)
        return (*_convolution_gradient(grad, x, weight, ctx.how, needs), None, None)


class _ConvolutionGradient(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Any, x: Any, weight: Any, how: Stencil, needs: tuple[bool, ...], vectors: Vectors
    ) -> tuple[Grad, ...]:
        ctx.save_for_backward(grad, x, weight)
        ctx.how, ctx.vectors = how, vectors
        ctx.set_materialize_grads(False)
        return _convolution_gradient(grad, x, weight, how, needs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_x: Grad, u_weight: Grad, u_bias: Grad) -> tuple[Grad, ...]:
        grad, x, weight = ctx.saved_tensors
        needs_grad, needs_x, needs_weight = ctx.needs_input_grad[:3]
        to_grad = to_x = to_weight = None
        if needs_grad:
            if u_weight is not None:
                # Under torch.vmap the bias has one more dimension than a convolution takes.
                to_grad = _convolved(x, u_weight, None if ctx.vectors.several else u_bias, ctx.how)
            if u_x is not None:
                along = _convolved(u_x, weight, None, ctx.how)
                to_grad = along if to_grad is None else to_grad + along if ctx.vectors.several else to_grad.add_(along)
            if u_bias is not None and (u_weight is None or ctx.vectors.several):
                bias = u_bias.view(1, -1, *[1] * (grad.ndim - 2))
                to_grad = bias.expand(grad.shape) if to_grad is None else to_grad + bias
        needs_x, needs_weight = needs_x and u_weight is not None, needs_weight and u_x is not None
        needs_x, needs_weight = needs_x and not ctx.vectors.pushed, needs_weight and not ctx.vectors.pushed
        if needs_x or needs_weight:
            # Neither result reads the tensor that stands in the place of the one that it belongs to.
            at_x, at_weight = x if u_x is None else u_x, weight if u_weight is None else u_weight
            to_x, to_weight, _ = _convolution_gradient(grad, at_x, at_weight, ctx.how, (needs_x, needs_weight, False))
        return to_grad, to_x, to_weight, None, None, None


def _convolved(x: torch.Tensor, weight: torch.Tensor, bias: Grad, how: Stencil) -> torch.Tensor:
    y: torch.Tensor = _aten.convolution(
        x, weight, bias, how.stride, how.padding, how.dilation, False, [0] * len(how.stride), how.groups
    )
    return y


def _convolution_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, how: Stencil, needs: tuple[bool, ...]
) -> tuple[Grad, ...]:
    grads: tuple[Grad, ...] = _aten.convolution_backward(
        grad,
        x,
        weight,
        [weight.shape[0]],
        how.stride,
        how.padding,
        how.dilation,
        False,
        [0] * len(how.stride),
        how.groups,
        needs,
    )
    return grads
