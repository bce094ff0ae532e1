"""fastlanczos/probes/intervals.py: coverage, by simulation with distributions whose mean is known."""

import numpy as np
import pytest
import scipy.stats

from fastlanczos.probes.intervals import short_tail, standard_error, widths


@pytest.mark.parametrize("count", [5, 10, 20, 40])
@pytest.mark.parametrize("shape", [0.5, 1.0, 5.0, np.inf])
@pytest.mark.parametrize("sign", [1, -1])
def test_95_percent_intervals_cover_91_to_98_percent(count, shape, sign):
    generator = np.random.default_rng(int(count * 10 + (0 if np.isinf(shape) else shape)))
    size = (count, 20_000)
    draws = generator.standard_normal(size) + 1 if np.isinf(shape) else generator.gamma(shape, 1 / shape, size)
    samples = sign * draws
    mean = samples.mean(axis=0)
    below, above = widths(0.95, standard_error(samples), short_tail(samples), count)
    covered = np.mean((mean - below <= sign) & (sign <= mean + above))
    assert 0.905 < covered < 0.98


def test_on_the_short_side_it_is_students_interval():
    samples = np.random.default_rng(0).standard_normal((6, 50))
    below, above = widths(0.9, standard_error(samples), short_tail(samples), 6)
    half = scipy.stats.t.ppf(0.95, 5) * samples.std(axis=0, ddof=1) / np.sqrt(6)
    assert np.allclose(np.minimum(below, above), half, rtol=1e-14)
    assert np.all(np.maximum(below, above) > half)


def test_samples_without_spread_have_no_width_and_one_sample_has_every_width():
    assert [float(w) for w in widths(0.95, 0.0, 0.0, 5)] == [0.0, 0.0]
    assert [float(w) for w in widths(0.95, float(standard_error(np.ones(1))), 0.0, 1)] == [np.inf, np.inf]
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        widths(95, 1.0, 0.0, 5)
