"""Checks of arguments that many functions share."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

__all__ = ["as_dimension"]


def as_dimension(value: Any, name: str) -> int:
    """Return `value` as an int of at least 1, or raise an error that names it."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number
