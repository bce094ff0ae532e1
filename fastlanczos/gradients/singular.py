"""Singular triplets with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gradients.dependence import dependence
from fastlanczos.gradients.eigenpairs import coupled
from fastlanczos.gradients.once import once
from fastlanczos.gradients.operand import matrix_gradient
from fastlanczos.gradients.resolvent import resolvents
from fastlanczos.singular.svds import svds as without_gradient
from fastlanczos.sums.products import on_host

__all__ = ["svds"]


def svds(
    A: Any,
    k: int = 6,
    ncv: int | None = None,
    tol: float = 0,
    which: str = "LM",
    *,
    dim: tuple[int, int] | None = None,
    like: Any = None,
    return_singular_vectors: bool = True,
    **options: Any,
) -> Any:
    """Find k singular triplets, with gradients of the values, u' dA v, and of the vectors.

    (sigma, (u, v) / sqrt 2) is an eigenpair of the symmetric matrix of A and A', and so are the derivatives; see
    `eigsh`.

    Parameters
    ----------
    A : tensor, linear_operator, or pair of callables
        Real, (m, n): a dense or sparse (COO, CSR) tensor, one of linear_operator's, or functions of tensors x -> A x
        and y -> A' y, with dim=(m, n).
    k, ncv, tol, which
        As in `fastlanczos.svds`.
    dim : (int, int), optional
        Shape of A, for a pair of functions.
    like : tensor, optional
        A tensor of the dtype of a function's vectors; float64 by default.
    return_singular_vectors : bool
        False returns values only.
    **options
        As in `fastlanczos.svds`. center=True has the derivative of the mean in it; a vector is a constant.

    Returns
    -------
    u, s, vt : Tensor, shapes (m, k), (k,), (k, n), float64
        As `fastlanczos.svds`; after them `info`, if `return_info`.

    Raises
    ------
    TypeError, ValueError
        As `eigsh`.

    Examples
    --------
    >>> import torch
    >>> import fastlanczos.torch as flt
    >>> A = torch.diag(torch.arange(1.0, 101.0, dtype=torch.float64))[:, :80].requires_grad_()
    >>> s = flt.svds(A, 2, return_singular_vectors=False)
    >>> s.sum().backward()
    >>> A.grad.diagonal()[-3:].round(decimals=9).tolist()
    [0.0, 1.0, 1.0]
    """
    matrix = _Rectangular(A, dim, like)
    matrix.center(options.get("center"))
    found = without_gradient(matrix.plain, k, ncv, tol, which, dim=matrix.dim, **options)
    u, s, vt = (torch.as_tensor(np.asarray(on_host(x))) for x in found[:3])
    if matrix.tensors and torch.is_grad_enabled():
        u, s, vt = _Triplets.apply(matrix, u, s, vt, *matrix.tensors)
    if return_singular_vectors:
        return (u, s, vt, *found[3:])
    return (s, *found[3:]) if found[3:] else s


class _Rectangular:
    """A (m, n), its products in both directions, and gradients of left' A right."""

    def __init__(self, A: Any, dim: Any, like: Any) -> None:
        self.dim: tuple[int, int] | None = None
        self._A = A
        self._mean: Float64 | None = None
        self._projects = False
        self._functions = isinstance(A, tuple) and len(A) == 2 and all(callable(x) for x in A)
        if isinstance(A, torch.Tensor):
            if A.is_complex():
                raise TypeError("fastlanczos.torch.svds carries gradients of real matrices, and A is complex")
            self.plain, self.shape = A.detach(), tuple(A.shape)
            self.tensors: tuple[torch.Tensor, ...] = (A,) if A.requires_grad else ()
            self._like = torch.empty(0, dtype=A.dtype, device=A.device)
        elif type(A).__module__.split(".")[0] == "linear_operator":
            plain = A.detach()
            self._like = torch.empty(0, dtype=A.dtype)
            self.plain, self.shape = (plain.matmul, plain.mT.matmul), tuple(A.shape)
            self.dim = (self.shape[0], self.shape[1])
            self.tensors = tuple(t for t in A.representation() if t.requires_grad)
        elif self._functions:
            if dim is None:
                raise ValueError("dim is missing: two functions do not tell the shape of A; pass dim=(m, n)")
            self._like = torch.empty(0, dtype=torch.float64) if like is None else like.new_empty(0).detach()
            self.plain, self.shape, self.dim = A, (int(dim[0]), int(dim[1])), (int(dim[0]), int(dim[1]))
            self.tensors = tuple(dependence(A[0], self._like.new_ones(self.shape[1])))
        else:
            raise TypeError(
                "fastlanczos.torch.svds takes a tensor, an operator of linear_operator's, or a pair of functions of "
                f"tensors with dim=(m, n); got {type(A).__module__}.{type(A).__qualname__}"
            )
        if self.dim is not None:
            self.plain = tuple(self._of_arrays(f) for f in self.plain)

    def _of_arrays(self, function: Any) -> Any:
        def product(x: Any) -> Float64:
            with torch.no_grad() if not self._functions else torch.enable_grad():
                return np.asarray(on_host(function(torch.from_numpy(np.array(x, dtype=np.float64)).to(self._like))))

        return product

    def product(self, x: Float64) -> Float64:
        """Return (A x[m:], A' x[:m]), the symmetric matrix's product, A with its center taken out."""
        m = self.shape[0]
        above, below = self._times(x[m:]), self._transposed_times(x[:m])
        if self._mean is not None:
            above, below = above - self._mean @ x[m:], below - self._mean * x[:m].sum()
        return np.concatenate([above, below])

    def center(self, center: Any) -> None:
        """Take a row out of all rows, or their mean, as `fastlanczos.svds` does."""
        if isinstance(center, torch.Tensor) and center.requires_grad:
            raise ValueError("center= is a constant, and this tensor requires a gradient: detach it, or pass True")
        self._projects = center is True
        if center is True:
            self._mean = self._transposed_times(np.ones(self.shape[0])) / self.shape[0]
        elif center is not None and center is not False:
            self._mean = np.asarray(on_host(center), dtype=np.float64)

    def _times(self, x: Float64) -> Float64:
        if self.dim is not None:
            return np.asarray(self.plain[0](x))
        return np.asarray(on_host(self.plain @ torch.from_numpy(np.array(x)).to(self.plain.dtype)))

    def _transposed_times(self, y: Float64) -> Float64:
        if self.dim is not None:
            return np.asarray(self.plain[1](y))
        return np.asarray(on_host(self.plain.t() @ torch.from_numpy(np.array(y)).to(self.plain.dtype)))

    def gradients(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the sum of left * (A right) with respect to `tensors`."""
        if self._projects:
            left = left - left.mean(dim=0, keepdim=True)  # A without the mean of its rows is (I - 11'/m) A
        if isinstance(self._A, torch.Tensor):
            return (matrix_gradient(self._A, left, right, symmetric=False),)
        left, right = left.detach(), right.detach().to(self._like)
        with torch.enable_grad():
            if self._functions:
                y = torch.stack([self._A[0](v) for v in right.unbind(1)], dim=1)
            else:
                y = self._A.matmul(right)
            return tuple(torch.autograd.grad(y, self.tensors, left.to(y), allow_unused=True, retain_graph=True))


class _Triplets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, matrix: _Rectangular, u: torch.Tensor, s: torch.Tensor, vt: torch.Tensor, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.matrix = matrix
        u, s, vt = u.clone(), s.clone(), vt.clone()
        ctx.save_for_backward(u, s, vt, *tensors)
        ctx.set_materialize_grads(False)
        return u, s, vt

    @staticmethod
    def backward(ctx: Any, of_u: Any, of_s: Any, of_vt: Any) -> Any:
        u, s, vt, *tensors = ctx.saved_tensors
        with torch.no_grad():
            found = _gradients(ctx.matrix, u, s, vt, of_u, of_s, of_vt)
        return None, None, None, None, *once("svds", found, tuple(tensors))


def _gradients(
    matrix: _Rectangular, u: torch.Tensor, s: torch.Tensor, vt: torch.Tensor, of_u: Any, of_s: Any, of_vt: Any
) -> tuple[torch.Tensor | None, ...]:
    v = vt.T
    left, right = (torch.zeros_like(u) if of_s is None else u * of_s), v
    if of_u is not None or of_vt is not None:
        parts = (
            torch.zeros_like(u) if of_u is None else of_u,
            torch.zeros_like(v) if of_vt is None else of_vt.T,
        )
        values = on_host(s)
        vectors = np.concatenate([on_host(u), on_host(v)]) / np.sqrt(2.0)
        gradient = np.sqrt(2.0) * np.concatenate([on_host(x) for x in parts])
        scale = float(values.max(initial=0.0))
        y = vectors @ coupled(values, vectors, gradient, scale)
        y += resolvents(matrix.product, values, vectors, gradient)
        y = torch.from_numpy(y / np.sqrt(2.0)).to(u)
        m = u.shape[0]
        left, right = torch.cat([left + y[:m], u], dim=1), torch.cat([v, y[m:]], dim=1)
    return matrix.gradients(left, right)
