"""csrc/include/fastlanczos/step.hpp on complex vectors, through the public API."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases.recurrence import Noisy, one_sweep, orthogonality, residual
from spectra import spectra

import fastlanczos as fl

SPECTRA = spectra()
N = 3000
RNG = np.random.default_rng(1)
START = RNG.normal(size=N) + 1j * RNG.normal(size=N)


def turned(d):
    """Products with a Hermitian matrix of these eigenvalues: circulant, its eigenvectors those of the Fourier
    transform."""
    return lambda v: np.fft.ifft(d * np.fft.fft(v))


@pytest.mark.parametrize("num_steps", [60, 400])
@pytest.mark.parametrize("name", SPECTRA)
def test_basis_is_orthonormal_and_satisfies_the_recurrence_at_rounding_level(name, num_steps):
    d = SPECTRA[name]
    r = fl.lanczos(lambda v: d * v, N, num_steps, v0=START)
    assert r.basis.dtype == np.complex128
    assert r.alpha.dtype == r.beta.dtype == np.float64
    assert orthogonality(r.basis) < 1e-14
    assert residual(r.basis * d, r.alpha, r.beta, r.basis, np.abs(d).max()) < 1e-14
    assert r.asymmetry < 2e-15
    assert (r.num_steps < num_steps) == r.breakdown


@pytest.mark.parametrize("name", ["uniform", "bulk 1e-2 + outliers", "strakos"])
def test_a_circulant_has_the_eigenvalues_that_it_was_made_of(name):
    d = SPECTRA[name]
    r = fl.lanczos(turned(d), N, 200, v0=START)
    assert orthogonality(r.basis) < 1e-14
    assert abs(r.quadrature()[0][-1] - d.max()) < 1e-4 * np.abs(d).max()
    values, vectors = r.eigh()
    product = np.stack([turned(d)(x) for x in vectors[:, -3:].T], axis=1)
    bound = r.residual_norm + 1e-12 * np.abs(d).max()
    assert np.abs(product - vectors[:, -3:] * values[-3:]).max() <= bound


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize("basis_dtype", ["float64", "float32"])
def test_phases_change_nothing(basis_dtype, reorthogonalize):
    # diag(d) from a start vector with phases is diag(d) from one without, its rows turned.
    d, phases = SPECTRA["uniform"], np.exp(1j * np.angle(START))
    options = {"basis_dtype": basis_dtype, "reorthogonalize": reorthogonalize}
    real = fl.lanczos(lambda v: d * v, N, 30, v0=np.abs(START), **options)
    turned_run = fl.lanczos(lambda v: d * v, N, 30, v0=START, **options)
    np.testing.assert_allclose(turned_run.alpha, real.alpha, atol=1e-13)
    np.testing.assert_allclose(turned_run.beta, real.beta, atol=1e-13)
    if reorthogonalize == "full":
        close = 1e-11 if basis_dtype == "float64" else 1e-6
        np.testing.assert_allclose(turned_run.basis, phases * real.basis, atol=close)
        assert turned_run.basis.dtype == (np.complex128 if basis_dtype == "float64" else np.complex64)


@pytest.mark.parametrize("jump", [0, 300])
def test_every_term_of_the_scalars_is_that_of_the_recurrence_as_it_is_written_down(jump):
    noisy = Noisy(jump=jump, is_complex=True)
    alpha, beta, V = noisy.reference()
    it = fl.LanczosIteration(noisy.v0.size, noisy.steps, v0=noisy.v0)
    for k in range(noisy.steps):
        it.step(noisy.product(k, it.vector.copy()))
    r = it.result()
    scale = max(np.abs(alpha).max(), np.abs(beta).max())
    np.testing.assert_allclose(r.alpha / scale, alpha / scale, atol=1e-13)
    np.testing.assert_allclose(r.beta / scale, beta[:-1] / scale, atol=1e-13)
    np.testing.assert_allclose(r.basis[:8], V[:8], atol=1e-10)
    assert orthogonality(r.basis) < 1e-13


@pytest.mark.parametrize("values", [(1,), (0, 1), (-1, 1), (1, 2, 3, 4)])
def test_few_eigenvalues_break_down_at_their_number(values):
    rng = np.random.default_rng(2)
    Q, _ = np.linalg.qr(rng.normal(size=(200, 200)) + 1j * rng.normal(size=(200, 200)))
    A = (Q * rng.choice(np.array(values, float), 200)) @ Q.conj().T
    r = fl.lanczos((A + A.conj().T) / 2, num_steps=40, seed=0)
    assert r.breakdown
    np.testing.assert_allclose(r.quadrature()[0], values, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 129])
def test_small_dimensions_end_with_all_eigenvalues(n):
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    A = A + A.conj().T
    r = fl.lanczos(A, num_steps=n, seed=3)
    assert r.num_steps == n
    np.testing.assert_allclose(r.quadrature()[0], np.linalg.eigvalsh(A), atol=1e-12 * np.linalg.norm(A, 2))
    values, vectors = r.eigh()
    np.testing.assert_allclose(vectors * values @ vectors.conj().T, A, atol=1e-12 * np.linalg.norm(A, 2))


@pytest.mark.parametrize("steps", [60, 200])
@pytest.mark.parametrize("name", SPECTRA)
def test_complex64_rows_are_semiorthogonal_and_leave_the_eigenvalues_of_T(name, steps):
    d = SPECTRA[name]
    norm = np.abs(d).max() or 1.0
    wide = fl.lanczos(lambda v: d * v, N, steps, v0=START)
    narrow = fl.lanczos(lambda v: d * v, N, steps, v0=START, basis_dtype="float32")
    assert orthogonality(narrow.basis.astype(complex)) < 3e-7
    assert narrow.num_steps == wide.num_steps
    # Up to 1e-9 in ten starts of a bulk that is 1e-8 of the norm, with real vectors half of that: T's own condition.
    close = 2e-11 if name == "bulk 1e-6 + outliers" else 1e-12
    assert np.abs(wide.quadrature()[0] - narrow.quadrature()[0]).max() / norm < close


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
def test_an_imaginary_diagonal_shows_in_the_first_step(reorthogonalize):
    d = np.linspace(1.0, 2.0, 200) + 1e-3j
    with pytest.warns(fl.AsymmetryWarning):
        fl.lanczos(lambda v: d * v, 200, 1, v0=START[:200], reorthogonalize=reorthogonalize)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize(
    "matrix",
    [lambda S, v: 1j * (S @ v), lambda S, v: S @ v + 1e-3j * v, lambda S, v: S @ v + 1e-3j * (S @ v.conj())],
    ids=["i times symmetric", "an imaginary diagonal", "not even linear"],
)
def test_products_that_are_not_hermitian_are_told(matrix, reorthogonalize):
    rng = np.random.default_rng(0)
    S = rng.normal(size=(200, 200))
    S = S + S.T
    v0 = rng.normal(size=200) + 1j * rng.normal(size=200)
    with pytest.warns(fl.AsymmetryWarning):
        fl.lanczos(lambda v: matrix(S, v), 200, 20, v0=v0, reorthogonalize=reorthogonalize)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize("basis_dtype", ["float64", "float32"])
def test_same_seed_same_bits_for_any_thread_count(reorthogonalize, basis_dtype):
    n = 150_001
    d = np.random.default_rng(3).normal(size=n)
    before = fl.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 7):
            fl.set_num_threads(threads)
            it = fl.LanczosIteration(
                n,
                30,
                seed=5,
                like=np.empty(0, complex),
                reorthogonalize=reorthogonalize,
                basis_dtype=basis_dtype,
            )
            while it.step(d * it.vector):
                pass
            results.append(it.result())
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
        "d, v0 = np.linspace(-1, 1, 5003), np.exp(1j * np.arange(5003.0))\n"
        "r = fl.lanczos(lambda v: d * v, 5003, 70, v0=v0)\n"
        "n = fl.lanczos(lambda v: d * v, 5003, 70, v0=v0, reorthogonalize='none')\n"
        "print(_core.build()['instruction_set'])\n"
        "print(abs(r.basis.conj() @ r.basis.T - np.eye(70)).max(), abs(n.alpha - r.alpha).max())\n"
        "print(*[x.hex() for x in r.alpha.tolist()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"FASTLANCZOS_ISA": isa}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    chosen, distances, alphas = done.stdout.splitlines()
    if chosen != isa:
        pytest.skip(f"this processor has no {isa}")
    assert max(map(float, distances.split())) < 1e-12
    d, v0 = np.linspace(-1, 1, 5003), np.exp(1j * np.arange(5003.0))
    here = fl.lanczos(lambda v: d * v, 5003, 70, v0=v0)
    np.testing.assert_allclose([float.fromhex(a) for a in alphas.split()], here.alpha, atol=1e-13)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize("basis_dtype", ["float64", "float32"])
def test_a_saved_run_goes_on_to_the_same_bits(reorthogonalize, basis_dtype):
    d = SPECTRA["uniform"]
    it = fl.LanczosIteration(N, 40, v0=START, reorthogonalize=reorthogonalize, basis_dtype=basis_dtype)
    for _ in range(17):
        it.step(d * it.vector)
    other = fl.LanczosIteration.from_state_dict(it.state_dict())
    for run in (it, other):
        while run.step(d * run.vector):
            pass
    assert it.alpha.tobytes() == other.alpha.tobytes()
    with pytest.raises(ValueError, match="the state is of a run of complex vectors, and this one is of real ones"):
        fl.LanczosIteration.from_state_dict(it.state_dict(), like=np.empty(0))


def test_a_real_start_is_taken_and_agrees_with_the_reference():
    A = np.random.default_rng(4).normal(size=(60, 60)) * (1 + 0.5j)
    A = A + A.conj().T
    v0 = np.ones(60)
    r = fl.lanczos(A, num_steps=20, v0=v0)
    alpha, beta, V, breakdown, _ = one_sweep(lambda v: A @ v, v0.astype(complex), 20)
    assert not breakdown
    np.testing.assert_allclose(r.alpha, alpha, atol=1e-11)
    np.testing.assert_allclose(r.beta, beta[:-1], atol=1e-11)
    np.testing.assert_allclose(r.basis, V, atol=1e-9)
