"""fastlanczos/sums/accuracy.py: what is asked for, and how many probes it is likely to take."""

import numpy as np
import pytest
from cases.sums import with_eigenvalues

import fastlanczos as fl
from fastlanczos.probes.intervals import widths
from fastlanczos.sums.accuracy import Accuracy, probes_for

FLAT = with_eigenvalues(np.linspace(1.0, 3.0, 200))


def test_the_larger_of_both_tolerances_counts():
    assert Accuracy.asked_for(None, None, None) is None
    assert Accuracy.asked_for(0.1, None, None).aim(-5.0) == pytest.approx(0.5)
    assert Accuracy.asked_for(0.1, 2.0, 77) == Accuracy(0.1, 2.0, 77)
    assert Accuracy(0.1, 2.0, 77).aim(5.0) == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, None, None), "rtol must be positive, got 0.0"),
        ((None, -1.0, None), "atol must be positive, got -1.0"),
        ((None, None, 10), "max_matvecs=10 limits the search for an accuracy"),
        ((0.1, None, 0), "max_matvecs must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        Accuracy.asked_for(*arguments)


def test_the_fewest_probes_whose_interval_is_narrow_enough():
    error, count = 1.0, 10

    def reach(number):
        return float(max(widths(0.95, error * np.sqrt(count / number), 0.0, number)))

    number = probes_for(error, 0.0, count, 1.5)
    assert reach(number) <= 1.5 < reach(number - 1)
    assert probes_for(error, 0.0, count, 1e-3) == 4 * count
    # Of several entries the worst one counts.
    assert probes_for(np.array([0.1, error]), np.zeros(2), count, 1.5) == number
    assert probes_for(np.inf, 0.0, 1, 1.0) == 4


def test_the_first_probes_stay_within_the_limit_too():
    with pytest.warns(UserWarning, match="stopped after 100 products"):
        e = fl.trace(FLAT, "log", rtol=1e-6, max_matvecs=120, seed=0, method="hutchinson")
    assert e.num_matvecs == 100
    with pytest.warns(UserWarning, match=r"stopped after \d+ products .* \(max_matvecs=\)"):
        e = fl.trace(FLAT, method="xtrace", rtol=1e-6, max_matvecs=120, seed=0)
    assert e.num_matvecs <= 120


STEEP = np.geomspace(1e-6, 1, 1000)


def steep(v):
    return STEEP * v


def test_steps_choose_themselves_until_they_leave_less_than_half_of_what_probes_do():
    e = fl.trace(lambda v: v + steep(v), "sqrt", 1000, seed=0, method="hutchinson")
    assert e.info["num_steps"] == 50  # smooth enough
    e = fl.trace(steep, "log", 1000, num_probes=8, seed=0, method="hutchinson", max_matvecs=8000)
    assert e.info["num_steps"] > 50
    probes_error = e.half_width() - e.quadrature_error
    assert e.quadrature_error <= 0.5 * probes_error
    low, high = e.interval(0.99)
    assert low <= np.log(STEEP).sum() <= high


def test_where_they_may_not_a_warning_says_what_helps():
    with pytest.warns(UserWarning, match=r"the \d+ Lanczos steps of a probe leave .* bounds=\(low, high\)"):
        e = fl.trace(steep, "log", 1000, num_probes=8, seed=0, method="hutchinson", max_matvecs=600)
    assert e.num_matvecs <= 600
    low, high = e.interval()
    assert low <= np.log(STEEP).sum() <= high


def test_a_number_that_is_given_is_used():
    e = fl.trace(steep, "log", 1000, num_probes=4, num_steps=20, seed=0, method="hutchinson")
    assert (e.info["num_steps"], e.num_matvecs) == (20, 80)
    with pytest.raises(ValueError, match="max_matvecs=600 limits the search"):
        fl.trace(steep, "log", 1000, num_steps=20, max_matvecs=600)
