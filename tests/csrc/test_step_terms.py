"""step.hpp: every term of the step counts somewhere. tests/faults leaves them out one by one."""

import numpy as np
import pytest
from cases.recurrence import FewValues, Growing, Noisy, coupled, orthogonality

import fastlanczos as fl


def run(noisy, **options):
    it = fl.LanczosIteration(len(noisy.v0), noisy.steps, v0=noisy.v0, **options)
    for k in range(noisy.steps):
        it.step(noisy.product(k, it.vector))
    return it


def test_scalars_and_rows_are_those_of_the_recurrence_where_products_are_noisy():
    noisy = Noisy()
    alpha, beta, V = noisy.reference()
    it = run(noisy)
    np.testing.assert_allclose(it.alpha, alpha, atol=1e-11)
    np.testing.assert_allclose(it.beta, beta[:-1], atol=1e-11)
    np.testing.assert_allclose(it.result().basis, V, atol=1e-10)
    assert orthogonality(it.result().basis) < 1e-14


@pytest.mark.parametrize("jump", [300, 700])
def test_a_scale_that_jumps_in_mid_run_is_that_of_the_recurrence(jump):
    noisy, plain = Noisy(jump=jump), Noisy(jump=40)
    it, at_forty = run(noisy), run(plain)
    half = noisy.steps // 2
    # What comes before is in its own units, what comes after has the same digits whatever the jump is.
    np.testing.assert_allclose(it.alpha[:half], at_forty.alpha[:half], rtol=1e-9)
    np.testing.assert_allclose(it.beta[: half - 1], at_forty.beta[: half - 1], rtol=1e-9)
    np.testing.assert_allclose(it.alpha[half + 1 :] / 2.0 ** (jump - 40), at_forty.alpha[half + 1 :], rtol=1e-7)
    np.testing.assert_allclose(it.beta[half:] / 2.0 ** (jump - 40), at_forty.beta[half:], rtol=1e-7)
    assert it.num_steps == noisy.steps
    assert orthogonality(it.result().basis) < 1e-13


def test_the_asymmetry_of_early_steps_is_in_their_units():
    growing = Growing()
    it = fl.LanczosIteration(40, 30, v0=growing.v0)
    largest = 0.0
    for k in range(30):
        it.step(growing.product(k, it.vector))
        largest = max(largest, it.asymmetry)
    assert largest > 1e-3  # while the noise was all there was
    assert it.asymmetry < 1e-12


def test_the_last_residual_knows_the_overlap_of_its_candidate():
    noisy = Noisy(amplitude=0.05)
    it = run(noisy)
    u, V = it.vector, it.result().basis
    left = u - (V @ u) @ V
    _, beta, _ = noisy.reference()
    assert abs(it.residual_norm - beta[-1] * np.linalg.norm(left)) < 1e-10
    assert np.linalg.norm(left) < 0.999


@pytest.mark.parametrize("coupling", [3e-12, 3e-13])
def test_a_coupling_above_rounding_is_followed(coupling):
    A, v0 = coupled(coupling)
    assert fl.lanczos(A, num_steps=40, v0=v0).num_steps == 40


def test_few_values_and_the_whole_space_end_a_run():
    few = FewValues()
    r = fl.lanczos(lambda v: few.d * v, len(few.d), 40, v0=few.v0)
    assert (r.num_steps, r.breakdown) == (3, True)
    noisy = Noisy(n=9)
    it = fl.LanczosIteration(9, 9, v0=noisy.v0)
    while it.step(noisy.d * it.vector):
        pass
    assert it._run.breakdown


def test_float32_rows_are_corrected_before_an_error_shows_in_T():
    # Overlaps of 1e-3 squared: harmless to rows in float64, too large for rows that are known to 6e-8.
    noisy = Noisy(amplitude=3e-3)
    it = run(noisy, basis_dtype="float32")
    assert it._run.sweeps > noisy.steps + 5
