"""Preconditioned eigsh, against LAPACK."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, spilu
from spectra import laplacian

import fastlanczos as fl

N = 600
RNG = np.random.default_rng(0)
DIAGONAL = np.sort(RNG.uniform(0, 100, N))
A = np.diag(DIAGONAL) + 0.3 * (lambda B: B + B.T)(RNG.standard_normal((N, N))) / np.sqrt(N)
EXACT = np.linalg.eigvalsh(A)


def by_diagonal(r, shift):
    return r / np.where(np.abs(DIAGONAL - shift) < 1e-3, 1e-3, DIAGONAL - shift)


@pytest.mark.parametrize("which", ["SA", "LA"])
def test_the_diagonal_saves_most_of_the_products(which):
    expected = EXACT[:4] if which == "SA" else EXACT[-4:]
    w, V, info = fl.eigsh(A, 4, which=which, preconditioner=by_diagonal, return_info=True)
    _, _, without = fl.eigsh(A, 4, which=which, return_info=True)
    np.testing.assert_allclose(w, expected, atol=1e-11)
    assert np.abs(A @ V - V * w).max() < 1e-10
    assert np.abs(V.T @ V - np.eye(4)).max() < 1e-13
    assert info.num_matvecs < 0.7 * without.num_matvecs


def test_a_complex_matrix():
    H = A + 0.1j * (lambda B: B - B.T)(RNG.standard_normal((N, N))) / np.sqrt(N)
    w, V = fl.eigsh(H, 3, which="SA", preconditioner=by_diagonal)
    np.testing.assert_allclose(w, np.linalg.eigvalsh(H)[:3], atol=1e-11)
    assert np.abs(V.conj().T @ V - np.eye(3)).max() < 1e-13


def test_double_values_are_found_and_may_be_left_out():
    L, exact = laplacian((24, 24))
    ilu = spilu(L.tocsc(), drop_tol=1e-2)
    P = LinearOperator(L.shape, matvec=ilu.solve, dtype=float)
    w, _ = fl.eigsh(L, 6, which="SA", preconditioner=P)
    np.testing.assert_allclose(w, np.sort(exact)[:6], atol=1e-13)
    once, _ = fl.eigsh(L, 3, which="SA", preconditioner=P, multiplicities=False, tol=1e-8)
    assert np.all(np.abs(once[:, None] - exact).min(axis=1) < 1e-10)


def test_little_memory_means_restarts_and_the_same_values():
    w, _, info = fl.eigsh(A, 4, which="SA", preconditioner=by_diagonal, ncv=20, return_info=True)
    np.testing.assert_allclose(w, EXACT[:4], atol=1e-11)
    assert info.num_restarts > 0


def test_a_poor_preconditioner_costs_products_only():
    w, _ = fl.eigsh(A, 2, which="SA", preconditioner=sp.identity(N), tol=1e-8)
    np.testing.assert_allclose(w, EXACT[:2], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"which": "LM", "preconditioner": by_diagonal}, ValueError, 'which="SA" or "LA"'),
        ({"which": "SA", "preconditioner": np.eye(3)}, ValueError, "preconditioner has shape"),
        ({"which": "SA", "preconditioner": 3.0}, TypeError, "preconditioner must be"),
        ({"sigma": 1.0, "preconditioner": by_diagonal}, ValueError, "give OPinv"),
    ],
)
def test_mistakes_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.eigsh(A, 3, **arguments)


def test_a_matrix_that_is_not_symmetric_is_told():
    with pytest.raises((ValueError, fl_not_converged())):
        fl.eigsh(A + np.triu(np.ones((N, N)), 1), 3, which="SA", preconditioner=by_diagonal, maxiter=3)


def fl_not_converged():
    from scipy.sparse.linalg import ArpackNoConvergence

    return ArpackNoConvergence
