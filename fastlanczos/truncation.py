"""What a Gauss rule's finite number of nodes leaves, from the rules of fewer steps of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays import Float64

__all__ = ["fewer_steps", "series_remainder"]


def fewer_steps(num_steps: int) -> tuple[int, int]:
    """Return a half and three quarters of the steps: with all of them, three rules a quarter apart."""
    return max(1, num_steps // 2), max(1, 3 * num_steps // 4)


def series_remainder(before: Any, after: Any) -> Float64:
    """Return twice what a geometric series would still add whose last two terms had the sizes `before` and `after`.

    Where the terms do not fall nothing is known, and the estimate is what the two have added.
    """
    before, after = np.abs(before), np.abs(after)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = after / before
        rest = 2.0 * after * ratio / (1.0 - ratio)
    falling = after < before
    return np.asarray(np.where(falling, np.minimum(rest, before + after), before + after))
