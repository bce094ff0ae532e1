"""fastlanczos/curvature/concentration.py."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


def test_energy_and_distribution_are_those_of_the_dense_eigenbasis():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    values, vectors = np.linalg.eigh(cases.dense_hessian_of_all(mlp(), F.cross_entropy, batches()).numpy())
    g = cases.dense_gradient(mlp(), F.cross_entropy, batches()).numpy()
    energy = (vectors.T @ g) ** 2 / (g @ g)
    c = flt.gradient_concentration(H, k=5, seed=0)
    norm = np.abs(values).max()
    np.testing.assert_allclose(c.eigenvalues, values[::-1][:5], atol=1e-12 * norm)
    np.testing.assert_allclose(c.cumulative, np.cumsum(energy[::-1][:5]), atol=1e-9)
    assert abs(c.fraction - energy[::-1][:5].sum()) < 1e-9
    assert abs(c.gradient_norm - np.linalg.norm(g)) < 1e-13
    # The Gauss rule has the moments of the gradient's distribution.
    for power in range(6):
        exact = float(np.sum(energy * (values / norm) ** power))
        assert abs(float(np.sum(c.weights * (c.nodes / norm) ** power)) - exact) < 1e-12
    assert "of |g|^2 in the top 5 of 53 directions" in repr(c)


def test_a_quadratic_whose_gradient_is_one_eigenvector():
    model = torch.nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 2.0, 0.0, 0.0]]))
    x = torch.diag(torch.tensor([1.0, 3.0, 2.0, 0.5], dtype=torch.float64))
    H = flt.HessianOperator(model, F.mse_loss, [(x, torch.zeros(4, 1, dtype=torch.float64))])
    c = flt.gradient_concentration(H, k=1)
    assert abs(c.fraction - 1) < 1e-12
    assert len(c.nodes) == 1
    assert abs(c.nodes[0] - 2 * 9 / 4) < 1e-12


def test_the_picture_shows_the_cumulative_energy():
    pyplot = pytest.importorskip("matplotlib.figure")
    axes = pyplot.Figure().add_subplot()
    c = flt.gradient_concentration(flt.HessianOperator(mlp(), F.cross_entropy, batches()), k=3, seed=0)
    c.plot(axes)
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(1)
    assert len(axes.lines[1].get_xdata()) == 3


def test_what_cannot_be_is_told():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    with pytest.raises(TypeError, match="H must be a curvature operator such as HessianOperator, got ndarray"):
        flt.gradient_concentration(np.eye(3), k=1)
    with pytest.raises(ValueError, match="k must be below the dimension 53, got 53"):
        flt.gradient_concentration(H, k=53)
    model = torch.nn.Linear(2, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    flat = flt.HessianOperator(model, F.mse_loss, [(torch.eye(2).double(), torch.zeros(2, 1).double())])
    with pytest.raises(ValueError, match="the gradient is zero"):
        flt.gradient_concentration(flat, k=1)
