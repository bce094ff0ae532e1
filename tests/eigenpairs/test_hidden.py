"""What a random start may hide, against what it does hide."""

import numpy as np
import pytest
from peers import cgs2

from fastlanczos.eigenpairs.hidden import log_christoffel, log_hidden_block, probability_hidden


def steps(weight, m, n=400):
    """Lanczos on values in [0, 1] and one at 1.2 with this weight in the start vector."""
    d = np.r_[np.linspace(0, 1, n - 1), 1.2]
    v = np.random.default_rng(0).standard_normal(n)
    v[:-1] *= np.sqrt((1 - weight) / (v[:-1] @ v[:-1]))
    v[-1] = np.sqrt(weight)
    alpha, beta, _, _ = cgs2(lambda x: d * x, v, m)
    return alpha, beta


@pytest.mark.parametrize("weight", [1e-4, 1e-9, 1e-16])
def test_no_weight_is_above_the_bound(weight):
    for m in range(2, 30):
        assert np.log(weight) <= log_christoffel(*steps(weight, m), 1.2) + 1e-8


def test_the_bound_falls_with_every_step_and_is_attained_when_the_value_shows():
    bounds = [log_christoffel(*steps(1e-9, m), 1.2) for m in range(2, 40)]
    assert np.all(np.diff(bounds) < 1e-12)
    assert bounds[-1] == pytest.approx(np.log(1e-9), abs=1e-3)


def test_many_steps_neither_overflow_nor_vanish():
    alpha, beta = np.zeros(3000), np.full(2999, 0.5)
    expected = -2 * 2999 * np.arccosh(2.0)  # T of Chebyshev: p_i grows by exp(arccosh 2) a step
    assert log_christoffel(alpha, beta, 2.0) == pytest.approx(expected, rel=1e-3)


def test_a_block_of_one_vector_is_bounded_as_a_vector():
    alpha, beta = steps(1e-12, 12)
    H = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    coupling = np.zeros((1, 12))
    coupling[0, -1] = 0.25
    block = log_hidden_block(H, coupling, slice(0, 1), 1.2)
    assert block == pytest.approx(log_christoffel(alpha, beta, 1.2), abs=3.0)  # both within a small factor


def test_the_probability_is_that_of_a_random_unit_vector():
    rng, n = np.random.default_rng(0), 50
    v = rng.standard_normal((20_000, n))
    weights = (v[:, 0] / np.linalg.norm(v, axis=1)) ** 2
    for weight in (1e-5, 1e-4, 1e-3):
        seen = np.mean(weights < weight)
        assert 0.8 * seen <= probability_hidden(np.log(weight), n) <= 1.3 * seen
    assert probability_hidden(0.0, 10**6) == 1.0
