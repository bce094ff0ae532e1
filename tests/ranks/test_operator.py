"""Vectors shared out over gloo ranks, against one process."""

import numpy as np
import pytest
from cases.ranked import cut, density, diagonal, failing, lanczos, on_ranks, refused
from cases.soak import SOAK

import fastlanczos as fl

RANKS = [2, pytest.param(3, marks=[pytest.mark.soak, pytest.mark.skipif(not SOAK, reason="three ranks in the soak")])]


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize(
    "options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}], ids=["float64", "float32", "none"]
)
def test_a_run_is_that_of_one_process_and_the_same_on_all_ranks(tmp_path, size, options):
    found = on_ranks(size, lanczos, options, folder=tmp_path)
    d = diagonal()
    expected = fl.lanczos(lambda v: d * v, len(d), 80, seed=0, **options)
    for one in found:
        assert one["alpha"].tobytes() == found[0]["alpha"].tobytes()
        assert one["beta"].tobytes() == found[0]["beta"].tobytes()
    known = 10 if "reorthogonalize" in options else 20  # without a basis, until an outlier has converged
    np.testing.assert_allclose(found[0]["alpha"][:known], expected.alpha[:known], atol=1e-10)
    np.testing.assert_allclose(found[0]["beta"][:known], expected.beta[:known], atol=1e-10)
    # Two in a step; two of the start, one of the probe's norm.
    corrections = 80 if options.get("basis_dtype") else 0
    assert 160 <= found[0]["gathers"] <= 160 + 3 + corrections
    if "reorthogonalize" in options:
        assert found[0]["basis"] is None
    else:
        V = np.hstack([one["basis"] for one in found]).astype(float)
        assert V.shape == (80, len(d))
        assert np.abs(V @ V.T - np.eye(80)).max() < (1e-6 if options else 1e-13)
    assert found[-1]["repr"].startswith("ShardedOperator(5003 x 5003, rows ")


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("probes", ["sphere", "rademacher"])
def test_a_density_does_not_depend_on_the_number_of_ranks(tmp_path, size, probes):
    found = on_ranks(size, density, {"probes": probes}, folder=tmp_path)
    d = diagonal()
    expected = fl.spectral_density(lambda v: d * v, len(d), num_probes=3, num_steps=40, seed=1, probes=probes)
    for nodes, weights, dim in found:
        assert dim == len(d)
        assert nodes.tobytes() == found[0][0].tobytes()
        assert weights.tobytes() == found[0][1].tobytes()
    nodes, weights, _ = found[0]
    np.testing.assert_allclose(nodes[:, [0, -1]], expected.nodes[:, [0, -1]], atol=1e-12)
    np.testing.assert_allclose((weights * nodes**2).sum(), (expected.weights * expected.nodes**2).sum(), rtol=1e-12)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("what", ["raises", "length", "not finite", "killed"])
def test_a_rank_that_fails_is_told_to_the_others_with_their_finished_steps(tmp_path, size, what):
    found = on_ranks(size, failing, what, folder=tmp_path, timeout=10)
    *others, failed = found
    if what == "killed":
        assert failed is None
    elif what == "not finite":
        assert all(one["raised"] == "NonFiniteError" for one in found)
    else:
        assert failed["raised"] == "ValueError"
    for one in others:
        assert one["steps"] == 6
        if what != "not finite":
            assert one["raised"] == "RankError"
        if what in ("raises", "length"):
            assert f"rank {size - 1} has failed" in one["says"]


@pytest.mark.parametrize("function", ["eigsh", "trace", "funm_multiply"])
def test_functions_that_want_whole_vectors_refuse_parts(tmp_path, function):
    (found,) = on_ranks(1, refused, function, folder=tmp_path)
    assert found["raised"] == "TypeError"
    assert "which lanczos and spectral_density take" in found["says"]


def test_rows_are_dealt_out_to_all(tmp_path):
    d = diagonal(10)
    for size in (1, 2, 3, 4):
        assert np.concatenate([cut(d, rank, size) for rank in range(size)]).tolist() == d.tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, 3, None), TypeError, "matvec must be a callable, got NoneType"),
        ((abs, 3, None), TypeError, "group must be a torch.distributed ProcessGroup .* got builtins.NoneType"),
    ],
)
def test_what_is_no_operator_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.ShardedOperator(*arguments)
