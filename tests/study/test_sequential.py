"""Intervals that may be looked at after each seed."""

import numpy as np
import pytest
import scipy.stats

from fastlanczos.study.sequential import FIRST_LOOK, interval, level, seeds_for


def verdicts(samples, most):
    """Return, for rows of samples about a limit of 0, 1 or -1 where a look decides, else 0."""
    looks = np.arange(FIRST_LOOK, most + 1)
    decided = np.zeros(len(samples))
    for n in looks:
        x = samples[:, :n]
        half = scipy.stats.t.isf(level(n, most) / 2, n - 1) * x.std(axis=1, ddof=1) / np.sqrt(n)
        says = np.where(x.mean(axis=1) > half, 1.0, np.where(x.mean(axis=1) < -half, -1.0, 0.0))
        decided = np.where(decided == 0, says, decided)
    return decided


@pytest.mark.parametrize("most", [6, 12])
@pytest.mark.parametrize("kind", ["normal", "logistic"])
def test_without_an_effect_at_most_5_percent_of_verdicts_are_wrong(kind, most):
    samples = getattr(np.random.default_rng(1), kind)(size=(2000, most))
    wrong = np.count_nonzero(verdicts(samples, most))
    assert wrong <= 2000 * 0.05 + 2 * (2000 * 0.05 * 0.95) ** 0.5  # two standard errors of the count


def test_lighter_tails_than_a_normal_sample_has_cost_little():
    samples = np.random.default_rng(1).uniform(-1, 1, size=(2000, 12))
    assert np.count_nonzero(verdicts(samples, 12)) < 2000 * 0.085


def test_students_intervals_looked_at_after_each_seed_would_be_wrong_more_often():
    samples = np.random.default_rng(1).normal(size=(300, 12))
    wrong = sum(any(scipy.stats.ttest_1samp(x[:n], 0).pvalue < 0.05 for n in range(FIRST_LOOK, 13)) for x in samples)
    assert wrong > 300 * 0.1


def test_an_effect_is_found_and_its_seeds_are_foreseen():
    samples = 1.5 + np.random.default_rng(2).standard_normal((500, 12))
    found = verdicts(samples, 12)
    assert np.mean(found == 1) > 0.9
    assert not np.any(found == -1)
    assert FIRST_LOOK < seeds_for(1.5, 1.0, 12) < 12
    assert seeds_for(10.0, 1.0, 12) == FIRST_LOOK
    assert seeds_for(0.0, 1.0, 12) == 1000


def test_one_look_is_students_interval():
    low, high = interval([1.0, 2.0, 3.0, 4.0], 4)
    assert level(4, 4) == pytest.approx(0.05, abs=2e-3)
    assert high - low == pytest.approx(2 * 3.182446 * (5 / 3) ** 0.5 / 2, rel=0.03)
    assert interval([1.0, 2.0, 3.0, 4.0], 12)[0] < low


def test_the_first_three_values_have_no_interval():
    assert np.isnan(interval([1.0, 2.0, 3.0], 12)).all()


def test_equal_values_that_come_in_steps_are_not_certain():
    low, high = interval([1.0] * 4, 12, grain=0.25)
    assert low < 1.0 < high
    assert interval([1.0] * 4, 12) == (1.0, 1.0)
