"""Chebyshev filters: a polynomial in the operator that spreads out the wanted end of its spectrum.

T_d, shifted to an interval of unwanted eigenvalues, stays within [-1, 1] there and grows as fast as a polynomial of
degree d can beside it. Lanczos on T_d(A) then needs few steps, each of d products: a restarted run gets by with the
products of a long unrestarted one, and with far fewer sweeps over its basis. d is odd, so that what lies above the
interval is mapped above 1 and what lies below it below -1, each side in its order.

References: Zhou and Saad, SIAM J. Matrix Anal. Appl. 29 (2007), for the filter in a subspace method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64

__all__ = ["Filter", "better_without", "choose_filter", "polishing_filters"]

# The filter is to raise the last wanted value to cosh(3) = 10 over an unwanted 1. More of it makes for fewer steps and
# more products, less of it for more restarts.
_AMPLITUDE = 3.0
# The most that the filter may raise the first wanted value to, as log: rounding errors in the others grow with it.
_LARGEST = np.log(2e4)
# The same for values whose vectors are locked, which only come in through rounding.
_LARGEST_LOCKED = np.log(1e8)
_LEAST_DEGREE, _MOST_DEGREE = 5, 2001


@dataclass(frozen=True)
class Filter:
    """T_degree((A - center) / half_width)."""

    degree: int
    center: float
    half_width: float

    @property
    def interval(self) -> tuple[float, float]:
        """What is damped."""
        return self.center - self.half_width, self.center + self.half_width

    def __call__(self, values: Float64) -> Float64:
        """Return the filter's values at eigenvalues of A."""
        t = (np.asarray(values) - self.center) / self.half_width
        inside = np.cos(self.degree * np.arccos(np.clip(t, -1.0, 1.0)))
        with np.errstate(over="ignore"):
            outside = np.sign(t) * np.cosh(self.degree * np.arccosh(np.maximum(np.abs(t), 1.0)))
        return np.asarray(np.where(np.abs(t) <= 1.0, inside, outside))

    def inverse(self, values: Float64) -> Float64:
        """Return the eigenvalues of A that the filter maps to `values`, and a line within [-1, 1], where many are.

        The result is monotonic in `values`.
        """
        mu = np.asarray(values)
        outside = np.sign(mu) * np.cosh(np.arccosh(np.maximum(np.abs(mu), 1.0)) / self.degree)
        return self.center + self.half_width * np.where(np.abs(mu) <= 1.0, mu, outside)

    def native(self, matvec: _core.Matvec) -> _core.Matvec:
        """Return the filtered operator as one that multiplies without Python."""
        return _core.ChebyshevMatvec(matvec, self.degree, self.center, self.half_width)


def choose_filter(
    wanted: Float64, locked: Float64, limits: tuple[float, float], ends: tuple[float, float]
) -> Filter | None:
    """Return the filter that separates `wanted` from the interval between `limits`, or None where none is needed.

    `wanted` are estimates of the eigenvalues that are looked for, `locked` those that are found already, and `ends` the
    ends of the whole spectrum; a limit may be infinite, which stands for the end on its side.
    """
    interval = _interval(limits, ends)
    if interval is None or not wanted.size:
        return None
    center, half_width = interval
    distance = np.abs((wanted - center) / half_width)
    if distance.min() <= 1.0 + 1e-9:
        return None
    degree = min(_AMPLITUDE / np.arccosh(distance.min()), _LARGEST / np.arccosh(distance.max()), _MOST_DEGREE)
    farthest = float(np.abs((locked - center) / half_width).max(initial=1.0))
    if farthest > 1.0:
        degree = min(degree, _LARGEST_LOCKED / np.arccosh(farthest))
    odd = int(degree) // 2 * 2 + 1
    return Filter(odd, center, half_width) if odd >= _LEAST_DEGREE else None


def better_without(filter_: Filter, wanted: Float64, ritz_values: Float64, room: int) -> bool:
    """Whether unfiltered steps get on better, since only a few values far out make the filter's interval wide.

    Lanczos deals with each of them by one step; `room` steps are made between two restarts.
    """
    low, high = filter_.interval
    above = bool(np.all(wanted > high))
    if not (above or np.all(wanted < low)):
        return False
    steps = _AMPLITUDE / np.arccosh(np.abs((wanted - filter_.center) / filter_.half_width).min())
    inside = np.sort(ritz_values[ritz_values <= high] if above else ritz_values[ritz_values >= low])
    for outliers in range(1, min(room // 3, inside.size - 1)):
        ends = (inside[outliers], high) if above else (low, inside[-1 - outliers])
        center, half_width = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
        if half_width > 0.0:
            fewer = outliers + _AMPLITUDE / np.arccosh(np.abs((wanted - center) / half_width).min())
            if fewer <= min(0.25 * steps, 2.0 * room):
                return True
    return False


def polishing_filters(limits: tuple[float, float], ends: tuple[float, float], levels: int) -> list[Filter]:
    """Return filters that damp what is far from the wanted ends, that of the highest degree first.

    The last damps what is farther than a twentieth of the range, and has the rounding errors of a few products; each of
    the others begins at a sixteenth of the distance of the next, with four times its degree.
    """
    filters = []
    for level in reversed(range(levels)):
        pad = 0.05 * 0.0625**level * (ends[1] - ends[0])
        interval = _interval((limits[0] + pad, limits[1] - pad), ends)
        if interval is not None:
            filters.append(Filter(13 * 4**level, *interval))
    return filters


def _interval(limits: tuple[float, float], ends: tuple[float, float]) -> tuple[float, float] | None:
    low, high = max(limits[0], ends[0]), min(limits[1], ends[1])
    center, half_width = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
    if not (np.isfinite(half_width) and half_width > 1e-14 * max(abs(low), abs(high))):
        return None
    return float(center), float(half_width)
