"""flt.svds: gradients of singular values and vectors, against dense autograd."""

import numpy as np
import pytest
import torch

import fastlanczos.torch as flt


@pytest.fixture
def A():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((60, 40))).requires_grad_()


@pytest.mark.parametrize("form", ["matrix", "functions", "sparse", "linear_operator"])
@pytest.mark.parametrize("transposed", [False, True])
def test_values_and_vectors(A, form, transposed):
    A = (A.T if transposed else A).detach().contiguous().requires_grad_()
    rows, columns = A.shape

    def forms(A):
        if form == "functions":
            return (lambda x: A @ x, lambda y: A.T @ y), (rows, columns)
        if form == "linear_operator":
            return pytest.importorskip("linear_operator").to_linear_operator(A), None
        return (A.to_sparse() if form == "sparse" else A), None

    def loss(u, s, vt):
        return (
            torch.sin(s).sum() + ((u[0] * u[1] + u[2] ** 2) * s).sum() + (vt[:, 3] * vt[:, 5]).sum() + u[4] @ vt[:, 6]
        )

    u, s, vt = torch.linalg.svd(A, full_matrices=False)
    (exact,) = torch.autograd.grad(loss(u[:, :4], s[:4], vt[:4]), A)
    given, dim = forms(A)
    u, s, vt = flt.svds(given, 4, dim=dim)
    order = s.argsort(descending=True)
    (found,) = torch.autograd.grad(loss(u[:, order], s[order], vt[order]), A)
    assert (found - exact).abs().max() < 1e-7 * exact.abs().max()


@pytest.mark.parametrize("form", ["matrix", "functions", "sparse"])
def test_centred(A, form):
    def loss(u, s, vt):
        return torch.sin(s).sum() + ((u[0] * u[1]) * s).sum() + (vt[:, 3] * vt[:, 5]).sum()

    with torch.no_grad():
        A += torch.linspace(-3, 5, 40)
    u, s, vt = torch.linalg.svd(A - A.mean(dim=0), full_matrices=False)
    (exact,) = torch.autograd.grad(loss(u[:, :4], s[:4], vt[:4]), A)
    given, dim = ((lambda x: A @ x, lambda y: A.T @ y), A.shape) if form == "functions" else (A, None)
    u, s, vt = flt.svds(A.to_sparse() if form == "sparse" else given, 4, dim=dim, center=True)
    (found,) = torch.autograd.grad(loss(u, s, vt), A)
    assert (found - exact).abs().max() < 1e-7 * exact.abs().max()


def test_a_center_that_is_given_is_a_constant(A):
    center = torch.linspace(-1, 1, 40, dtype=torch.float64)
    _, s, vt = torch.linalg.svd(A - center, full_matrices=False)
    (exact,) = torch.autograd.grad(s[0] + vt[0, 3] * vt[0, 5], A)
    _, s, vt = flt.svds(A, 1, center=center)
    (found,) = torch.autograd.grad(s[0] + vt[0, 3] * vt[0, 5], A)
    assert (found - exact).abs().max() < 1e-7 * exact.abs().max()


def test_gradcheck():
    A = torch.from_numpy(np.random.default_rng(1).standard_normal((9, 7))).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: flt.svds(A, 3, return_singular_vectors=False), (A,))


def test_the_spectral_norm_of_a_layer():
    layer = torch.nn.Linear(30, 20)
    s = flt.svds(layer.weight, 1, return_singular_vectors=False)
    s.sum().backward()
    other = torch.nn.Linear(30, 20)
    other.load_state_dict(layer.state_dict())
    torch.linalg.matrix_norm(other.weight, 2).backward()
    torch.testing.assert_close(layer.weight.grad, other.weight.grad)


def test_errors(A):
    with pytest.raises(ValueError, match="center= is a constant"):
        flt.svds(A, 2, center=torch.zeros(40).requires_grad_())
    with pytest.raises(ValueError, match="dim is missing"):
        flt.svds((lambda x: x, lambda x: x), 2)
    with pytest.raises(TypeError, match="takes a tensor"):
        flt.svds(A.detach().numpy(), 2)
    with pytest.raises(TypeError, match="complex"):
        flt.svds(A.to(torch.complex128), 2)
