"""P^1/2 H P^1/2: by hand, and with what optimizers really multiply the gradient with."""

import numpy as np
import pytest
import torch
from cases.networks import batches, dense_hessian, mlp

import fastlanczos as fl
import fastlanczos.torch as flt

F = torch.nn.functional


@pytest.fixture
def problem():
    model, data = mlp(), batches()
    return model, data, flt.HessianOperator(model, F.cross_entropy, data)


def test_products_with_a_diagonal_given_by_hand(problem):
    model, data, H = problem
    n = H.shape[0]
    P = torch.linspace(0.1, 3.0, n, dtype=torch.float64)
    dense = P.sqrt()[:, None] * dense_hessian(model, F.cross_entropy, data) * P.sqrt()
    A = flt.PreconditionedOperator(H, P)
    v = torch.randn(n, 2, dtype=torch.float64)
    torch.testing.assert_close(A @ v, dense @ v, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(A.matvec(v[:, 0]), dense @ v[:, 0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(A @ v.numpy(), (dense @ v).numpy(), rtol=1e-10, atol=1e-12)
    assert (A @ v.float()).dtype == torch.float32
    w = fl.eigsh(A, 3, which="LA")[0]
    np.testing.assert_allclose(w, np.linalg.eigvalsh(dense.numpy())[-3:], rtol=1e-8)
    d = fl.spectral_density(A, num_probes=2, num_steps=n, seed=0)
    assert d.nodes.max() == pytest.approx(w[-1], rel=1e-8)
    named = flt.PreconditionedOperator(H, H.unflatten(P))
    assert torch.equal(named.diagonal, P)
    assert "P from 0.1 to 3" in repr(A)


OPTIMIZERS = {
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2, eps=1e-4),
    "AdamW, amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.0, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-2),
    "RMSprop, centered": lambda p: torch.optim.RMSprop(p, lr=1e-2, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_p_is_what_the_optimizer_multiplies_a_gradient_with(problem, name):
    model, data, H = problem
    optimizer = OPTIMIZERS[name](model.parameters())

    def step():
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizer.step()
        return before - torch.cat([p.detach().flatten() for p in model.parameters()])

    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step()
    if "Adam" in name:  # momentum makes the step another one than P times the gradient: take it out
        for state in optimizer.state.values():
            state["exp_avg"].zero_()
        optimizer.param_groups[0]["betas"] = (0.0, optimizer.param_groups[0]["betas"][1])
    optimizer.zero_grad()
    F.cross_entropy(model(data[0][0]), data[0][1]).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    moved = step()
    P = flt.PreconditionedOperator(H, optimizer).diagonal
    torch.testing.assert_close(moved, 1e-2 * P * gradient, rtol=1e-9, atol=1e-14)


def test_what_is_wrong_is_told(problem):
    model, _, H = problem
    with pytest.raises(ValueError, match=r"no state for '.*' yet: take a step first"):
        flt.PreconditionedOperator(H, torch.optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="does not have the parameter"):
        flt.PreconditionedOperator(H, torch.optim.Adam(mlp().parameters()))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    sgd.step()
    with pytest.raises(TypeError, match="SGD keeps no second moments"):
        flt.PreconditionedOperator(H, sgd)
    with pytest.raises(ValueError, match="P must be positive"):
        flt.PreconditionedOperator(H, torch.zeros(H.shape[0]))
    with pytest.raises(ValueError, match="P must have shape"):
        flt.PreconditionedOperator(H, torch.ones(3))
    with pytest.raises(TypeError, match="H must be a curvature operator"):
        flt.PreconditionedOperator(np.eye(3), torch.ones(3))
