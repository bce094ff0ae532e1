"""`eigsh` of arrays on the emulated GPU: the contract of the CPU's tests, CuPy's reported failures, and no waiting."""

import shutil

import fake_gpu
import numpy as np
import pytest
import scipy.sparse as sp
from cases.eigenpairs import WHICH, check, matrix
from spectra import laplacian

import fastlanczos as fl

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")

HOST_EIGSH = fl.eigsh


@pytest.fixture
def eigsh(gpu):
    """eigsh of a host matrix by its products on the GPU, with results on the host."""

    def on_gpu(A, k, *, v0=None, **options):
        n = A.shape[0]
        start = np.random.default_rng(0).normal(size=n) if v0 is None else v0
        there = fake_gpu.Array.of(gpu, np.asarray(start, dtype=np.float64))

        def matvec(v):
            assert isinstance(v, fake_gpu.Array)
            return fake_gpu.Array.of(gpu, A @ v.get())

        w, V, *info = HOST_EIGSH(matvec, k, v0=there, dim=n, **options)
        assert isinstance(w, fake_gpu.Array)
        assert isinstance(V, fake_gpu.Array)
        return w.get(), V.get(), *info

    return on_gpu


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1.0, 1e200, 1e290])
def test_scales(eigsh, which, scale):
    d = np.r_[np.linspace(1, 2, 150), -np.linspace(0.5, 1.9, 150)]
    A = sp.diags_array(d * scale).tocsr()
    w, V = eigsh(A, 6, which=which, ncv=40)
    check(A / scale, w / scale, V, d, which, 6)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize(
    "d",
    [
        np.zeros(300),
        np.ones(300),
        np.r_[5.0, np.zeros(299)],
        np.r_[np.full(4, 2.0), np.full(3, -2.0), np.zeros(293)],
        np.repeat([1.0, 2.0, 3.0], 100),
        np.repeat([-1.0, 1.0], 150),
    ],
    ids=["zero", "identity", "rank 1", "rank 7", "3 values", "involution"],
)
def test_few_distinct_values_come_with_their_multiplicity(eigsh, which, d):
    A = matrix(d)
    w, V = eigsh(A, 6, which=which, ncv=30)
    check(A, w, V, d, which, 6)


def test_a_block_diagonal_operator_is_seen_whole_from_a_start_in_one_block(eigsh):
    block = matrix(np.linspace(1, 2, 100))
    A = sp.block_diag([block, block, 0.5 * block], format="csr")
    v0 = np.r_[np.zeros(200), np.random.default_rng(0).normal(size=100)]
    d = np.r_[np.linspace(1, 2, 100), np.linspace(1, 2, 100), 0.5 * np.linspace(1, 2, 100)]
    for which in ("LA", "BE"):
        w, V = eigsh(A, 5, which=which, v0=v0)
        check(A, w, V, d, which, 5)


@pytest.mark.parametrize("ncv", [None, 30])
@pytest.mark.parametrize("width", [0.0, 1e-9])
def test_a_cluster_of_ten_is_found_whole(eigsh, width, ncv):
    d = np.r_[1.0 + width * np.linspace(0, 1, 10), np.linspace(-1, 0.9, 290)]
    A = matrix(d)
    w, V = eigsh(A, 12, which="LA", ncv=ncv)
    check(A, w, V, d, "LA", 12)


@pytest.mark.parametrize("ncv", [None, 26])
@pytest.mark.parametrize("sides", [(300,), (17, 18)])
@pytest.mark.parametrize("which", WHICH)
def test_laplacians(eigsh, sides, which, ncv):
    A, d = laplacian(sides)
    w, V = eigsh(A, 6, which=which, ncv=ncv)
    check(A, w, V, np.sort(d), which, 6)


# What CuPy's users have reported of its eigsh (github.com/cupy/cupy/issues), in matrices of the same kind.

RNG = np.random.default_rng(0)
W = np.eye(100)[:50] + RNG.normal(size=(50, 100))
INCIDENCE = (RNG.random((32, 400)) < 0.02).astype(float)
PAIRS = RNG.random((60, 3))
CUPYS = {
    "5001, rank 2 of 5": (matrix(np.r_[6.1, 0.9, 0, 0, 0]), (2,)),
    "5024, Laplacian of a grid": (laplacian((24, 25))[0], (20,)),
    "5602, rank 3 of 60": (PAIRS @ PAIRS.T, (3, 5)),
    "6446, identity": (np.eye(100), (1, 6)),
    "6769, many of 50": (W @ W.T, (1, 11, 12, 14, 30, 39)),
    "7168, n little above k": (matrix(np.arange(1.0, 9.0)), (5, 6, 7)),
    "8486, an incidence matrix": (INCIDENCE @ INCIDENCE.T, (1, 8, 20)),
    "10098, two values": (matrix(np.r_[np.full(100, 1.0), np.full(100, 50.0)]), (20,)),
}


@pytest.mark.parametrize("name", CUPYS)
def test_matrices_that_cupys_eigsh_gets_wrong(eigsh, name):
    A, ks = CUPYS[name]
    expected = np.linalg.eigvalsh(A.toarray() if sp.issparse(A) else A)
    for k in ks:
        w, V = eigsh(A, k, which="LA")
        check(A, w, V, expected, "LA", k)


