"""fastlanczos/sums/diagonal.py."""

import numpy as np
import pytest
from cases.sums import kernel, with_eigenvalues

import fastlanczos as fl


def dense(A, f):
    w, V = np.linalg.eigh(A)
    return np.einsum("ij,j,ij->i", V, f(w), V)


@pytest.mark.parametrize("method", ["auto", "hutchinson", "deflated"])
@pytest.mark.parametrize(("fun", "f"), [(None, lambda x: x), ("log", np.log)])
@pytest.mark.parametrize("make", [kernel, lambda: with_eigenvalues(np.linspace(1, 3, 200))])
def test_entries_are_within_their_errors(make, fun, f, method):
    A = make()
    e = fl.diagonal(A, fun, num_probes=30, method=method, seed=0)
    exact = dense(A, f)
    low, high = e.interval(0.95)
    assert np.mean((low <= exact) & (exact <= high)) > 0.85
    assert np.abs(e.value - exact).max() < 6 * e.std_error.max() + 1e-8


def test_deflation_pays_for_a_kernel():
    plain, deflated = (fl.diagonal(kernel(), num_probes=20, method=m, seed=0) for m in ("hutchinson", "auto"))
    assert deflated.info["method"] == "deflated"
    assert 10 * np.mean(deflated.std_error) < np.mean(plain.std_error)


def test_a_diagonal_matrix_is_exact():
    e = fl.diagonal(np.diag(np.arange(1.0, 101.0)), num_probes=3, method="hutchinson", seed=0)
    assert np.allclose(e.value, np.arange(1.0, 101.0), rtol=1e-14)
    with pytest.raises(ValueError, match="method must be one of auto, hutchinson, deflated"):
        fl.diagonal(np.eye(3), method="xtrace")


def test_too_few_steps_show_in_the_error_of_each_entry():
    A = with_eigenvalues(np.geomspace(1e-3, 1, 200))
    exact = dense(A, np.log)
    settled = fl.diagonal(A, "log", num_probes=20, num_steps=200, method="hutchinson", seed=0)
    assert not settled.quadrature_error.any()
    few = fl.diagonal(A, "log", num_probes=20, num_steps=10, method="hutchinson", seed=0)
    off = np.abs(few.value - settled.value)  # of the same probes
    assert off.max() > 0.01
    assert np.mean(few.quadrature_error >= off) > 0.9
    low, high = few.interval()
    assert np.mean((low <= exact) & (exact <= high)) > 0.9


def test_an_operator_that_is_not_symmetric_is_told():
    with pytest.warns(fl.AsymmetryWarning):
        fl.diagonal(np.triu(kernel() + 1), np.tanh, num_probes=3, method="hutchinson", seed=0)


@pytest.mark.parametrize("fun", [None, "log"])
def test_probes_and_steps_are_added_until_every_entry_is_as_accurate_as_asked_for(fun):
    A = with_eigenvalues(np.geomspace(1e-2, 1, 100))
    exact = np.diag(A) if fun is None else dense(A, np.log)
    e = fl.diagonal(A, fun, num_steps=4, rtol=0.1, method="hutchinson", seed=0)
    assert e.half_width() <= 0.1 * np.abs(e.value).max()
    assert np.mean(np.abs(e.value - exact) <= 0.1 * np.abs(exact).max()) > 0.9
    assert e.info["num_steps"] == 1 if fun is None else e.info["num_steps"] > 4
    with pytest.warns(UserWarning, match=r"stopped after \d+ products at DiagonalEstimate.* \(max_matvecs=\)"):
        short = fl.diagonal(A, fun, rtol=1e-4, max_matvecs=1200, method="hutchinson", seed=0)
    assert short.num_matvecs <= 1200
