"""flt.diagonal: against dense autograd, exactly and by probes."""

import numpy as np
import pytest
import torch
from cases.gradients import dense_function, hyperparameters, kernel, named

import fastlanczos.torch as flt

N = 80


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(np.random.default_rng(0).uniform(size=(N, 2)))


@pytest.mark.parametrize("fun", ["inv", "exp", "sqrt", ("power", 2)], ids=named)
@pytest.mark.parametrize("form", ["matrix", "closure"])
def test_exact(points, fun, form):
    inputs = hyperparameters()
    weights = torch.linspace(-1, 3, N, dtype=torch.float64)
    exact = torch.autograd.grad(weights @ dense_function(kernel(points, *inputs), fun).diagonal(), inputs)
    A, dim = (kernel(points, *inputs), None) if form == "matrix" else ((lambda v: kernel(points, *inputs) @ v), N)
    e = flt.diagonal(A, fun, dim)
    assert e.info["method"] == "exact"
    for one, true in zip(torch.autograd.grad(weights @ e.value, inputs), exact, strict=True):
        assert abs(one - true) < 1e-8 * abs(true)


@pytest.mark.parametrize("fun", [None, "inv", torch.exp], ids=named)
def test_probes_have_the_derivative_of_their_estimate(points, fun):
    small = kernel(points, *hyperparameters())[:10, :10].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda A: flt.diagonal(0.5 * (A + A.T), fun, num_probes=4, num_steps=10, seed=0).value, (small,)
    )


def test_probes_are_unbiased(points):
    inputs = hyperparameters()
    exact = torch.autograd.grad(dense_function(kernel(points, *inputs), "exp").diagonal()[:5].sum(), inputs)
    found = torch.stack(
        [
            torch.stack(
                torch.autograd.grad(
                    flt.diagonal(kernel(points, *inputs), "exp", num_probes=10, num_steps=30, seed=s).value[:5].sum(),
                    inputs,
                )
            )
            for s in range(20)
        ]
    )
    assert ((found.mean(0) - torch.stack(exact)).abs() < 4 * found.std(0) / 20**0.5).all()


def test_without_a_gradient_and_errors(points):
    K = kernel(points, *hyperparameters())
    assert not flt.diagonal(K.detach(), "inv", num_probes=5, num_steps=10).value.requires_grad
    with pytest.raises(ValueError, match="no preconditioner"):
        flt.diagonal(K, "inv", preconditioner=5, diagonal=0.05)
    with pytest.raises(ValueError, match="a gradient for each entry"):
        flt.diagonal(K, "inv").gradient(K)
