"""Scaled dot-product attention, and its first and second derivatives, in blocks over the queries.

Of the arrays over pairs of tokens, of which autograd keeps some seven, none outlives its block: probabilities are
computed anew from queries, keys, and each row's logarithm of the sum of exponentials. So the memory is linear in the
number of tokens, as Dao et al., "FlashAttention" (2022), do for first derivatives.

With S = scale Q K' + mask, P = softmax(S), O = P V and dP = dO V' (rows sum over keys, `rowsum`):

    dS = P (dP - rowsum(P dP)),  dV = P' dO,  dQ = scale dS K,  dK = scale dS' Q.

For cotangents uQ, uK, uV of these, T = scale (uQ K' + Q uK') is what they make of S. With W = P (T - rowsum(P T)) and
H = W (dP - rowsum(P dP)) + P (dO uV'), that of S is H - P rowsum(H); then

    to_dO = W V + P uV,  to_V = W' dO,  to_Q = scale ((H - P rowsum(H)) K + dS uK),
    to_K = scale ((H - P rowsum(H))' Q + dS' uQ).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["attention"]

Grad = Any  # a tensor, or None where none is needed
_BLOCK = 2**19  # pairs of a query and a key in a block: some arrays of this size stay in a core's cache


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    causal: bool,
    scale: float,
    vectors: Vectors,
) -> torch.Tensor:
    """Return softmax(scale q k' + mask) v.

    q (..., queries, entries), k (..., keys, entries), v (..., keys, values), each with the same leading dimensions;
    mask broadcasts to (..., queries, keys): boolean, False where a key is hidden, or numbers. `causal` hides the keys
    behind a query's own place. A query to which all keys are hidden gets zeros.
    """
    leading = q.shape[:-2]
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (q, k, v)]
    how = _How(mask, causal, scale, leading, vectors)
    out: torch.Tensor = _Attention.apply(*flat, how)
    return out.view(*leading, *out.shape[-2:])


class _How(NamedTuple):
    mask: torch.Tensor | None
    causal: bool
    scale: float
    leading: torch.Size
    vectors: Vectors


class _Block:
    """Some of the queries, the keys that they see, and the probabilities between them."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor, how: _How, rows: slice, lse: torch.Tensor | None) -> None:
        several = how.vectors.several
        # Keys that no query of the block sees are left out; with several vectors the sums over blocks have one shape.
        self.rows = rows
        self.keys = slice(0, min(k.shape[1], rows.stop)) if how.causal and not several else slice(0, k.shape[1])
        self.q, self.k = q[:, rows], k[:, self.keys]
        scores = torch.bmm(self.q, self.k.mT).mul_(how.scale)
        if how.causal:
            queries = torch.arange(rows.start, rows.stop, device=q.device)
            keys = torch.arange(self.keys.stop, device=q.device)
            scores.masked_fill_(keys > queries[:, None], -torch.inf)
        if how.mask is not None:
            self._hide(scores, how)
        if lse is None:
            lse = scores.logsumexp(-1, keepdim=True)
            lse = lse.masked_fill_(lse == -torch.inf, torch.inf)  # all keys are hidden: probabilities of 0
        else:
            lse = lse[:, rows]
        self.lse = lse
        self.p = scores.sub_(lse).exp_()

    def _hide(self, scores: torch.Tensor, how: _How) -> None:
        mask = how.mask
        assert mask is not None
        shape = (*how.leading, scores.shape[1], scores.shape[2])
        if mask.ndim > 1 and mask.shape[-2] != 1:
            mask = mask[..., self.rows, :]
        if mask.shape[-1] != 1:
            mask = mask[..., self.keys]
        shaped = scores.view(shape)
        if mask.dtype == torch.bool:
            shaped.masked_fill_(~mask, -torch.inf)
        else:
            shaped.add_(mask)


def _blocks(q: torch.Tensor, k: torch.Tensor, how: _How, lse: torch.Tensor | None = None) -> Iterator[_Block]:
    queries = q.shape[1]
    step = max(1, _BLOCK // max(1, q.shape[0] * k.shape[1]))
    for start in range(0, queries, step):
        yield _Block(q, k, how, slice(start, min(queries, start + step)), lse)


class _Sum:
    """A sum over blocks of what belongs to the keys."""

    def __init__(self, like: torch.Tensor, several: bool) -> None:
        self.total: Grad = None
        self._like, self._several = like, several

    def add(self, keys: slice, left: torch.Tensor, right: torch.Tensor, scale: float = 1.0) -> None:
        """Add scale left' right in the place of some keys."""
        if self._several:
            term = torch.bmm(left.mT, right) * scale
            self.total = term if self.total is None else self.total + term
            return
        if self.total is None:
            self.total = torch.zeros_like(self._like, memory_format=torch.contiguous_format)
        self.total[:, keys].baddbmm_(left.mT, right, alpha=scale)


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: _How) -> torch.Tensor:
        out, lse = [], []
        for block in _blocks(q, k, how):
            out.append(torch.bmm(block.p, v[:, block.keys]))
            lse.append(block.lse)
        ctx.save_for_backward(q, k, v, torch.cat(lse, 1))
        ctx.how = how
        return torch.cat(out, 1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Grad, ...]:
        q, k, v, lse = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_AttentionGradient.apply(grad, q, k, v, lse, ctx.how), None)
        return (*_gradient(grad, q, k, v, lse, ctx.how), None)


