"""fastlanczos/study/findings.py: verdicts that follow from numbers."""

import math

import pytest

pytest.importorskip("torch")

from fastlanczos.study.findings import Finding

INFINITY = float("inf")


@pytest.mark.parametrize(
    ("values", "claimed", "verdict"),
    [
        ([1.0, 1.1, 0.9], (0.0, INFINITY), "confirmed"),
        ([-1.0, -1.1, -0.9], (0.0, INFINITY), "opposite"),
        ([1.0, -1.0, 0.5], (0.0, INFINITY), "not seen"),
        ([9.0, 9.5, 10.0], (7.5, 11.5), "confirmed"),
        ([2.0, 2.1, 2.2], (7.5, 11.5), "opposite"),
        ([0.1], (0.0, INFINITY), "one seed, for it"),
        ([-0.1], (0.0, INFINITY), "one seed, against it"),
        ([], (0.0, INFINITY), "not measured"),
    ],
)
def test_the_verdict_follows_from_the_interval(values, claimed, verdict):
    assert Finding("claim", "statistic", claimed, values).verdict == verdict


def test_the_interval_is_students():
    finding = Finding("claim", "statistic", (0.0, INFINITY), [1.0, 2.0, 3.0])
    low, high = finding.interval
    assert math.isclose(high - low, 2 * 4.302653 / math.sqrt(3), rel_tol=1e-6)
    assert finding.text() == f"2 ({low:.3g} to {high:.3g})"
    assert Finding("claim", "statistic", (0.0, INFINITY), [2.0]).text() == "2 (one seed)"
    assert Finding("claim", "statistic", (0.0, INFINITY), []).text() == "-"
