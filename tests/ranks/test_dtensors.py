"""Runs over ranks that are saved by torch.distributed.checkpoint and taken up by other numbers of ranks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

from cases.ranked import checkpointed, diagonal, on_ranks  # noqa: E402
from cases.soak import SOAK  # noqa: E402

import fastlanczos as fl  # noqa: E402

# Steps until which T does not depend on rounding: outliers converge, and without a basis come again.
STABLE = {"full": 30, "float32": 20, "none": 10}
STORED = {"full": {}, "float32": {"basis_dtype": "float32"}, "none": {"reorthogonalize": "none"}}


def check(found, stored):
    d = diagonal(503)
    expected = fl.lanczos(lambda v: d * v, 503, 60, seed=0, **STORED[stored])
    for one in found:
        assert one is not None, "killed"
        assert "raised" not in one, one
        assert one["alpha"].tobytes() == found[0]["alpha"].tobytes()
    stable = slice(0, STABLE[stored])
    np.testing.assert_allclose(found[0]["alpha"][stable], expected.alpha[stable], atol=1e-10)
    np.testing.assert_allclose(found[0]["beta"][stable], expected.beta[stable], atol=1e-10)
    nodes = fl.quadrature(found[0]["alpha"], found[0]["beta"])[0]
    np.testing.assert_allclose([nodes.min(), nodes.max()], [d.min(), d.max()], atol=1e-10)
    if stored == "full":
        V = np.hstack([one["basis"] for one in found])
        assert np.abs(V @ V.T - np.eye(60)).max() < 1e-13


@pytest.mark.parametrize(
    ("stored", "sizes"), [("full", (2, 3) if SOAK else (2, 1)), ("float32", (1, 2)), ("none", (2, 1))]
)
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, stored, sizes):
    (tmp_path / "runs").mkdir()
    for size, until in zip(sizes, (25, 60), strict=True):
        folder = tmp_path / f"{size}"
        folder.mkdir()
        found = on_ranks(size, checkpointed, str(tmp_path / "runs"), STORED[stored], until, folder=folder)
    assert found[0]["begun"] == 25
    check(found, stored)


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="ten kills in the soak")
@pytest.mark.parametrize("seed", range(10))
def test_a_rank_is_killed_and_other_ranks_go_on(tmp_path, seed):
    rng = np.random.default_rng(seed)
    (tmp_path / "runs").mkdir()
    size, other = rng.permutation([1, 2, 3])[:2].tolist() if rng.random() < 0.5 else rng.permutation([2, 3]).tolist()
    dies = (int(rng.integers(size)), int(rng.integers(1, 59)))
    for count, death in ((size, dies), (other, None)):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        runs = str(tmp_path / "runs")
        found = on_ranks(count, checkpointed, runs, {}, 60, death, folder=folder, timeout=10)
        if death is not None:
            assert found[dies[0]] is None
            others = [one for rank, one in enumerate(found) if rank != dies[0]]
            assert all(one["raised"] == "RankError" and f"rank {dies[0]}" in one["says"] for one in others), others
    assert found[0]["begun"] == dies[1] // 5 * 5
    check(found, "full")


def test_a_state_of_other_ranks_is_refused_by_one_process(tmp_path):
    it = fl.LanczosIteration(10, 5, seed=0)
    state = it.state_dict()
    with pytest.raises(ValueError, match="max_steps=5, this one has 6"):
        fl.LanczosIteration(10, 6, seed=0).load_state_dict(state)
    del state["candidate"], state["recent"]
    with pytest.raises(ValueError, match=r"vectors must be a DTensor of shape \(1, 10\)"):
        fl.LanczosIteration.from_state_dict({**state, "vectors": np.zeros((1, 10))})


def test_one_process_loads_its_own_state():
    d = np.arange(1.0, 31.0)
    it = fl.LanczosIteration(30, 20, seed=0)
    for _ in range(7):
        it.step(d * it.vector)
    other = fl.LanczosIteration(30, 20, seed=1)
    other.load_state_dict(it.state_dict())
    while it.step(d * it.vector):
        other.step(d * other.vector)
    other.step(d * other.vector)
    assert it.alpha.tobytes() == other.alpha.tobytes()
