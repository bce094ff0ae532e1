"""fastlanczos/closed_forms/attention.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from fastlanczos.closed_forms import attention as blocks  # noqa: E402
from fastlanczos.closed_forms.attention import attention  # noqa: E402
from fastlanczos.closed_forms.vectors import Vectors  # noqa: E402

F = torch.nn.functional

QKV = [randn(2, 3, 7, 4), randn(2, 3, 5, 4, seed=1), randn(2, 3, 5, 6, seed=2)]
SQUARE = [randn(2, 7, 4), randn(2, 7, 4, seed=1), randn(2, 7, 4, seed=2)]
HIDDEN = torch.rand(2, 1, 7, 5, generator=torch.Generator().manual_seed(3)) < 0.6
HIDDEN[0, 0, 2] = False  # a query that sees nothing
ADDED = randn(7, 5, seed=4)
OF_KEYS = randn(2, 1, 1, 5, seed=5)


def case(inputs, *, scale=0.5, mask=None, causal=False):
    def math(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)

    return (
        lambda vectors: lambda q, k, v: attention(q, k, v, mask, causal=causal, scale=scale, vectors=vectors),
        math,
        inputs,
    )


CASES = {
    "plain": case(QKV),
    "causal": case(SQUARE, causal=True),
    "causal, fewer keys": case(QKV, causal=True),
    "boolean mask": case(QKV, mask=HIDDEN),
    "numbers as mask": case(QKV, mask=ADDED, scale=0.3),
    "mask of keys": case(QKV, mask=OF_KEYS),
}


@pytest.mark.parametrize("pairs", [1, 60, 10**6])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several, pairs, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", pairs)
    check(*CASES[name], several)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_products_for_some_of_the_inputs_only(which):
    check(*CASES["boolean mask"], False, which)


def test_a_graph_keeps_nothing_over_pairs_of_tokens():
    kept = []
    for tokens in (256, 512):
        q, k, v = (randn(1, tokens, 8, seed=i).requires_grad_() for i in range(3))
        bytes_ = {}

        def pack(t, bytes_=bytes_):
            bytes_[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = attention(q, k, v, None, causal=True, scale=0.5, vectors=Vectors())
            torch.autograd.grad((out**3).sum(), (q, k, v), create_graph=True)
        kept.append(sum(bytes_.values()))
    assert kept[1] <= 2.0 * kept[0]
