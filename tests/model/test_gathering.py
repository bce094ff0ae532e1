"""Parameters of FSDP2 gathered module by module: the same product, and never the whole model on a rank."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.fsdp")

from cases.ranked import on_ranks  # noqa: E402
from cases.ranked_networks import deep, embedded  # noqa: E402


@pytest.mark.parametrize("graphs", [None, "kept"])
def test_no_rank_ever_holds_the_whole_model(tmp_path, graphs):
    expected = deep(0, 0, None)["product"]
    for one in on_ranks(2, deep, graphs, folder=tmp_path):
        assert "raised" not in one, one
        np.testing.assert_allclose(one["product"], expected, atol=1e-13 * np.abs(expected).max())
        assert one["product"].tobytes() == one["again"].tobytes()
        assert 0.1 < one["gathered"] < 0.4  # two or three of eight blocks
        assert one["how"].startswith(f"graphs {graphs or 'rebuilt'}")


def test_sparse_gradients_are_summed_too(tmp_path):
    expected = embedded(0, 0)
    for one in on_ranks(2, embedded, folder=tmp_path):
        for found, exact in zip(one, expected, strict=True):
            np.testing.assert_allclose(found, exact, atol=1e-13 * np.abs(exact).max())


def test_a_rank_that_fails_between_modules_ends_the_others_wait(tmp_path):
    first, second = on_ranks(2, deep, None, True, folder=tmp_path, timeout=5)
    assert second["raised"] == "ValueError"
    assert first["raised"] == "RankError"
    assert "waits in vain for" in first["says"]


def test_schedules_that_need_whole_parameters_are_refused(tmp_path):
    for one in on_ranks(2, deep, "on disk", folder=tmp_path):
        assert one["raised"] == "ValueError"
        assert "kept or rebuilt" in one["says"]
