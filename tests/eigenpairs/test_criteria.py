"""When a pair has converged, and when a value counts as better."""

import numpy as np

from fastlanczos.eigenpairs.criteria import Criteria

EPS = np.finfo(float).eps


def test_residuals_are_relative_to_the_value_and_no_smaller_than_rounding_permits():
    criteria = Criteria(1e-3, lambda norm: 0.0, None)
    criteria.norm = 100.0
    np.testing.assert_allclose(criteria.allowed(np.array([100.0, -1.0])), [0.1, 1e-3])
    np.testing.assert_allclose(criteria.allowed(np.zeros(1)), 1e-3 * EPS ** (2 / 3) * 100.0)
    exact = Criteria(EPS, lambda norm: 0.0, None)
    exact.norm = 100.0
    assert exact.allowed(np.array([1e-9]))[0] == 16 * EPS * 100.0


def test_noise_is_allowed_and_strictness_is_of_the_tolerance_alone():
    criteria = Criteria(1e-3, lambda norm: 1e-5 * norm, None)
    criteria.norm = 100.0
    criteria.strictness = 0.1
    np.testing.assert_allclose(criteria.allowed(np.array([100.0, 1e-3])), [0.01, 1e-3])
    np.testing.assert_allclose(criteria.margin(np.array([100.0])), 0.1)


def test_values_that_a_shift_hits_are_all_as_large():
    criteria = Criteria(EPS, lambda norm: 0.0, 1e6)
    criteria.norm = 10.0
    values = np.array([-1e20, 3.0, 1e9, 2000.0])
    np.testing.assert_array_equal(criteria.sized(values), [-1e6, 3.0, 1e6, 2000.0])
    np.testing.assert_array_equal(criteria.dwarf_others(values), [True, False, True, True])
    np.testing.assert_array_equal(Criteria(EPS, lambda norm: 0.0, None).sized(values), values)
