"""`normalize`: the matrix of the mean of the loss over all samples, or of its sum."""

import pytest

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


@pytest.mark.parametrize("operator", [flt.HessianOperator, flt.GGNOperator, flt.FisherOperator])
def test_without_normalization_it_is_the_matrix_of_the_sum(operator):
    loss, v = torch.nn.CrossEntropyLoss(reduction="sum"), torch.ones(53, dtype=torch.float64)
    data, samples = batches((5, 3)), 8
    mean, total = (operator(mlp(), loss, data, normalize=normalize, weight_decay=0.5) for normalize in (True, False))
    torch.testing.assert_close(total @ v - 0.5 * v, samples * (mean @ v - 0.5 * v), rtol=1e-12, atol=1e-13)
    parameters = torch.cat([p.detach().flatten() for p in mlp().parameters()])
    gradients = [H.gradient() - 0.5 * parameters for H in (mean, total)]
    torch.testing.assert_close(gradients[1], samples * gradients[0], rtol=1e-12, atol=1e-13)
    decay = 0.25 * float(parameters @ parameters)
    assert total.loss() - decay == pytest.approx(samples * (mean.loss() - decay), rel=1e-14)
    assert not total.block("0").normalize


def test_the_hessian_of_a_sum_is_that_of_autograd():
    loss, data = torch.nn.CrossEntropyLoss(reduction="sum"), batches((5, 3))
    exact = 8 * cases.dense_hessian_of_all(mlp(), F.cross_entropy, data)
    H = flt.HessianOperator(mlp(), loss, data, normalize=False)
    torch.testing.assert_close(H @ torch.eye(53, dtype=torch.float64), exact, rtol=1e-12, atol=1e-12)
