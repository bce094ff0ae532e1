"""Gradients that have no derivative of their own say so, instead of passing for constants."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["once"]


def once(function: str, gradients: tuple[Any, ...], sources: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
    """Return the gradients; where a graph of them is asked for, they depend on `sources`, and their derivative raises.

    PyTorch's own `once_differentiable` looks at the incoming gradient only: of a loss that is the value itself that is
    a constant, and second derivatives would silently lack a part.
    """
    if not torch.is_grad_enabled():
        return gradients
    return tuple(g if g is None else _Refused.apply(function, g, *sources) for g in gradients)


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: str, gradient: torch.Tensor, *sources: torch.Tensor) -> torch.Tensor:
        ctx.function = function
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        raise NotImplementedError(
            f"fastlanczos.torch.{ctx.function} has first derivatives only (trace and logdet have second ones)"
        )
