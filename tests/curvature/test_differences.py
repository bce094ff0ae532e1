"""Products by differences of gradients: as exact as arithmetic allows, and nothing written into the model."""

import pytest
import torch
from cases.curvature import CASES
from cases.networks import Cube
from torch.utils.checkpoint import checkpoint

import fastlanczos as fl
import fastlanczos.torch as flt

nn, F = torch.nn, torch.nn.functional


def in_float32(data):
    return [(x.float() if x.is_floating_point() else x, y.float() if y.is_floating_point() else y) for x, y in data]


@pytest.mark.parametrize("name", [name for name in CASES if "float" not in name])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_products_are_those_of_second_derivatives(name, dtype, error):
    make, loss_fn, data, options = CASES[name]
    model, batches = make().to(dtype), data()
    if dtype == torch.float32:
        if "weight" in name or "likelihood" in name:
            pytest.skip("the weights are float64")
        batches = in_float32(batches)
    exact = flt.HessianOperator(model, loss_fn, batches, dtype=torch.float64, **options)
    H = flt.HessianOperator(model, loss_fn, batches, products="finite-difference", **options)
    torch.manual_seed(1)
    for _ in range(2):
        v = torch.randn(H.shape[0], dtype=torch.float64)
        expected = exact @ v
        assert float((H @ v - expected).norm()) <= error * float(expected.norm())
    gradient = exact.gradient()
    assert float((H.gradient() - gradient).norm()) <= 100 * torch.finfo(dtype).eps * (1 + float(gradient.norm()))
    assert "finite differences (relative error about" in repr(H)


class Awkward(nn.Module):
    """What has no second derivative in torch: a custom function, reentrant checkpointing, EmbeddingBag."""

    def __init__(self, plain):
        super().__init__()
        self.plain = plain
        self.bag, self.inner, self.last = nn.EmbeddingBag(10, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        if self.plain:
            x = F.embedding(tokens, self.bag.weight).mean(1)
            return self.last(self.inner(x) ** 3)
        x = self.bag(tokens)
        return self.last(Cube.apply(checkpoint(self.inner, x, use_reentrant=True)))


def test_what_has_no_second_derivative():
    torch.manual_seed(0)
    model, plain = Awkward(False).double(), Awkward(True).double()
    plain.load_state_dict(model.state_dict())
    data = [(torch.randint(0, 10, (30, 5)), torch.arange(30) % 3)]
    H = flt.HessianOperator(model, F.cross_entropy, data, products="finite-difference")
    exact = flt.HessianOperator(plain, F.cross_entropy, data)
    v = torch.randn(H.shape[0], dtype=torch.float64)
    torch.testing.assert_close(H @ v, exact @ v, rtol=1e-6, atol=1e-8)
    w = fl.eigsh(H, 3, which="LA", tol=1e-4)[0]
    expected = fl.eigsh(exact, 3, which="LA")[0]
    assert abs(w - expected).max() < 1e-3 * abs(expected).max()


def test_interrupted_products_leave_the_model_as_it_was():
    class Interrupting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = nn.Linear(3, 2), 0

        def forward(self, x):
            self.calls += 1
            if self.calls % 2 == 0:
                raise KeyboardInterrupt
            return self.inner(x)

    model = Interrupting()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    H = flt.HessianOperator(
        model, F.cross_entropy, [(torch.randn(4, 3), torch.arange(4) % 2)], products="finite-difference"
    )
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            H @ torch.randn(8)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        assert p.grad is None


@pytest.mark.parametrize("name", [name for name in CASES if "float" not in name])
@pytest.mark.parametrize(
    ("operator", "options"),
    [(flt.GGNOperator, {}), (flt.FisherOperator, {}), (flt.FisherOperator, {"kind": "monte-carlo", "draw_seed": 3})],
    ids=["GGN", "empirical", "monte-carlo"],
)
def test_gauss_newton_and_fisher_by_differences_of_the_outputs(name, operator, options):
    make, loss_fn, data, more = CASES[name]
    model, batches = make(), data()
    # Not merged, since targets are drawn batch by batch.
    exact = operator(model, loss_fn, batches, schedule=flt.Schedule(), **options, **more)
    v = torch.randn(exact.shape[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    try:
        expected = exact @ v
    except ValueError:
        pytest.skip("this loss belongs to no known distribution")
    G = operator(model, loss_fn, batches, products="finite-difference", **options, **more)
    assert float((G @ v - expected).norm()) <= 1e-7 * float(expected.norm())
    assert "finite differences (relative error about" in repr(G)


def test_a_gauss_newton_matrix_of_what_has_no_second_derivative():
    torch.manual_seed(0)
    model, plain = Awkward(False).double(), Awkward(True).double()
    plain.load_state_dict(model.state_dict())
    data = [(torch.randint(0, 10, (30, 5)), torch.arange(30) % 3)]
    G = flt.GGNOperator(model, F.cross_entropy, data, products="finite-difference")
    v = torch.randn(G.shape[0], dtype=torch.float64)
    torch.testing.assert_close(G @ v, flt.GGNOperator(plain, F.cross_entropy, data) @ v, rtol=1e-6, atol=1e-8)


def test_a_vector_of_zeros_and_other_words():
    model, data = nn.Linear(3, 2), [(torch.randn(4, 3), torch.arange(4) % 2)]
    for operator in (flt.HessianOperator, flt.GGNOperator):
        with pytest.raises(ValueError, match='products must be "exact" or "finite-difference", got \'approximate\''):
            operator(model, F.cross_entropy, data, products="approximate")
        A = operator(model, F.cross_entropy, data, products="finite-difference")
        assert float((A @ torch.zeros(8)).norm()) == 0.0
