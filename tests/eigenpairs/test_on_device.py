"""Shifts, pencils and complex operators iterated with on the emulated GPU: LAPACK's answers; the host sees little."""

import shutil

import fake_gpu
import numpy as np
import pytest
import scipy.linalg
from cases.eigenpairs import WHICH, check, matrix
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlanczos as fl
from fastlanczos.eigenpairs import eigsh as module
from fastlanczos.eigenpairs.on_device import DeviceProduct, can_stay
from fastlanczos.engine.far_vectors import FarVector, GpuArithmetic

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
RNG = np.random.default_rng(0)


@pytest.fixture
def iterated(gpu, monkeypatch):
    """The GPU, where LAPACK on the whole matrix would hide that the iteration does not get there."""
    monkeypatch.setattr(module, "solve_dense", lambda *arguments: None)
    return gpu


def on_gpu(gpu, X, calls=None):
    """The product of a host matrix for vectors on the GPU."""

    def product(v):
        assert isinstance(v, fake_gpu.Array)
        if calls is not None:
            calls.append(v.dtype)
        return fake_gpu.Array.of(gpu, X @ v.get())

    return product


class Inverse:
    """Solves with a matrix, which are as exact as can be next to a singular one; products with its inverse are not."""

    def __init__(self, A):
        self.factors = scipy.linalg.lu_factor(A)

    def __matmul__(self, b):
        return scipy.linalg.lu_solve(self.factors, b)


def solve(gpu, A, k, *, M=None, sigma=None, mode="normal", which="LM", **options):
    """eigsh with every operator a callable on the GPU."""
    n = len(A)
    is_complex = np.iscomplexobj(A) or np.iscomplexobj(M)
    rng = np.random.default_rng(1)
    start = rng.normal(size=n) + (1j * rng.normal(size=n) if is_complex else 0.0)
    given = {"M": None if M is None else on_gpu(gpu, M), "sigma": sigma, "mode": mode, "which": which}
    if sigma is not None:
        given["OPinv"] = on_gpu(gpu, Inverse(A - sigma * (np.eye(n) if M is None else M)))
    elif M is not None:
        given["Minv"] = on_gpu(gpu, Inverse(M))
    w, V = fl.eigsh(on_gpu(gpu, A), k, v0=fake_gpu.Array.of(gpu, start), dim=n, **given, **options)
    assert isinstance(w, fake_gpu.Array)
    assert isinstance(V, fake_gpu.Array)
    assert V.dtype == (np.complex128 if is_complex else np.float64)
    return w.get(), V.get()


def pencil(n, dtype=float, seed=0):
    rng = np.random.default_rng(seed)
    C = np.diag(rng.uniform(0.5, 2, n)) + np.diag(rng.uniform(-0.2, 0.2, n - 1), 1)
    if np.dtype(dtype).kind == "c":
        C = C + 1j * np.diag(rng.uniform(-0.2, 0.2, n - 1), 1)
    d = np.sort(rng.uniform(1, 20, n))
    d[40:43] = d[40]
    A, M = C.conj().T @ np.diag(d) @ C, C.conj().T @ C
    return (A + A.conj().T) / 2, (M + M.conj().T) / 2, d


@pytest.mark.parametrize("which", [w for w in WHICH if w != "SM"])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_hermitian_operators(iterated, which, scale):
    d = np.r_[np.linspace(1, 2, 45), np.repeat([2.5, -2.5], 3), -np.linspace(0.5, 1.9, 45)]
    A = matrix(d, dtype=complex)
    w, V = solve(iterated, A * scale, 8, which=which)
    check(A, w / scale, V, d, which, 8)


def test_smallest_magnitudes_are_looked_for_on_the_cpu(iterated):
    d = np.r_[np.linspace(0.1, 2, 45), -np.linspace(0.5, 1.9, 45)]
    A = matrix(d, dtype=complex)
    w, V = solve(iterated, A, 4, which="SM")
    check(A, w, V, d, "SM", 4)


def test_many_fold_levels_of_a_hermitian_operator(iterated):
    d = np.repeat([-3.0, -1.0, 0.5, 2.0], [20, 30, 30, 20])
    A = matrix(d, dtype=complex)
    w, V = solve(iterated, A, 12, which="SA")
    check(A, w, V, d, "SA", 12)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("mode", ["normal", "buckling", "cayley"])
@pytest.mark.parametrize("with_m", [False, True])
def test_a_shift_with_the_solver_that_is_given(iterated, dtype, mode, with_m):
    A, M, d = pencil(100, dtype)
    if not with_m:
        A, M = matrix(d, dtype=dtype), None
    sigma = float(d[40]) + 1e-9  # next to an eigenvalue with three copies
    w, V = solve(iterated, A, 5, M=M, sigma=sigma, mode=mode)
    np.testing.assert_allclose(np.sort(np.abs(w - sigma)), np.sort(np.abs(d - sigma))[:5], atol=1e-10)
    MV = V if M is None else M @ V
    assert np.abs(A @ V - MV * w).max() < 1e-10
    inner = V.conj().T @ (A @ V if mode == "buckling" else MV)
    np.testing.assert_allclose(inner, np.eye(5), atol=1e-11)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
def test_a_pencil_in_the_inner_product_of_m(iterated, dtype, which):
    A, M, d = pencil(100, dtype)
    w, V = solve(iterated, A, 5, M=M, which=which)
    check(A, w, V, d, which, 5, M=M)


