import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg
from spectra import laplacian

import fastlanczos as fl
from fastlanczos.eigenpairs import spectral_transform
from fastlanczos.eigenpairs.spectral_transform import MODES, matvec_of, transform

RNG = np.random.default_rng(0)
N = 25
B = RNG.normal(size=(N, N))
A, M = B + B.T + 12 * np.eye(N), B @ B.T + N * np.eye(N)
PLAIN = {"Minv": None, "OPinv": None, "dtype": "float64"}
SIGMA = 0.3


def dense(matvec):
    return np.stack([matvec(e) for e in np.eye(N)], axis=1)


@pytest.mark.parametrize("form", ["dense", "sparse", "callable"])
@pytest.mark.parametrize("mode", MODES)
def test_the_operators_eigenvalues_are_the_pencils_transformed(mode, form):
    as_form = {"dense": np.asarray, "sparse": sp.csr_array, "callable": lambda X: X.__matmul__}[form]
    t = transform(as_form(A), as_form(M), N, sigma=SIGMA, mode=mode, **PLAIN)
    expected = scipy.linalg.eigh(A, M, eigvals_only=True)
    found = np.sort(np.linalg.eigvals(dense(t.matvec)).real)
    scale = np.abs(found).max()
    np.testing.assert_allclose(found, np.sort(t.forward(expected)), atol=1e-10 * scale)
    np.testing.assert_allclose(t.values(t.forward(expected)), expected, rtol=1e-9)
    inner = A if mode == "buckling" else M
    np.testing.assert_allclose(dense(t.metric), inner, atol=1e-14 * np.abs(inner).max())
    symmetric = inner @ dense(t.matvec)
    np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-9 * np.abs(symmetric).max())


def test_without_a_shift_m_is_inverted():
    t = transform(A, M, N, sigma=None, mode="normal", **PLAIN)
    np.testing.assert_allclose(dense(t.matvec), np.linalg.solve(M, A), atol=1e-12)
    inverse = np.linalg.inv(M)
    t = transform(A, M, N, sigma=None, mode="normal", **{**PLAIN, "Minv": inverse})
    np.testing.assert_allclose(dense(t.matvec), inverse @ A, atol=1e-14)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_an_exactly_singular_shift_is_factored_beside(form):
    singular = np.diag(np.arange(N, dtype=float))
    t = transform(form(singular), None, N, sigma=3.0, mode="normal", **PLAIN)
    assert 0 < abs(t.sigma - 3.0) < 1e-13 * N
    b = np.ones(N)
    np.testing.assert_allclose(np.delete(t.matvec(b), 3), 1 / np.delete(np.arange(N) - 3.0, 3), rtol=1e-12)
    assert abs(t.matvec(b)[3]) > 1e12
    with pytest.raises(RuntimeError, match="M is exactly singular"):
        transform(form(A), form(singular), N, sigma=None, mode="normal", **PLAIN)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_a_singular_pencil_is_told(form):
    X = np.diag(np.r_[0.0, np.arange(1.0, N)])
    with pytest.raises(RuntimeError, match="common null vector"):
        transform(form(X), form(X), N, sigma=3.0, mode="normal", **PLAIN)


def test_a_sparse_matrix_that_needs_pivots_gets_them():
    X = sp.block_diag([np.array([[0.0, 1.0], [1.0, 0.0]])] * 10, format="csc")
    t = transform(X, None, 20, sigma=0.0, mode="normal", **PLAIN)
    b = RNG.normal(size=20)
    np.testing.assert_allclose(X @ t.matvec(b), b, atol=1e-15)


def test_a_shift_that_is_the_diagonal_is_factored_with_pivots(monkeypatch):
    L, d = laplacian((30, 31))
    asked = []

    def splu(X, **options):
        asked.append(options)
        return scipy.sparse.linalg.splu(X, **options)

    monkeypatch.setattr(spectral_transform, "splu", splu)
    w = fl.eigsh(L, 4, sigma=4.0, return_eigenvectors=False)
    assert asked == [{}]  # no attempt to take zeros for pivots
    np.testing.assert_allclose(w, np.sort(d[np.argsort(np.abs(d - 4.0))[:4]]), atol=1e-13)


def test_an_opinv_of_another_shift_is_told():
    wrong = np.linalg.inv(A - 5.0 * np.eye(N))
    with pytest.raises(ValueError, match=r"OPinv is not \(A - sigma M\)\^-1"):
        transform(A, None, N, sigma=SIGMA, mode="normal", **{**PLAIN, "OPinv": wrong})


def test_a_solve_that_does_not_converge_is_told():
    d = np.geomspace(1e-14, 1, 400) * np.where(np.arange(400) % 2, -1, 1)
    t = transform(lambda v: d * v, None, 400, sigma=0.0, mode="normal", **PLAIN)
    with pytest.raises(ValueError, match=r"GMRES did not solve with it to .* as OPinv"):
        t.matvec(RNG.normal(size=400))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.eye(3), ValueError, r"M has shape \(3, 3\); want \(25, 25\)"),
        ("matrix", TypeError, "M must be a matrix, a LinearOperator or a callable, got str"),
    ],
)
def test_what_does_not_multiply_is_told(X, error, message):
    with pytest.raises(error, match=message):
        matvec_of(X, N, "M")
