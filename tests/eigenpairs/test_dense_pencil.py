import numpy as np
import pytest
import scipy.linalg

import fastlanczos as fl
from fastlanczos.eigenpairs.dense_pencil import solve_dense
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.wanted import Wanted

RNG = np.random.default_rng(0)
B = RNG.normal(size=(30, 30))
A, M = B + B.T, B @ B.T + 30 * np.eye(30)
NONE = {"sigma": None, "mode": "normal", "Minv": None, "OPinv": None, "v0": None}


@pytest.mark.parametrize("M", [None, M])
@pytest.mark.parametrize("which", ["LM", "SM", "LA", "SA", "BE"])
def test_the_pairs_are_lapacks(M, which):
    values, vectors, asymmetry = solve_dense(Pencil(A, M, None, **NONE), Wanted(which, 5), 1e-15)
    expected = scipy.linalg.eigh(A, M, eigvals_only=True)
    np.testing.assert_allclose(values, expected[Wanted(which, 5).select(expected)], atol=1e-13 * np.abs(A).max())
    inner = np.eye(30) if M is None else M
    np.testing.assert_allclose(vectors @ inner @ vectors.T, np.eye(5), atol=1e-13)
    assert asymmetry < 1e-15


def test_the_transformed_values_decide_with_a_shift():
    pencil = Pencil(A, None, None, **{**NONE, "sigma": 1.0})
    values, _, _ = solve_dense(pencil, Wanted("LM", 3), 1e-15)
    expected = np.linalg.eigvalsh(A)
    np.testing.assert_allclose(values, np.sort(expected[np.argsort(np.abs(expected - 1.0))[:3]]), atol=1e-12)


def test_an_indefinite_m_is_left_to_others():
    pencil = Pencil(A, np.diag(np.linspace(-1, 1, 30)), None, **{**NONE, "sigma": 1.0})
    assert solve_dense(pencil, Wanted("LM", 3), 1e-15) is None


def test_vectors_are_orthonormal_where_lapacks_default_is_not():
    d, z = np.sort(RNG.uniform(1, 3, 99)), RNG.uniform(0.5, 1, 99)
    arrow = np.diag(np.r_[0.0, d])
    arrow[0, 1:] = arrow[1:, 0] = z
    _, vectors, _ = solve_dense(Pencil(arrow, None, None, **NONE), Wanted("LM", 40), 1e-15)
    assert np.abs(vectors @ vectors.T - np.eye(40)).max() < 3e-14


def test_entries_that_are_not_finite_are_told():
    bad = A.copy()
    bad[3, 4] = bad[4, 3] = np.nan
    with pytest.raises(fl.NonFiniteError, match="A has 60 entries that are NaN or infinite") as caught:
        solve_dense(Pencil(lambda v: bad @ v, None, 30, **NONE), Wanted("LM", 3), 1e-15)
    assert (caught.value.step, caught.value.count) == (1, 60)
