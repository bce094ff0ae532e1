"""fastlanczos/curvature/memory.py and the plan behind it: told before anything runs, and kept."""

import pytest

torch = pytest.importorskip("torch")

import fastlanczos as fl  # noqa: E402
import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.curvature import products, schedule_choice  # noqa: E402
from fastlanczos.curvature.peak_memory import PeakMemory  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def wide(samples=64, operator=flt.HessianOperator, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 5))
    data = [(torch.randn(samples, 20), torch.arange(samples) % 5)]
    return operator(model, F.cross_entropy, data, **options)


def test_vectors_and_basis_are_those_of_a_run():
    H = wide()
    n = H.shape[0]
    full, narrow, none = (H.memory(50, **o) for o in ({}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}))
    assert (full.basis, narrow.basis, none.basis) == (50 * 8 * n, 50 * 4 * n, 0)
    assert full.copy == 4 * n
    assert full.vectors % (8 * n) == 0
    assert full.total == full.copy + full.graphs + full.product + full.vectors + full.basis
    assert "graphs" in str(full)
    with pytest.raises(ValueError, match="reorthogonalize must be"):
        H.memory(reorthogonalize="some")
    with pytest.raises(ValueError, match="basis_dtype must be"):
        H.memory(basis_dtype="float16")


@pytest.mark.parametrize("operator", [flt.HessianOperator, flt.GGNOperator])
@pytest.mark.parametrize("options", [{}, {"products": "finite-difference"}], ids=["exact", "differences"])
def test_what_is_told_of_a_product_is_what_it_takes(operator, options):
    H = wide(512, operator, **options)
    told = H.memory(10)
    v, product = torch.ones(H.shape[0], dtype=torch.float64), torch.empty(H.shape[0], dtype=torch.float64)
    H.multiply_into([v], [product])  # graphs are built, work space is reserved
    with PeakMemory([*H.parameters().values(), v, product]) as memory:
        H.multiply_into([v], [product])
    assert 0.5 * memory.peak <= told.product <= 3.0 * memory.peak


def test_a_large_network_with_kept_graphs_runs_its_probes_in_the_memory_of_one(monkeypatch):
    assert wide(64).blocks_pay  # small: nothing is looked at
    monkeypatch.setattr(products, "MANY", 0)
    monkeypatch.setattr(schedule_choice, "MANY", 0)
    H = wide(64)
    assert not H.blocks_pay
    assert H.schedule.together == 1
    result = fl.spectral_density(H, num_probes=2, num_steps=5, seed=0)
    assert result.info["lockstep"] == 1
    rebuilt = wide(64, schedule=flt.Schedule("rebuilt", together=1))
    assert rebuilt.blocks_pay  # a graph is built once for all vectors
    assert not wide(64, products="finite-difference").blocks_pay


def test_a_limit_is_kept_by_what_was_measured():
    H = wide(512)
    needed = H.memory(10)
    small = wide(512, max_memory=(needed.graphs + needed.product) // 3)
    v = torch.ones(H.shape[0], dtype=torch.float64)
    torch.testing.assert_close(small @ v, H @ v, rtol=1e-4, atol=1e-6)
    assert small.schedule.graphs == "rebuilt"
    assert small.schedule.batch_size < 512
    parts = small.memory(10)
    assert parts.graphs == 0
    assert parts.product <= (needed.graphs + needed.product) // 3
