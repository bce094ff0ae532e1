"""The CUDA step on the emulated GPU: every term counts somewhere. tests/faults leaves them out one by one."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cases.recurrence import FewValues, Growing, Noisy, coupled

import fastlanczos as fl

sys.path.insert(0, str(Path(__file__).parent.parent / "csrc" / "cuda_emulation"))
import fake_gpu

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
    few = FewValues()
    d, v0 = fake_gpu.Array.of(gpu, few.d), fake_gpu.Array.of(gpu, few.v0)
    r = fl.lanczos(lambda v: d * v, len(few.d), 40, v0=v0)
    assert (r.num_steps, r.breakdown) == (3, True)
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
