"""Batch norm by the batch's own statistics, or by given ones."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["batch_norm"]

Grad = Any  # a tensor, or None where none is needed
_aten = torch.ops.aten


def batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    var: torch.Tensor | None,
    eps: float,
    vectors: Vectors,
) -> torch.Tensor:
    """Return x (samples, channels, ...) normalized for each channel, by the batch's own statistics or by those given.

    Given statistics are constants: what is left is an affine map, which autograd differentiates in few operations.
    """
    if mean is None or var is None:
        scale = x.new_ones(x.shape[1]) if weight is None else weight
        shift = x.new_zeros(x.shape[1]) if bias is None else bias
        y: torch.Tensor = _BatchNorm.apply(x, scale, shift, eps, vectors)
        return y
    channels = (1, -1) + (1,) * (x.ndim - 2)
    factor = torch.rsqrt(var + eps)
    if weight is not None:
        factor = factor * weight
    shift = -mean * factor
    if bias is not None:
        shift = shift + bias
    return x * factor.view(channels) + shift.view(channels)


class _BatchNorm(Function):
    """y = gamma z + beta with z = r (x - mean), r = 1 / sqrt(variance + eps), for each channel."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gamma: Any, beta: Any, eps: float, vectors: Vectors) -> torch.Tensor:
        y, mean, r = _aten.native_batch_norm(x, gamma, beta, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, gamma, mean, r)
        ctx.vectors = vectors
        return y  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_BatchNormGradient.apply(grad, *saved, ctx.vectors), None, None)
        return (*_normalization_gradient(grad, *saved), None, None)


class _BatchNormGradient(Function):
    """grad_x = gamma r (g - mean(g) - z mean(g z)), grad_gamma = sum(g z), grad_beta = sum(g), with g = grad."""

    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, x: Any, gamma: Any, mean: Any, r: Any, vectors: Vectors
    ) -> tuple[torch.Tensor, ...]:
        ctx.vectors = vectors
        grads = _normalization_gradient(grad, x, gamma, mean, r)
        ctx.save_for_backward(grad, x, gamma, mean, r, grads[1], grads[2])
        ctx.set_materialize_grads(False)
        return grads

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_x: Grad, u_gamma: Grad, u_beta: Grad) -> tuple[Grad, ...]:
        grad, x, gamma, mean, r, sum_gz, sum_g = ctx.saved_tensors
        others = [0, *range(2, x.ndim)]
        size = x.numel() // x.shape[1]
        shape = (1, -1) + (1,) * (x.ndim - 2)

        # In place, which saves memory that would have to be new; torch.vmap has no rule for that.
        added = torch.addcmul if ctx.vectors.several else torch.Tensor.addcmul_

        def combined(*terms: tuple[torch.Tensor, torch.Tensor], constant: torch.Tensor) -> torch.Tensor:
            (factor, values), *rest = terms
            total = torch.addcmul(constant.view(shape), factor.view(shape), values)
            for factor, values in rest:
                total = added(total, factor.view(shape), values)
            return total

        zero = torch.zeros_like(mean)
        a = zero if u_gamma is None else u_gamma
        b = zero if u_beta is None else u_beta
        if u_x is None:
            # to_grad = a z + b;  to_x is what a grad, as a cotangent of z, gives.
            to_grad = combined((a * r, x), constant=b - a * r * mean)
            c_u, c_g, mean_dz, mean_dz_z, to_gamma, dr = zero, a, a * sum_g / size, a * sum_gz / size, zero, zero
        else:
            projected, sum_uz, sum_u = _normalization_gradient(u_x, x, gamma, mean, r)
            to_grad = added(projected, (a * r).view(shape), x)
            to_grad = to_grad + (b - a * r * mean).view(shape)
            sum_ug = (u_x * grad).sum(others)
            # s = <u_x, grad_x> / (gamma r) depends on gamma, on r, and through mean(g z) and z on x.
            s = sum_ug - sum_u * sum_g / size - sum_uz * sum_gz / size
            to_gamma, dr = r * s, gamma * s
            c_u, c_g = -gamma * r * sum_gz / size, a - gamma * r * sum_uz / size
            mean_dz = (c_u * sum_u + c_g * sum_g) / size
            mean_dz_z = (c_u * sum_uz + c_g * sum_gz) / size
        if not ctx.needs_input_grad[1] or ctx.vectors.pushed:
            return to_grad, None, to_gamma, None, None, None
        # d = c_u u_x + c_g grad is the cotangent of z; then z = r (x - mean) and dr/dx = -r^2 z / size.
        c_z = -r * (mean_dz_z + r * dr / size)
        terms = [(r * c_g, grad), (c_z * r, x)]
        if u_x is not None:
            terms.insert(0, (r * c_u, u_x))
        return to_grad, combined(*terms, constant=-r * mean_dz - c_z * r * mean), to_gamma, None, None, None


def _normalization_gradient(grad: torch.Tensor, x: Any, gamma: Any, mean: Any, r: Any) -> tuple[torch.Tensor, ...]:
    grads: tuple[torch.Tensor, ...] = _aten.native_batch_norm_backward(
        grad, x, gamma, None, None, mean, r, True, 0.0, [True, True, True]
    )
    return grads
