"""The Python side of the CUDA engine, on the emulated GPU."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import fake_gpu
import numpy as np
import pytest

import fastlanczos as fl

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")

RNG = np.random.default_rng(0)
N = 203
D = np.sort(RNG.normal(size=N))
V0 = RNG.normal(size=N)


def on(gpu, values):
    return fake_gpu.Array.of(gpu, values)


def ritz(r):
    return fl.quadrature(r.alpha, r.beta)[0]


@pytest.mark.parametrize(
    "options",
    [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}],
    ids=["float64", "float32", "none"],
)
@pytest.mark.parametrize("cooperative", [True, False])
def test_lanczos_on_device_arrays_is_the_run_on_the_cpu(gpu, options, cooperative):
    gpu.configure(cooperative=cooperative)
    d = on(gpu, D)
    r = fl.lanczos(lambda v: d * v, N, 30, v0=on(gpu, V0), **options)
    expected = fl.lanczos(lambda v: D * v, N, 30, v0=V0, **options)
    tolerance = 1e-11 if options else 1e-14
    np.testing.assert_allclose(ritz(r), ritz(expected), atol=tolerance * np.abs(D).max())
    assert isinstance(r.alpha, np.ndarray)
    assert r.asymmetry < (1e-6 if "basis_dtype" in options else 1e-13)
    assert abs(r.residual_norm - expected.residual_norm) < 1e-6 * expected.residual_norm
    if "reorthogonalize" in options:
        assert r.basis is None
    else:
        assert isinstance(r.basis, fake_gpu.Array)
        assert r.basis.dtype == options.get("basis_dtype", "float64")
        V = r.basis.get().astype(np.float64)
        np.testing.assert_allclose(V @ V.T, np.eye(30), atol=1e-14 if not options else 1e-6)


def test_a_seed_draws_the_same_start_as_on_the_cpu(gpu):
    d = on(gpu, D)
    it = fl.LanczosIteration(N, 10, seed=3, like=d)
    np.testing.assert_array_equal(it.vector.get(), fl.LanczosIteration(N, 10, seed=3).vector)
    again = fl.LanczosIteration(N, 10, seed=3, like=d)
    for run in (it, again):
        while run.step(d * run.vector):
            pass
    assert it.alpha.tobytes() == again.alpha.tobytes()


def test_no_step_waits_for_the_device_but_the_last(gpu):
    d = on(gpu, D)
    it = fl.LanczosIteration(N, 12, v0=on(gpu, V0))
    launches, waits = gpu.launches, gpu.synchronizations
    for _ in range(11):
        assert it.step(d * it.vector)
    assert gpu.synchronizations == waits
    assert gpu.launches == launches + 11
    assert not it.step(d * it.vector)
    assert gpu.synchronizations == waits + 1


def test_a_float32_start_gets_float32_vectors(gpu):
    d, given = on(gpu, D.astype(np.float32)), []

    def matvec(v):
        given.append(v.dtype)
        return d * v

    r = fl.lanczos(matvec, N, 10, v0=on(gpu, V0.astype(np.float32)))
    assert given == [np.float32] * 10
    assert r.basis.dtype == np.float64
    expected = fl.lanczos(lambda v: D * v, N, 10, v0=V0.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(ritz(r), ritz(expected), atol=1e-5)


def test_a_matrix_on_the_device_needs_nothing_else(gpu):
    A = RNG.normal(size=(60, 60))
    A = A + A.T
    r = fl.lanczos(on(gpu, A), num_steps=20, seed=0)
    np.testing.assert_allclose(ritz(r), ritz(fl.lanczos(A, num_steps=20, seed=0)), atol=1e-13)
    narrow = fl.lanczos(on(gpu, A.astype(np.float32)), num_steps=20, seed=0)
    np.testing.assert_allclose(ritz(narrow), ritz(r), atol=1e-5)


def test_ritz_vectors_of_a_device_basis_are_those_of_the_operator(gpu):
    d = on(gpu, D)
    r = fl.lanczos(lambda v: d * v, N, 60, v0=on(gpu, V0))
    values, vectors = (x.get() for x in r.eigh())
    residual = np.linalg.norm(D * vectors[:, -1] - values[-1] * vectors[:, -1])
    assert residual < 1e-2
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(60), atol=1e-13)


@pytest.mark.parametrize("method", ["hutchinson", "deflated"])
def test_sums_over_a_matrix_on_the_device_are_those_on_the_cpu(gpu, method):
    A = np.diag(np.linspace(1.0, 3.0, 80)) + 0.01
    options = {"num_probes": 4, "num_steps": 15, "method": method, "seed": 1}
    found, expected = (fl.trace(matrix, "log", **options) for matrix in (on(gpu, A), A))
    assert found.value == pytest.approx(expected.value, rel=1e-11)
    b = np.random.default_rng(0).standard_normal(80)
    product = fl.funm_multiply(on(gpu, A), "exp", on(gpu, b))
    np.testing.assert_allclose(product.get(), fl.funm_multiply(A, "exp", b), rtol=1e-9)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
def test_spectral_density_steps_all_probes_together(gpu, reorthogonalize):
    A = np.diag(D[:80])
    launches = gpu.launches
    d = fl.spectral_density(on(gpu, A), num_probes=5, num_steps=12, seed=1, reorthogonalize=reorthogonalize)
    assert gpu.launches == launches + 12
    assert d.info["lockstep"] == 5
    e = fl.spectral_density(A, num_probes=5, num_steps=12, seed=1, reorthogonalize=reorthogonalize)
    np.testing.assert_allclose(d.nodes, e.nodes, atol=1e-12)
    np.testing.assert_allclose(d.weights, e.weights, atol=1e-11)


def test_probes_have_the_same_bits_together_and_alone(gpu):
    A = on(gpu, np.diag(D[:80]))
    together = fl.spectral_density(A, num_probes=3, num_steps=10, seed=1)
    dense = np.diag(D[:80])
    alone = fl.spectral_density(lambda v: on(gpu, dense @ v.get()), 80, num_probes=3, num_steps=10, seed=1, like=A)
    assert alone.info["lockstep"] == 1
    np.testing.assert_allclose(together.nodes, alone.nodes, atol=1e-14)


def test_breakdown_ends_the_run_with_its_invariant_subspace(gpu):
    d = on(gpu, np.repeat([1.0, 2.0, 5.0], 40))
    r = fl.lanczos(lambda v: d * v, 120, 30, v0=on(gpu, np.ones(120)))
    assert r.breakdown
    assert r.num_steps == 3
    np.testing.assert_allclose(ritz(r), [1.0, 2.0, 5.0], atol=1e-14)


def test_a_product_that_is_not_finite_is_told_and_may_be_corrected(gpu):
    d = on(gpu, D)
    it = fl.LanczosIteration(N, 8, v0=on(gpu, V0))
    for _ in range(3):
        it.step(d * it.vector)
    bad = (D * it.vector.get()).astype(np.float64)
    bad[[4, 7]] = np.nan, np.inf
    with pytest.raises(fl.NonFiniteError, match="step 4 has 2 of 203") as caught:
        it.step(on(gpu, bad))
    assert caught.value.step == 4
    assert caught.value.partial.num_steps == 3
    while it.step(d * it.vector):
        pass
    expected = fl.lanczos(lambda v: D * v, N, 8, v0=V0)
    np.testing.assert_allclose(it.alpha, expected.alpha, atol=1e-13)


@pytest.mark.parametrize(
    ("product", "error", "message"),
    [
        (lambda gpu, v: D, TypeError, r"product in Lanczos step 1 is on the CPU, and the vector on GPU 0"),
        (lambda gpu, v: v[:5], ValueError, r"shape \(5,\); want \(203,\)"),
        (lambda gpu, v: v.astype("int64"), TypeError, "dtype int64"),
        (lambda gpu, v: None, TypeError, "is None"),
    ],
)
def test_a_product_that_does_not_fit_is_told(gpu, product, error, message):
    with pytest.raises(error, match=message):
        fl.lanczos(lambda v: product(gpu, v), N, 5, v0=on(gpu, V0))


@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
@pytest.mark.parametrize("first", ["gpu", "cpu"])
@pytest.mark.parametrize("second", ["gpu", "cpu"])
def test_a_run_is_taken_up_again_on_either_side(gpu, options, first, second):
    d = on(gpu, D)

    def product(it):
        return d * it.vector if isinstance(it.vector, fake_gpu.Array) else D * it.vector

    it = fl.LanczosIteration(N, 20, v0=on(gpu, V0) if first == "gpu" else V0, **options)
    whole = fl.LanczosIteration(N, 20, v0=on(gpu, V0) if first == "gpu" else V0, **options)
    for _ in range(9):
        it.step(product(it))
    it = fl.LanczosIteration.from_state_dict(it.state_dict(), like=d if second == "gpu" else None)
    for run in (it, whole):
        while run.step(product(run)):
            pass
    if first == second:
        assert it.alpha.tobytes() == whole.alpha.tobytes()
    np.testing.assert_allclose(ritz(it), ritz(whole), atol=1e-11)


def test_restart_begins_again_in_the_same_memory(gpu):
    d = on(gpu, D)
    it = fl.LanczosIteration(N, 6, v0=on(gpu, V0))
    while it.step(d * it.vector):
        pass
    first = it.alpha
    it.restart(V0[::-1].copy())
    while it.step(d * it.vector):
        pass
    assert not np.array_equal(first, it.alpha)
    it.restart(on(gpu, V0))
    while it.step(d * it.vector):
        pass
    assert first.tobytes() == it.alpha.tobytes()


def test_a_basis_that_does_not_fit_is_told_with_what_would(gpu):
    gpu.configure(memory=gpu.used + 100_000)
    d = on(gpu, D)
    with pytest.raises(
        MemoryError, match=r"100 vectors of length 203 needs 168 KiB in float64.*What fits: basis_dtype=\"float32\""
    ):
        fl.lanczos(lambda v: d * v, N, 100, v0=on(gpu, V0))
    r = fl.spectral_density(lambda v: d * v, N, num_probes=2, num_steps=100, seed=0, like=d)
    assert r.info["reorthogonalize"] == "none"


def test_a_gpu_with_too_little_shared_memory_is_told(gpu):
    gpu.configure(shared_bytes=16 * 1024)
    with pytest.raises(RuntimeError, match="16384 bytes of shared memory for a block"):
        fl.lanczos(lambda v: v, N, 5, v0=on(gpu, V0))


def test_more_probes_than_a_launch_takes(gpu):
    launches = gpu.launches
    d = fl.spectral_density(on(gpu, np.diag(D[:40])), num_probes=20, num_steps=4, seed=1)
    assert gpu.launches == launches + 2 * 4
    e = fl.spectral_density(np.diag(D[:40]), num_probes=20, num_steps=4, seed=1)
    np.testing.assert_allclose(d.nodes, e.nodes, atol=1e-13)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_ctrl_c_is_answered_while_the_device_is_busy(gpu):
    d = on(gpu, D)
    it = fl.LanczosIteration(N, 12, v0=on(gpu, V0))
    for _ in range(5):
        it.step(d * it.vector)
    gpu.stay_busy(10**12)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            print(it.alpha)
    finally:
        timer.join()
        gpu.stay_busy(0)
    assert it.num_steps == 5


def test_an_exception_of_the_matvec_carries_the_finished_steps(gpu):
    d, calls = on(gpu, D), []

    def matvec(v):
        calls.append(1)
        if len(calls) == 6:
            raise OSError("lost")
        return d * v

    with pytest.raises(OSError, match="lost") as caught:
        fl.lanczos(matvec, N, 20, v0=on(gpu, V0))
    assert caught.value.partial.num_steps == 5
    assert isinstance(caught.value.partial.basis, fake_gpu.Array)


def test_a_callback_may_end_the_run(gpu):
    d, seen = on(gpu, D), []

    def callback(it):
        seen.append(it.num_steps)
        if it.num_steps == 4:
            raise StopIteration

    assert fl.lanczos(lambda v: d * v, N, 20, v0=on(gpu, V0), callback=callback).num_steps == 4
    assert seen == [1, 2, 3, 4]


def test_quadrature_on_the_device_is_that_of_the_cpu(gpu):
    alpha, beta = RNG.normal(size=(2, 5, 12)), RNG.normal(size=(2, 5, 11))
    nodes, weights = fl.quadrature(on(gpu, alpha), on(gpu, beta))
    expected_nodes, expected_weights = fl.quadrature(alpha, beta)
    assert isinstance(nodes, fake_gpu.Array)
    np.testing.assert_allclose(nodes.get(), expected_nodes, atol=1e-14)
    np.testing.assert_allclose(weights.get(), expected_weights, atol=1e-13)
    bad = alpha.copy()
    bad[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 10 matrices have entries"):
        fl.quadrature(on(gpu, bad), on(gpu, beta))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_engine_takes_dlpack_on_the_stream_that_it_works_on(gpu, dtype):
    values = RNG.normal(size=(6, 10)).astype(dtype)
    foreign = fake_gpu.DLPackArray(on(gpu, values)[1:4, :7])
    np.testing.assert_array_equal(gpu.module.to_host(foreign, 0), values[1:4, :7])
    gpu.module.to_host(foreign, 77)
    assert foreign.streams == [1, 77]  # 1 is the default stream in DLPack's protocol
    with pytest.raises(ValueError, match="not on a CUDA device"):
        gpu.module.to_host(fake_gpu.DLPackArray(foreign.array, device_type=1), 0)


def test_a_product_may_be_another_librarys_array(gpu):
    d = on(gpu, D)
    r = fl.lanczos(lambda v: fake_gpu.DLPackArray(d * v), N, 10, v0=on(gpu, V0))
    np.testing.assert_allclose(ritz(r), ritz(fl.lanczos(lambda v: D * v, N, 10, v0=V0)), atol=1e-14)
    with pytest.raises(TypeError, match="is on the CPU"):
        fl.lanczos(lambda v: fake_gpu.DLPackArray(d * v, device_type=1), N, 10, v0=on(gpu, V0))


def test_an_engine_that_cannot_be_loaded_is_told_and_the_cpu_works(tmp_path):
    program = f"""
import sys
class Broken:
    def find_spec(self, name, path, target=None):
        if name == "fastlanczos._cuda":
            import importlib.machinery, importlib.util
            loader = importlib.machinery.ExtensionFileLoader(name, {str(tmp_path / "_cuda.so")!r})
            return importlib.util.spec_from_loader(name, loader)
sys.meta_path.insert(0, Broken())
import numpy as np, fastlanczos as fl
print(fl.lanczos(np.eye(4), num_steps=2, seed=0).num_steps)
fl.show_config()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be loaded" in done.stdout


def test_show_config_names_the_device(gpu, capsys):
    fl.show_config()
    assert "emulated GPU" in capsys.readouterr().out
