"""Intervals that may be looked at after each seed: stopping at the first that decides does not make verdicts wrong.

Repeated confidence intervals (Jennison and Turnbull, "Interim analyses: the repeated confidence interval approach",
J. R. Statist. Soc. B 51, 1989): at each look Student's t interval, at levels that are so much stricter than 5% that all
intervals together hold the mean with 95%. The levels depend on the looks alone, since the t statistics of a normal
sample have no unknowns, and come from simulating them. They grow with the square of the number of seeds: few seeds
decide only what is overwhelming (where a sample of four is not normal, t is least to be trusted), and the last look is
nearly as sharp as a single one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.stats

__all__ = ["FIRST_LOOK", "interval", "level", "seeds_for"]

FIRST_LOOK = 4
_SIMULATED = 200_000


def level(n: int, most: int) -> float:
    """Return the two-sided level of the look at n values, where there are looks at `FIRST_LOOK`, ..., `most`."""
    return _last_level(max(most, FIRST_LOOK)) * (n / max(most, FIRST_LOOK)) ** 2


@cache
def _last_level(most: int) -> float:
    looks = np.arange(FIRST_LOOK, most + 1)
    x = np.random.default_rng(0).standard_normal((_SIMULATED, most))
    sums, squares = np.cumsum(x, axis=1)[:, FIRST_LOOK - 1 :], np.cumsum(x**2, axis=1)[:, FIRST_LOOK - 1 :]
    t = np.abs(sums) / np.sqrt(looks * (squares - sums**2 / looks) / (looks - 1))
    # The level at the last look that would just not have this sample decided at any.
    needed = 2.0 * scipy.stats.t.sf(t, looks - 1) / (looks / most) ** 2
    return float(np.quantile(needed.min(axis=1), 0.05))


def interval(values: list[float], most: int, *, grain: float = 0.0) -> tuple[float, float]:
    """Return the interval of the mean at this look; (nan, nan) before the first one.

    Values that come in steps of `grain`, such as shares of a few trials, have at least half of it as their spread: a
    few that are equal do not say that all are.
    """
    n = len(values)
    if n < FIRST_LOOK:
        return float("nan"), float("nan")
    spread = max(float(np.std(values, ddof=1)), 0.5 * grain)
    half = float(scipy.stats.t.isf(0.5 * level(n, max(n, most)), n - 1)) * spread / n**0.5
    mean = float(np.mean(values))
    return mean - half, mean + half


def seeds_for(distance: float, spread: float, most: int) -> int:
    """Return how many seeds bring the interval's half width below a distance, if the spread stays; at most 1,000."""
    for n in range(FIRST_LOOK, 1000):
        half = float(scipy.stats.t.isf(0.5 * level(min(n, most), most), n - 1)) * spread / n**0.5
        if half < distance:
            return n
    return 1000
