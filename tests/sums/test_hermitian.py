"""Sums, densities and f(A) b of complex Hermitian operators, against dense functions."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import torch

import fastlanczos as fl

RNG = np.random.default_rng(3)
N = 240


def hermitian(values, seed=0):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))) + 1j * rng.normal(size=(len(values), len(values))))
    A = (Q * values) @ Q.conj().T
    return (A + A.conj().T) / 2


VALUES = np.geomspace(0.01, 2.0, N)
A = hermitian(VALUES)
# Far from its transpose's: the imaginary part is as large as the real one.
FORMS = {
    "dense": A,
    "complex64": A.astype(np.complex64),
    "sparse": sp.csr_array(A),
    "tensor": torch.from_numpy(A),
    "operator": sp.linalg.aslinearoperator(A),
}
FUNCTIONS = {None: lambda x: x, "log": np.log, "exp": np.exp, "sqrt": np.sqrt, "inv": lambda x: 1 / x}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_traces_are_within_their_errors(name, form):
    exact = FUNCTIONS[name](VALUES).sum()
    for method in ("hutchinson", "deflated"):
        e = fl.trace(FORMS[form], name, method=method, num_probes=20, seed=1)
        low, high = e.interval(0.999)
        assert low <= exact <= high


@pytest.mark.parametrize("name", FUNCTIONS)
def test_intervals_cover(name):
    exact = FUNCTIONS[name](VALUES).sum()
    held = [
        low <= exact <= high for low, high in (fl.trace(A, name, num_probes=10, seed=s).interval() for s in range(60))
    ]
    assert np.mean(held) >= 0.86  # 95% less three standard deviations


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("form", ["dense", "sparse", "tensor"])
def test_exact_sums_and_diagonals(name, form):
    f = FUNCTIONS[name]
    e = fl.trace(FORMS[form], name, method="exact")
    assert abs(e.value - f(VALUES).sum()) <= 1e-9 * np.abs(f(VALUES)).sum()
    w, V = np.linalg.eigh(A)
    d = fl.diagonal(FORMS[form], name, method="exact")
    np.testing.assert_allclose(d.value, (np.abs(V) ** 2) @ f(w), rtol=1e-9)


def test_a_band_is_factored():
    n = 3000
    beside = 1j * np.ones(n - 1)
    T = sp.diags_array([-beside, 3.0 * np.ones(n), beside], offsets=[-1, 0, 1]).tocsr()
    e = fl.logdet(T, rtol=1e-8)
    assert e.info["method"] == "exact"
    # diag(i^k) T diag(i^-k) is the real matrix with -1 beside its diagonal.
    real = sp.diags_array([-np.ones(n - 1), 3.0 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    assert abs(e.value - fl.logdet(real, rtol=1e-8).value) < 1e-9 * n


def test_xtrace_is_within_its_error():
    decaying = hermitian(np.geomspace(1e-6, 1.0, N))
    e = fl.trace(decaying, method="xtrace", num_probes=30, seed=0)
    exact = np.trace(decaying).real
    low, high = e.interval(0.999)
    assert low <= exact <= high
    assert e.half_width() < 0.05 * exact
    assert e.half_width() < 0.7 * fl.trace(decaying, method="hutchinson", num_probes=60, seed=0).half_width()


@pytest.mark.parametrize("method", ["hutchinson", "deflated", "auto"])
@pytest.mark.parametrize("name", [None, "exp", "inv"])
def test_diagonals_are_within_their_errors(name, method):
    w, V = np.linalg.eigh(A)
    exact = (np.abs(V) ** 2) @ FUNCTIONS[name](w)
    e = fl.diagonal(A, name, num_probes=60, num_steps=100, method=method, seed=0)
    low, high = e.interval(0.99)
    assert e.value.dtype == np.float64
    assert np.mean((low <= exact) & (exact <= high)) > 0.95


@pytest.mark.parametrize("form", FORMS)
def test_a_density_has_the_eigenvalues_where_they_are(form):
    d = fl.spectral_density(FORMS[form], num_probes=30, num_steps=60, seed=0)
    t = np.quantile(VALUES, [0.25, 0.5, 0.75, 0.9])
    low, high = d.band(t, cumulative=True)
    inside = np.searchsorted(VALUES, t) / N
    assert np.all((low <= inside + 0.01) & (inside - 0.01 <= high))
    assert abs(d.mean - VALUES.mean()) < 0.02
    assert d.info["asymmetry"] < (1e-6 if form == "complex64" else 1e-14)


def test_eigenvalues_are_counted():
    e = fl.eigencount(A, 0.1, 1.0, num_probes=40, seed=0)
    low, high = e.interval(0.999)
    assert low <= np.sum((VALUES >= 0.1) & (VALUES <= 1.0)) <= high


@pytest.mark.parametrize("reorthogonalize", ["full", "none", "auto"])
@pytest.mark.parametrize("form", FORMS)
def test_functions_of_a_hermitian_operator_times_vectors(form, reorthogonalize):
    b = RNG.normal(size=(N, 2)) + 1j * RNG.normal(size=(N, 2))
    close = 1e-5 if form == "complex64" else 1e-8
    for f in (np.exp, np.sqrt, lambda x: np.exp(-3j * x)):
        w, V = np.linalg.eigh(A)
        exact = V @ (f(w)[:, None] * (V.conj().T @ b))
        given = torch.from_numpy(b) if form == "tensor" else b
        x = fl.funm_multiply(FORMS[form], f, given, reorthogonalize=reorthogonalize)
        assert isinstance(x, torch.Tensor) == (form == "tensor")
        assert np.linalg.norm(np.asarray(x) - exact) < close * np.linalg.norm(exact)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize("make", [lambda S: S, sp.csr_array, lambda S: torch.from_numpy(S), lambda S: lambda v: S @ v])
def test_complex_functions_and_vectors_of_a_real_operator(make, reorthogonalize):
    S = hermitian(VALUES).real
    S = S @ S.T
    U = scipy.linalg.expm(-2j * S)
    real, imaginary = RNG.normal(size=(2, N))
    for b in (real, real + 1j * imaginary):
        given = torch.from_numpy(b) if isinstance(make(S), torch.Tensor) else b
        options = {"dim": N} if callable(make(S)) else {}
        x = np.asarray(
            fl.funm_multiply(make(S), lambda x: np.exp(-2j * x), given, reorthogonalize=reorthogonalize, **options)
        )
        assert x.dtype == np.complex128
        assert np.linalg.norm(x - U @ b) < 1e-9 * np.linalg.norm(b)


def test_a_float32_state_comes_back_in_complex64():
    b = torch.ones(N)
    x = fl.funm_multiply(torch.from_numpy(A), lambda x: np.exp(-1j * x), b)
    assert x.dtype == torch.complex64
    assert abs(float(torch.linalg.vector_norm(x)) - N**0.5) < 1e-5


def test_sums_want_real_functions():
    with pytest.raises(TypeError, match="fun must return real numbers, got dtype complex128; funm_multiply takes"):
        fl.trace(A, lambda x: np.exp(1j * x), method="hutchinson", seed=0)
    with pytest.raises(TypeError, match="fun must return real numbers"):
        fl.diagonal(A, lambda x: np.exp(1j * x), method="hutchinson", seed=0)


def test_a_complex_operator_that_does_not_say_so_is_told_how_to():
    with pytest.raises(TypeError, match=r"pass v0 \(or like=\) as a complex array"):
        fl.trace(lambda v: A @ v, None, N, method="hutchinson", seed=0)
    e = fl.trace(lambda v: A @ v, None, N, method="hutchinson", seed=0, like=np.empty(0, complex))
    low, high = e.interval(0.999)
    assert low <= VALUES.sum() <= high


def test_a_preconditioner_is_for_real_kernels():
    with pytest.raises(TypeError, match="preconditioner is for real kernel matrices"):
        fl.logdet(A, preconditioner=10, diagonal=0.01, seed=0)


def test_a_real_operator_is_as_good_with_complex_vectors():
    S = sp.diags_array(VALUES).tocsr()
    v0 = RNG.normal(size=N) + 1j * RNG.normal(size=N)
    r = fl.lanczos(S, num_steps=20, v0=v0)
    assert r.basis.dtype == np.complex128
    np.testing.assert_allclose(r.alpha, fl.lanczos(S, num_steps=20, v0=np.abs(v0)).alpha, atol=1e-13)
