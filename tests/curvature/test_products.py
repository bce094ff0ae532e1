"""fastlanczos/curvature/products.py: what it tells of operations and parameters, and precisions."""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class Distances(nn.Module):
    """Ends in cdist, whose derivative torch does not differentiate in any mode."""

    def __init__(self):
        super().__init__()
        self.first, self.centers = nn.Linear(4, 5), nn.Parameter(torch.ones(3, 5) * torch.arange(3)[:, None])

    def forward(self, x):
        return -torch.cdist(self.first(x), self.centers)


class Bags(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.last = nn.EmbeddingBag(10, 4, mode="max"), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.last(self.bag(tokens))


@pytest.mark.parametrize("operator", [flt.HessianOperator, flt.GGNOperator])
@pytest.mark.parametrize(
    ("model", "x", "operation"),
    [(Distances, torch.randn(6, 4), "cdist"), (Bags, torch.randint(0, 10, (6, 5)), "embedding_bag")],
)
def test_an_operation_that_cannot_be_differentiated_twice_is_named(operator, model, x, operation):
    A = operator(model(), F.cross_entropy, [(x, torch.arange(6) % 3)])
    with pytest.raises(ValueError, match=rf'second derivative of \S*{operation}.*products="finite-difference"'):
        A @ torch.ones(A.shape[0])


def test_parameters_that_get_no_gradient_are_told_of_once():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    data = [(torch.randn(6, 4), torch.arange(6) % 3)]
    for options in ({}, {"products": "finite-difference"}):
        H = flt.HessianOperator(Partly(), F.cross_entropy, data, **options)
        with pytest.warns(UserWarning, match=r"2 of 4 parameters get no gradient.*idle\.weight, idle\.bias"):
            product = H @ torch.ones(30)
        assert float(product[15:].norm()) == 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            H @ torch.ones(30)


def test_weights_of_half_precision_are_computed_with_in_a_wider_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).bfloat16()
    wide = copy.deepcopy(model).float()
    data = [(torch.randn(6, 4), torch.arange(6) % 3)]
    v = torch.randn(sum(p.numel() for p in model.parameters()))
    expected = flt.HessianOperator(wide, F.cross_entropy, data) @ v
    H = flt.HessianOperator(model, F.cross_entropy, data, dtype=torch.float32)
    torch.testing.assert_close(H @ v, expected)
    D = flt.HessianOperator(model, F.cross_entropy, data, dtype=torch.float32, products="finite-difference")
    torch.testing.assert_close(D @ v, expected, rtol=1e-2, atol=1e-3)
