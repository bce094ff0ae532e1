"""which="SM": which way it is found."""

import numpy as np
import pytest
import scipy.sparse as sp
from cases.eigenpairs import check
from scipy.sparse.linalg import LinearOperator

import fastlanczos as fl
from fastlanczos.eigenpairs import pencil, smallest_magnitude


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_one_sign_it_is_an_end(sign, monkeypatch):
    monkeypatch.setattr(smallest_magnitude, "squared", None)
    d = sign * np.geomspace(1, 50, 600)
    A = sp.diags_array(d).tocsr()
    w, V = fl.eigsh(A, 4, which="SM", ncv=60)
    check(A, w, V, d, "SM", 4)


def test_of_both_signs_a_matrix_is_factored_and_an_operator_squared(monkeypatch):
    factored = []

    class Watched(pencil.Pencil):
        def __init__(self, *arguments, **keywords):
            factored.append(keywords["sigma"])
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(smallest_magnitude, "Pencil", Watched)
    d = np.r_[np.linspace(-3, -0.5, 300), np.linspace(0.4, 2, 300)]
    A = sp.diags_array(d).tocsr()
    check(A, *fl.eigsh(A, 3, which="SM"), d, "SM", 3)
    assert factored == [0.0]
    operator = LinearOperator(A.shape, matvec=lambda v: d * v.reshape(-1), dtype=float)
    check(A, *fl.eigsh(operator, 3, which="SM", maxiter=500), d, "SM", 3)
    assert factored == [0.0]


def test_few_distinct_values_are_shown_by_chains_of_the_operator_itself(monkeypatch):
    monkeypatch.setattr(smallest_magnitude, "squared", None)
    monkeypatch.setattr(smallest_magnitude, "Pencil", None)
    d = np.repeat([-3.0, -1.0, 0.5, 2.0], 200)
    A = sp.diags_array(d).tocsr()
    check(A, *fl.eigsh(A, 5, which="SM"), d, "SM", 5)


@pytest.mark.parametrize("which", ["SM", "LM", "BE"])
@pytest.mark.parametrize("seed", range(12))
def test_small_matrices_in_few_rows(seed, which):
    # The search for the ends has filled the run's rows before the search for few distinct values begins.
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 20))
    k = int(rng.integers(n // 2, n - 1))
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    d = rng.normal(size=n // 2)
    d = np.r_[d, -d, np.zeros(n - 2 * (n // 2))]
    A = (Q * d) @ Q.T
    for ncv in (k + 1, n - 1):
        w, V = fl.eigsh((A + A.T) / 2, k, which=which, ncv=ncv)
        order = np.argsort(np.abs(d))[:k] if which == "SM" else np.argsort(-np.abs(d), kind="stable")[:k]
        if which != "BE":
            np.testing.assert_allclose(np.sort(np.abs(w)), np.sort(np.abs(d[order])), atol=1e-12)
        np.testing.assert_allclose(A @ V, V * w, atol=1e-12)
