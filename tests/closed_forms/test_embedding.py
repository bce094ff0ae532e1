"""fastlanczos/closed_forms/embedding.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms.embedding import embedding  # noqa: E402
from fastlanczos.closed_forms.vectors import Vectors  # noqa: E402

F = torch.nn.functional

INDICES = torch.tensor([[0, 3, 3], [5, 1, 0]])

CASES = {
    "rows": (
        lambda vectors: lambda t: embedding(INDICES, t, None, vectors),
        lambda t: F.embedding(INDICES, t),
        [randn(6, 4)],
    ),
    "padding": (
        lambda vectors: lambda t: embedding(INDICES, t, 3, vectors),
        lambda t: F.embedding(INDICES, t, 3),
        [randn(6, 4)],
    ),
    "the table used again": (
        lambda vectors: lambda t: embedding(INDICES, t, None, vectors) @ t.T,
        lambda t: F.embedding(INDICES, t) @ t.T,
        [randn(6, 4)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


def test_a_product_writes_only_the_rows_that_were_looked_up():
    table = randn(1000, 4).requires_grad_()
    (gradient,) = torch.autograd.grad((embedding(INDICES, table, None, Vectors()) ** 3).sum(), table, create_graph=True)
    (product,) = torch.autograd.grad(gradient, table, torch.ones_like(table))
    assert product.is_sparse
    assert product._nnz() == INDICES.numel()
