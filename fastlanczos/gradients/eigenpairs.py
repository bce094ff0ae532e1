"""Eigenpairs with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.eigsh import eigsh as without_gradient
from fastlanczos.gradients.once import once
from fastlanczos.gradients.operand import Operand, as_operand
from fastlanczos.gradients.resolvent import resolvents
from fastlanczos.probes.draw import probe, seed_sequence
from fastlanczos.sums.products import multiply, on_host

__all__ = ["coupled", "eigsh"]

_COINCIDE = 1e3  # roundings of the norm within which values are copies of one another
_INVARIANT = 1e-6  # of the vectors' gradient that may depend on the basis of copies


def eigsh(
    A: Any,
    k: int = 6,
    M: Any = None,
    sigma: float | None = None,
    which: str = "LM",
    *,
    dim: int | None = None,
    like: Any = None,
    return_eigenvectors: bool = True,
    **options: Any,
) -> Any:
    """Find k eigenpairs, with gradients of the values, v' dA v, and of the vectors.

    A vector's derivative is (lambda - A)^+ dA v: its part among the k vectors is a sum over them, and the rest comes
    from MINRES to a relative residual of 1e-10, one solve for each vector that has a gradient. It does not exist where
    values coincide, but where the loss depends only on the space of the copies.

    Parameters
    ----------
    A, dim, like
        As in `trace`.
    k, sigma, which, return_eigenvectors
        As in `fastlanczos.eigsh`.
    M
        None: pencils have no gradient here.
    **options
        As in `fastlanczos.eigsh`, but Minv, mode and interval.

    Returns
    -------
    w : Tensor, shape (k,), float64
        Eigenvalues, ascending.
    v : Tensor, shape (n, k), float64
        Eigenvectors, if `return_eigenvectors`. After them `info`, if `return_info`.

    Raises
    ------
    TypeError
        As `trace`.
    ValueError
        Out of the gradient, where the derivative of a vector does not exist; the message names the value.

    References
    ----------
    Magnus, "On differentiating eigenvalues and eigenvectors", Econometric Theory 1 (1985).

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> A = torch.diag(torch.arange(1.0, 301.0, dtype=torch.float64)).requires_grad_()
    >>> w, v = flt.eigsh(A, 3, which="LA")
    >>> w.sum().backward()
    >>> A.grad.diagonal()[-4:].round(decimals=9).tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    options["M"] = M
    for name in ("M", "Minv", "interval", "mode"):
        if options.get(name) not in (None, "normal") if name == "mode" else options.get(name) is not None:
            raise ValueError(f"{name}= has no gradient here: fastlanczos.eigsh takes it")
    operand = as_operand(A, dim, like, "eigsh")
    n = operand.operator.dim
    if not operand.is_matrix and options.get("v0") is None:
        options["v0"] = torch.from_numpy(probe(n, seed_sequence(options.get("rng")))).to(operand.like)
    found = without_gradient(
        operand.plain, k, sigma=sigma, which=which, dim=None if operand.is_matrix else n, **options
    )
    w, v = (torch.as_tensor(np.asarray(on_host(x)), device=operand.device) for x in found[:2])
    if operand.needs_gradient:
        w, v = _Pairs.apply(operand, w, v, *operand.tensors)
    return (w, v, *found[2:]) if return_eigenvectors else (w, *found[2:]) if found[2:] else w


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, operand: Operand, w: torch.Tensor, v: torch.Tensor, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.operand = operand
        w, v = w.clone(), v.clone()
        ctx.save_for_backward(w, v, *tensors)
        ctx.set_materialize_grads(False)
        return w, v

    @staticmethod
    def backward(ctx: Any, of_values: torch.Tensor | None, of_vectors: torch.Tensor | None) -> Any:
        w, v, *tensors = ctx.saved_tensors
        with torch.no_grad():
            found = _gradients(ctx.operand, w, v, of_values, of_vectors)
        return None, None, None, *once("eigsh", found, tuple(tensors))


def _gradients(
    operand: Operand, w: torch.Tensor, v: torch.Tensor, of_values: torch.Tensor | None, of_vectors: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    left = torch.zeros_like(v) if of_values is None else v * of_values
    if of_vectors is not None and bool(of_vectors.any()):
        silent = tqdm(disable=True)

        def product(x: Float64) -> Float64:
            return np.asarray(multiply(operand.operator, x[:, None], silent)[:, 0])

        values, vectors, gradient = (on_host(x) for x in (w, v, of_vectors))
        scale = float(np.abs(values).max(initial=0.0))
        inner = vectors @ coupled(values, vectors, gradient, scale)
        outer = resolvents(product, values, vectors, gradient)
        left = left + torch.from_numpy(inner + outer).to(left)
    return operand.gradients(left, v)


def coupled(values: Float64, vectors: Float64, gradient: Float64, scale: float) -> Float64:
    """Return C, (k, k), with V C the part of (lambda_i - A)^+ gradient_i in the span of the vectors.

    A pair's two parts are taken together, as the gradient is symmetric; that of copies vanishes if the loss does not
    depend on their basis. Raises ValueError if it does.
    """
    overlap = vectors.T @ gradient
    difference = 0.5 * (overlap - overlap.T)
    gap = values[None, :] - values[:, None]
    copies = np.abs(gap) <= _COINCIDE * np.finfo(np.float64).eps * scale
    size = np.linalg.norm(gradient, axis=0)
    depends = copies & (np.abs(difference) > _INVARIANT * np.maximum(size[None, :], size[:, None]))
    if depends.any():
        j, i = np.argwhere(depends)[0]
        raise ValueError(
            f"the vectors {min(i, j)} and {max(i, j)} belong to one value, {values[i]:.9g}, and the loss depends on "
            "which basis of their space they are: this derivative does not exist. Let the loss depend on the space, "
            "such as on V V'"
        )
    return np.asarray(np.where(copies, 0.0, difference / np.where(copies, 1.0, gap)))
