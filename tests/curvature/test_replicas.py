"""Networks that every rank has, with parts of the data: the matrix of all of it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases.ranked import on_ranks  # noqa: E402
from cases.ranked_networks import curvature, failing_network, network, population  # noqa: E402
from cases.soak import SOAK  # noqa: E402

import fastlanczos as fl  # noqa: E402
import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.curvature.replicas import unwrapped  # noqa: E402

CASES = [
    ("plain", {}),
    ("DDP", {"weight_decay": 0.1}),
    ("GGN", {"normalize": False}),
    ("Fisher", {}),
    ("plain", {"products": "finite-difference"}),
]


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.skipif(not SOAK, reason="soak"))])
@pytest.mark.parametrize(("kind", "options"), CASES, ids=[f"{kind} {options}" for kind, options in CASES])
def test_products_loss_and_eigenvalues_are_those_of_the_whole_data(tmp_path, size, kind, options):
    found = on_ranks(size, curvature, kind, options, folder=tmp_path)
    model, loss, x, y = network()
    operator = {"GGN": flt.GGNOperator, "Fisher": flt.FisherOperator}.get(kind, flt.HessianOperator)
    H = operator(model, loss, [(x, y)], **options)
    n = H.shape[0]
    v = torch.linspace(-1, 1, n, dtype=torch.float64)
    exact = "products" not in options
    dense = (H @ torch.eye(n, dtype=torch.float64)).numpy()
    top = np.linalg.eigvalsh((dense + dense.T) / 2)[-5:]
    norm = np.abs(dense).max()
    tolerance = 1e-12 if exact else 1e-6
    for one in found:
        np.testing.assert_allclose(one["product"], (H @ v).numpy(), atol=tolerance * norm)
        np.testing.assert_allclose(one["gradient"], H.gradient().numpy(), atol=1e-13 * max(1.0, norm))
        assert one["loss"] == pytest.approx(H.loss(), rel=1e-13)
        assert one["samples"] == 37
        np.testing.assert_allclose(one["w"], top, atol=tolerance * norm)
        assert one["w"].tobytes() == found[0]["w"].tobytes()
    assert sum(one["local"] for one in found) == n
    V = np.vstack([one["V"] for one in found])
    assert np.abs(V.T @ V - np.eye(5)).max() < 1e-12
    d = fl.spectral_density(H, num_probes=2, num_steps=15, seed=0)
    np.testing.assert_allclose(found[0]["extremes"], d.extremes, atol=max(tolerance, 1e-10) * norm)


def test_a_rank_whose_network_fails_is_told_to_the_others(tmp_path):
    first, second = on_ranks(2, failing_network, folder=tmp_path, timeout=10)
    assert second["raised"] == "ValueError"
    assert first["raised"] == "RankError"
    assert "rank 1 has failed" in first["says"]


def test_statistics_of_the_population_are_those_of_all_ranks_data(tmp_path):
    expected = population(0, 0)
    for product in on_ranks(2, population, folder=tmp_path):
        np.testing.assert_allclose(product, expected, atol=1e-13 * np.abs(expected).max())


def test_a_rank_that_fails_as_statistics_are_collected_is_told_to_the_others(tmp_path):
    first, second = on_ranks(2, population, True, folder=tmp_path, timeout=10)
    assert second["raised"] == "ValueError"
    assert first["raised"] == "RankError"
    assert "rank 1 has failed" in first["says"]


def test_wrappers_are_taken_off():
    model = torch.nn.Linear(2, 2)
    assert unwrapped(model) is model
    assert unwrapped(torch.compile(model)) is model
