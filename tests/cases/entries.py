"""Arrays compared entry by entry: what is told of those that differ is the first one, not the arrays."""

import numpy as np


def same(got, expected, *, atol=0.0, rtol=0.0):
    """Fail at the first entry that is off by more than atol + rtol |expected|, and say which it is."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape} instead of {expected.shape}"
    off = ~(np.abs(got - expected) <= atol + rtol * np.abs(expected))  # NaN differs as well
    if off.any():
        first = tuple(int(i[0]) for i in np.nonzero(off))
        what = f"{np.count_nonzero(off)} of {off.size} entries differ, the first at {first}"
        raise AssertionError(f"{what}: {got[first]!r} instead of {expected[first]!r}")
