"""The CUDA step on the emulated GPU: every term counts somewhere. tests/faults leaves them out one by one."""

import shutil

import fake_gpu
import numpy as np
import pytest
from cases.recurrence import FewValues, Growing, Noisy, coupled

import fastlanczos as fl

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")


def run(gpu, noisy, **options):
    it = fl.LanczosIteration(len(noisy.v0), noisy.steps, v0=fake_gpu.Array.of(gpu, noisy.v0), **options)
    for k in range(noisy.steps):
        it.step(fake_gpu.Array.of(gpu, noisy.product(k, it.vector.get())))
    return it


def test_scalars_and_rows_are_those_of_the_recurrence_where_products_are_noisy(gpu):
    noisy = Noisy()
    alpha, beta, V = noisy.reference()
    it = run(gpu, noisy)
    np.testing.assert_allclose(it.alpha, alpha, atol=1e-11)
    np.testing.assert_allclose(it.beta, beta[:-1], atol=1e-11)
    np.testing.assert_allclose(it.result().basis.get(), V, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
def test_a_scale_that_jumps_in_mid_run_is_followed_as_on_the_cpu(gpu, options):
    noisy = Noisy(jump=300, amplitude=0.0 if options else 0.02)
    it = run(gpu, noisy, **options)
    expected = fl.LanczosIteration(len(noisy.v0), noisy.steps, v0=noisy.v0, **options)
    for k in range(noisy.steps):
        expected.step(noisy.product(k, expected.vector))
    tolerance = 1e-5 if options else 1e-9
    np.testing.assert_allclose(it.alpha, expected.alpha, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(it.beta, expected.beta, rtol=tolerance)


def test_the_asymmetry_of_early_steps_is_in_their_units(gpu):
    growing = Growing()
    it = fl.LanczosIteration(40, 30, v0=fake_gpu.Array.of(gpu, growing.v0))
    largest = 0.0
    for k in range(30):
        it.step(fake_gpu.Array.of(gpu, growing.product(k, it.vector.get())))
        largest = max(largest, it.asymmetry)
    assert largest > 1e-3  # while the noise was all there was
    assert it.asymmetry < 1e-12


@pytest.mark.parametrize("coupling", [3e-12, 3e-13])
def test_a_coupling_above_rounding_is_followed(gpu, coupling):
    A, v0 = coupled(coupling)
    assert fl.lanczos(fake_gpu.Array.of(gpu, A), num_steps=40, v0=fake_gpu.Array.of(gpu, v0)).num_steps == 40


def test_few_values_and_the_whole_space_end_a_run(gpu):
    few, calls = FewValues(), []
    d, v0 = fake_gpu.Array.of(gpu, few.d), fake_gpu.Array.of(gpu, few.v0)

    def matvec(v):
        calls.append(v)
        return d * v

    r = fl.lanczos(matvec, len(few.d), 40, v0=v0)
    assert (r.num_steps, r.breakdown) == (3, True)
    assert len(calls) == 3  # the host was told in time
    # A spectrum of both signs, whose T has zeros on its diagonal: what is left is small beside its other entries.
    d = fake_gpu.Array.of(gpu, np.repeat([-1.3, -0.7, 0.7, 1.3], 25))
    v0 = np.random.default_rng(7).normal(size=50)
    r = fl.lanczos(lambda v: d * v, 100, 40, v0=fake_gpu.Array.of(gpu, np.r_[v0, v0[25:], v0[:25]]))
    assert np.abs(r.alpha).max() < 1e-15
    assert (r.num_steps, r.breakdown) == (4, True)
    noisy = Noisy(n=9)
    it = fl.LanczosIteration(9, 9, v0=fake_gpu.Array.of(gpu, noisy.v0))
    while it.step(fake_gpu.Array.of(gpu, noisy.d * it.vector.get())):
        pass
    assert it._run.breakdown


def test_products_of_zeros_end_a_run_at_its_first_step(gpu):
    zeros, v0 = fake_gpu.Array.of(gpu, np.zeros(50)), fake_gpu.Array.of(gpu, Noisy(n=50).v0)
    r = fl.lanczos(lambda v: zeros * v, 50, 10, v0=v0)
    assert (r.num_steps, r.breakdown) == (1, True)
    assert r.alpha[0] == 0.0


def test_float32_rows_are_corrected_before_an_error_shows_in_T(gpu):
    noisy = Noisy(amplitude=3e-3)
    it = run(gpu, noisy, basis_dtype="float32")
    assert it._run.run.sweeps > noisy.steps + 5


def test_the_norm_that_is_left_is_that_of_the_cpu_where_products_are_noisy(gpu):
    noisy = Noisy()
    expected = fl.LanczosIteration(len(noisy.v0), noisy.steps, v0=noisy.v0)
    for k in range(noisy.steps):
        expected.step(noisy.product(k, expected.vector))
    assert run(gpu, noisy).residual_norm == pytest.approx(expected.residual_norm, rel=1e-12)


# The host.


def test_all_is_launched_on_the_librarys_current_stream(gpu):
    n, d = 60, np.linspace(-1, 1, 60)
    gpu.expect(stream=5)
    it = fl.LanczosIteration(n, 12, v0=fake_gpu.Array.of(gpu, np.ones(n)))
    for _ in range(6):
        it.step(fake_gpu.Array.of(gpu, d * it.vector.get()))
    assert gpu.strays == 0
    gpu.expect(stream=9)  # the user has changed over
    for _ in range(6):
        it.step(fake_gpu.Array.of(gpu, d * it.vector.get()))
    assert it.alpha.shape == (12,)
    assert gpu.strays == 0


def test_the_host_stays_ahead_of_the_device_but_not_too_far(gpu):
    n = 200
    it = fl.LanczosIteration(n, 120, v0=fake_gpu.Array.of(gpu, np.ones(n)))
    products = [fake_gpu.Array.of(gpu, z) for z in np.random.default_rng(0).normal(size=(100, n))]
    gpu.expect(deferring=True)
    for z in products:
        it.step(z)
    assert 20 <= gpu.most_queued <= 40
    gpu.expect()


def test_a_device_that_keeps_up_is_not_asked(gpu):
    n, d = 200, np.linspace(-1, 1, 200)
    it = fl.LanczosIteration(n, 120, v0=fake_gpu.Array.of(gpu, np.ones(n)))
    gpu.stay_busy(1000)
    for _ in range(80):
        it.step(fake_gpu.Array.of(gpu, d * it.vector.get()))
    assert gpu.busy == 1000
    gpu.stay_busy(0)


def test_products_may_be_rows_of_a_wider_block(gpu):
    n, d = 80, np.linspace(-1, 1, 80)
    starts = np.random.default_rng(0).normal(size=(2, n))
    runs = [fl.LanczosIteration(n, 5, v0=fake_gpu.Array.of(gpu, v0))._run for v0 in starts]
    for _ in range(5):
        wide = np.full((2, n + 7), np.nan)
        wide[:, :n] = [d * r.vector.get() for r in runs]
        type(runs[0]).advance_together(runs, fake_gpu.Array.of(gpu, wide)[:, :n])
    for r, v0 in zip(runs, starts, strict=True):
        expected = fl.lanczos(lambda v: d * v, n, 5, v0=v0)
        np.testing.assert_allclose(r.alpha, expected.alpha, atol=1e-13)


# The quadrature.


def nodes_on(gpu, alpha, beta):
    nodes, weights = fl.quadrature(fake_gpu.Array.of(gpu, alpha), fake_gpu.Array.of(gpu, beta))
    return nodes.get(), weights.get()


def test_small_nodes_of_a_graded_matrix_are_as_exact_as_on_the_cpu(gpu):
    d = 10.0 ** -np.arange(13.0)
    beta = 0.1 * np.sqrt(d[:-1] * d[1:])
    nodes, _ = nodes_on(gpu, d, beta)
    np.testing.assert_allclose(nodes, fl.quadrature(d, beta)[0], rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-290, 1e-160, 1e160, 1e290])
def test_entries_whose_squares_are_out_of_range(gpu, scale):
    rng = np.random.default_rng(0)
    alpha, beta = rng.normal(size=9), np.abs(rng.normal(size=8))
    nodes, weights = nodes_on(gpu, scale * alpha, scale * beta)
    expected = fl.quadrature(alpha, beta)
    np.testing.assert_allclose(nodes / scale, expected[0], atol=1e-14)
    np.testing.assert_allclose(weights, expected[1], atol=1e-14)


def test_small_integers_split_in_every_way(gpu):
    for m in (2, 3, 4):
        grid = np.array(np.meshgrid(*[[0.0, 1.0, 2.0]] * m, *[[0.0, 1.0, 2.0]] * (m - 1))).reshape(2 * m - 1, -1).T
        alpha, beta = grid[:, :m].copy(), grid[:, m:].copy()
        nodes, weights = nodes_on(gpu, alpha, beta)
        T = np.zeros((len(grid), m, m))
        T[:, np.arange(m), np.arange(m)] = alpha
        T[:, np.arange(m - 1), np.arange(1, m)] = T[:, np.arange(1, m), np.arange(m - 1)] = beta
        np.testing.assert_allclose(nodes, np.linalg.eigvalsh(T), atol=1e-14)
        np.testing.assert_allclose(np.sum(weights * nodes**2, axis=1), np.sum(T[:, 0] ** 2, axis=1), atol=1e-13)


def test_a_block_that_splits_in_the_middle_of_a_sweep(gpu):
    alpha, beta = np.array([1e-106, 0.0, 1e-38, -1.0, 0.0]), np.array([1e-78, 1e-134, 1e-136, 1e-7])
    nodes, weights = nodes_on(gpu, alpha, beta)
    np.testing.assert_allclose(nodes, [-1.0, -1e-78, 1e-78, 1e-38, 1e-14], rtol=1e-12)
    assert weights.sum() == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("coupling", [1e-13, 1e-14])
def test_equal_values_that_are_weakly_coupled_stay_apart(gpu, coupling):
    nodes, weights = nodes_on(gpu, np.ones(2), np.array([coupling]))
    assert nodes[1] - nodes[0] == pytest.approx(2 * coupling, rel=0.05)
    np.testing.assert_allclose(weights, [0.5, 0.5], atol=1e-2)
