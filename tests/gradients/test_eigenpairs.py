"""flt.eigsh: gradients of eigenvalues and eigenvectors, against dense autograd, and where they do not exist."""

import numpy as np
import pytest
import torch
from cases.gradients import gradients, hyperparameters, kernel

import fastlanczos.torch as flt

N = 120


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(np.random.default_rng(0).uniform(size=(N, 2)))


def loss_of(w, v):
    """Depends on values, and on vectors but not on their signs."""
    rows = torch.arange(len(v), dtype=torch.float64)
    return (torch.sin(w)).sum() + ((rows / len(v)) @ (v * v) * torch.arange(1, 1 + len(w))).sum() + (v[3] * v[7]).sum()


@pytest.mark.parametrize("form", ["matrix", "closure", "sparse", "linear_operator"])
@pytest.mark.parametrize(("which", "part"), [("LA", slice(-5, None)), ("SA", slice(0, 5))])
def test_values_and_vectors(points, form, which, part):
    def matrix(inputs):
        return kernel(points, *inputs) + torch.diag(torch.linspace(0, 1, N, dtype=torch.float64))

    inputs = hyperparameters()
    w, v = torch.linalg.eigh(matrix(inputs))
    exact_value = gradients(w[part].pow(2).sum(), inputs)
    w, v = torch.linalg.eigh(matrix(inputs))
    exact = gradients(loss_of(w[part], v[:, part]), inputs)

    def forms():
        if form == "closure":
            return lambda x: matrix(inputs) @ x
        if form == "linear_operator":
            return pytest.importorskip("linear_operator").to_linear_operator(matrix(inputs))
        return matrix(inputs).to_sparse() if form == "sparse" else matrix(inputs)

    dim = N if form == "closure" else None
    w, v = flt.eigsh(forms(), 5, which=which, dim=dim)
    assert w.dtype == v.dtype == torch.float64
    assert (gradients(w.pow(2).sum(), inputs) - exact_value).abs().max() < 1e-9 * exact_value.abs().max()
    w, v = flt.eigsh(forms(), 5, which=which, dim=dim)
    assert (gradients(loss_of(w, v), inputs) - exact).abs().max() < 1e-6 * exact.abs().max()


def test_gradcheck():
    A = torch.from_numpy(np.random.default_rng(1).standard_normal((12, 12))).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: flt.eigsh(A + A.T, 4, return_eigenvectors=False), (A,))

    def invariant(A):
        _, v = flt.eigsh(A + A.T, 3, which="LA")
        return v @ v.T

    assert torch.autograd.gradcheck(invariant, (A,), atol=1e-5)


def test_copies():
    """The projector on a double value has a derivative, a basis of it has none."""
    Q, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((60, 60)))
    values = np.r_[np.linspace(0, 1, 57), 3.0, 3.0, 5.0]
    A = torch.from_numpy((Q * values) @ Q.T)
    E = torch.from_numpy(np.random.default_rng(5).standard_normal((60, 60)))
    E = E + E.T
    weights = torch.from_numpy(np.random.default_rng(6).standard_normal((60, 60)))
    A = A.requires_grad_()
    _, v = flt.eigsh(A, 3, which="LA")
    (weights * (v @ v.T)).sum().backward()
    h = 1e-5

    def projected(s):
        _, V = np.linalg.eigh((A + s * E).detach().numpy())
        return float((weights.numpy() * (V[:, -3:] @ V[:, -3:].T)).sum())

    slope = (projected(h) - projected(-h)) / (2 * h)
    assert abs(float((A.grad * E).sum()) - slope) < 1e-5 * abs(slope)
    _, v = flt.eigsh(A, 3, which="LA")
    with pytest.raises(ValueError, match="belong to one value"):
        v[0].sum().backward()
    _, v = flt.eigsh(A, 2, which="LA")  # one copy is not asked for
    with pytest.raises(ValueError, match="has no derivative"):
        (weights * (v @ v.T)).sum().backward()


def test_other_arguments(points):
    inputs = hyperparameters()
    K = kernel(points, *inputs)
    w, info = flt.eigsh(K, 3, return_eigenvectors=False, return_info=True)
    assert w.requires_grad
    assert info.num_matvecs > 0
    w, v = flt.eigsh(kernel(points, *inputs), 3, sigma=0.5)
    true = torch.linalg.eigvalsh(kernel(points, *inputs))
    near = true[(true - 0.5).abs().argsort()[:3]].sort().values
    assert (gradients(w.sum(), inputs) - gradients(near.sum(), inputs)).abs().max() < 1e-8
    w, v = flt.eigsh(K.detach(), 3)
    assert not w.requires_grad
    assert not v.requires_grad
    with pytest.raises(ValueError, match="M= has no gradient"):
        flt.eigsh(K, 3, M=torch.eye(N))
