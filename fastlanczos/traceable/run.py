"""A Lanczos run that torch.compile takes whole, with the caller's product inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from fastlanczos.engine.flat import BREAKDOWN, NOT_FINITE, NUMBERS, STEPS
from fastlanczos.traceable import operators

__all__ = ["LanczosTensors", "lanczos", "quadrature"]


class LanczosTensors(NamedTuple):
    """What a run gives, as tensors whose shapes do not depend on how it went.

    Attributes
    ----------
    alpha, beta : (m,), (m - 1,) float64
        The tridiagonal matrix T. After a breakdown the rest of it is zero.
    basis : (m, n) float64 or float32, or None
        Orthonormal rows; zero after a breakdown.
    residual_norm : () float64
        Norm of what A leaves outside of the Krylov space.
    num_steps : () int64
        Finished steps: fewer than m after a breakdown, at which the space is invariant, or after a product that is not
        finite.
    is_finite : () bool
        Whether v0 and all products were finite, and v0 not zero.
    """

    alpha: torch.Tensor
    beta: torch.Tensor
    basis: torch.Tensor | None
    residual_norm: torch.Tensor
    num_steps: torch.Tensor
    is_finite: torch.Tensor


def lanczos(
    matvec: Callable[[torch.Tensor], torch.Tensor],
    v0: torch.Tensor,
    num_steps: int,
    *,
    reorthogonalize: str = "full",
    basis_dtype: str = "float64",
) -> LanczosTensors:
    """Run Lanczos with full reorthogonalization inside a program that torch.compile makes, without a graph break.

    Every step is one operator (`torch.ops.fastlanczos.step`) that writes into the run's own tensors, so that a CUDA
    graph can hold the run as well: nothing waits for the GPU. Outside of compiled programs `fastlanczos.lanczos` gives
    the same bits on the CPU, and more: errors, progress, runs that can be stopped and taken up again. It is not
    differentiable: see `trace`, `funm_multiply`, `eigsh`.

    Parameters
    ----------
    matvec : callable
        v -> A v for a symmetric A, on tensors (n,) of v0's dtype and device. Its product must not require a gradient.
    v0 : tensor, shape (n,), float64 or float32
        Start vector.
    num_steps : int
        Number of steps, at most n of which are made. A compiled program has so many products in it.
    reorthogonalize, basis_dtype
        As in `fastlanczos.lanczos`; "none" keeps no basis.

    Returns
    -------
    LanczosTensors

    Raises
    ------
    TypeError
        If v0 is not a vector of floats, or a product requires a gradient or is of another shape.

    References
    ----------
    `csrc/include/fastlanczos/step.hpp`; Bielich et al., arXiv 2104.01253.

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> d = torch.linspace(1.0, 2.0, 1000, dtype=torch.float64)
    >>> program = torch.compile(lambda v: flt.lanczos(lambda x: d * x, v, 10), backend="eager", fullgraph=True)
    >>> r = program(torch.ones(1000, dtype=torch.float64))
    >>> r.alpha.shape, r.basis.shape, bool((r.basis @ r.basis.T - torch.eye(10)).abs().max() < 1e-13)
    (torch.Size([10]), torch.Size([10, 1000]), True)
    """
    if v0.ndim != 1 or v0.dtype not in (torch.float64, torch.float32):
        raise TypeError(f"v0 must be a vector of float64 or float32, got shape {tuple(v0.shape)} and dtype {v0.dtype}")
    if reorthogonalize not in ("full", "none") or basis_dtype not in ("float64", "float32"):
        raise ValueError(
            'reorthogonalize must be "full" or "none" and basis_dtype "float64" or "float32", got '
            f"{reorthogonalize!r} and {basis_dtype!r}"
        )
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    n = v0.shape[0]
    m = min(num_steps, n)
    run = operators.begin(v0.detach().double(), m, basis_dtype if reorthogonalize == "full" else "")
    for _ in range(m):
        product = matvec(run[1].to(v0.dtype, copy=True))  # a copy: the product may be written into its argument
        if product.shape != v0.shape or product.requires_grad:
            raise TypeError(
                f"matvec must return tensors of shape ({n},) that require no gradient, got shape "
                f"{tuple(product.shape)}{' with a gradient' if product.requires_grad else ''}. flt.lanczos has no "
                "derivative: detach the product, or call flt.trace, flt.funm_multiply or flt.eigsh"
            )
        operators.step(*run, product.double())
    numbers = operators.read(*run)
    steps = numbers[STEPS].long()
    done = torch.arange(m, device=v0.device) < steps
    alpha, beta, h = numbers[NUMBERS:].reshape(3, m)
    # Without a basis nothing corrects the candidate, and after a breakdown there is none.
    corrected = done & (numbers[BREAKDOWN] == 0.0) & (reorthogonalize == "full")
    left = torch.sqrt(1.0 - torch.where(corrected, h * h, 0.0).sum())
    last = beta.gather(0, (steps - 1).clamp(min=0)[None])[0]
    return LanczosTensors(
        torch.where(done, alpha, 0.0),
        torch.where(done.roll(-1)[: m - 1], beta[: m - 1], 0.0),
        run[0][:, :n] if reorthogonalize == "full" else None,
        torch.where(steps > 0, last * left, 0.0),
        steps,
        numbers[NOT_FINITE] == 0.0,
    )


def quadrature(alpha: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the Gauss rule of tridiagonal matrices: nodes, ascending, and weights, (..., m) each; traceable.

    Parameters
    ----------
    alpha, beta : tensors, shapes (..., m) and (..., m - 1)
        Diagonals and off-diagonals.

    Returns
    -------
    nodes, weights : tensors, shape (..., m), float64
        Eigenvalues, and the squares of the first components of eigenvectors; NaN where an entry is not finite. They
        have no gradient.

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    References
    ----------
    Golub and Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23 (1969).

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> nodes, weights = flt.quadrature(torch.zeros(2), torch.ones(1))
    >>> [round(x, 12) for x in nodes.tolist()], [round(x, 12) for x in weights.tolist()]
    ([-1.0, 1.0], [0.5, 0.5])
    """
    m = alpha.shape[-1] if alpha.ndim else 0
    if m < 1 or beta.shape != (*alpha.shape[:-1], m - 1):
        raise ValueError(
            f"want alpha (..., m) and beta (..., m - 1), got shapes {tuple(alpha.shape)} and {tuple(beta.shape)}"
        )
    count = alpha.numel() // m
    flat_alpha, flat_beta = alpha.detach().double().reshape(count, m), beta.detach().double().reshape(count, m - 1)
    nodes, weights = operators.quadrature(flat_alpha, flat_beta)
    return nodes.reshape(alpha.shape), weights.reshape(alpha.shape)
