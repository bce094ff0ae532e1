"""flt.funm_multiply: f(A) b with gradients, against dense autograd."""

import numpy as np
import pytest
import torch
from cases.gradients import FUNCTIONS, dense_function, hyperparameters, kernel, named

import fastlanczos.torch as flt

N = 90


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(np.random.default_rng(2).uniform(size=(N, 2)))


@pytest.fixture(scope="module")
def b():
    return torch.from_numpy(np.random.default_rng(3).standard_normal((N, 2)))


@pytest.mark.parametrize("form", ["matrix", "closure"])
@pytest.mark.parametrize("fun", [f for f in FUNCTIONS if f is not None], ids=named)
def test_gradients_are_those_of_dense_autograd(points, b, fun, form):
    inputs = hyperparameters()
    b = b.clone().requires_grad_()
    weights = torch.linspace(-1, 2, 2 * N, dtype=torch.float64).reshape(N, 2)
    exact = torch.autograd.grad((weights * (dense_function(kernel(points, *inputs), fun) @ b)).sum(), [*inputs, b])
    A = kernel(points, *inputs) if form == "matrix" else lambda v: kernel(points, *inputs) @ v
    y = flt.funm_multiply(A, fun, b)
    found = torch.autograd.grad((weights * y).sum(), [*inputs, b])
    for one, true in zip(found, exact, strict=True):
        assert (one - true).abs().max() < 1e-7 * true.abs().max()


@pytest.mark.parametrize("fun", ["exp", "log", "sqrt", "inv"])
def test_gradcheck(points, b, fun):
    small = kernel(points, *hyperparameters())[:8, :8].detach().clone().requires_grad_()
    v = b[:8, 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda A, v: flt.funm_multiply(0.5 * (A + A.T), fun, v, tol=1e-14), (small, v))


def test_the_gradient_of_b_alone_takes_one_run(points, b):
    K = kernel(points, *hyperparameters()).detach()
    v = b[:, 0].clone().requires_grad_()
    products = []

    def product(x):
        products.append(x)
        return K @ x

    y = flt.funm_multiply(product, "exp", v)
    before = len(products)
    y.sum().backward()
    assert len(products) - before <= 2 * before
    torch.testing.assert_close(v.grad, dense_function(K, "exp") @ torch.ones(N, dtype=torch.float64))


def test_steps_that_do_not_do_are_told_of(points, b):
    K = kernel(points, *hyperparameters())
    with pytest.warns(UserWarning, match="still changed"):
        y = flt.funm_multiply(K, "inv", b[:, 0], num_steps=12)
    with pytest.warns(UserWarning, match="the gradient still changed"):
        y.sum().backward()


def test_nothing_to_differentiate_and_wrong_arguments(points, b):
    K = kernel(points, *hyperparameters()).detach()
    assert not flt.funm_multiply(K, "exp", b).requires_grad
    zero = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    flt.funm_multiply(K, "exp", zero).sum().backward()
    torch.testing.assert_close(zero.grad, dense_function(K, "exp") @ torch.ones(N, dtype=torch.float64))
    with pytest.raises(TypeError, match="b must be a tensor"):
        flt.funm_multiply(K, "exp", b.numpy())
    with pytest.raises(TypeError, match="b is complex"):
        flt.funm_multiply(K, "exp", b.to(torch.complex128))
    with pytest.raises(TypeError, match="derivative of fun"):
        flt.funm_multiply(K.requires_grad_(), np.exp, b)