class _AttentionGradient(Function):
    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, q: Any, k: Any, v: Any, lse: Any, how: _How) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(grad, q, k, v, lse)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return _gradient(grad, q, k, v, lse, how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_q: Grad, u_k: Grad, u_v: Grad) -> tuple[Grad, ...]:
        grad, q, k, v, lse = ctx.saved_tensors
        how = ctx.how
        several, scale = how.vectors.several, how.scale
        needs_grad, *needs = ctx.needs_input_grad[:4]
        needs = [needed and not how.vectors.pushed for needed in needs]
        to_grad, to_q = [], []
        to_k, to_v = _Sum(k, several), _Sum(v, several)
        scored = u_q is not None or u_k is not None
        for block in _blocks(q, k, how, lse):
            p, rows, keys = block.p, block.rows, block.keys
            g, uv = grad[:, rows], None if u_v is None else u_v[:, keys]
            dp = torch.bmm(g, v[:, keys].mT)
            d = dp.sub_((p * dp).sum(-1, keepdim=True))
            of_s = None
            along_v = None if uv is None else torch.bmm(p, uv)
            if scored:
                t = None if u_q is None else torch.bmm(u_q[:, rows], block.k.mT)
                if u_k is not None:
                    other = torch.bmm(block.q, u_k[:, keys].mT)
                    t = other if t is None else t + other
                t = t * scale
                w = p * (t - (p * t).sum(-1, keepdim=True))
                if needs_grad:
                    along = torch.bmm(w, v[:, keys])
                    along_v = along if along_v is None else along_v + along
                if needs[2]:
                    to_v.add(keys, w, g)
                of_s = w * d
            if along_v is not None:
                to_grad.append(along_v)
            if uv is not None:
                through = p * torch.bmm(g, uv.mT)
                of_s = through if of_s is None else of_s + through
            if of_s is None or not (needs[0] or needs[1]):
                continue
            of_s = of_s - p * of_s.sum(-1, keepdim=True)
            ds = p * d
            along_q = torch.bmm(of_s, block.k)
            to_k.add(keys, of_s, block.q, scale)
            if u_k is not None:
                along_q = along_q + torch.bmm(ds, u_k[:, keys])
            if u_q is not None:
                to_k.add(keys, ds, u_q[:, rows], scale)
            to_q.append(along_q * scale)
        return (
            torch.cat(to_grad, 1) if to_grad else None,
            torch.cat(to_q, 1) if to_q else None,
            to_k.total,
            to_v.total,
            None,
            None,
        )


def _gradient(grad: torch.Tensor, q: Any, k: Any, v: Any, lse: Any, how: _How) -> tuple[torch.Tensor, ...]:
    several = how.vectors.several
    grad_q, grad_k, grad_v = [], _Sum(k, several), _Sum(v, several)
    for block in _blocks(q, k, how, lse):
        p, g = block.p, grad[:, block.rows]
        grad_v.add(block.keys, p, g)
        dp = torch.bmm(g, v[:, block.keys].mT)
        ds = p * (dp - (p * dp).sum(-1, keepdim=True))
        grad_q.append(torch.bmm(ds, block.k) * how.scale)
        grad_k.add(block.keys, ds, block.q, how.scale)
    return torch.cat(grad_q, 1), grad_k.total, grad_v.total
