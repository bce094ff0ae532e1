"""csrc/include/fastlanczos/step.hpp, through the public API."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases.recurrence import one_sweep, orthogonality, residual
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import cgs2
from spectra import spectra

import fastlanczos as fl

SPECTRA = spectra()
START = np.random.default_rng(1).normal(size=3000)


@pytest.mark.parametrize("num_steps", [60, 400])
@pytest.mark.parametrize("name", SPECTRA)
def test_basis_is_orthonormal_and_satisfies_the_recurrence_at_rounding_level(name, num_steps):
    d = SPECTRA[name]
    r = fl.lanczos(lambda v: d * v, 3000, num_steps, v0=START)
    norm = np.abs(d).max()
    assert orthogonality(r.basis) < 1e-14
    assert residual(r.basis * d, r.alpha, r.beta, r.basis, norm) < 1e-14
    assert r.asymmetry < 2e-15
    assert (r.num_steps < num_steps) == r.breakdown


@pytest.mark.parametrize("name", SPECTRA)
def test_last_residual_is_what_the_norm_says(name):
    d = SPECTRA[name]
    r = fl.lanczos(lambda v: d * v, 3000, 50, v0=START)
    norm = np.abs(d).max() or 1.0
    T = r.tridiagonal() / norm
    rest = np.linalg.norm(r.basis[-1] * (d / norm) - T[-1] @ r.basis)
    assert abs(rest - r.residual_norm / norm) < 1e-14


@pytest.mark.parametrize("name", ["uniform", "geometric", "strakos", "bulk 1e-2 + outliers", "huge", "tiny"])
def test_step_agrees_with_the_plain_reference(name):
    d = SPECTRA[name]
    scale = np.abs(d).max()
    r = fl.lanczos(lambda v: d * v, 3000, 30, v0=START)
    alpha, beta, V, breakdown, _ = one_sweep(lambda v: d / scale * v, START, 30)
    assert not breakdown
    assert not r.breakdown
    # Until Ritz values converge, T is a well-conditioned function of A and v0.
    agree = 30 if name in ("uniform", "geometric", "huge", "tiny") else 8
    np.testing.assert_allclose(r.alpha[:agree] / scale, alpha[:agree], atol=1e-13)
    np.testing.assert_allclose(r.beta[: agree - 1] / scale, beta[: agree - 1], atol=1e-13)
    np.testing.assert_allclose(np.abs(r.basis[:agree] @ V[:agree].T), np.eye(agree), atol=1e-11)


@pytest.mark.parametrize("name", ["low rank 30", "identity", "zero"])
def test_breakdown_comes_where_the_reference_breaks_down(name):
    d = SPECTRA[name]
    r = fl.lanczos(lambda v: d * v, 3000, 60, v0=START)
    alpha, *_, breakdown, _ = one_sweep(lambda v: d * v, START, 60)
    assert breakdown
    assert r.breakdown
    assert abs(r.num_steps - len(alpha)) <= 1
    distinct = np.unique(d)
    ritz = r.quadrature()[0]
    assert all(np.abs(ritz - value).min() < 1e-13 * max(1, d.max()) for value in distinct)


@pytest.mark.parametrize("n", [50, 500, 1500])
@pytest.mark.parametrize("values", [(1,), (0, 1), (-1, 1), (1, 2, 3, 4)])
def test_dense_matrices_with_few_eigenvalues_break_down_at_their_number(n, values):
    rng = np.random.default_rng(n)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    A = (Q * rng.choice(np.array(values, float), n)) @ Q.T
    r = fl.lanczos((A + A.T) / 2, num_steps=40, seed=0)
    assert r.breakdown
    assert r.num_steps == len(values)
    np.testing.assert_allclose(r.quadrature()[0], values, atol=1e-13)


@pytest.mark.parametrize("coupling", [1e-5, 1e-10, 1e-13, 0.0])
def test_a_weakly_coupled_block_is_entered_unless_the_coupling_is_rounding(coupling):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(100, 100))
    A[:20, 20:] = 0.0
    A = np.tril(A) + np.tril(A, -1).T
    A[19, 20:], A[20:, 19] = 0.0, 0.0
    A[:20, 20:], A[20:, :20] = 0.0, 0.0
    A[19, 20] = A[20, 19] = coupling * np.linalg.norm(A, 2)
    r = fl.lanczos(A, num_steps=90, v0=np.r_[rng.normal(size=20), np.zeros(80)])
    assert r.num_steps == (90 if coupling else 20)
    assert orthogonality(r.basis) < 1e-14


def test_ritz_values_are_those_of_lanczos_orthogonalized_twice():
    d = SPECTRA["bulk 1e-6 + outliers"]
    r = fl.lanczos(lambda v: d * v, 3000, 60, v0=START)
    alpha, beta, *_ = cgs2(lambda v: d * v, START, 60)
    expected = np.linalg.eigvalsh(np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1))
    np.testing.assert_allclose(r.quadrature()[0], expected, atol=1e-13 * 100)


def test_a_noisy_matvec_sets_off_the_second_correction_and_keeps_the_basis_orthonormal():
    rng = np.random.default_rng(2)
    d = rng.normal(0, 1e-6, 2000)
    d[:10] = np.linspace(1, 100, 10)
    it = fl.LanczosIteration(2000, 100, seed=0)
    while it.step((d.astype(np.float32) * it.vector.astype(np.float32)) + rng.normal(0, 1e-7, 2000)):
        pass
    assert it._run.sweeps > 105
    assert orthogonality(it.result().basis) < 1e-14


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("steps", [60, 200])
def test_float32_rows_are_semiorthogonal_and_leave_the_eigenvalues_of_T(name, steps):
    d = SPECTRA[name]
    norm = np.abs(d).max() or 1.0
    r64 = fl.lanczos(lambda v: d * v, 3000, steps, v0=START)
    r32 = fl.lanczos(lambda v: d * v, 3000, steps, v0=START, basis_dtype="float32")
    assert r32.basis.dtype == np.float32
    assert orthogonality(r32.basis.astype(float)) < 3e-7
    assert r32.num_steps == r64.num_steps
    assert np.abs(r32.quadrature()[0] - r64.quadrature()[0]).max() / norm < 1e-12


def test_without_a_basis_the_density_is_the_same_and_eigenvalues_repeat():
    d = SPECTRA["bulk 1e-2 + outliers"]
    full = fl.lanczos(lambda v: d * v, 3000, 120, v0=START)
    none = fl.lanczos(lambda v: d * v, 3000, 120, v0=START, reorthogonalize="none")
    assert none.basis is None
    assert np.sum(np.abs(none.quadrature()[0] - 100) < 1e-9) > 1
    t = np.linspace(-1, 101, 500)
    cdf = [fl.SpectralDensity(x[None], w[None], 3000).cdf(t, 0.1) for x, w in (full.quadrature(), none.quadrature())]
    assert np.abs(cdf[0] - cdf[1]).max() < 1e-10


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize("basis_dtype", ["float64", "float32"])
def test_same_seed_same_bits_for_any_thread_count(reorthogonalize, basis_dtype):
    n = 150_001
    d = np.random.default_rng(3).normal(size=n)
    before = fl.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4, 7):
            fl.set_num_threads(threads)
            results.append(
                fl.lanczos(lambda v: d * v, n, 40, seed=5, reorthogonalize=reorthogonalize, basis_dtype=basis_dtype)
            )
    finally:
        fl.set_num_threads(before)
    for r in results[1:]:
        assert r.alpha.tobytes() == results[0].alpha.tobytes()
        assert r.beta.tobytes() == results[0].beta.tobytes()
        assert reorthogonalize == "none" or np.array_equal(r.basis, results[0].basis)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_to_rounding(isa):
    program = (
        "import numpy as np, fastlanczos as fl\n"
        "from fastlanczos import _core\n"
        "d = np.linspace(-1, 1, 5003)\n"
        "r = fl.lanczos(lambda v: d * v, 5003, 70, seed=0)\n"
        "q = fl.lanczos(lambda v: d * v, 5003, 70, seed=0, basis_dtype='float32')\n"
        "print(_core.build()['instruction_set'])\n"
        "print(abs(r.basis @ r.basis.T - np.eye(70)).max())\n"
        "print(abs(r.quadrature()[0] - q.quadrature()[0]).max())\n"
        "print(abs(r.quadrature()[0] - np.linalg.eigvalsh(r.tridiagonal())).max())\n"
        "print(*[x.hex() for x in r.alpha.tolist()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FASTLANCZOS_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    chosen, orthogonal, float32, quadrature, alphas = done.stdout.splitlines()
    if chosen != isa:
        pytest.skip(f"this processor has no {isa}")
    assert float(orthogonal) < 1e-14
    assert float(float32) < 1e-12
    assert float(quadrature) < 1e-14
    d = np.linspace(-1, 1, 5003)
    here = fl.lanczos(lambda v: d * v, 5003, 70, seed=0)
    np.testing.assert_allclose([float.fromhex(a) for a in alphas.split()], here.alpha, atol=1e-13)


@pytest.mark.soak
@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(1, 300),
    num_steps=st.integers(1, 80),
    exponent=st.integers(-290, 290),
    seed=st.integers(0, 2**32),
    basis_dtype=st.sampled_from(["float64", "float32"]),
)
def test_any_size_and_scale(n, num_steps, exponent, seed, basis_dtype):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n))
    A = (A + A.T) / 2
    scale = 10.0**exponent
    norm = np.linalg.norm(A, 2)
    r = fl.lanczos(lambda v: (A @ v) * scale, n, num_steps, seed=seed, basis_dtype=basis_dtype)
    V, tolerance = r.basis.astype(float), 1e-13 if basis_dtype == "float64" else 1e-6
    assert r.num_steps <= min(n, num_steps)
    assert orthogonality(V) < tolerance
    assert residual(V @ A, r.alpha / scale, r.beta / scale, V, norm) < tolerance
    if r.num_steps == n and basis_dtype == "float64":
        np.testing.assert_allclose(r.quadrature()[0] / scale, np.linalg.eigvalsh(A), atol=1e-13 * norm)


def test_a_scale_that_grows_during_the_run_is_followed():
    # The start vector sees entries of 1e-150 alone; those of 1e150 come in step by step.
    n = 40
    T = (
        np.diag(np.geomspace(1e-150, 1e150, n))
        + np.diag(np.full(n - 1, 1e-150), 1)
        + np.diag(np.full(n - 1, 1e-150), -1)
    )
    T[0, -1] = T[-1, 0] = 1e100
    r = fl.lanczos(T, num_steps=n, v0=np.eye(n)[0])
    assert abs(r.quadrature()[0][-1] / 1e150 - 1) < 1e-14
    assert orthogonality(r.basis) < 1e-14


def test_a_start_vector_of_any_scale_is_normalised():
    d = np.linspace(1, 2, 500)
    for scale in (1e-300, 1e-160, 1e160, 1e300):
        r = fl.lanczos(lambda v: d * v, 500, 20, v0=START[:500] * scale)
        assert abs(np.linalg.norm(r.basis[0]) - 1) < 1e-15
        assert orthogonality(r.basis) < 1e-14
