"""fastlanczos/closed_forms/cross_entropy.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms import cross_entropy as blocks  # noqa: E402
from fastlanczos.closed_forms.cross_entropy import cross_entropy  # noqa: E402

F = torch.nn.functional

TARGET = torch.tensor([2, 0, 1, 2, 2])
WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0], dtype=torch.float64)


def reference(z):
    return (F.cross_entropy(z, TARGET, reduction="none") * WEIGHTS).sum()


CASES = {
    "classes": (lambda vectors: lambda z: cross_entropy(z, TARGET, WEIGHTS, vectors), reference, [randn(5, 3)]),
    "scaled": (
        lambda vectors: lambda z: 3 * cross_entropy(z, TARGET, WEIGHTS, vectors),
        lambda z: 3 * reference(z),
        [randn(5, 3)],
    ),
}


@pytest.mark.parametrize("entries", [1, 7, 1000])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several, entries, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", entries)
    check(*CASES[name], several)


@pytest.mark.parametrize("several", [False, True])
def test_nothing_cancels_where_a_term_is_nearly_certain(several):
    z = torch.tensor([[40.0, 0.0, 1.0]], dtype=torch.float64)
    target, weights = torch.tensor([0]), torch.ones(1, dtype=torch.float64)
    vectors = blocks.Vectors()
    vectors.several = several
    x = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(x, target, weights, vectors), x, create_graph=True)
    u = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    (product,) = torch.autograd.grad(gradient, x, u)
    p = torch.exp(z - torch.logsumexp(z, 1, keepdim=True))
    away = -(p[0, 1] * (u[0, 0] - u[0, 1]) + p[0, 2] * (u[0, 0] - u[0, 2]))  # <p, u> - u_target
    exact = torch.stack([-away, p[0, 1] * (u[0, 1] - u[0, 0] - away), p[0, 2] * (u[0, 2] - u[0, 0] - away)])
    assert torch.abs(product[0] / exact - 1).max() <= 1e-14
