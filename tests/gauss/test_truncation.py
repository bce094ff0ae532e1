"""fastlanczos/gauss/truncation.py: what is left of a series, by its last terms."""

import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.gauss.truncation import algebraic_remainder, fewer_steps, series_remainder, shorter_rules


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.4])
def test_a_geometric_series_is_covered_twice(ratio):
    terms = 3.0 * ratio ** np.arange(60)
    assert series_remainder(terms[3], terms[4]) == pytest.approx(2.0 * terms[5:].sum(), rel=1e-12, abs=0.0)


def test_where_terms_do_not_fall_nothing_is_promised():
    assert series_remainder(1.0, 2.0) == 3.0
    assert series_remainder(0.0, 0.0) == 0.0
    assert series_remainder(0.0, 1.0) == 1.0
    assert series_remainder(-1.0, 0.99) == pytest.approx(1.99)  # not the hundredfold that the series would have
    np.testing.assert_array_equal(series_remainder([1.0, 0.0], [0.0, 0.0]), [0.0, 0.0])


@pytest.mark.parametrize("power", [0.1, 0.45, 1.0, 3.0])
def test_of_an_error_that_falls_as_a_power_of_the_steps_the_rest_is_found(power):
    error = 7.0 * np.array([50.0, 75.0, 100.0]) ** -power
    before, after = -np.diff(error)
    assert algebraic_remainder(before, after) == pytest.approx(error[2], rel=1e-2)
    if power < 1.0:
        assert series_remainder(before, after) < error[2]  # which is why


def test_changes_that_fall_too_slowly_for_any_power_tell_only_that_all_may_be_wrong():
    assert algebraic_remainder(1.0, 0.9) > 50.0
    assert algebraic_remainder(0.0, 1.0) == 50.0
    assert algebraic_remainder(1.0, 0.0) == 0.0
    assert algebraic_remainder(0.0, 0.0) == 0.0


def test_steps_are_quarters_apart():
    assert fewer_steps(90) == (45, 67)
    assert fewer_steps(1) == (1, 1)


def test_rules_of_fewer_steps_come_out_of_the_rule_of_all():
    A = np.diag(np.random.default_rng(0).normal(size=200))
    run = fl.lanczos(A, num_steps=40, seed=0)
    nodes, weights = run.quadrature()
    for (x, w), m in zip(shorter_rules(nodes, 3.0 * weights), (20, 30), strict=True):
        expected, shares = fl.lanczos(A, num_steps=m, seed=0).quadrature()
        np.testing.assert_allclose(x, expected, atol=1e-11)
        np.testing.assert_allclose(w, 3.0 * shares, atol=1e-11)