def test_a_large_part_of_a_hermitian_matrix(gpu):
    """CuPy's issue 7355: k = 300 of a spin Hamiltonian."""
    d = np.sort(np.r_[np.repeat(np.linspace(-2, 2, 60), 2), np.linspace(-1, 1, 80)])
    A = matrix(d, dtype=complex)
    w, V = fl.eigsh(fake_gpu.Array.of(gpu, A), 70, which="SA")
    assert isinstance(V, fake_gpu.Array)
    assert V.dtype == np.complex128
    check(A, w.get(), V.get(), d, "SA", 70)


# Forms, dtypes and problems.


@pytest.mark.parametrize("n", [40, 300])
def test_a_matrix_on_the_device(gpu, n):
    d = np.linspace(-1, 2, n)
    A = matrix(d)
    w, V = fl.eigsh(fake_gpu.Array.of(gpu, A), 3, which="LA")
    assert (w.dtype, V.dtype) == (np.float64, np.float64)
    check(A, w.get(), V.get(), d, "LA", 3)


def test_results_have_the_precision_of_the_matrix(gpu):
    d = np.linspace(-1, 2, 300)
    A = matrix(d).astype(np.float32)
    w, V = fl.eigsh(fake_gpu.Array.of(gpu, A), 3, which="LA")
    assert (w.dtype, V.dtype) == (np.float32, np.float32)
    check(A, w.get(), V.get(), np.linalg.eigvalsh(A.astype(float)), "LA", 3)


def test_smallest_magnitude(eigsh):
    d = np.r_[np.linspace(0.1, 1, 150), -np.linspace(0.1, 1, 150)]
    A = matrix(d)
    w, V = eigsh(A, 4, which="SM", ncv=40)
    check(A, w, V, d, "SM", 4)


def test_a_shift_is_factored_on_the_cpu(gpu):
    A, d = laplacian((14, 15))
    w, V = fl.eigsh(fake_gpu.Array.of(gpu, A.toarray()), 5, sigma=2.0)
    assert isinstance(w, fake_gpu.Array)
    nearest = np.sort(d[np.argsort(np.abs(d - 2.0))[:5]])
    np.testing.assert_allclose(w.get(), nearest, atol=1e-12)
    assert np.linalg.norm(A @ V.get() - V.get() * w.get(), axis=0).max() < 1e-11


def test_a_solver_on_the_device(gpu):
    A, d = laplacian((14, 15))
    dense = A.toarray()
    inverse = np.linalg.inv(dense - 0.1 * np.eye(len(dense)))
    v0 = fake_gpu.Array.of(gpu, np.ones(len(dense)))

    def solve(v):
        assert isinstance(v, fake_gpu.Array)
        return fake_gpu.Array.of(gpu, inverse @ v.get())

    w, V = fl.eigsh(fake_gpu.Array.of(gpu, dense), 4, sigma=0.1, OPinv=solve, v0=v0)
    np.testing.assert_allclose(w.get(), np.sort(d[np.argsort(np.abs(d - 0.1))[:4]]), atol=1e-12)
    assert isinstance(V, fake_gpu.Array)


def test_a_pencil_on_the_device(gpu):
    A, _ = laplacian((300,))
    A, M = A.toarray(), np.diag(np.linspace(1, 3, 300))
    w, V = fl.eigsh(fake_gpu.Array.of(gpu, A), 4, M=fake_gpu.Array.of(gpu, M), which="LA")
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(M, A)).real)[-4:]
    np.testing.assert_allclose(w.get(), expected, atol=1e-12)
    np.testing.assert_allclose(V.get().T @ M @ V.get(), np.eye(4), atol=1e-12)


# How it runs.


def test_the_host_waits_at_looks_alone(gpu):
    d = np.linspace(0, 1, 600) ** 0.5
    there, waits = fake_gpu.Array.of(gpu, d), []

    def matvec(v):
        waits.append(gpu.synchronizations)
        return there * v

    v0 = fake_gpu.Array.of(gpu, RNG.normal(size=600))
    looks = []
    fl.eigsh(matvec, 4, which="LA", v0=v0, dim=600, ncv=28, callback=looks.append)
    assert len(looks) > 2
    grew = np.flatnonzero(np.diff(waits) > 0)  # products before which the host had waited
    # Between two restarts nothing waits: no more stretches than restarts, beginning and verification.
    assert len(waits) - len(grew) > 0.7 * len(waits)
    assert len(grew) <= 2 * len(looks) + 8


def test_the_same_call_gives_the_same_bits(eigsh):
    A, _ = laplacian((15, 16))
    first, second = (eigsh(A, 5, which="LA") for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_a_product_that_is_not_finite_is_told(eigsh):
    d = np.linspace(0, 1, 300)
    d[7] = np.nan
    with pytest.raises(fl.NonFiniteError, match="not finite"):
        eigsh(sp.diags_array(d).tocsr(), 3, which="LA")


def test_an_operator_that_is_not_symmetric_is_told(eigsh):
    A = matrix(np.linspace(0, 1, 300)) + 0.1 * np.triu(RNG.normal(size=(300, 300)), 1)
    with pytest.raises(ValueError, match="symmetric"):
        eigsh(A, 3, which="LA")
