"""A as an operator, the tensors that it depends on, and gradients of left' A right with respect to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fastlanczos.gradients.dependence import dependence
from fastlanczos.operators.operator import Operator, as_operator

__all__ = ["Operand", "as_operand", "matrix_gradient"]


@dataclass(frozen=True)
class Operand:
    """`operator` multiplies without gradients; `tensors` are those that its products depend on and that require one.

    `source` is the tensor, the linear operator, or what multiplies. `by_block` says whether it takes blocks (n, p).
    """

    operator: Operator
    tensors: tuple[torch.Tensor, ...]
    source: Any
    like: torch.Tensor  # an empty one of the vectors' dtype and device
    by_block: bool

    @property
    def is_matrix(self) -> bool:
        """Whether it is a tensor."""
        return isinstance(self.source, torch.Tensor)

    @property
    def plain(self) -> Any:
        """What the functions without gradients take."""
        if isinstance(self.source, torch.nn.Module):
            return self.source.__call__
        return self.source.detach() if hasattr(self.source, "detach") else self.source

    @property
    def needs_gradient(self) -> bool:
        """Whether anything is to be differentiated."""
        return bool(self.tensors) and torch.is_grad_enabled()

    @property
    def device(self) -> torch.device:
        """Where its vectors are."""
        return self.like.device

    @property
    def tells_diagonal(self) -> bool:
        """Whether the sum of a vector times A's diagonal has a gradient: of dense tensors, and by `diagonal()`."""
        return (self.is_matrix and self.source.layout == torch.strided) or self._diagonal() is not None

    def _diagonal(self) -> torch.Tensor | None:
        if self.is_matrix or not self.by_block or not hasattr(self.source, "diagonal"):
            return None
        with torch.enable_grad():
            d = self.source.diagonal()
        return d if isinstance(d, torch.Tensor) and d.requires_grad else None

    def products(self, block: torch.Tensor) -> torch.Tensor:
        """Return A times columns (n, p), with the graph on where gradients are enabled."""
        block = block.to(dtype=self.like.dtype, device=self.device)
        if self.by_block:
            multiply = getattr(self.source, "matmat", None) or self.source.__matmul__
            return torch.as_tensor(multiply(block))
        return torch.stack([_multiply(self.source, v) for v in block.unbind(1)], dim=1)

    def gradients(
        self, left: torch.Tensor, right: torch.Tensor, *, diagonal: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the sum of left * (A right), columns (n, p), with respect to `tensors`.

        That of a matrix is symmetric, since A is; a sparse one's has its pattern. With `diagonal`, (n,), those of its
        product with A's diagonal are added, where `tells_diagonal`.
        """
        if not self.tensors:
            return ()
        left, right = left.detach(), right.detach()  # a function's own outputs, saved for its gradient, lead back to it
        if self.is_matrix:
            gradient = matrix_gradient(self.source, left, right)
            if diagonal is not None:
                gradient.diagonal().add_(diagonal)
            return (gradient,)
        with torch.enable_grad():
            if self.by_block:
                return self._pulled_back(self.products(right), left, diagonal)
            total: list[torch.Tensor | None] = [None] * len(self.tensors)
            for a, b in zip(left.unbind(1), right.unbind(1), strict=True):  # one graph at a time
                parts = self._pulled_back(self.products(b[:, None]), a[:, None])
                for i, part in enumerate(parts):
                    before = total[i]
                    total[i] = part if before is None else before if part is None else before + part
        return tuple(total)

    def gradients_with_graph(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return `gradients` that can be differentiated with respect to left and to `tensors`."""
        if self.is_matrix:
            if self.source.layout != torch.strided:
                raise NotImplementedError(
                    "sums of sparse tensors have no second derivative: pass a callable v -> A @ v"
                )
            return (matrix_gradient(self.source, left, right),)
        y = self.products(right)
        return tuple(torch.autograd.grad(y, self.tensors, left.to(y), allow_unused=True, create_graph=True))

    def _pulled_back(
        self, y: torch.Tensor, left: torch.Tensor, diagonal: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | None, ...]:
        told = None if diagonal is None else self._diagonal()
        pairs = [(y, left), *([] if diagonal is None or told is None else [(told, diagonal)])]
        some = [(out, back.to(dtype=out.dtype, device=out.device)) for out, back in pairs if out.requires_grad]
        if not some:
            return (None,) * len(self.tensors)
        outputs, backs = zip(*some, strict=True)
        return tuple(torch.autograd.grad(outputs, self.tensors, backs, allow_unused=True, retain_graph=True))


def as_operand(A: Any, dim: int | None, like: Any, name: str) -> Operand:
    """Return what A is; `name` is the function's that asks, for its errors.

    Vectors of a callable are float64 unless `like` is a tensor of another dtype, or on a GPU.
    """
    if isinstance(A, torch.Tensor):
        if A.is_complex():
            raise TypeError(f"fastlanczos.torch.{name} carries gradients of real operators, and A is complex")
        example = torch.empty(0, dtype=A.dtype, device=A.device)
        return Operand(as_operator(A.detach(), dim), (A,) if A.requires_grad else (), A, example, True)
    if type(A).__module__.split(".")[0] == "linear_operator":
        tensors = tuple(t for t in A.representation() if t.requires_grad)
        example = torch.empty(0, dtype=A.dtype, device=A.device)
        return Operand(as_operator(A.detach(), dim), tensors, A, example, True)
    if not callable(A) and not hasattr(A, "matvec") and not hasattr(A, "__matmul__"):
        raise TypeError(
            f"fastlanczos.torch.{name} takes a tensor, an operator of linear_operator's, a module, or a callable "
            f"v -> A v on tensors (with dim=); got {type(A).__module__}.{type(A).__qualname__}"
        )
    if dim is None and not hasattr(A, "shape"):
        raise ValueError("dim is missing: a callable does not tell the length of its vectors; pass dim=n")
    example = _example(A, like, name)
    given: Any = A
    if isinstance(A, torch.nn.Module):
        given = A.__call__
    operator = as_operator(given, dim, v0=example)
    v = torch.ones(operator.dim, dtype=example.dtype, device=example.device)
    tensors = tuple(dependence(lambda v: _multiply(A, v), v))
    return Operand(operator, tensors, A, example, operator.matmat is not None)


def _multiply(A: Any, v: torch.Tensor) -> torch.Tensor:
    y = A.matvec(v) if hasattr(A, "matvec") else A(v) if callable(A) else A @ v
    if not isinstance(y, torch.Tensor):
        raise TypeError(f"A must return a tensor for one, so that gradients can be carried; got {type(y).__qualname__}")
    return y


def _example(A: Any, like: Any, name: str) -> torch.Tensor:
    if like is None:
        dtype, device = getattr(A, "dtype", None), getattr(A, "device", None)
        if isinstance(A, torch.nn.Module):
            first = next(A.parameters(), None)
            dtype, device = (None, None) if first is None else (first.dtype, first.device)
        dtype = dtype if isinstance(dtype, torch.dtype) else torch.float64
        return torch.empty(0, dtype=dtype, device=device if isinstance(device, torch.device) else None)
    if not isinstance(like, torch.Tensor):
        raise TypeError(f"like must be a tensor in fastlanczos.torch.{name}, got {type(like).__qualname__}")
    return like.new_empty(0).detach()


def matrix_gradient(A: torch.Tensor, left: torch.Tensor, right: torch.Tensor, symmetric: bool = True) -> torch.Tensor:
    """Return left right', or its symmetric part, in the dtype of A; on A's pattern if that is sparse."""
    if A.layout == torch.strided:
        G = left @ right.T
        return (0.5 * (G + G.T) if symmetric else G).to(A.dtype)
    if A.layout == torch.sparse_coo:
        rows, columns = A.detach().coalesce().indices()
        values = _on_pattern(rows, columns, left, right, symmetric).to(A.dtype)
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, A.shape, is_coalesced=True)
    if A.layout == torch.sparse_csr:
        pointers, columns = A.crow_indices(), A.col_indices()
        rows = torch.repeat_interleave(torch.arange(A.shape[0], device=A.device), pointers.diff())
        values = _on_pattern(rows, columns, left, right, symmetric).to(A.dtype)
        return torch.sparse_csr_tensor(pointers, columns, values, A.shape)
    raise TypeError(f"a tensor with layout {A.layout} has no gradient here: pass it as sparse_coo, sparse_csr or dense")


def _on_pattern(
    rows: torch.Tensor, columns: torch.Tensor, left: torch.Tensor, right: torch.Tensor, symmetric: bool
) -> torch.Tensor:
    total = torch.zeros(rows.shape, dtype=left.dtype, device=left.device)
    for a, b in zip(left.unbind(1), right.unbind(1), strict=True):  # as much memory as the entries
        total += a[rows] * b[columns]
        if symmetric:
            total += b[rows] * a[columns]
    return 0.5 * total if symmetric else total
