"""fastlanczos/closed_forms/activation.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402
from cases.networks import dense_hessian  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.closed_forms.activation import activation  # noqa: E402

F = torch.nn.functional

CASES = {
    "tanh": (lambda vectors: lambda x: activation(x, torch.tanh, vectors), torch.tanh, [randn(5, 4)]),
    "gelu": (lambda vectors: lambda x: activation(x, F.gelu, vectors), F.gelu, [randn(5, 4)]),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


def test_a_model_may_change_in_place_what_an_activation_has_read():
    class InPlace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 3, dtype=torch.float64)

        def forward(self, x):
            h = self.layer(x)
            gate = torch.sigmoid(h)
            h += gate
            return F.silu(h) * torch.tanh(h)

    torch.manual_seed(0)
    model, data = InPlace(), [(randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))]
    H = flt.HessianOperator(model, F.cross_entropy, data)
    exact = dense_hessian(model, F.cross_entropy, data)
    product = H @ torch.eye(12, dtype=torch.float64)
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)
