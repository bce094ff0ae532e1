"""Sums from factorizations: right, chosen by the work alone, and told."""

import numpy as np
import pytest
import scipy.sparse

import fastlanczos as fl
from fastlanczos.operators.operator import as_operator
from fastlanczos.sums.exact import Factorization
from fastlanczos.sums.functions import as_function


def kernel(n, noise, length=0.1):
    x = np.sort(np.random.default_rng(0).uniform(size=n))
    return np.exp(-((x[:, None] - x) ** 2) / (2 * length**2)) + noise * np.eye(n)


def laplacian(side):
    one = scipy.sparse.diags_array([-np.ones(side - 1), 2.0 * np.ones(side), -np.ones(side - 1)], offsets=[-1, 0, 1])
    eye = scipy.sparse.eye_array(side)
    return scipy.sparse.csr_array(scipy.sparse.kron(one, eye) + scipy.sparse.kron(eye, one))


@pytest.mark.parametrize("fun", ["log", "inv", "sqrt", "exp", None, np.abs, ("power", 3)])
@pytest.mark.parametrize("sparse", [False, True])
def test_sums_and_diagonals_are_exact_to_the_rounding_that_they_tell(fun, sparse):
    A = laplacian(12) if sparse else kernel(150, 1e-3)
    values, vectors = np.linalg.eigh(A.toarray() if sparse else A)
    f = as_function(fun).call(values)
    e = fl.trace(A, fun, method="exact")
    assert e.info["method"] == "exact"
    assert e.std_error == e.num_matvecs == e.num_probes == 0
    assert abs(e.value - f.sum()) <= e.quadrature_error < 1e-7 * np.abs(f).sum()
    low, high = e.interval()
    assert low <= f.sum() <= high
    assert "exact" in repr(e)
    d = fl.diagonal(A, fun, method="exact")
    exact = vectors**2 @ f
    assert np.all(np.abs(d.value - exact) <= d.quadrature_error + 1e-9 * np.abs(exact).max())
    assert "exact" in repr(d)


def test_a_narrow_band_is_factored_as_one_whatever_the_order_of_its_rows():
    n = 20_000
    T = scipy.sparse.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    order = np.random.default_rng(0).permutation(n)
    values = 2.5 - 2.0 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
    e = fl.logdet(T[order][:, order], rtol=1e-8)
    assert e.info["factorization"] == "band"
    assert abs(e.value - np.log(values).sum()) <= e.quadrature_error < 1e-9 * abs(e.value)


def test_the_work_decides_and_no_clock():
    log = as_function("log")
    dense, sparse = as_operator(kernel(300, 1e-2)), as_operator(laplacian(40))
    assert Factorization(dense, log).products == pytest.approx(50)
    assert Factorization(dense, as_function("sqrt")).products == pytest.approx(510)
    assert Factorization(sparse, as_function("sqrt")).products > 1000  # written out
    assert Factorization(as_operator(lambda v: v, 300), log).products == np.inf


def test_an_estimate_becomes_exact_only_where_that_is_less_work():
    X = np.random.default_rng(0).uniform(size=(700, 2))
    K = np.exp(-np.sum((X[:, None] - X) ** 2, axis=2) / (2 * 0.05**2)) + 1e-6 * np.eye(700)
    assert fl.logdet(K, rtol=1e-3, seed=0).info["method"] == "exact"
    assert fl.logdet(K, seed=0).info["method"] == "exact"  # the default's steps would have had to grow beyond
    assert fl.logdet(K + np.eye(700), seed=0).info["method"] != "exact"  # here they are enough
    with pytest.warns(UserWarning, match="leave"):
        assert fl.logdet(K, seed=0, num_probes=10, max_matvecs=900).info["method"] != "exact"
    assert fl.logdet(K, seed=0, num_probes=10, num_steps=30).info["method"] != "exact"
    with pytest.warns(UserWarning, match="stopped after"):
        assert fl.trace(K, np.sqrt, rtol=1e-12, max_matvecs=600, seed=0).info["method"] != "exact"
    assert fl.eigencount(K, 0.5, np.inf, rtol=1e-9, seed=0).value == np.count_nonzero(np.linalg.eigvalsh(K) >= 0.5)
    assert fl.diagonal(K, "inv", rtol=1e-4, seed=0).info["method"] == "exact"


def test_what_is_wrong_with_a_matrix_is_told_as_by_an_estimate():
    indefinite = np.diag(np.r_[-1.0, np.linspace(1, 2, 50)])
    with pytest.raises(ValueError, match="positive definite operator, but the smallest node is -1"):
        fl.logdet(indefinite, rtol=1e-2)
    with pytest.raises(ValueError, match='method="exact" needs a matrix'):
        fl.trace(lambda v: v, "exp", 10, method="exact")
    skewed = np.diag(np.linspace(1, 2, 50))
    skewed[3, 7] = 0.1
    with pytest.warns(fl.AsymmetryWarning):
        fl.logdet(skewed, rtol=1e-2)
    broken = np.eye(50)
    broken[2, 2] = np.nan
    with pytest.raises(fl.NonFiniteError):
        fl.logdet(broken, rtol=1e-2)
