"""Which of torch's functions have a closed form here, and for which arguments; for all others torch's own is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastlanczos.closed_forms.activation import activation
from fastlanczos.closed_forms.attention import attention
from fastlanczos.closed_forms.convolution import Stencil, convolution
from fastlanczos.closed_forms.embedding import embedding
from fastlanczos.closed_forms.layer_norm import layer_norm
from fastlanczos.closed_forms.linear import linear
from fastlanczos.closed_forms.vectors import Vectors

__all__ = ["CONVOLUTIONS", "REPLACEMENTS", "plain"]

F = torch.nn.functional
CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}  # of so many dimensions

Replacement = Callable[..., torch.Tensor]


def plain(*tensors: Any) -> bool:
    """Whether all are ordinary tensors of one type that the closed forms are made for."""
    given = [t for t in tensors if t is not None]
    dtypes = {t.dtype for t in given}
    return (
        len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64} and all(t.layout == torch.strided for t in given)
    )


def _linear(
    func: Any, vectors: Vectors, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    if not plain(x, weight, bias) or x.ndim < 2 or weight.ndim != 2:
        return F.linear(x, weight, bias)
    return linear(x, weight, bias, vectors)


def _convolution(
    func: Any,
    vectors: Vectors,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    dims = CONVOLUTIONS[func]
    if not plain(input, weight, bias) or not input.ndim == weight.ndim == dims + 2 or isinstance(padding, str):
        return func(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[no-any-return]

    def each(number: Any) -> list[int]:
        numbers = list(number) if isinstance(number, (tuple, list)) else [number]
        return numbers * dims if len(numbers) == 1 else numbers

    stencil = Stencil(each(stride), each(padding), each(dilation), groups)
    return convolution(input, weight, bias, stencil, vectors)


def _activation(func: Any, vectors: Vectors, *args: Any, **kwargs: Any) -> torch.Tensor:
    if not args or not plain(args[0]) or kwargs.get("inplace"):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    return activation(args[0], lambda x: func(x, *args[1:], **kwargs), vectors)


def _layer_norm(
    func: Any,
    vectors: Vectors,
    input: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = False,
) -> torch.Tensor:
    if not plain(input, weight, bias) or not _fits(input, normalized_shape, weight, bias):
        return F.layer_norm(input, normalized_shape, weight, bias, eps)  # type: ignore[arg-type]
    return layer_norm(input, weight, bias, eps, vectors, entries=math.prod(normalized_shape))


def _rms_norm(
    func: Any,
    vectors: Vectors,
    input: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    if not plain(input, weight) or not _fits(input, normalized_shape, weight):
        return F.rms_norm(input, normalized_shape, weight, eps)  # type: ignore[arg-type]
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    return layer_norm(input, weight, None, eps, vectors, entries=math.prod(normalized_shape), centered=False)


def _fits(input: torch.Tensor, shape: Sequence[int], *parameters: torch.Tensor | None) -> bool:
    """Whether there is something to normalize, over the last dimensions; torch says what is wrong otherwise."""
    shape = tuple(shape)
    return (
        0 < len(shape) <= input.ndim
        and input.numel() > 0
        and tuple(input.shape[-len(shape) :]) == shape
        and all(p is None or tuple(p.shape) == shape for p in parameters)
    )


def _embedding(
    func: Any,
    vectors: Vectors,
    input: torch.Tensor,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    if not plain(weight) or max_norm is not None or scale_grad_by_freq or weight.ndim != 2:
        return F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return embedding(input, weight, padding_idx, vectors)


def _attention(
    func: Any,
    vectors: Vectors,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    keys, values = key, value
    if enable_gqa and query.ndim >= 3 and key.ndim >= 3 and query.shape[-3] % max(1, key.shape[-3]) == 0:
        keys = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        values = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    shapes = [t.shape for t in (query, keys, values)]
    fits = (
        plain(query, keys, values)
        and all(len(s) >= 2 for s in shapes)
        and len({s[:-2] for s in shapes}) == 1
        and shapes[0][-1] == shapes[1][-1]
        and shapes[1][-2] == shapes[2][-2]
        and query.numel() * keys.numel() > 0
    )
    if attn_mask is not None and fits:
        pairs = (*shapes[0][:-1], shapes[1][-2])
        fits = (
            not attn_mask.requires_grad
            and not is_causal
            and attn_mask.dtype in (torch.bool, query.dtype)
            and attn_mask.ndim <= len(pairs)
            and all(a in (1, b) for a, b in zip(reversed(attn_mask.shape), reversed(pairs), strict=False))
        )
    if dropout_p > 0.0 or not fits:
        return func(  # type: ignore[no-any-return]
            query,
            key,
            value,
            attn_mask=attn_mask,
            dropout_p=dropout_p,
            is_causal=is_causal,
            scale=scale,
            enable_gqa=enable_gqa,
        )
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return attention(query, keys, values, attn_mask, causal=is_causal, scale=factor, vectors=vectors)


# Of activations those of which autograd makes many operations where one multiplication does; ReLU and its like are as
# cheap.
REPLACEMENTS: dict[Any, Replacement] = {
    F.linear: _linear,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    torch.tanh: _activation,
    torch.Tensor.tanh: _activation,
    torch.sigmoid: _activation,
    torch.Tensor.sigmoid: _activation,
    F.gelu: _activation,
    F.silu: _activation,
    F.softplus: _activation,
    F.mish: _activation,
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    F.embedding: _embedding,
    F.scaled_dot_product_attention: _attention,
}
