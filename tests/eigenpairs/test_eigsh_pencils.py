"""`eigsh` for A x = lambda M x and with shifts: LAPACK's and scipy's answers."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg
from cases.eigenpairs import METRIC, SHIFTED, WHICH, matrix, meant
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator
from spectra import laplacian

import fastlanczos as fl
from fastlanczos.eigenpairs import eigsh as module


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("ncv", [None, 20])
@pytest.mark.parametrize(
    ("A", "arguments"),
    [
        (SHIFTED, {}),
        (SHIFTED, {"M": METRIC}),
        (SHIFTED, {"sigma": 2.25}),
        (SHIFTED, {"sigma": 2.25, "M": METRIC}),
        (SHIFTED, {"sigma": 2.25, "M": METRIC, "mode": "cayley"}),
        (abs(SHIFTED) + sp.eye_array(40), {"sigma": 2.25, "M": SHIFTED, "mode": "buckling"}),
        (abs(SHIFTED) + sp.eye_array(40), {"sigma": 2.25, "mode": "buckling"}),
        (SHIFTED.astype(complex), {}),
        (SHIFTED.astype(complex), {"sigma": 2.25}),
    ],
    ids=["plain", "M", "shift", "shift, M", "cayley", "buckling", "buckling, no M", "complex", "complex, shift"],
)
def test_values_are_scipys(A, arguments, which, ncv):
    real = A.real if which == "BE" else A  # scipy's complex eigsh knows no BE
    expected = scipy.sparse.linalg.eigsh(real, 4, which=which, maxiter=10_000, **arguments)[0]
    w, V = fl.eigsh(A, 4, which=which, ncv=ncv, **arguments)
    np.testing.assert_allclose(w, np.sort(expected), atol=1e-11)
    MV = arguments.get("M", sp.eye_array(40)) @ V
    assert np.abs(A @ V - MV * w).max() < 1e-10
    inner = A if arguments.get("mode") == "buckling" else arguments.get("M", sp.eye_array(40))
    np.testing.assert_allclose(V.conj().T @ (inner @ V), np.eye(4), atol=1e-10)


@st.composite
def pencils(draw):
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    n, is_complex = draw(st.integers(20, 300)), draw(st.booleans())
    d = draw(
        st.sampled_from(
            [
                rng.normal(size=n),
                rng.normal(size=n).repeat(rng.integers(1, 5, n))[:n],
                np.r_[rng.normal(size=5), 1e-2 * rng.normal(size=n - 5)],
            ]
        )
    )
    A = matrix(d, int(rng.integers(1000)), complex if is_complex else float)
    B = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if is_complex else 0.0)
    M = B @ B.conj().T / n + np.eye(n)
    k = draw(st.integers(1, 6))
    ncv = draw(st.sampled_from([None, min(n - 1, k + 12)]))
    return A, M, float(rng.normal()) / 2, k, draw(st.sampled_from(WHICH)), ncv


@pytest.mark.soak
@settings(max_examples=examples(150), deadline=None)
@given(pencils(), st.sampled_from(["M", "sigma", "sigma, M", "cayley", "buckling"]))
def test_pencils_are_solved_as_by_eigh(problem, kind):
    A, M, sigma, k, which, ncv = problem
    arguments = {"M": {"M": M}, "sigma": {"sigma": sigma}, "sigma, M": {"M": M, "sigma": sigma}}.get(kind)
    if kind == "buckling":
        d, arguments = 1 / scipy.linalg.eigvalsh(A, M), {"M": A, "sigma": sigma, "mode": "buckling"}
        A = M
    else:
        arguments = arguments or {"M": M, "sigma": sigma, "mode": "cayley"}
        d = scipy.linalg.eigvalsh(A, arguments.get("M"))
    forward = {"M": lambda x: x, "cayley": lambda x: (x + sigma) / (x - sigma), "buckling": lambda x: x / (x - sigma)}
    forward = forward.get(kind, lambda x: 1 / (x - sigma))
    w, V = fl.eigsh(A, k, which=which, ncv=ncv, **arguments)
    expected, found = np.sort(meant(forward(d), which, k)), np.sort(forward(w))
    if which in ("LM", "SM"):
        expected, found = np.sort(np.abs(expected)), np.sort(np.abs(found))
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(forward(d)).max()  # which LAPACK itself knows no better
    MV = arguments["M"] @ V if "M" in arguments else V
    size = np.linalg.norm(A, 2) + np.abs(w) * np.linalg.norm(arguments.get("M", np.eye(1)), 2)
    assert np.all(np.linalg.norm(A @ V - MV * w, axis=0) <= 1e-12 * size * np.linalg.norm(V, axis=0))


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12, 1e-14])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_values_near_to_a_shift_do_not_spoil_the_others(form, distance):
    if form == "dense":
        d = np.linspace(-1, 2, 400)
        A = matrix(d)
    else:
        A, d = laplacian((40, 41))
        A, d = A.tocsc(), np.sort(d)
    sigma = d[100] + distance
    w, V = fl.eigsh(A, 5, sigma=sigma)
    np.testing.assert_allclose(w, np.sort(d[np.argsort(np.abs(d - sigma))[:5]]), atol=1e-14)
    assert np.linalg.norm(A @ V - V * w, axis=0).max() < 5e-13


def test_a_slight_asymmetry_is_warned_of_with_a_shift_too():
    A = laplacian((20, 20))[0].tolil()
    A[0, 1] += 1e-9
    with pytest.warns(fl.AsymmetryWarning):
        w, _ = fl.eigsh(A.tocsc(), 3, sigma=0.1, tol=1e-6, ncv=20)
    np.testing.assert_allclose(w, fl.eigsh(laplacian((20, 20))[0].tocsc(), 3, sigma=0.1)[0], atol=1e-8)


@pytest.mark.parametrize("v0", [np.zeros(40), np.full(40, np.nan), np.ones(7)])
@pytest.mark.parametrize("ncv", [None, 20])
def test_a_start_vector_is_looked_at_whoever_solves(v0, ncv):
    with pytest.raises(ValueError, match="v0"):
        fl.eigsh(SHIFTED, 3, v0=v0, ncv=ncv)


def test_a_shift_at_a_multiple_value():
    A, d = laplacian((30, 30))
    sigma = np.sort(d)[200] + 1e-14  # a double one
    w, _ = fl.eigsh(A.tocsc(), 6, sigma=sigma)
    np.testing.assert_allclose(w, np.sort(d[np.argsort(np.abs(d - sigma))[:6]]), atol=1e-13)
    d = np.r_[np.ones(50), np.linspace(2, 3, 350)]
    w, V = fl.eigsh(matrix(d), 6, sigma=1 + 1e-14, maxiter=100)
    np.testing.assert_allclose(w, 1.0, atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(6), atol=1e-13)


def test_a_matrix_that_is_not_symmetric_is_told_with_a_shift_too():
    A = laplacian((20, 20))[0].tolil()
    A[0, 1] += 1e-6
    for X in (A.tocsc(), A.toarray()):
        with pytest.raises(ValueError, match="not symmetric"):
            fl.eigsh(X, 3, sigma=0.1)
        with pytest.raises(ValueError, match="not symmetric"):
            fl.eigsh(laplacian((20, 20))[0], 3, M=X)


def test_without_vectors_the_values_come_in_scipys_order():
    A = matrix(np.r_[np.linspace(-3, 2.5, 50)])
    for which in WHICH:
        expected = scipy.sparse.linalg.eigsh(A, 5, which=which, return_eigenvectors=False)
        w = fl.eigsh(A, 5, which=which, return_eigenvectors=False)
        np.testing.assert_allclose(w, expected, atol=1e-12)


@pytest.mark.parametrize("form", ["dia", "coo", "lil", "csr", "csc", "bsr", "dok"])
def test_every_sparse_form_of_a_pencil(form):
    A, M = SHIFTED.asformat(form), METRIC.asformat(form)
    expected = fl.eigsh(SHIFTED.toarray(), 4, M=METRIC.toarray(), sigma=2.25)[0]
    np.testing.assert_allclose(fl.eigsh(A, 4, M=M, sigma=2.25)[0], expected, atol=1e-12)
    expected = fl.eigsh(SHIFTED.toarray(), 4, M=METRIC.toarray())[0]
    np.testing.assert_allclose(fl.eigsh(A, 4, M=M)[0], expected, atol=1e-12)


def test_inverses_that_are_given_are_used():
    calls = []

    def solve(b):
        calls.append(1)
        return b / (SHIFTED.diagonal() - 2.25)

    OPinv = LinearOperator((40, 40), matvec=solve, dtype=float)
    w, _ = fl.eigsh(SHIFTED, 4, sigma=2.25, OPinv=OPinv, ncv=20)
    np.testing.assert_allclose(w, fl.eigsh(SHIFTED, 4, sigma=2.25)[0], atol=1e-13)
    assert len(calls) > 10
    Minv = sp.diags_array(1 / METRIC.diagonal())
    w, _ = fl.eigsh(SHIFTED, 4, METRIC, Minv=Minv, ncv=20)
    np.testing.assert_allclose(w, fl.eigsh(SHIFTED, 4, METRIC)[0], atol=1e-13)


@pytest.mark.parametrize("scale", [1e-250, 1e-120, 1e120, 1e250])
@pytest.mark.parametrize("arguments", [{}, {"sigma": 2.25}, {"sigma": 2.25, "M": METRIC}], ids=["A", "shift", "pencil"])
def test_scales_whose_squares_are_no_numbers(scale, arguments, monkeypatch):
    monkeypatch.setattr(module, "solve_dense", lambda *given: None)
    A = SHIFTED.astype(complex)
    states = []
    scaled = {name: x * scale if name == "sigma" else x for name, x in arguments.items()}
    w, V = fl.eigsh(A * scale, 4, callback=states.append, **scaled)
    expected = fl.eigsh(SHIFTED, 4, **arguments)[0]
    np.testing.assert_allclose(w / scale, expected, atol=1e-12)
    MV = arguments.get("M", sp.eye_array(40)) @ V
    assert np.abs(SHIFTED @ V - MV * (w / scale)).max() < 1e-12
    seen = states[-1].values * scale if arguments else states[-1].values / scale
    assert 1e-2 < np.abs(seen).max() < 1e3
