"""The CUDA engine on a GPU, with the frameworks themselves. Skipped where there is none: see test_device.py."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from cases.entries import same
from spectra import laplacian

import fastlanczos as fl
import fastlanczos.torch as flt

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the GPU

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RNG = np.random.default_rng(0)
N = 10_007
D = np.sort(RNG.normal(size=N)) * np.logspace(-3, 1, N)
V0 = RNG.normal(size=N)


def ritz(r):
    return fl.quadrature(r.alpha, r.beta)[0]


def close(r, expected, tolerance):
    same(ritz(r), ritz(expected), atol=tolerance * np.abs(D).max())


def torch_run():
    d = torch.tensor(D, device="cuda")
    return lambda v: d * v, torch.tensor(V0, device="cuda"), torch.Tensor


def cupy_run():
    cupy = pytest.importorskip("cupy")
    d = cupy.asarray(D)
    return lambda v: d * v, cupy.asarray(V0), cupy.ndarray


def jax_run():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    if jax.default_backend() != "gpu":
        pytest.skip("JAX has no GPU")
    d = jax.numpy.asarray(D)
    return jax.jit(lambda v: d * v), jax.numpy.asarray(V0), jax.Array


def numba_run():
    pytest.importorskip("numba_cuda")
    from numba import cuda

    d = cuda.to_device(D)

    @cuda.jit
    def multiply(d, v, out):
        i = cuda.grid(1)
        if i < v.size:
            out[i] = d[i] * v[i]

    def matvec(v):
        out = cuda.device_array_like(d)
        multiply[(N + 127) // 128, 128](d, v, out)
        return out

    return matvec, cuda.to_device(V0), object


RUNS = {"torch": torch_run, "cupy": cupy_run, "jax": jax_run, "numba": numba_run}


@pytest.mark.parametrize("framework", RUNS)
@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
def test_every_framework_gets_the_run_of_the_cpu_in_its_own_arrays(framework, options):
    matvec, v0, kind = RUNS[framework]()
    r = fl.lanczos(matvec, N, 60, v0=v0, **options)
    close(r, fl.lanczos(lambda v: D * v, N, 60, v0=V0, **options), 1e-11 if options else 1e-13)
    if "reorthogonalize" not in options:
        assert isinstance(r.basis, kind)


@pytest.mark.parametrize("ncv", [None, 40])
@pytest.mark.parametrize("which", ["LA", "SA", "BE"])
@pytest.mark.parametrize("framework", RUNS)
def test_eigenpairs_in_every_frameworks_arrays(framework, which, ncv):
    matvec, v0, kind = RUNS[framework]()
    w, V, info = fl.eigsh(matvec, 6, which=which, v0=v0, dim=N, ncv=ncv, tol=1e-10, return_info=True)
    assert isinstance(V, kind)
    exact = np.sort(D)
    exact = {"LA": exact[-6:], "SA": exact[:6], "BE": np.r_[exact[:3], exact[-3:]]}[which]
    w, V = ((x.copy_to_host() if framework == "numba" else x.cpu() if framework == "torch" else x) for x in (w, V))
    w, V = ((x.get() if framework == "cupy" else np.asarray(x)) for x in (w, V))
    same(w, exact, atol=1e-10 * np.abs(D).max())
    same(V.T @ V, np.eye(6), atol=1e-12)
    same(np.linalg.norm(D[:, None] * V - V * w, axis=0), np.zeros(6), atol=1e-9 * np.abs(D).max())
    assert info.converged.all()


def test_copies_of_multiple_eigenvalues_of_sparse_matrices():
    A, exact = laplacian((30, 30))
    exact = np.sort(exact)
    L = torch.tensor(A.toarray(), device="cuda").to_sparse_csr()
    w, V = fl.eigsh(L, 8, which="LA")
    same(w.cpu(), exact[-8:], atol=1e-12)
    assert V.is_cuda
    w, V = fl.eigsh(L, 5, sigma=0.0)  # factored on the CPU
    same(w.cpu(), exact[:5], atol=1e-12)
    assert V.is_cuda


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_shifts_pencils_and_complex_operators_on_the_device(dtype):
    generator = torch.Generator(device="cuda").manual_seed(0)
    n = 300
    B = torch.randn((2, n, n), dtype=dtype, device="cuda", generator=generator)
    A, M = B[0] + B[0].mH, B[1] @ B[1].mH / n + torch.eye(n, dtype=dtype, device="cuda")
    L = torch.linalg.cholesky(M)
    C = torch.linalg.solve_triangular(L, torch.linalg.solve_triangular(L, A, upper=False).mH, upper=False)
    exact = torch.linalg.eigvalsh(C).cpu().numpy()
    norm = np.abs(exact).max()
    for k, which, arguments in [
        (5, "LA", {"Minv": lambda v: torch.cholesky_solve(v[:, None], L)[:, 0]}),
        (5, "LM", {"sigma": 0.1, "OPinv": lambda v: torch.linalg.solve(A - 0.1 * M, v)}),
    ]:
        w, V = fl.eigsh(A, k, M=M, which=which, **arguments)
        assert V.is_cuda
        wanted = exact[-5:] if which == "LA" else np.sort(exact[np.argsort(np.abs(exact - 0.1))[:5]])
        same(w.cpu(), wanted, atol=1e-11 * norm)
        same((V.mH @ (M @ V)).cpu(), np.eye(5), atol=1e-11)
    w, V = fl.eigsh(A, 5, which="SA")
    same(w.cpu(), torch.linalg.eigvalsh(A)[:5].cpu(), atol=1e-12 * norm)


@pytest.mark.parametrize("stages", ["2", "6"])
def test_restarts_give_the_same_bits_again(monkeypatch, stages):
    monkeypatch.setenv("FASTLANCZOS_CUDA_STAGES", stages)
    matvec, v0, _ = torch_run()
    first, second = (fl.eigsh(matvec, 5, which="LA", v0=v0, dim=N, ncv=30) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("num_steps", [5, 129, 300, 600])
def test_rows_are_orthonormal_past_every_limit_of_the_kernel(num_steps):
    matvec, v0, _ = torch_run()
    r = fl.lanczos(matvec, N, num_steps, v0=v0)
    gram = r.basis @ r.basis.T
    assert (gram - torch.eye(num_steps, device="cuda")).abs().max() < 1e-13
    close(r, fl.lanczos(lambda v: D * v, N, num_steps, v0=V0), 1e-13)


def test_the_same_seed_gives_the_same_bits():
    matvec, v0, _ = torch_run()
    runs = [fl.lanczos(matvec, N, 80, v0=v0).alpha.tobytes() for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]


def test_the_current_stream_is_honoured():
    matvec, v0, _ = torch_run()
    expected = fl.lanczos(matvec, N, 40, v0=v0)
    stream = torch.cuda.Stream()
    busy = torch.randn(4000, 4000, device="cuda")

    def late(v):
        nonlocal busy
        busy = busy @ busy * 1e-4  # keeps this stream behind
        return matvec(v)

    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        r = fl.lanczos(late, N, 40, v0=v0)
    assert r.alpha.tobytes() == expected.alpha.tobytes()


def test_ctrl_c_is_answered_however_far_the_host_is_ahead():
    matvec, v0, _ = torch_run()
    busy = torch.randn(8000, 8000, device="cuda", dtype=torch.float64)
    out = torch.empty_like(busy)

    def slow(v):
        torch.matmul(busy, busy, out=out)
        return matvec(v)

    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(1.0, interrupt).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        fl.lanczos(slow, N, 2000, v0=v0)
    assert caught.value.partial.num_steps > 0
    assert time.perf_counter() - sent[0] < 5


def test_a_step_is_captured_in_a_graph_and_replayed():
    d, v0 = torch.tensor(D, device="cuda"), torch.tensor(V0, device="cuda")
    it = fl.LanczosIteration(N, 20, v0=v0)
    z = torch.empty_like(d)
    for _ in range(2):
        torch.mul(d, it.vector, out=z)
        it.step(z)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.mul(d, it.vector, out=z)
        it.step(z)
    for _ in range(18):
        graph.replay()
    torch.cuda.synchronize()
    assert it.num_steps == 20
    assert it.finished
    assert it.alpha.tobytes() == fl.lanczos(lambda v: d * v, N, 20, v0=v0).alpha.tobytes()


def test_a_float32_matvec_gets_float32_tensors():
    d = torch.tensor(D, device="cuda", dtype=torch.float32)
    given = []

    def matvec(v):
        given.append((v.dtype, v.is_cuda))
        return d * v

    r = fl.lanczos(matvec, N, 40, v0=torch.tensor(V0, device="cuda", dtype=torch.float32))
    assert given == [(torch.float32, True)] * 40
    close(r, fl.lanczos(lambda v: D * v, N, 40, v0=V0.astype(np.float32).astype(np.float64)), 1e-5)


def test_matrices_on_the_gpu():
    A = RNG.normal(size=(300, 300))
    A = A + A.T
    expected = fl.spectral_density(A, num_probes=3, num_steps=40, seed=0)
    dense = torch.tensor(A, device="cuda")
    for matrix in (dense, dense.to_sparse_csr()):
        d = fl.spectral_density(matrix, num_probes=3, num_steps=40, seed=0)
        same(d.nodes, expected.nodes, atol=1e-11)
    cupyx = pytest.importorskip("cupyx.scipy.sparse")
    cupy = pytest.importorskip("cupy")
    d = fl.spectral_density(cupyx.csr_matrix(cupy.asarray(A)), num_probes=3, num_steps=40, seed=0)
    same(d.nodes, expected.nodes, atol=1e-11)


def test_a_product_may_be_another_librarys_array():
    cupy = pytest.importorskip("cupy")
    d = cupy.asarray(D)
    r = fl.lanczos(lambda v: d * cupy.from_dlpack(v), N, 30, v0=torch.tensor(V0, device="cuda"))
    assert isinstance(r.basis, torch.Tensor)
    close(r, fl.lanczos(lambda v: D * v, N, 30, v0=V0), 1e-13)


def test_the_hessian_of_a_network_on_the_gpu():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4)).double()
    data = [(torch.randn(50, 12, dtype=torch.float64), torch.randint(4, (50,)))]
    loss = torch.nn.functional.cross_entropy
    expected = fl.spectral_density(flt.HessianOperator(model, loss, data), num_probes=3, num_steps=30, seed=0)
    on_gpu = [(x.cuda(), y.cuda()) for x, y in data]
    d = fl.spectral_density(flt.HessianOperator(model.cuda(), loss, on_gpu), num_probes=3, num_steps=30, seed=0)
    same(d.moment(2), expected.moment(2), rtol=1e-10)
    same(d.extremes, expected.extremes, atol=1e-11)


def test_batches_from_the_host_are_copied_ahead_and_give_the_same_products():
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).cuda()
    x, y = torch.randn(64, 5).pin_memory(), torch.randint(3, (64,)).pin_memory()
    rebuilt = flt.Schedule("rebuilt")
    v = torch.randn(75, device="cuda", dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy
    there = [(x[i : i + 8].cuda(), y[i : i + 8].cuda()) for i in range(0, 64, 8)]
    here = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]
    expected = flt.HessianOperator(model, loss, there, schedule=rebuilt) @ v
    for _ in range(20):
        assert torch.equal(flt.HessianOperator(model, loss, here, schedule=rebuilt) @ v, expected)


def test_breakdown_and_products_that_are_not_finite_are_noticed():
    d = torch.tensor(np.repeat([1.0, 2.0, 5.0], 1000), device="cuda")
    r = fl.lanczos(lambda v: d * v, 3000, 200, v0=torch.ones(3000, dtype=torch.float64, device="cuda"))
    assert r.breakdown
    assert r.num_steps == 3
    calls = 0

    def bad(v):
        nonlocal calls
        calls += 1
        z = d * v
        if calls == 2:
            z[7] = torch.nan
        return z

    v0 = torch.tensor(RNG.normal(size=3000), device="cuda")
    with pytest.raises(fl.NonFiniteError, match="step 2 has 1 of 3000"):
        fl.lanczos(bad, 3000, 40, v0=v0)


def test_a_basis_larger_than_the_gpu_is_told_with_what_would_fit():
    n = 10**8
    v0 = torch.ones(n, dtype=torch.float64, device="cuda")
    with pytest.raises(MemoryError, match='reorthogonalize="none"'):
        fl.lanczos(lambda v: v, n, 1000, v0=v0)


def test_quadrature_of_many_matrices():
    alpha, beta = RNG.normal(size=(1000, 100)), RNG.normal(size=(1000, 99))
    nodes, weights = fl.quadrature(torch.tensor(alpha, device="cuda"), torch.tensor(beta, device="cuda"))
    expected_nodes, expected_weights = fl.quadrature(alpha, beta)
    same(nodes.cpu(), expected_nodes, atol=1e-13)
    same(np.cumsum(weights.cpu(), 1), np.cumsum(expected_weights, 1), atol=1e-11)


def test_ritz_vectors_are_tensors_on_the_gpu():
    matvec, v0, _ = torch_run()
    r = fl.lanczos(matvec, N, 100, v0=v0)
    values, vectors = r.eigh()
    assert vectors.is_cuda
    top = vectors[:, -1]
    assert torch.linalg.vector_norm(matvec(top) - values[-1] * top) < 1e-3
