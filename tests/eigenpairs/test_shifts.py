"""Shifts that are eigenvalues: simple, multiple, exactly representable or not, of matrices and of pencils."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlanczos as fl
from fastlanczos.eigenpairs import eigsh as module


@pytest.fixture(scope="module", autouse=True)
def without_lapack():
    """LAPACK on the whole matrix would hide that the iteration does not get there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "solve_dense", lambda *arguments: None)
        yield


@st.composite
def problems(draw):
    """(A, M or None, the eigenvalues, a shift on one of them or as good as that, arguments)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from([257, 300, 420]))
    distinct = draw(st.integers(8, n))
    kind = draw(st.sampled_from(["integers", "reals", "graded"]))
    if kind == "integers":
        levels = rng.permutation(np.arange(-distinct // 2, distinct))[:distinct].astype(float)
    elif kind == "reals":
        levels = rng.uniform(-1, 1, distinct)
    else:
        levels = np.geomspace(1e-6, 1.0, distinct) * np.where(rng.random(distinct) < 0.3, -1, 1)
    d = np.sort(np.r_[levels, rng.choice(levels, n - distinct)])
    scale = 2.0 ** draw(st.integers(-20, 20))
    d = d * scale
    # A sparse orthogonal similarity: rotations of neighbours, which leave round values exact or nearly so.
    G = np.eye(n)
    for i in rng.permutation(n - 1)[: draw(st.integers(0, n - 1))]:
        t = rng.uniform(0, 2 * np.pi)
        R = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
        G[[i, i + 1]] = R @ G[[i, i + 1]]
    A = (G.T * d) @ G
    A = (A + A.T) / 2
    M = None
    if draw(st.booleans()):
        C = np.diag(rng.uniform(0.5, 2, n)) + np.diag(rng.uniform(-0.2, 0.2, n - 1), 1)
        A, M = C.T @ A @ C, C.T @ C
        A, M = (A + A.T) / 2, (M + M.T) / 2
    sigma = float(draw(st.sampled_from(list(d))))
    beside = draw(st.sampled_from([0.0, 0.0, 1e-15, -1e-13, 1e-10]))
    sigma += beside * np.abs(d).max()
    # Next to 0 the Cayley transformation makes all values 1.
    cayley = abs(sigma) > 1e-6 * np.abs(d).max()
    mode = draw(st.sampled_from(["normal", "normal", "cayley"])) if cayley else "normal"
    if draw(st.booleans()):
        A, M = sp.csc_array(A), None if M is None else sp.csc_array(M)
    return A, M, d, sigma, {"k": draw(st.integers(1, 8)), "mode": mode, "ncv": draw(st.sampled_from([None, 40]))}


@settings(deadline=None, max_examples=examples(500), derandomize=True)
@given(problems())
def test_shifts_on_eigenvalues(problem):
    A, M, d, sigma, arguments = problem
    k = arguments["k"]
    w, V = fl.eigsh(A, M=M, sigma=sigma, **arguments)
    norm = np.abs(d).max()
    if arguments["mode"] == "normal":
        nearest = np.sort(np.abs(d - sigma))[:k]
        np.testing.assert_allclose(np.sort(np.abs(w - sigma)), nearest, atol=1e-11 * norm, rtol=0)
    MV = V if M is None else M @ V
    dense = A.toarray() if sp.issparse(A) else A
    size = np.linalg.norm(dense, 2) * np.linalg.norm(V, axis=0).max()
    assert np.linalg.norm(A @ V - MV * w, axis=0).max() <= 1e-12 * size
    assert np.abs(V.T @ MV - np.eye(k)).max() <= 1e-12


@pytest.mark.parametrize("copies", [1, 2, 6, 60])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_a_shift_on_a_value_with_copies(copies, form):
    blocks = [np.diag(np.full(8, 2.0)) - np.diag(np.ones(7), 1) - np.diag(np.ones(7), -1)] * copies
    A = scipy.linalg.block_diag(*blocks, np.diag(np.linspace(5, 9, 300)))
    d = np.linalg.eigvalsh(A)
    sigma = float(np.linalg.eigvalsh(blocks[0])[2])
    k = min(copies + 2, 20)
    w, V, info = fl.eigsh(form(A), k, sigma=sigma, return_info=True)
    np.testing.assert_allclose(np.sort(np.abs(w - sigma)), np.sort(np.abs(d - sigma))[:k], atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=1e-13)
    assert info.num_matvecs < len(A)  # not written out for LAPACK


def test_rigid_modes_of_a_free_body_in_the_inner_product_of_its_mass():
    n = 500
    K = sp.diags_array([-np.ones(n - 1), np.r_[1, 2 * np.ones(n - 2), 1], -np.ones(n - 1)], offsets=[-1, 0, 1])
    K = sp.block_diag([K * n, K * 3 * n]).tocsc()
    M = sp.diags_array(np.r_[0.5, np.ones(n - 2), 0.5, 0.5, np.ones(n - 2), 0.5] / n).tocsc()
    w, V = fl.eigsh(K, 6, M=M, sigma=0.0)
    exact = scipy.linalg.eigh(K.toarray(), M.toarray(), eigvals_only=True)[:6]
    np.testing.assert_allclose(w, exact, atol=1e-12 * 4 * n * n)
    assert np.abs(w[:2]).max() < 1e-9
    np.testing.assert_allclose(V.T @ (M @ V), np.eye(6), atol=1e-12)


@pytest.mark.parametrize("mode", ["buckling", "cayley"])
def test_the_other_modes(mode):
    rng = np.random.default_rng(0)
    n = 300
    d = np.sort(rng.uniform(1, 20, n))
    d[100:103] = d[100]
    C = np.diag(rng.uniform(0.5, 2, n)) + np.diag(rng.uniform(-0.2, 0.2, n - 1), 1)
    A, M = C.T @ np.diag(d) @ C, C.T @ C
    w, V = fl.eigsh((A + A.T) / 2, 5, M=(M + M.T) / 2, sigma=float(d[100]), mode=mode, maxiter=50)
    np.testing.assert_allclose(np.sort(np.abs(w - d[100])), np.sort(np.abs(d - d[100]))[:5], atol=1e-11)
    assert np.abs(A @ V - M @ V * w).max() < 1e-10


def test_a_solver_that_returns_infinities_is_told():
    A = np.diag(np.arange(300.0))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="NaN or infinite"):
        fl.eigsh(A, 3, sigma=7.0, OPinv=lambda b: b / (np.arange(300.0) - 7.0))


def test_of_the_benchmark_s_shifts_and_real_matrices_none_is_missed():
    matrices = pytest.importorskip("matrices")
    for problem in matrices.matrices(quick=False):
        row = matrices.measure(problem, matrices.SOLVERS["fastlanczos"], 1e-12)
        assert row["failure"] is None, row
        assert row["missed"] == 0, row
        assert row["residual"] < 1e-13, row
        assert row["orthogonality"] < 1e-13, row