def test_matrices_of_the_gpus_library(iterated):
    A, M, d = pencil(100, complex)
    there = [fake_gpu.Array.of(iterated, X) for X in (A, M, np.linalg.inv(M))]
    w, V = fl.eigsh(there[0], 4, M=there[1], Minv=there[2], which="LA")
    check(A, w.get(), V.get(), d, "LA", 4, M=M)
    w, V = fl.eigsh(fake_gpu.Array.of(iterated, A.astype(np.complex64)), 4, which="LA")
    assert (w.dtype, V.dtype) == (np.float32, np.complex64)
    exact = np.linalg.eigvalsh(A)
    np.testing.assert_allclose(w.get(), exact[-4:], rtol=1e-5)


def test_operators_in_single_precision_get_vectors_of_theirs(iterated):
    A, calls = matrix(np.linspace(-1, 2, 90), dtype=complex).astype(np.complex64), []

    class Single:
        shape, dtype = (90, 90), np.dtype("complex64")

        def matvec(self, v):
            return on_gpu(iterated, A, calls)(v)

    v0 = fake_gpu.Array.of(iterated, np.ones(90, np.complex64))
    w, V = fl.eigsh(Single(), 3, which="LA", v0=v0)
    assert set(calls) == {np.dtype("complex64")}
    assert V.dtype == np.complex64
    np.testing.assert_allclose(w.get(), np.linspace(-1, 2, 90)[-3:], atol=1e-5)


@settings(deadline=None, max_examples=examples(6), derandomize=True)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.integers(1, 6))
def test_shifts_on_eigenvalues(emulated, seed, is_complex, with_m, k):
    import fastlanczos.engine.cuda as engine
    from fastlanczos.arrays import frameworks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_cuda", emulated.module)
        patch.setitem(frameworks.FRAMEWORKS, "fake_gpu", fake_gpu.Framework)
        patch.setattr(module, "solve_dense", lambda *arguments: None)
        emulated.configure()
        rng = np.random.default_rng(seed)
        levels = rng.uniform(-1, 1, rng.integers(20, 90))
        d = np.sort(np.r_[levels, rng.choice(levels, 90 - levels.size)])
        A, M = matrix(d, int(seed % 1000), complex if is_complex else float), None
        if with_m:
            C = np.diag(rng.uniform(0.5, 2, 90)) + np.diag(rng.uniform(-0.2, 0.2, 89), 1)
            A, M = C.T @ A @ C, C.T @ C
            A, M = (A + A.conj().T) / 2, (M + M.T) / 2
        sigma = float(rng.choice(d)) + float(rng.choice([1e-10, -1e-8, 1e-6]))
        w, V = solve(emulated, A, k, M=M, sigma=sigma)
        np.testing.assert_allclose(np.sort(np.abs(w - sigma)), np.sort(np.abs(d - sigma))[:k], atol=1e-10)
        MV = V if M is None else M @ V
        assert np.abs(A @ V - MV * w).max() < 1e-10
        np.testing.assert_allclose(V.conj().T @ MV, np.eye(k), atol=1e-10)


def test_vectors_stay_on_the_gpu(iterated, monkeypatch):
    """Nothing as long as a vector is copied to the host but a random start of each chain, and by the check of OPinv."""
    A, M, d = pencil(120)
    copied = []
    to_numpy = fake_gpu.Framework.to_numpy

    def watched(self, x):
        copied.append(x.shape)
        return to_numpy(self, x)

    monkeypatch.setattr(fake_gpu.Framework, "to_numpy", watched)
    solve(iterated, A, 5, M=M, sigma=float(d[40]) + 0.01)
    assert len(copied) < 12  # sizes of A and M, the check of OPinv, a product with M for a start


# Products.


def test_what_can_stay(gpu):
    there, here = fake_gpu.Array.of(gpu, np.eye(3)), np.eye(3)
    assert can_stay(there, None, on_gpu(gpu, here))
    assert not can_stay(there, here)


def test_products_of_far_vectors_and_of_numpys(gpu):
    on = GpuArithmetic(fake_gpu.Framework(fake_gpu.Array.empty(gpu, (1,), "float64")), 5, 1, "complex128")
    A = RNG.normal(size=(5, 5))
    product = DeviceProduct(on_gpu(gpu, A), "A", None, on)
    x = np.arange(5.0) + 1j
    far = FarVector(on.upload(x), on)
    np.testing.assert_allclose(product(far).array.get(), A @ x, rtol=1e-14)
    np.testing.assert_allclose(product(x), A @ x, rtol=1e-14)
    np.testing.assert_array_equal(far.array.get(), x)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda gpu, v: None, TypeError, "None: the matvec must return"),
        (lambda gpu, v: v.get(), TypeError, "on the CPU, but the vector was on a GPU"),
        (lambda gpu, v: fake_gpu.Array.of(gpu, v.get()[:-1]), ValueError, r"shape \(299,\); want \(300,\)"),
        (lambda gpu, v: fake_gpu.Array.of(gpu, v.get() * 1j), TypeError, "pass a complex v0"),
    ],
    ids=["None", "on the CPU", "too short", "complex"],
)
def test_products_that_are_wrong_are_told(iterated, returned, error, message):
    v0 = fake_gpu.Array.of(iterated, np.ones(300))
    with pytest.raises(error, match=message):
        fl.eigsh(
            lambda v: returned(iterated, v),
            3,
            M=on_gpu(iterated, np.eye(300)),
            Minv=on_gpu(iterated, np.eye(300)),
            v0=v0,
            dim=300,
        )


def test_a_product_that_is_not_finite_is_told(iterated):
    A = matrix(np.linspace(-1, 2, 90), dtype=complex)
    A[5, 5] = np.nan
    with pytest.raises(fl.NonFiniteError, match="entries that are not finite"):
        solve(iterated, A, 3, which="LA")
