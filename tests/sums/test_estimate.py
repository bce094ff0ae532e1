"""fastlanczos/sums/estimate.py."""

import numpy as np
import pytest

from fastlanczos.sums.estimate import DiagonalEstimate, Estimate


def test_it_reads_as_a_number_with_its_error():
    assert repr(Estimate(12.3412, 0.0, 0.05, 5, 10)) == "12.341 +- 0.050 (95%)"
    assert repr(Estimate(-1234.5678, 10.0, 0.0, 1000, 10)) == "-1235 +- 20 (95%)"
    assert repr(Estimate(2.0, float("inf"), 0.0, 1, 10)) == "2 (one probe: no error)"
    assert repr(Estimate(2.5, 0.0, 0.0, 5, 10)) == "2.5 +- 0 (95%)"
    assert float(Estimate(2.5, 0.0, 0.0, 5, 10)) == 2.5


def test_both_parts_of_the_error_are_in_the_interval():
    e = Estimate(10.0, 1.0, 0.25, 5, 10)
    low, high = e.interval(0.95)
    assert high - 10.0 == pytest.approx(2.776445 + 0.25, rel=1e-6)
    assert low == pytest.approx(20.0 - high, rel=1e-14)
    assert e.half_width() == high - 10.0
    wider = e.interval(0.99)
    assert wider[0] < low < high < wider[1]
    skewed = Estimate(10.0, 1.0, 0.25, 5, 10, tail=2.0)
    assert skewed.interval()[0] == low
    assert skewed.interval()[1] > high
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        e.interval(95)


def test_a_diagonal_has_an_interval_for_each_entry():
    d = DiagonalEstimate(np.array([1.0, 2.0]), np.array([0.1, 0.0]), np.zeros(2), np.zeros(2), 10, 10)
    low, high = d.interval()
    assert low[0] < 1.0 < high[0]
    assert low[1] == high[1] == 2.0
    assert "n=2, sum=3" in repr(d)
