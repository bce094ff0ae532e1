"""flt.trace and flt.logdet inside torch.compile: no break, the bits of the call outside."""

import numpy as np
import pytest
import torch
from cases.gradients import hyperparameters, kernel

import fastlanczos.torch as flt

N = 60


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(np.random.default_rng(0).uniform(size=(N, 2)))


@pytest.mark.parametrize("options", [{}, {"num_probes": 5, "num_steps": 20, "seed": 3}], ids=["default", "probes"])
def test_a_program_has_no_break(points, options):
    def loss(length, scale, noise):
        K = kernel(points, length, scale, noise)
        e = flt.logdet(K, **options)
        return e.value + 0.5 * flt.trace(K, ("power", 2)).value, e.std_error

    inputs, others = hyperparameters(), hyperparameters()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value, error = compiled(*inputs)
    plain, plain_error = loss(*others)
    assert float(value.detach()) == pytest.approx(float(plain.detach()), rel=1e-12)
    assert float(error) == pytest.approx(float(plain_error), rel=1e-6, abs=1e-12)
    for one, other in zip(torch.autograd.grad(value, inputs), torch.autograd.grad(plain, others), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_the_operator_keeps_pytorchs_promises(points):
    K = kernel(points, *hyperparameters())[:8, :8].detach().requires_grad_()
    numbers = [3.0, 8.0, -1.0, -1.0, -1.0, 0.0]
    checks = torch.library.opcheck(torch.ops.fastlanczos.trace, (K, "log", 0.0, numbers, "auto", True))
    assert set(checks.values()) == {"SUCCESS"}


def test_what_one_operator_cannot_take(points):
    K = kernel(points, *hyperparameters()).detach()
    for call in (
        lambda K: flt.logdet(lambda v: K @ v, N).value,
        lambda K: flt.trace(K, torch.exp).value,
        lambda K: flt.logdet(K, preconditioner=3, diagonal=0.05).value,
    ):
        with pytest.raises(Exception, match=r"inside torch\.compile"):
            torch.compile(call, fullgraph=True, backend="eager")(K)
