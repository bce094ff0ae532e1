"""f(A) b with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastlanczos.arguments import as_dimension
from fastlanczos.gradients.derivatives import derivative_of, function_of
from fastlanczos.gradients.frechet import adjoint
from fastlanczos.gradients.once import once
from fastlanczos.gradients.operand import Operand, as_operand
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.multiply import funm_multiply as without_gradient
from fastlanczos.sums.products import on_host

__all__ = ["funm_multiply"]


def funm_multiply(
    A: Any,
    fun: Any,
    b: torch.Tensor,
    dim: int | None = None,
    *,
    tol: float = 1e-10,
    num_steps: int = 1000,
    reorthogonalize: str = "auto",
    progress: bool = False,
) -> torch.Tensor:
    """Return f(A) b with gradients with respect to b and to what A depends on.

    Nothing of the run is kept. The gradient takes two runs for each column, from b and from the gradient of f(A) b,
    which need their bases while they last, and then one product with the graph on for each pair of vectors that its
    derivative's low rank asks for.

    Parameters
    ----------
    A : tensor, linear_operator, Module or callable
        As in `trace`.
    fun : callable, str or ("power", p)
        As in `trace`; real.
    b : tensor, shape (n,) or (n, k)
        A vector, or columns. Vectors of a callable have its dtype.
    dim, tol, num_steps, reorthogonalize, progress
        As in `fastlanczos.funm_multiply`; `tol` holds for the gradient as well.

    Returns
    -------
    Tensor
        Of b's shape and dtype.

    Raises
    ------
    TypeError, ValueError
        As `trace`, and as `fastlanczos.funm_multiply`.

    References
    ----------
    Kandolf, Koskela, Relton and Schweitzer, Numer. Linear Algebra Appl. 28 (2021), section 3.

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> A = torch.diag(torch.linspace(1, 4, 50, dtype=torch.float64))
    >>> t = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    >>> x = flt.funm_multiply(t * A, "sqrt", torch.ones(50, dtype=torch.float64))
    >>> x.sum().backward()
    >>> bool(torch.isclose(t.grad, 0.5 * x.sum()))
    True
    """
    if not isinstance(b, torch.Tensor):
        raise TypeError(f"b must be a tensor, got {type(b).__qualname__}; fastlanczos.funm_multiply takes arrays")
    if b.is_complex():
        raise TypeError("b is complex, and gradients are of real vectors: pass its real and imaginary parts")
    operand = as_operand(A, b.shape[0] if dim is None and b.ndim else dim, b, "funm_multiply")
    f = function_of(fun)
    values = without_gradient(
        operand.plain,
        f.call if callable(fun) else fun,
        b.detach(),
        dim=operand.operator.dim,
        tol=tol,
        num_steps=num_steps,
        reorthogonalize=reorthogonalize,
        progress=progress,
    )
    if not torch.is_grad_enabled() or not (operand.tensors or b.requires_grad):
        return torch.as_tensor(values)
    run = _Run(operand, f, derivative_of(fun), tol, as_dimension(num_steps, "num_steps"))
    return torch.as_tensor(_Product.apply(values, run, b, *operand.tensors))


class _Run:
    """What a gradient needs of the call."""

    def __init__(
        self, operand: Operand, f: MatrixFunction, derivative: MatrixFunction, tol: float, num_steps: int
    ) -> None:
        self.operand, self.f, self.derivative, self.tol, self.num_steps = operand, f, derivative, tol, num_steps

    def gradients(self, cotangent: torch.Tensor, b: torch.Tensor) -> tuple[Any, ...]:
        """Return the gradients with respect to b and to the operand's tensors."""
        shape = b.shape
        columns, cotangents = (on_host(z).reshape(shape[0], -1) for z in (b, cotangent))
        found = [
            adjoint(self.operand.operator, self.f, self.derivative, x, v, self.tol, self.num_steps)
            for x, v in zip(cotangents.T, columns.T, strict=True)
        ]
        device = self.operand.device
        left, right, products = (
            torch.from_numpy(np.ascontiguousarray(z)).to(device)
            for z in (
                np.concatenate([one.left for one in found], axis=1),
                np.concatenate([one.right for one in found], axis=1),
                np.stack([one.product for one in found], axis=1),
            )
        )
        return products.reshape(shape).to(b.dtype), *self.operand.gradients(left, right)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, run: _Run, b: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.run = run
        ctx.save_for_backward(b, *tensors)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:
        b, *tensors = ctx.saved_tensors
        with torch.no_grad():
            found = ctx.run.gradients(cotangent, b)
        return None, None, *once("funm_multiply", found, (b, cotangent, *tensors))
