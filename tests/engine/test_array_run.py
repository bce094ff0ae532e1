import numpy as np
import pytest
import torch
from cases.recurrence import orthogonality

from fastlanczos.engine.array_run import ArrayRun

RNG = np.random.default_rng(0)
N, ROWS = 40, 12


def hermitian(kind):
    A = RNG.normal(size=(N, N))
    if kind == "complex":
        A = A + 1j * RNG.normal(size=(N, N))
    return A + A.conj().T


def run_of(kind, metric=None):
    dtype = np.complex128 if kind == "complex" else np.float64
    if kind == "torch":
        return ArrayRun(
            torch.empty((ROWS, N), dtype=torch.float64),
            lambda x, what: x,
            from_numpy=lambda x: torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)),
            to_numpy=lambda x: x.numpy(),
        )
    return ArrayRun(
        np.empty((ROWS, N), dtype),
        lambda x, what: np.asarray(x, dtype),
        metric=metric,
        from_numpy=lambda x: np.asarray(x, dtype),
        to_numpy=np.asarray,
    )


def vector(kind):
    v = RNG.normal(size=N)
    if kind == "torch":
        return torch.from_numpy(v)
    return v + 1j * RNG.normal(size=N) if kind == "complex" else v


def operator(kind, A):
    return torch.from_numpy(A).__matmul__ if kind == "torch" else A.__matmul__


def advance(run, multiply, steps):
    for _ in range(steps):
        assert run.advance(multiply(run.vector))


@pytest.mark.parametrize("scale", [1.0, 1e290, 1e-290])
@pytest.mark.parametrize("kind", ["real", "complex", "torch"])
def test_rows_are_orthonormal_and_project_the_operator(kind, scale):
    A = hermitian(kind)
    multiply = operator(kind, A * scale)
    run = run_of(kind)
    assert run.start(vector(kind))
    advance(run, multiply, 9)
    V = np.asarray(run.rows(9))
    norm = np.linalg.norm(A, 2)
    assert np.abs(V.conj() @ V.T - np.eye(9)).max() < 1e-14
    T = run.projected() * (2.0**run.exponent / scale)
    np.testing.assert_allclose(T, V.conj() @ A @ V.T, atol=1e-13 * norm)
    rest = A @ V[-1] - T[-1] @ V
    assert run.remainder * 2.0**run.exponent / scale == pytest.approx(np.linalg.norm(rest), rel=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex", "torch"])
def test_a_restart_from_ritz_vectors_goes_on_with_the_recurrence(kind):
    A = hermitian(kind)
    multiply, run = operator(kind, A), run_of(kind)
    run.start(vector(kind))
    advance(run, multiply, 9)
    theta, S = np.linalg.eigh(run.projected())
    kept = [0, 7, 8]
    ritz = S[:, kept].T @ np.asarray(run.rows(9))
    unit = 2.0**run.exponent
    run.restart(np.ascontiguousarray(S[:, kept].T), theta[kept], run.remainder * S[-1, kept], 30.0 / unit, run.exponent)
    np.testing.assert_allclose(np.asarray(run.rows(3)), ritz, atol=1e-14)
    advance(run, multiply, 5)
    V = np.asarray(run.rows(8))
    assert np.abs(V.conj() @ V.T - np.eye(8)).max() < 1e-13
    np.testing.assert_allclose(run.projected() * unit, V.conj() @ A @ V.T, atol=1e-12)


def test_an_inner_product_of_its_own():
    A, B = hermitian("real"), RNG.normal(size=(N, N))
    M = B @ B.T + N * np.eye(N)
    run = run_of("real", M.__matmul__)
    run.start(vector("real"))
    advance(run, lambda v: np.linalg.solve(M, A @ v), 8)
    V = run.rows(8)
    assert np.abs(V @ M @ V.T - np.eye(8)).max() < 1e-14
    np.testing.assert_allclose(run.projected() * 2.0**run.exponent, V @ A @ V.T, atol=1e-13)


def test_a_fresh_vector_leaves_an_invariant_subspace():
    d = np.repeat([1.0, 2.0, 3.0], [20, 10, 10])
    run = run_of("real")
    run.start(vector("real"))
    while not run.finished:
        run.advance(d * run.vector)
    assert (run.steps, run.breakdown) == (3, True)
    assert run.renew(vector("real"))
    while not run.finished:
        run.advance(d * run.vector)
    assert (run.steps, run.breakdown) == (6, True)
    assert orthogonality(run.rows(6)) < 1e-14
    np.testing.assert_allclose(np.linalg.eigvalsh(run.projected() * 2.0**run.exponent), [1, 1, 2, 2, 3, 3], atol=1e-14)
    assert not run.renew(np.zeros(N))
    assert not run.renew(run.rows(6)[2].copy())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_product_that_is_not_finite_changes_nothing(bad):
    run = run_of("real")
    run.start(vector("real"))
    advance(run, hermitian("real").__matmul__, 3)
    z = np.ones(N)
    z[4] = bad
    before = run.projected()
    assert not run.advance(z)
    assert run.count_not_finite(z) == (1, "")
    assert run.steps == 3
    np.testing.assert_array_equal(run.projected(), before)


def test_an_operator_that_is_not_symmetric_shows():
    A = hermitian("real")
    A[3, 7] += 1e-3
    run = run_of("real")
    run.start(vector("real"))
    advance(run, A.__matmul__, 10)
    assert run.max_projection > 1e-6


def test_an_inner_product_that_is_not_positive_is_told():
    M = np.diag(np.r_[-5.0, np.ones(N - 1)])
    run = run_of("real", metric=M.__matmul__)
    v = np.zeros(N)
    v[:2] = 1.0
    with pytest.raises(ValueError, match="not positive definite"):
        run.start(v)


def test_a_semidefinite_inner_product_is_taken():
    M = np.diag(np.r_[0.0, np.ones(N - 1)])
    run = run_of("real", metric=M.__matmul__)
    assert run.start(RNG.normal(size=N))
    assert not run.start(np.eye(N)[0])
