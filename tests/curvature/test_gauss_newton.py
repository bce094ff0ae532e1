"""fastlanczos/curvature/gauss_newton.py: products against the dense matrix; see tests/cases/curvature.py."""

import pytest

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.torch import Schedule  # noqa: E402

nn, F = torch.nn, torch.nn.functional


@pytest.mark.parametrize("together", [1, 100])
@pytest.mark.parametrize("name", cases.CASES)
def test_products_are_those_of_the_dense_matrix(name, together):
    make, loss_fn, data, options = cases.CASES[name]
    G = flt.GGNOperator(make(), loss_fn, data(), schedule=Schedule(together=together), **options)
    exact = cases.dense_ggn(cases.prepared(make(), data(), options), loss_fn, data())
    product = G @ torch.eye(G.shape[0], dtype=torch.float64)
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)


def test_it_is_positive_semidefinite_where_the_hessian_is_not():
    eye = torch.eye(53, dtype=torch.float64)
    G, H = (A(mlp(), F.cross_entropy, batches()) @ eye for A in (flt.GGNOperator, flt.HessianOperator))
    assert torch.linalg.eigvalsh(H)[0] < -1e-3
    assert torch.linalg.eigvalsh(G)[0] > -1e-14


def test_several_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            z = self.net(x)
            return {"mean": z[:, :2], "scale": torch.exp(z[:, 2:])}

    def loss_fn(z, y):
        return ((z["mean"] - 1) ** 2 * z["scale"]).mean()

    G = flt.GGNOperator(Two(), loss_fn, batches())
    theta, f = cases.flat_function(Two())
    x = torch.cat([x for x, _ in batches()])

    def outputs(theta):
        z = f(theta, x)
        return torch.cat([z["mean"].flatten(), z["scale"].flatten()])

    def of_outputs(z):
        return loss_fn({"mean": z[: 2 * len(x)].view(-1, 2), "scale": z[2 * len(x) :].view(-1, 1)}, None)

    J = torch.autograd.functional.jacobian(outputs, theta)
    exact = J.T @ torch.autograd.functional.hessian(of_outputs, outputs(theta)) @ J
    product = G @ torch.eye(53, dtype=torch.float64)
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)


def test_an_output_whose_tensors_cannot_be_found_is_told():
    class Hidden:
        def __init__(self, z):
            self.z = z

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return Hidden(self.net(x))

    def loss_fn(output, y):
        return F.cross_entropy(output.z, y)

    v = torch.ones(53, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"output \(Hidden\) has no tensor that depends on the chosen parameters"):
        flt.GGNOperator(Odd(), loss_fn, batches()) @ v
    plain = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    assert torch.abs(flt.HessianOperator(Odd(), loss_fn, batches()) @ v - plain @ v).max() < 1e-14


def test_a_schedule_without_second_derivatives_in_reverse_is_refused():
    G = flt.GGNOperator(mlp(), F.cross_entropy, batches(), schedule=Schedule("forward"))
    with pytest.raises(ValueError, match="which only HessianOperator supports, not GGNOperator"):
        G @ torch.ones(53)
