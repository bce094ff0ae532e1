"""Models whose parameters are DTensors: the matrix of one process, with vectors that lie as the parameters do."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

from cases.ranked import on_ranks  # noqa: E402
from cases.ranked_networks import divided, divided_curvature, network  # noqa: E402
from cases.soak import SOAK  # noqa: E402

import fastlanczos as fl  # noqa: E402
import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.model.sharded import _portion, bare  # noqa: E402

CASES = [(2, "FSDP2", {}), (2, "TP", {}), (2, "FSDP2 GGN", {}), (2, "FSDP2", {"products": "finite-difference"})]
CASES += [(4, "FSDP2+TP", {}), (3, "FSDP2", {"weight_decay": 0.1, "normalize": False})] if SOAK else []


@pytest.mark.parametrize(("size", "kind", "options"), CASES, ids=[f"{kind} {options}" for _, kind, options in CASES])
def test_the_matrix_is_that_of_one_process(tmp_path, size, kind, options):
    found = on_ranks(size, divided_curvature, kind, options, folder=tmp_path)
    model, (_, loss, x, y) = divided("plain", size), network()
    operator = flt.GGNOperator if "GGN" in kind else flt.HessianOperator
    H = operator(model, loss, [(x, y)], **options)
    n = H.shape[0]
    dense = (H @ torch.eye(n, dtype=torch.float64)).numpy()
    norm, expected = np.abs(dense).max(), H.loss()
    top = np.linalg.eigvalsh((dense + dense.T) / 2)[-5:]
    d = fl.spectral_density(H, num_probes=2, num_steps=15, seed=0)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    v = torch.linspace(-1, 1, n, dtype=torch.float64)
    product, gradient = (H @ v).numpy(), H.gradient().numpy()
    tolerance = 1e-6 if "products" in options else 1e-12
    for one in found:
        assert "raised" not in one, one
        np.testing.assert_allclose(one["product"], product, atol=tolerance * norm)
        np.testing.assert_allclose(one["gradient"], gradient, atol=1e-12 * max(1.0, norm))
        assert one["loss"] == pytest.approx(expected, rel=1e-12)
        assert one["samples"] == 37
        own = np.concatenate([product[first:end] for first, end in one["stretches"]])
        np.testing.assert_allclose(one["part"], own, atol=tolerance * norm)
        np.testing.assert_allclose(one["w"], top, atol=tolerance * norm)
        assert one["w"].tobytes() == found[0]["w"].tobytes()
        assert one["nodes"].tobytes() == found[0]["nodes"].tobytes()
    np.testing.assert_allclose(found[0]["extremes"], d.extremes, atol=max(tolerance, 1e-10) * norm)
    # Every entry is some rank's, and no rank has much more than its share.
    places = np.sort(np.concatenate([np.r_[tuple(slice(*s) for s in one["stretches"])] for one in found]))
    np.testing.assert_array_equal(places, np.arange(n))
    assert max(one["local"] for one in found) < 1.5 * n / size
    V = np.vstack([one["V"] for one in found])
    assert np.abs(V.T @ V - np.eye(5)).max() < 1e-12


def test_hooks_are_back_afterwards():
    model = torch.nn.Linear(2, 2)
    ours = model.register_forward_pre_hook(lambda *_: None)

    def distributed(*_):
        raise AssertionError

    distributed.__module__ = "torch.distributed.fsdp"
    model.register_forward_pre_hook(distributed, prepend=True)
    before = list(model._forward_pre_hooks.items())
    with bare(model):
        model(torch.zeros(1, 2))
        assert list(model._forward_pre_hooks) == [ours.id]
    assert list(model._forward_pre_hooks.items()) == before


def test_what_several_ranks_have_is_divided():
    stretches = np.array([[0, 3], [10, 14], [20, 21]])
    portions = [_portion(stretches, i, 3) for i in range(3)]
    places = [np.r_[tuple(slice(*s) for s in portion)] for portion in portions]
    assert [len(p) for p in places] == [2, 3, 3]
    np.testing.assert_array_equal(np.concatenate(places), [0, 1, 2, 10, 11, 12, 13, 20])
    assert _portion(np.empty((0, 2), dtype=int), 0, 2).shape == (0, 2)
