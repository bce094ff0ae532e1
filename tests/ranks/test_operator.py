"""Vectors shared out over gloo ranks, against one process."""

import re

import numpy as np
import pytest
from cases.ranked import (
    cut,
    density,
    diagonal,
    eigenpairs,
    failing,
    functions,
    lanczos,
    on_ranks,
    refused,
    sums,
    tensors,
)
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


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize(
    ("n", "options"),
    [
        (1500, {"which": "LA"}),
        (1500, {"which": "BE", "ncv": 30}),
        (1500, {"which": "SM", "ncv": 40}),
        (20, {"which": "LA"}),
    ],
    ids=["LA", "BE, restarted", "SM", "LAPACK"],
)
def test_eigenpairs_come_with_their_copies(tmp_path, size, n, options):
    found = on_ranks(size, eigenpairs, n, options, folder=tmp_path)
    d = diagonal(n) if n > 20 else np.arange(1.0, n + 1)
    d[:3] = 10.0
    s = np.sort(d)
    expected = {"LA": s[-6:], "BE": np.r_[s[:3], s[-3:]], "SM": np.sort(d[np.argsort(np.abs(d))[:6]])}[options["which"]]
    for w, _, residual, products in found:
        assert w.tobytes() == found[0][0].tobytes()
        np.testing.assert_allclose(w, expected, atol=1e-10)
        assert residual < 1e-10
        assert products == found[0][3]
    V = np.vstack([V for _, V, _, _ in found])
    assert np.abs(V.T @ V - np.eye(6)).max() < 1e-13


@pytest.mark.parametrize("what", ["sharded", "portions"])
def test_sums_are_those_of_one_process(tmp_path, what):
    d = np.linspace(1, 3, 2000)
    expected = fl.logdet(lambda v: d * v, 2000, num_probes=6, num_steps=25, seed=0, method="hutchinson")
    for value, error, grown, products in on_ranks(2, sums, what, folder=tmp_path):
        tolerance = 1e-12 if what == "sharded" else 0.0
        assert value == pytest.approx(expected.value, rel=tolerance, abs=0.0)
        assert error == pytest.approx(expected.std_error, rel=1e-9, abs=0.0)
        assert products == expected.num_matvecs
        assert grown == pytest.approx(np.sqrt(d).sum(), rel=2e-3)


@pytest.mark.parametrize("function", ["diagonal", "sigma", "preconditioner", "deflated"])
def test_what_wants_whole_vectors_refuses_parts(tmp_path, function):
    (found,) = on_ranks(1, refused, function, folder=tmp_path)
    assert found["raised"] in ("TypeError", "ValueError")
    assert re.search("ShardedOperator|shared out", found["says"])


def test_vectors_are_tensors_where_the_start_vector_is_one(tmp_path):
    for one in on_ranks(2, tensors, folder=tmp_path):
        assert one["seen"] == {("Tensor", "torch.float32")}
        assert one["kinds"] == {"Tensor"}
        assert one["basis"] == (20, 150)
        np.testing.assert_allclose(one["w"], [7.0, 10.0], rtol=1e-5)
        assert one["top"] == pytest.approx(10.0, rel=1e-3)


def test_b_of_another_length_is_told(tmp_path):
    (found,) = on_ranks(1, refused, "funm_multiply", folder=tmp_path)
    assert found["raised"] == "ValueError"
    assert "A has dimension 20, and b shape (10,)" in found["says"]


@pytest.mark.parametrize("size", RANKS)
def test_functions_of_the_matrix_and_their_diagonals_are_those_of_one_process(tmp_path, size):
    found = on_ranks(size, functions, folder=tmp_path)
    d = np.linspace(1, 3, 900)
    b = np.sin(np.arange(900.0))
    whole = {name: np.concatenate([one[name] for one in found]) for name in ("sqrt", "exp")}
    np.testing.assert_allclose(whole["sqrt"], np.stack([np.sqrt(d) * b, np.sqrt(d) * d], axis=1), atol=1e-8)
    np.testing.assert_allclose(whole["exp"], np.exp(d) * b, atol=1e-7)
    given = {"dim": 900, "seed": 0, "method": "hutchinson"}
    one_process = {
        "inverse": fl.diagonal(lambda v: d * v, "inv", num_probes=8, **given),
        "itself": fl.diagonal(lambda v: d * v, num_probes=4, **given),
        "accurate": fl.diagonal(lambda v: d * v, "log", rtol=0.5, **given),
        "bounded": fl.diagonal(lambda v: d * v, "inv", num_probes=4, num_steps=30, bounds=(1.0, 3.0), **given),
    }
    for name, expected in one_process.items():
        value = np.concatenate([one[name].value for one in found])
        np.testing.assert_allclose(value, expected.value, atol=1e-9)
        assert {(one[name].num_probes, one[name].num_matvecs) for one in found} == {
            (expected.num_probes, expected.num_matvecs)
        }
        error = np.concatenate([np.broadcast_to(one[name].quadrature_error, one[name].value.shape) for one in found])
        np.testing.assert_allclose(error, expected.quadrature_error, atol=1e-9)


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
