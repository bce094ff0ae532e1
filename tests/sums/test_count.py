"""fastlanczos/sums/count.py."""

import numpy as np
import pytest
from cases.sums import with_eigenvalues

import fastlanczos as fl

VALUES = np.r_[np.linspace(-1, 0, 100), np.linspace(1, 2, 150), [5.0, 6.0]]


@pytest.mark.parametrize(
    ("low", "high", "exact"),
    [(0.5, 2.5, 150), (-2, 0.5, 100), (3, 7, 2), (-np.inf, np.inf, 252), (8, 9, 0), (2.5, 3, 0)],
)
def test_counts_are_within_their_errors(low, high, exact):
    e = fl.eigencount(with_eigenvalues(VALUES), low, high, seed=0)
    assert abs(e.value - exact) <= e.half_width(0.999) + 1e-9


def test_the_quadratures_bound_holds_inside_a_bulk():
    A = with_eigenvalues(VALUES)
    density = fl.SpectralDensity.from_eigenvalues(VALUES)
    exact = 252 * density.cdf(1.52, sigma=0)
    few = fl.eigencount(A, -np.inf, 1.52, num_steps=8, num_probes=200, seed=0)
    more = fl.eigencount(A, -np.inf, 1.52, num_steps=40, num_probes=200, seed=0)
    for e in (few, more):
        assert abs(e.value - exact) <= 4 * e.std_error + e.quadrature_error
    assert more.quadrature_error < few.quadrature_error


def test_an_interval_upside_down_is_told():
    with pytest.raises(ValueError, match=r"low must not be above high, got \[2, 1\]"):
        fl.eigencount(np.eye(3), 2, 1)


def test_steps_and_probes_are_added_until_the_count_is_as_accurate_as_asked_for():
    A, n = with_eigenvalues(VALUES).__matmul__, len(VALUES)
    e = fl.eigencount(A, 0.5, 1.52, n, num_steps=10, atol=8.0, seed=0)
    exact = np.sum((VALUES >= 0.5) & (VALUES <= 1.52))
    assert e.half_width() <= 8.0
    assert abs(e.value - exact) <= 8.0
    assert e.info["num_steps"] > 10
    with pytest.warns(UserWarning, match=r"stopped after \d+ products at .* \(max_matvecs=\)"):
        short = fl.eigencount(A, 0.5, 1.52, n, atol=0.1, max_matvecs=1500, seed=0)
    assert short.num_matvecs <= 1500
    with pytest.raises(ValueError, match="max_matvecs=1500 limits the search for an accuracy: pass rtol= or atol="):
        fl.eigencount(A, 0.5, 1.52, n, max_matvecs=1500)
