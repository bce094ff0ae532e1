"""Linear layers, convolutions, activations, batch norm and cross entropy, whose derivative is differentiated in closed
form.

A product with the Hessian goes back through the gradient's own graph. What autograd derives for that is general: of
batch norm some thirty passes over the activations where eight do, of cross entropy ten operations where three do, and
of a linear layer products that torch.vmap cannot fold into one when several vectors go together. Here each operation
is a pair of autograd functions: the operation, whose backward is the second one, and that one's own backward.

Notation: `u...` is the cotangent of the gradient that it names, so `u_x` belongs to `grad_x`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["Stencil", "Vectors", "activation", "batch_norm", "convolution", "cross_entropy", "linear"]

Grad = Any  # a tensor, or None where none is needed
_aten = torch.ops.aten


class Vectors:
    """Whether the product that is under way is one with several vectors, by torch.vmap.

    A matrix product of which one factor is several vectors' becomes a single one, of larger matrices, where that factor
    stands on the left; for one vector, this order would cost transposed copies.
    """

    several = False


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, vectors: Vectors) -> torch.Tensor:
    """Return x W^T + b for x (..., in), weight (out, in), bias (out,)."""
    rows = x.reshape(-1, x.shape[-1])
    y: torch.Tensor = _Linear.apply(rows, weight, bias, vectors)
    return y.view(*x.shape[:-1], weight.shape[0])


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


def activation(x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return f(x) for a function that acts on each entry alone, and has two derivatives."""
    # A copy, since x is needed later on, and a model may change it in place where its activation does not need it.
    y: torch.Tensor = _Activation.apply(x.clone(), f)
    return y


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


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return sum_i w_i (log sum_c exp z_ic - z_i,target) for logits (terms, classes), weights (terms,)."""
    loss: torch.Tensor = _CrossEntropy.apply(logits, target, weights)
    return loss


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


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.enable_grad():
            along = x.detach().requires_grad_()
            y = f(along)
            (slope,) = torch.autograd.grad(y, along, torch.ones_like(y))
        ctx.save_for_backward(x, slope)
        ctx.f = f
        return y.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _ActivationGradient.apply(grad, x, slope, ctx.f), None
        return grad * slope, None


class _ActivationGradient(Function):
    """grad_x = grad f'(x)."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, x: Any, slope: Any, f: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        with torch.enable_grad():
            along = x.detach().requires_grad_()
            y = f(along)
            (first,) = torch.autograd.grad(y, along, torch.ones_like(y), create_graph=True)
            (bend,) = torch.autograd.grad(first, along, grad, materialize_grads=True)
        ctx.save_for_backward(slope, bend)
        return grad * slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[Grad, ...]:
        slope, bend = ctx.saved_tensors
        return (
            u * slope if ctx.needs_input_grad[0] else None,
            u * bend if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


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
        if not ctx.needs_input_grad[1]:
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


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1)
        ctx.save_for_backward(logits, log_p.exp(), target, weights)
        return -(weights * log_p.gather(1, target[:, None])[:, 0]).sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        logits, p, target, weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _CrossEntropyGradient.apply(grad, logits, p, target, weights), None, None
        return grad * _score(p, target, weights), None, None


class _CrossEntropyGradient(Function):
    """grad_logits = g w (p - e_target), with g the cotangent of the summed loss."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, logits: Any, p: Any, target: Any, weights: Any) -> torch.Tensor:
        ctx.save_for_backward(p, (grad * weights)[:, None] * p, target, weights)
        return grad * _score(p, target, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[Grad, ...]:
        p, scaled, target, weights = ctx.saved_tensors
        to_grad = (u * _score(p, target, weights)).sum() if ctx.needs_input_grad[0] else None
        to_logits = scaled * (u - (u * p).sum(1, keepdim=True))
        return to_grad, to_logits, None, None, None


def _score(p: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    score = p.clone()
    score.scatter_add_(1, target[:, None], score.new_full((len(target), 1), -1.0))
    return score * weights[:, None]
