"""Normalization of each row over its entries: LayerNorm, and RMSNorm, which does not center.

With z = r (x - mean) and r = (variance + eps)^-1/2 of each row (RMSNorm: r x and (mean square + eps)^-1/2), both have
the same derivative, P u = r (u - mean(u) - z mean(u z)), where RMSNorm leaves out mean(u).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["layer_norm"]

Grad = Any  # a tensor, or None where none is needed
_aten = torch.ops.aten


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    vectors: Vectors,
    *,
    entries: int,
    centered: bool = True,
) -> torch.Tensor:
    """Return weight z + bias for x (..., dimensions of together `entries` entries), weight and bias of so many."""
    rows = x.reshape(-1, entries)
    flat = [None if t is None else t.reshape(-1) for t in (weight, bias)]
    y: torch.Tensor = _LayerNorm.apply(rows, *flat, eps, centered, vectors)
    return y.view(x.shape)


class _LayerNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: Grad, bias: Grad, eps: float, centered: bool, vectors: Vectors
    ) -> torch.Tensor:
        ctx.vectors = vectors
        if centered:
            y, mean, r = _aten.native_layer_norm(x, [x.shape[1]], weight, bias, eps)
            ctx.save_for_backward(x, weight, mean, r)
            return y  # type: ignore[no-any-return]
        r = torch.rsqrt(x.square().mean(1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, None, r)
        y = x * r
        return y if weight is None else y.mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        x, weight, mean, r = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            return (*_LayerNormGradient.apply(grad, x, weight, mean, r, needs, ctx.vectors), None, None, None)
        return (*_gradient(grad, x, weight, mean, r, needs, ctx.vectors.several), None, None, None)


class _LayerNormGradient(Function):
    """grad_x = P (weight g), grad_weight = sum(g z), grad_bias = sum(g) over the rows, with g = grad."""

    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, x: Any, weight: Any, mean: Any, r: Any, needs: Any, vectors: Vectors
    ) -> tuple[Grad, ...]:
        ctx.save_for_backward(grad, x, weight, mean, r)
        ctx.vectors = vectors
        ctx.set_materialize_grads(False)
        return _gradient(grad, x, weight, mean, r, needs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_x: Grad, u_weight: Grad, u_bias: Grad) -> tuple[Grad, ...]:
        grad, x, weight, mean, r = ctx.saved_tensors
        several = ctx.vectors.several
        z = _normalized(x, mean, r)
        weighted = grad if weight is None else grad * weight
        to_grad = to_x = to_weight = None
        if u_x is not None:
            along = _projected(u_x, x, z, mean, r, several)  # <u_x, grad_x> = <along, weighted>
            to_grad = along if weight is None else along * weight
            to_weight = None if weight is None or ctx.vectors.pushed else (along * grad).sum(0)
        if u_weight is not None:
            to_grad = z * u_weight if to_grad is None else torch.addcmul(to_grad, z, u_weight)
        if u_bias is not None:
            to_grad = u_bias.expand(grad.shape) if to_grad is None else to_grad + u_bias
        if ctx.needs_input_grad[1] and not ctx.vectors.pushed:
            # The cotangent of z, whose derivative is P again, and that of the factor r of grad_x itself.
            of_z = None if u_weight is None else grad * u_weight
            size = None
            if u_x is not None:
                mean_uz, mean_gz = (u_x * z).mean(1, keepdim=True), (weighted * z).mean(1, keepdim=True)
                size = (u_x * weighted).mean(1, keepdim=True) - mean_uz * mean_gz
                if mean is not None:
                    size = size - u_x.mean(1, keepdim=True) * weighted.mean(1, keepdim=True)
                through = -r * (mean_gz * u_x + mean_uz * weighted)
                of_z = through if of_z is None else of_z + through
            if of_z is not None:
                to_x = _projected(of_z, x, z, mean, r, several)
                if size is not None:
                    to_x = torch.addcmul(to_x, size * r * r, z, value=-1.0)
        return to_grad, to_x, to_weight, None, None, None, None


def _normalized(x: torch.Tensor, mean: Grad, r: torch.Tensor) -> torch.Tensor:
    return x * r if mean is None else (x - mean).mul_(r)


def _projected(u: Any, x: Any, z: Any, mean: Grad, r: torch.Tensor, several: bool) -> torch.Tensor:
    """Return P u."""
    if mean is not None and not several:
        fused: torch.Tensor = _aten.native_layer_norm_backward(
            u.contiguous(), x, [x.shape[1]], mean, r, None, None, [True, False, False]
        )[0]
        return fused
    result = torch.addcmul(u, z, (u * z).mean(1, keepdim=True), value=-1.0)
    if mean is not None:
        result = result - u.mean(1, keepdim=True)
    return result * r


def _gradient(
    grad: torch.Tensor, x: Any, weight: Any, mean: Any, r: Any, needs: Any, several: bool = False
) -> tuple[Grad, ...]:
    if mean is not None and not several:
        grads: tuple[Grad, ...] = _aten.native_layer_norm_backward(
            grad.contiguous(), x, [x.shape[1]], mean, r, weight, weight, [needs[0], needs[1], False]
        )
        return grads[0], grads[1], grad.sum(0) if needs[2] else None
    z = _normalized(x, mean, r)
    return (
        _projected(grad if weight is None else grad * weight, x, z, mean, r, several) if needs[0] else None,
        (grad * z).sum(0) if needs[1] else None,
        grad.sum(0) if needs[2] else None,
    )
