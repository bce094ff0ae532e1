"""csrc/include/fastlanczos/bidiagonal.hpp: both bases orthonormal, T that of the matrix, every term of the scalars."""

import numpy as np
import pytest
from cases.recurrence import golub_kahan, orthogonality

import fastlanczos as fl
from fastlanczos import _core

DTYPES = ["float64", "complex128"]


def numbers(rng, dtype, *shape):
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if dtype == "complex128" else x


class Run:
    """A bidiagonalization, products taken until it ends."""

    def __init__(self, B, most, v0, noise=0.0, seed=0):
        (m, n), dtype = B.shape, v0.dtype
        rng = np.random.default_rng(seed)
        self.U, self.V = np.full((most, m), np.nan, dtype), np.full((most, n), np.nan, dtype)
        self.left, self.right = np.empty(m, dtype), np.empty(n, dtype)
        self.core = _core.Bidiagonal(self.U, self.V, self.left, self.right)
        assert self.core.start(v0)
        while not self.core.ended:
            x = B @ self.right + noise * numbers(rng, dtype.name, m)
            if self.core.take_left(x):
                self.core.take_right(B.conj().T @ self.left + noise * numbers(rng, dtype.name, n))
        self.steps = self.core.steps
        self.alpha, self.beta = self.core.alpha, self.core.beta
        self.U, self.V = self.U[: self.steps - 1], self.V[: self.steps]  # the last left row waits for its sweep

    def T(self):
        return np.diag(self.alpha) + np.diag(self.beta[:-1], 1)


def with_values(values, m, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(numbers(rng, dtype, side, len(values)))[0] for side in (m, n))
    return (U * values) @ V.conj().T, numbers(rng, dtype, n)


SPECTRA = {
    "uniform": np.linspace(1.0, 0.1, 150),
    "geometric": 10.0 ** -np.minimum(np.arange(150) * 14 / 34, 300),
    "outliers": np.r_[1e6, 1e5, 1e4, np.linspace(1.0, 0.5, 147)],
    "tiny": 1e-90 * np.linspace(1.0, 0.1, 150),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
def test_both_bases_are_orthonormal_and_satisfy_the_recurrence(name, dtype):
    B, v0 = with_values(SPECTRA[name], 320, 150, dtype)
    norm = SPECTRA[name][0]
    r = Run(B, 90, v0)
    assert orthogonality(r.U) < 1e-14
    assert orthogonality(r.V) < 1e-14
    k = len(r.U)
    assert np.abs(B @ r.V[:k].T - r.U.T @ r.T()[:k, :k]).max() < 1e-14 * norm
    found = np.linalg.svd(r.T(), compute_uv=False)
    assert abs(found[0] - norm) < 1e-3 * norm if name == "uniform" else abs(found[0] - norm) < 1e-14 * norm
    if name == "geometric":
        assert r.core.ended
        assert np.abs(found[:30] - SPECTRA[name][:30]).max() < 2e-15


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [1e-3, 0.03])
def test_every_term_is_that_of_the_recurrence_as_it_is_written_down(noise, dtype):
    # Noise makes the candidates overlap the rows, so that nu and mu are visibly below 1.
    B, v0 = with_values(np.linspace(2.0, 0.2, 60), 100, 60, dtype)
    rng = np.random.default_rng(5)
    alpha, beta, U, V = golub_kahan(
        lambda p: B @ p + noise * numbers(rng, dtype, 100),
        lambda q: B.conj().T @ q + noise * numbers(rng, dtype, 60),
        v0,
        14,
    )
    r = Run(B, 14, v0, noise, seed=5)
    np.testing.assert_allclose(r.alpha, alpha, atol=1e-12)
    np.testing.assert_allclose(r.beta, beta, atol=1e-12)
    np.testing.assert_allclose(r.V, V, atol=1e-10)
    np.testing.assert_allclose(r.U, U, atol=1e-10)
    assert orthogonality(r.V) < 1e-13


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_invariant_spaces_end_the_run(side, dtype):
    values = np.repeat([3.0, 2.0, 1.0], 10)
    # With ten zeros the fourth right vector is one that B does not see; without, there is no fourth.
    B, v0 = with_values(values, 50, 40 if side == "left" else 30, dtype)
    r = Run(B, 30, v0)
    assert r.steps == (4 if side == "left" else 3)
    assert np.isfinite(r.V).all()
    assert orthogonality(r.V) < 1e-13
    found = np.linalg.svd(r.T(), compute_uv=False)
    np.testing.assert_allclose(found[:3], [3.0, 2.0, 1.0], atol=1e-13)
    assert r.core.remainder == 0.0
    if side == "left":
        assert found[3] < 1e-14


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_candidate_that_lies_mostly_in_the_span_is_swept_again(side, dtype):
    # One product has a million times an older row in it. The correction that waits for the next sweep would divide by
    # what is left, 1e-6, and leave 1e-10 of the rows.
    B, v0 = with_values(np.linspace(1.0, 0.1, 60), 100, 60, dtype)
    U, V, left, right = np.empty((14, 100), dtype), np.empty((14, 60), dtype), np.empty(100, dtype), np.empty(60, dtype)
    core = _core.Bidiagonal(U, V, left, right)
    assert core.start(v0)
    for step in range(14):
        disturbed = step == 6
        assert core.take_left(B @ right + (1e6 * U[1] if disturbed and side == "left" else 0.0))
        core.take_right(B.conj().T @ left + (1e6 * V[1] if disturbed and side == "right" else 0.0))
    assert orthogonality(U[:13]) < 1e-13
    assert orthogonality(V) < 1e-13


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (5, 3), (130, 129)])
def test_small_matrices_give_all_values(shape, dtype):
    rng = np.random.default_rng(1)
    B = numbers(rng, dtype, *shape)
    r = Run(B, shape[1], numbers(rng, dtype, shape[1]))
    found = np.linalg.svd(r.T(), compute_uv=False)
    np.testing.assert_allclose(found, np.linalg.svd(B, compute_uv=False), atol=1e-12)


def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    d, v0 = rng.uniform(0.5, 1.0, 140_001), rng.normal(size=140_001)
    before, found = fl.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            fl.set_num_threads(threads)
            U, V, left, right = np.empty((20, d.size)), np.empty((20, d.size)), np.empty(d.size), np.empty(d.size)
            core = _core.Bidiagonal(U, V, left, right)
            core.start(v0)
            while not core.ended:
                core.take_left(d * right)
                core.take_right(d * left)
            found.append((core.alpha.tobytes(), core.beta.tobytes(), V.tobytes()))
    finally:
        fl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_what_cannot_be_is_told():
    U, V, left, right = np.empty((3, 5)), np.empty((3, 4)), np.empty(5), np.empty(4)
    core = _core.Bidiagonal(U, V, left, right)
    assert not core.start(np.zeros(4))
    assert not core.start(np.array([1.0, np.nan, 0.0, 0.0]))
    assert core.start(np.ones(4))
    with pytest.raises(RuntimeError, match="by turns"):
        core.take_right(np.ones(4))
    with pytest.raises(ValueError, match="contiguous float64 vector"):
        core.take_left(np.ones(4))
    with pytest.raises(ValueError, match="as many left rows as right ones"):
        _core.Bidiagonal(U[:2].copy(), V, left, right)
