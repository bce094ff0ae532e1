"""tr f(A) and log det A with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastlanczos.gradients.compiled import trace_inside
from fastlanczos.gradients.derivatives import derivative_of, function_of, slope_of
from fastlanczos.gradients.estimate import DifferentiableEstimate, GradientEstimate
from fastlanczos.gradients.multiply import funm_multiply
from fastlanczos.gradients.operand import Operand, as_operand
from fastlanczos.gradients.pairs import Pairs
from fastlanczos.gradients.written_out import exact_is_the_way, written_out
from fastlanczos.operators.operator import as_operator
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.trace import trace_of

__all__ = ["logdet", "trace"]


def trace(
    A: Any, fun: Any = None, dim: int | None = None, *, like: Any = None, **options: Any
) -> DifferentiableEstimate:
    """Estimate tr f(A) with a gradient with respect to what A depends on.

    d tr f(A) = tr f'(A) dA: each probe w gives u' dA w with u = f'(A) w from the Krylov space that gives its sample, in
    one product with the graph on, when the gradient is asked for. No graph of the Lanczos run is kept.

    Parameters
    ----------
    A : tensor, linear_operator, Module or callable
        A symmetric operator: a dense or sparse (COO, CSR) tensor, one of linear_operator's, or what multiplies
        tensors: a callable v -> A v (with dim=), an object with shape and matvec. Which tensors it depends on is found
        through autograd.
    fun : callable, str, ("power", p) or None
        f, as in `fastlanczos.trace`. A callable takes and returns tensors, such as torch.log1p.
    dim : int, optional
        Side of A, where A does not tell.
    like : tensor, optional
        A tensor of the dtype and device that vectors of a callable should have; float64 by default.
    **options
        As `fastlanczos.trace`, but group. The exact value and gradient come from a factorization where that is less
        work than 20 probes of 50 steps and neither is given: dense matrices up to about 1,000, and operators of no more
        dimensions than that many products.

    Returns
    -------
    DifferentiableEstimate
        `value` is a float64 tensor that requires a gradient if A does.

    Raises
    ------
    TypeError
        If A is complex or no tensors come out of it; if the derivative of fun cannot be told.
    ValueError
        As `fastlanczos.trace`.

    References
    ----------
    Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38 (2017); for the gradient, Dong, Eriksson, Nickisch, Bindel and
    Wilson, "Scalable log determinants for Gaussian process kernel learning", NeurIPS 2017, section 3.

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> A = torch.diag(torch.linspace(1, 2, 150, dtype=torch.float64)).requires_grad_()
    >>> e = flt.trace(A, "exp")
    >>> e.value.backward()
    >>> bool(torch.allclose(A.grad, torch.linalg.matrix_exp(A.detach())))
    True
    """
    if torch.compiler.is_compiling():
        return trace_inside(A, fun, options)
    if options.get("group") is not None:
        raise ValueError("gradients are of one process: group= is for fastlanczos.trace")
    operand = as_operand(A, dim, like, "trace")
    f = function_of(fun)
    if not operand.needs_gradient:
        estimate = trace_of(operand.operator, f, **options)
        return DifferentiableEstimate(_tensor(estimate.value, operand), estimate, _none)
    derivative = derivative_of(fun)
    if exact_is_the_way(operand, f, options):
        return _exact(operand, f, derivative, fun)
    pairs = Pairs(derivative, f.name == "inv", operand.operator.dim)
    estimate = trace_of(operand.operator, f, observer=pairs, **options)
    if estimate.info["method"] == "exact":  # which was less work than the accuracy asked for
        return _exact(operand, f, derivative, fun)
    return _with_gradient(operand, estimate, _Sampled(operand, pairs), fun)


def logdet(A: Any, dim: int | None = None, **options: Any) -> DifferentiableEstimate:
    """Estimate log det A of a symmetric positive definite A, with a gradient: `trace(A, "log", ...)` with its options.

    Examples
    --------
    The marginal likelihood of a Gaussian process needs the gradient with respect to its hyperparameters:

    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> x = torch.linspace(0, 1, 100, dtype=torch.float64)
    >>> noise = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    >>> K = torch.exp(-((x[:, None] - x) ** 2) / 0.02) + noise * torch.eye(100, dtype=torch.float64)
    >>> flt.logdet(K).value.backward()
    >>> bool(abs(noise.grad - torch.linalg.inv(K.detach()).trace()) < 1e-8 * noise.grad)
    True
    """
    return trace(A, "log", dim, **options)


def _tensor(value: float, operand: Operand) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, device=operand.device)


def _none(inputs: Sequence[torch.Tensor]) -> list[GradientEstimate]:
    raise ValueError("A does not depend on tensors that require a gradient, or gradients are off")


def _exact(operand: Operand, f: MatrixFunction, derivative: MatrixFunction, fun: Any) -> DifferentiableEstimate:
    n = operand.operator.dim
    A = written_out(operand)
    estimate = trace_of(as_operator(A), f, method="exact")
    if f.name in ("log", "inv"):
        inverse = np.linalg.inv(A)
        slope = inverse if f.name == "log" else -inverse @ inverse
    else:
        theta, V = np.linalg.eigh(A)
        slope = (V * derivative.at(theta, np.ones(n), n)) @ V.T
    left = torch.from_numpy(0.5 * (slope + slope.T)).to(operand.device)
    right = torch.eye(n, dtype=torch.float64, device=operand.device)
    return _with_gradient(operand, estimate, _Exactly(operand, left, right), fun)


class _Exactly:
    """The gradient where f'(A) is written out."""

    def __init__(self, operand: Operand, left: torch.Tensor, right: torch.Tensor) -> None:
        self.operand, self._left, self._right = operand, left, right
        self.diagonal = None

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left and right of all."""
        return self._left, self._right

    def each(self) -> list[tuple[torch.Tensor | None, ...]]:
        """Return what the gradients would be by each probe alone: here there is none."""
        return [self.operand.gradients(self._left, self._right)]

    def fixed(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return vectors V with the gradient c sum of V' g(A) dA V, f' = c g, and their weights."""
        return self._right, None


