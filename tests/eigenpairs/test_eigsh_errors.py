"""`eigsh`: mistakes, and operators that are not what they should be, are told with what to do."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from cases.eigenpairs import meant
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator
from spectra import laplacian

import fastlanczos as fl

GOOD = np.diag(np.arange(1.0, 301.0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be"),
        ({"k": 301}, ValueError, "k = 301: a 300 x 300 operator has no more than 300 eigenvalues"),
        ({"k": 2.5}, TypeError, "k must be"),
        ({"ncv": 6}, ValueError, "ncv must be greater than k: got ncv = 6, k = 6"),
        ({"which": "la"}, ValueError, "which must be one of LM, SM, LA, SA, BE; got 'la'"),
        ({"which": "LR"}, ValueError, "which must be one of"),
        ({"mode": "inverse", "sigma": 1.0}, ValueError, "mode must be one of normal, buckling, cayley"),
        ({"mode": "cayley"}, ValueError, "give sigma"),
        ({"mode": "cayley", "sigma": 0}, ValueError, "needs a sigma other than 0"),
        ({"sigma": 1j}, ValueError, "sigma must be a finite real number"),
        ({"sigma": np.nan}, ValueError, "sigma must be a finite real number"),
        ({"sigma": 5.0, "OPinv": lambda b: b * np.inf}, ValueError, "NaN or infinite"),
        ({"OPinv": GOOD}, ValueError, "give sigma as well"),
        ({"Minv": GOOD}, ValueError, "Minv is given without M"),
        ({"Minv": GOOD, "sigma": 1.5}, ValueError, "give OPinv"),
        ({"tol": -1}, ValueError, r"tol must be a number in \[0, 1\)"),
        ({"tol": "1e-3"}, ValueError, "tol must be a number"),
        ({"maxiter": 0}, ValueError, "maxiter must be"),
        ({"v0": np.ones(7)}, ValueError, "7"),
        ({"v0": np.zeros(300)}, ValueError, "v0 is zero"),
        ({"v0": np.full(300, np.nan)}, ValueError, "v0"),
        ({"M": np.eye(7)}, ValueError, r"M has shape \(7, 7\); want \(300, 300\)"),
        ({"dim": 7}, ValueError, "dim"),
    ],
)
def test_mistakes_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.eigsh(GOOD, **{"k": 6, "ncv": 20, **arguments})


@pytest.mark.parametrize("n", [30, 400])
def test_operators_that_cannot_be_meant_are_told(n):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(n, n))
    with pytest.raises(ValueError, match="square"):
        fl.eigsh(A[:, :-1], 3)
    with pytest.raises(ValueError, match=r"the operator is not symmetric .* use scipy.sparse.linalg.eigs"):
        fl.eigsh(A, 3)
    with pytest.raises(ValueError, match="the operator is not symmetric"):
        fl.eigsh(A + A.T + 1j * (A + A.T), 3)
    symmetric = A + A.T
    symmetric[2, 3] = symmetric[3, 2] = np.nan
    with pytest.raises(fl.NonFiniteError, match="NaN"):
        fl.eigsh(symmetric, 3)
    with pytest.raises(ValueError, match="dim is missing"):
        fl.eigsh(lambda v: v, 3)
    with pytest.raises(TypeError):
        fl.eigsh("matrix", 3)
    with pytest.raises(TypeError):
        fl.eigsh(lambda v: 1j * v, 3, dim=n)


@pytest.mark.parametrize("n", [40, 400])
@pytest.mark.parametrize("form", ["sparse", "dense", "callable"])
def test_an_indefinite_m_is_told(form, n):
    A, _ = laplacian((n,))
    m = np.r_[-1.0, np.ones(n - 1)]
    M = {"sparse": sp.diags_array(m).tocsc(), "dense": np.diag(m), "callable": lambda v: m * v}[form]
    with pytest.raises(ValueError, match="M must be positive definite"):
        fl.eigsh(A, 3, M=M, Minv=(lambda v: v / m) if form == "callable" else None)


def test_a_slight_asymmetry_is_an_error_only_where_it_matters():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 400))
    A = A + A.T + 1e-9 * rng.normal(size=(400, 400))
    with pytest.raises(ValueError, match="pass a larger tol"):
        fl.eigsh(A, 3)
    with pytest.warns(fl.AsymmetryWarning):
        w, _ = fl.eigsh(A, 3, tol=1e-6)
    np.testing.assert_allclose(w, meant(np.linalg.eigvalsh((A + A.T) / 2), "LM", 3), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-6, 1e-4])
def test_products_that_are_not_exact_give_the_digits_that_they_carry(size):
    rng = np.random.default_rng(0)
    d = np.linspace(-1, 2, 500)

    def matvec(v):
        return d * v + size / 30 * rng.normal(size=500)

    with pytest.warns(fl.AsymmetryWarning, match="digits"):
        w, _ = fl.eigsh(matvec, 3, which="LA", dim=500)
    np.testing.assert_allclose(w, d[-3:], atol=10 * size)
    with pytest.raises((ValueError, ArpackNoConvergence)):  # asked for, and out of reach
        fl.eigsh(matvec, 3, which="LA", dim=500, tol=1e-12)


def test_an_operator_that_changes_a_lot_is_not_believed():
    rng = np.random.default_rng(0)
    d = np.linspace(-1, 2, 500)
    with pytest.raises((ValueError, ArpackNoConvergence)):
        fl.eigsh(lambda v: d * v + 1e-2 * rng.normal(size=500), 3, which="LA", dim=500)


def test_single_precision_behind_a_linear_operator_is_answered():
    A = np.random.default_rng(0).normal(size=(400, 400)).astype(np.float32)
    A = (A + A.T) / 2
    operator = LinearOperator((400, 400), matvec=lambda v: A @ v.astype(np.float32), dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fl.AsymmetryWarning)
        w, V = fl.eigsh(operator, 3)
    np.testing.assert_allclose(w, meant(np.linalg.eigvalsh(A.astype(float)), "LM", 3), rtol=1e-5)
    assert np.abs(V.T @ V - np.eye(3)).max() < 1e-13
