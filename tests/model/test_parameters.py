"""fastlanczos/model/parameters.py, through HessianOperator."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cases.networks import batches, dense_hessian, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


@pytest.mark.parametrize("selection", [["2.weight"], "2.weight", lambda name: name == "2.weight"])
def test_parameters_by_name_and_by_filter(selection):
    model = mlp()
    H = flt.HessianOperator(model, F.cross_entropy, batches(), params=selection)
    exact = dense_hessian(model, F.cross_entropy, batches(), names={"2.weight"})
    assert H.shape == (15, 15)
    assert torch.abs(H @ torch.eye(15, dtype=torch.float64) - exact).max() < 1e-14
    assert {k: tuple(v.shape) for k, v in H.unflatten(np.arange(15.0)).items()} == {"2.weight": (3, 5)}


def test_frozen_parameters_are_left_out_unless_named():
    model = mlp()
    model[0].weight.requires_grad_(False)
    assert flt.HessianOperator(model, F.cross_entropy, batches()).shape[0] == 53 - 30
    assert flt.HessianOperator(model, F.cross_entropy, batches(), params=["0.weight"]).shape[0] == 30
    assert not model[0].weight.requires_grad


def test_unflatten_undoes_the_order_of_the_flat_vector():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    gradient = H.gradient()
    parts = H.unflatten(gradient)
    assert list(parts) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert torch.equal(torch.cat([p.flatten() for p in parts.values()]), gradient)
    with pytest.raises(ValueError, match=r"must have shape \(53,\), got \(3,\)"):
        H.unflatten(np.ones(3))