class _Sampled:
    """The gradient as what is known exactly and the mean over probes."""

    def __init__(self, operand: Operand, pairs: Pairs) -> None:
        self.operand, self._preconditioned = operand, pairs.is_preconditioned
        control = pairs.control() if operand.tells_diagonal else None
        known, self.diagonal = pairs.known(), None
        if control is not None:
            known = torch.cat([known[0], control[0]], dim=1), torch.cat([known[1], control[1]], dim=1)
            self.diagonal = control[2].to(operand.device)
        self._known, self._probes = (
            tuple(x.to(operand.device, torch.float64) for x in some)
            for some in (known, pairs.probes(controlled=control is not None))
        )
        self._drawn = pairs.drawn().to(operand.device, torch.float64)

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left and right of all, in one block."""
        left, right = self._probes
        left = torch.cat([self._known[0], left / max(1, left.shape[1])], dim=1)
        return left, torch.cat([self._known[1], right], dim=1)

    def each(self) -> list[tuple[torch.Tensor | None, ...]]:
        """Return what the gradients would be by each probe alone."""
        exact = self.operand.gradients(*self._known, diagonal=self.diagonal)
        if self._probes[0].shape[1] == 0:
            return [exact]
        return [
            tuple(b if a is None else a if b is None else a + b for a, b in zip(exact, self._of(j), strict=True))
            for j in range(self._probes[0].shape[1])
        ]

    def _of(self, j: int) -> tuple[torch.Tensor | None, ...]:
        left, right = (x[:, j : j + 1] for x in self._probes)
        return self.operand.gradients(left, right)

    def fixed(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return vectors V with the gradient c sum of V' g(A) dA V, f' = c g, and their weights."""
        if self._preconditioned:
            raise NotImplementedError("a preconditioned sum has no second derivative: leave preconditioner= out")
        known, drawn = self._known[1], self._drawn
        weights = torch.cat(
            [known.new_ones(known.shape[1]), drawn.new_full((drawn.shape[1],), 1 / max(1, drawn.shape[1]))]
        )
        return torch.cat([known, drawn], dim=1), weights


def _with_gradient(
    operand: Operand, estimate: Estimate, parts: _Exactly | _Sampled, fun: Any
) -> DifferentiableEstimate:
    value = _Sum.apply(_tensor(estimate.value, operand), parts, fun, *operand.tensors)

    def gradients(inputs: Sequence[torch.Tensor]) -> list[GradientEstimate]:
        samples = []
        for one in parts.each():
            held = [(t, g) for t, g in zip(operand.tensors, one, strict=True) if g is not None]
            samples.append(
                torch.autograd.grad(
                    [t for t, _ in held],
                    inputs,
                    [g.to_dense() if g.layout != t.layout else g for t, g in held],
                    retain_graph=True,
                    allow_unused=True,
                )
            )
        found = []
        for i, x in enumerate(inputs):
            some = [one[i] for one in samples]
            if any(g is None for g in some):
                raise ValueError(f"A does not depend on input {i}, a tensor of shape {tuple(x.shape)}")
            stacked = torch.stack([g.to_dense() for g in some if g is not None])
            count = len(some)
            error = stacked.std(dim=0) / count**0.5 if count > 1 else torch.zeros_like(stacked[0])
            found.append(GradientEstimate(stacked.mean(dim=0), error, estimate.num_probes))
        return found

    return DifferentiableEstimate(value, estimate, gradients)


class _Sum(torch.autograd.Function):
    """A known value whose gradient takes products with the graph on.

    Where a graph of the gradient is wanted too, g(A) V is `funm_multiply`'s, which has a derivative itself.
    """

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, parts: Any, fun: Any, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.parts, ctx.fun = parts, fun
        ctx.save_for_backward(*tensors)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> Any:
        ctx.saved_tensors  # noqa: B018 raises where one of them was overwritten in the meantime
        operand: Operand = ctx.parts.operand
        if not torch.is_grad_enabled():
            left, right = ctx.parts.pairs()
            diagonal = None if ctx.parts.diagonal is None else float(scale) * ctx.parts.diagonal
            return None, None, None, *operand.gradients(float(scale) * left, right, diagonal=diagonal)
        right, weights = ctx.parts.fixed()
        c, g = slope_of(ctx.fun)
        left = c * funm_multiply(operand.source, g, right, operand.operator.dim, tol=1e-12)
        left = scale * (left if weights is None else left * weights)
        return None, None, None, *operand.gradients_with_graph(left, right)
