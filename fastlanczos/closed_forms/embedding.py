"""Rows of a table. Of the table's derivative only the rows exist that were looked up, until it is added to a product.

A vocabulary has tens of thousands of rows, of which a batch uses some hundreds: a dense derivative of the table would
be most of what a product writes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["embedding"]

Grad = Any  # a tensor, or None where none is needed
_aten = torch.ops.aten


def embedding(indices: torch.Tensor, table: torch.Tensor, padding_index: int | None, vectors: Vectors) -> torch.Tensor:
    """Return table[indices] for a table (rows, entries); the row `padding_index` gets no derivative."""
    y: torch.Tensor = _Embedding.apply(indices, table, padding_index, vectors)
    return y


class _Embedding(Function):
    @staticmethod
    def forward(
        ctx: Any, indices: torch.Tensor, table: torch.Tensor, padding: int | None, vectors: Vectors
    ) -> torch.Tensor:
        ctx.save_for_backward(indices)
        ctx.rows, ctx.padding, ctx.vectors = table.shape[0], padding, vectors
        return torch.nn.functional.embedding(indices, table)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        (indices,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, _EmbeddingGradient.apply(grad, indices, ctx.rows, ctx.padding), None, None
        if ctx.vectors.several or ctx.vectors.dense:  # torch.vmap and torch.compile know no sparse tensors
            return None, _dense(grad, indices, ctx.rows, ctx.padding), None, None
        rows = grad.reshape(-1, grad.shape[-1])
        flat = indices.reshape(-1)
        if ctx.padding is not None:
            kept = flat != ctx.padding
            flat, rows = flat[kept], rows[kept]
        size = (ctx.rows, rows.shape[1])
        return None, torch.sparse_coo_tensor(flat[None], rows, size, check_invariants=False), None, None


class _EmbeddingGradient(Function):
    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, indices: torch.Tensor, rows: int, padding: int | None) -> torch.Tensor:
        ctx.save_for_backward(indices)
        ctx.padding = padding
        return _dense(grad, indices, rows, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[Grad, ...]:
        (indices,) = ctx.saved_tensors
        to_grad = torch.nn.functional.embedding(indices, u)
        if ctx.padding is not None:
            to_grad = to_grad * (indices != ctx.padding)[..., None]
        return to_grad, None, None, None


def _dense(grad: torch.Tensor, indices: torch.Tensor, rows: int, padding: int | None) -> torch.Tensor:
    table: torch.Tensor = _aten.embedding_dense_backward(grad, indices, rows, -1 if padding is None else padding, False)
    return table
