import numpy as np
import pytest
from numpy.polynomial import chebyshev

from fastlanczos.eigenpairs.chebyshev import Filter, better_without, choose_filter, polishing_filters
from fastlanczos.operators.native import matrix_matvec

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("degree", [1, 2, 5, 13])
def test_a_filter_is_the_chebyshev_polynomial_of_its_interval(degree):
    f = Filter(degree, 1.5, 0.5)
    assert f.interval == (1.0, 2.0)
    t = np.linspace(0.5, 2.5, 101)
    expected = chebyshev.chebval((t - 1.5) / 0.5, np.eye(degree + 1)[degree])
    if degree % 2:
        np.testing.assert_allclose(f(t), expected, rtol=1e-11, atol=1e-12)


def test_values_outside_come_back_from_the_filter_and_order_is_kept():
    f = Filter(7, 0.0, 2.0)
    outside = np.array([-2.5, -2.1, 2.0001, 2.2, 3.0])
    np.testing.assert_allclose(f.inverse(f(outside)), outside, rtol=1e-12)
    mu = np.linspace(-40, 40, 2001)
    assert np.all(np.diff(f.inverse(mu)) > 0)


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 21])
def test_the_native_operator_is_the_polynomial_of_the_matrix(degree):
    A = RNG.normal(size=(30, 30))
    A += A.T
    values, V = np.linalg.eigh(A)
    half_width = 0.6 * (values[-1] - values[0])
    center = 0.5 * (values[-1] + values[0])
    x, y = RNG.normal(size=(2, 30)), np.empty((2, 30))
    Filter(degree, center, half_width).native(matrix_matvec(A)).multiply(x, y)
    polynomial = chebyshev.chebval((values - center) / half_width, np.eye(degree + 1)[degree])
    np.testing.assert_allclose(y, x @ (V * polynomial) @ V.T, atol=1e-12)


def test_the_chosen_filter_raises_the_wanted_above_the_interval():
    f = choose_filter(np.array([0.01, 0.02]), np.empty(0), (0.05, np.inf), (0.0, 4.0))
    assert f.degree % 2 == 1
    np.testing.assert_allclose(f.interval, (0.05, 4.0))
    least, most = np.abs(f(np.array([0.02, 0.01])))
    assert 5 < least <= np.cosh(3.0) * 1.001
    assert most <= 2e4


@pytest.mark.parametrize(
    ("wanted", "limits", "ends"),
    [
        ([], (0.05, np.inf), (0.0, 4.0)),
        ([0.05], (0.05, np.inf), (0.0, 4.0)),  # as good as the limit
        ([0.05 - 1e-13], (0.05, np.inf), (0.0, 4.0)),
        ([-3.0], (0.0, np.inf), (0.0, 1.0)),  # a few steps will do
        ([0.5], (1.0, np.inf), (1.0, 1.0)),  # nothing to damp
    ],
)
def test_no_filter_where_none_helps(wanted, limits, ends):
    assert choose_filter(np.array(wanted), np.empty(0), limits, ends) is None


def test_locked_values_far_out_limit_the_degree():
    arguments = np.array([1.01]), (-np.inf, 1.0), (-1.0, 1000.0)
    free = choose_filter(arguments[0], np.empty(0), *arguments[1:])
    held = choose_filter(arguments[0], np.array([2.0]), *arguments[1:])
    assert free.degree > held.degree
    assert held(np.array([2.0]))[0] <= 1e8


def test_a_few_outliers_are_left_to_lanczos_and_a_wide_spectrum_is_not():
    wanted, limits, ends = np.array([-1.02e-6]), (-1e-6, np.inf), (-1.02e-6, 2.0)
    f = choose_filter(wanted, np.empty(0), limits, ends)
    bulk = np.linspace(-1e-6, 1e-6, 20)
    assert better_without(f, wanted, np.r_[bulk, 1.0, 1.5, 2.0], 25)
    assert not better_without(f, wanted, np.linspace(-1e-6, 2.0, 23), 25)
    mirrored = Filter(f.degree, -f.center, f.half_width)
    assert better_without(mirrored, -wanted, -np.r_[bulk, 1.0, 1.5, 2.0], 25)


def test_polishing_goes_from_fine_to_coarse_and_keeps_what_is_wanted():
    fine, coarse = polishing_filters((0.1, np.inf), (0.0, 4.0), 2)
    assert fine.degree > coarse.degree
    assert fine.interval[0] < coarse.interval[0]
    for f in (fine, coarse):
        low, high = f.interval
        assert np.all(np.abs(f(np.linspace(low, high, 100))) <= 1 + 1e-12)
        assert np.all(np.abs(f(np.array([0.0, 0.05, 0.1]))) > 2)
    assert polishing_filters((0.1, np.inf), (0.0, 0.1), 1) == []
