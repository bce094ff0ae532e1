"""The diagonal of f(A) with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastlanczos.gradients.derivatives import derivative_of, divided_differences, function_of
from fastlanczos.gradients.estimate import DifferentiableEstimate
from fastlanczos.gradients.frechet import adjoint
from fastlanczos.gradients.once import once
from fastlanczos.gradients.operand import Operand, as_operand
from fastlanczos.gradients.written_out import exact_is_the_way, written_out
from fastlanczos.probes.draw import probe, seed_sequence
from fastlanczos.sums.diagonal import diagonal as without_gradient
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import on_host

__all__ = ["diagonal"]

_SETTLED = 1e-10  # relative change of the gradient at which its runs stop


def diagonal(
    A: Any, fun: Any = None, dim: int | None = None, *, like: Any = None, **options: Any
) -> DifferentiableEstimate:
    """Estimate the diagonal of f(A), with gradients with respect to what A depends on.

    The gradient is the derivative of the estimate itself: for each probe of signs s that of s * f(A) s, from two Krylov
    spaces as in `funm_multiply`. It takes two runs for each probe when it is asked for.

    Parameters
    ----------
    A, fun, dim, like
        As in `trace`.
    **options
        As `fastlanczos.diagonal`. With a gradient no part is taken out ("hutchinson"), and there is no preconditioner;
        the exact diagonal is taken as in `trace`.

    Returns
    -------
    DifferentiableEstimate
        `value` is a float64 tensor of n entries; `estimate` a `DiagonalEstimate`.

    Raises
    ------
    TypeError, ValueError
        As `trace`.

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> A = torch.diag(torch.linspace(1, 2, 50, dtype=torch.float64)).requires_grad_()
    >>> flt.diagonal(A, "inv").value.sum().backward()
    >>> bool(torch.allclose(A.grad.diagonal(), -1 / torch.linspace(1, 2, 50, dtype=torch.float64) ** 2))
    True
    """
    operand = as_operand(A, dim, like, "diagonal")
    f, n = function_of(fun), operand.operator.dim
    plain, given = operand.plain, f.call if callable(fun) else fun
    if not operand.needs_gradient:
        estimate = without_gradient(plain, given, n, like=None if operand.is_matrix else operand.like, **options)
        return DifferentiableEstimate(_tensor(estimate.value, operand), estimate, _of_each_entry)
    if options.get("preconditioner") is not None or options.get("method", "auto") == "deflated":
        raise ValueError(
            'with a gradient, the diagonal has no preconditioner= and no method="deflated": pass A.detach() for them'
        )
    derivative = derivative_of(fun)
    parts: _WrittenOut | _Probes
    if exact_is_the_way(operand, f, options):
        matrix = written_out(operand)
        estimate = without_gradient(matrix, given, method="exact")
        parts = _WrittenOut(operand, f, derivative, matrix)
    else:
        seeds = seed_sequence(options.pop("seed", None))
        options["method"] = "hutchinson"
        estimate = without_gradient(
            plain, given, n, like=None if operand.is_matrix else operand.like, seed=seeds, **options
        )
        signs = [probe(n, seeds, j + 1, "rademacher") for j in range(estimate.num_probes)]
        parts = _Probes(operand, f, derivative, np.stack(signs, axis=1), int(estimate.info["num_steps"]))
    value = _Diagonal.apply(_tensor(estimate.value, operand), parts, *operand.tensors)
    return DifferentiableEstimate(value, estimate, _of_each_entry)


def _tensor(value: Any, operand: Operand) -> torch.Tensor:
    return torch.as_tensor(np.array(value, dtype=np.float64), device=operand.device)


def _of_each_entry(inputs: Any) -> Any:
    raise ValueError("a diagonal has a gradient for each entry: take that of a weighted sum of `value`")


class _WrittenOut:
    """The gradient from all eigenvectors (Daleckii and Krein)."""

    def __init__(self, operand: Operand, f: MatrixFunction, derivative: MatrixFunction, matrix: Any) -> None:
        self._operand, self._f, self._derivative, self._matrix = operand, f, derivative, matrix

    def total(self, weights: Any) -> tuple[torch.Tensor | None, ...]:
        theta, V = np.linalg.eigh(self._matrix)
        F = divided_differences(self._f, self._derivative, theta, theta)
        left = V @ (F * (V.T @ (weights[:, None] * V))) @ V.T
        unit = torch.eye(len(theta), dtype=torch.float64, device=self._operand.device)
        return self._operand.gradients(torch.from_numpy(left).to(unit), unit)


class _Probes:
    """The gradient of the mean over probes."""

    def __init__(
        self, operand: Operand, f: MatrixFunction, derivative: MatrixFunction, signs: Any, num_steps: int
    ) -> None:
        self._operand, self._f, self._derivative = operand, f, derivative
        self._signs, self._num_steps = signs, num_steps

    def total(self, weights: Any) -> tuple[torch.Tensor | None, ...]:
        signs, count = self._signs, self._signs.shape[1]
        left, right = weights[:, None] * signs / count, signs
        if not self._f.is_identity:
            found = [
                adjoint(self._operand.operator, self._f, self._derivative, x, s, _SETTLED, self._num_steps)
                for x, s in zip(left.T, signs.T, strict=True)
            ]
            left, right = (np.concatenate([getattr(one, side) for one in found], axis=1) for side in ("left", "right"))
        device = self._operand.device
        return self._operand.gradients(*(torch.from_numpy(np.ascontiguousarray(z)).to(device) for z in (left, right)))


class _Diagonal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, parts: Any, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.parts = parts
        ctx.save_for_backward(*tensors)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, weights: torch.Tensor) -> Any:
        tensors = ctx.saved_tensors  # raises where one of them was overwritten in the meantime
        with torch.no_grad():
            found = ctx.parts.total(on_host(weights))
        return None, None, *once("diagonal", found, (weights, *tensors))
