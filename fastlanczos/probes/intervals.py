"""Confidence intervals for the mean of few, skewed samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

from fastlanczos.arrays.cpu import Float64

__all__ = ["short_tail", "standard_error", "widths"]


def standard_error(samples: Float64) -> Float64:
    """Return the standard error of the mean over the first axis; infinite for a single sample."""
    count = len(samples)
    if count < 2:
        return np.full(samples.shape[1:], np.inf)
    return np.asarray(samples.std(axis=0, ddof=1) / np.sqrt(count))


def short_tail(samples: Float64) -> Float64:
    """Return how far samples reach from their mean on the side that they are not skewed to, over the first axis.

    Positive where they are skewed upwards: mean minus minimum; negative where downwards: mean minus maximum.
    """
    mean = samples.mean(axis=0)
    skewness = ((samples - mean) ** 3).sum(axis=0)
    tail: Float64 = np.where(skewness > 0, mean - samples.min(axis=0), mean - samples.max(axis=0))
    return tail


def widths(level: float, std_error: Any, tail: Any, count: int) -> tuple[Float64, Float64]:
    """Return (below, above): how far the interval for the mean of `count` samples reaches on either side.

    Student's half width h, on the side that samples are skewed to stretched to b (exp(h / b) - 1), b the length of the
    short tail: linear in the logarithm of the distance from the tail's end. By simulation, 5 to 40 samples of a normal
    or of a gamma distribution of shape 1/2 (what a single eigenvalue makes of a probe) or more are covered in 91% to
    98% at 95%, where Student's interval covers from 83% on.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level!r}")
    std_error, tail = np.asarray(std_error, dtype=np.float64), np.asarray(tail, dtype=np.float64)
    if count < 2:
        half = np.where(std_error == 0.0, 0.0, np.inf)
        return half, half
    half = scipy.stats.t.ppf(0.5 + level / 2, count - 1) * std_error
    length = np.abs(tail)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        stretched = np.where((half > 0) & (length > 0), length * np.expm1(half / length), half)
    return np.where(tail < 0, stretched, half), np.where(tail > 0, stretched, half)
