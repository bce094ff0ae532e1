"""fastlanczos/closed_forms/replacements.py: what it replaces is torch's function, and all else is left to torch."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import randn  # noqa: E402

from fastlanczos.closed_forms.replacements import REPLACEMENTS, plain  # noqa: E402
from fastlanczos.closed_forms.vectors import Vectors  # noqa: E402

F = torch.nn.functional
X, W = randn(2, 3, 4), randn(4, 4, seed=1)
Q, K = randn(2, 4, 5, 3), randn(2, 2, 5, 3, seed=1)
TOKENS = torch.tensor([[1, 2], [3, 3]])

CLOSED = {
    "linear": (F.linear, (X, W), {}),
    "gelu": (F.gelu, (X,), {"approximate": "tanh"}),
    "layer norm": (F.layer_norm, (X, (3, 4)), {"eps": 0.1}),
    "torch.layer_norm": (torch.layer_norm, (X, (4,)), {}),
    "rms norm": (F.rms_norm, (X, (4,)), {}),
    "embedding": (F.embedding, (TOKENS, W), {"padding_idx": -1}),
    "attention": (F.scaled_dot_product_attention, (Q, Q, Q), {"is_causal": True}),
    "grouped heads": (F.scaled_dot_product_attention, (Q, K, K), {"enable_gqa": True}),
    "mask": (F.scaled_dot_product_attention, (Q, Q, Q), {"attn_mask": torch.ones(5, 5).tril().bool()}),
}
LEFT = {
    "half precision": (F.linear, (X.half(), W.half()), {}),
    "bfloat16": (F.gelu, (X.bfloat16(),), {}),
    "inplace": (F.silu, (X.clone(),), {"inplace": True}),
    "renormalized rows": (F.embedding, (TOKENS, W.clone()), {"max_norm": 1.0}),
    "heads that broadcast": (F.scaled_dot_product_attention, (Q, Q[:1], Q[:1]), {}),
    "a mask to learn": (F.scaled_dot_product_attention, (Q, Q, Q), {"attn_mask": randn(5, 5).requires_grad_()}),
}


def both(func, args, kwargs):
    given = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    leaves = [a.requires_grad_() for a in given if isinstance(a, torch.Tensor) and a.is_floating_point()]
    if kwargs.get("inplace"):
        given = [a * 1 for a in given]
    return REPLACEMENTS[func](func, Vectors(), *given, **kwargs), func(*args, **kwargs), leaves


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_have_torch_s_values(name):
    ours, theirs, _ = both(*CLOSED[name])
    assert type(ours.grad_fn).__name__ in ("ViewBackward0", "_EmbeddingBackward", "_ActivationBackward")
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", LEFT)
def test_all_else_is_left_to_torch(name):
    func, args, kwargs = LEFT[name]
    ours, theirs, _ = both(func, args, kwargs)
    assert not type(ours.grad_fn).__name__.startswith("_")
    torch.testing.assert_close(ours, theirs)


def test_torch_says_what_is_wrong():
    with pytest.raises(RuntimeError, match="normalized_shape"):
        REPLACEMENTS[F.layer_norm](F.layer_norm, Vectors(), X, (3,))
    with pytest.raises(RuntimeError):
        REPLACEMENTS[F.scaled_dot_product_attention](F.scaled_dot_product_attention, Vectors(), Q, K, K[..., :2])


def test_plain_tensors_are_of_one_type_that_has_closed_forms():
    assert plain(X, W, None)
    assert not plain(X, W.float())
    assert not plain(X.half())
    assert not plain(X.to_sparse())
