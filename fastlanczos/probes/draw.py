"""Random probe vectors. Each depends on the seed and its index alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64

__all__ = ["DISTRIBUTIONS", "probe", "seed_sequence"]

DISTRIBUTIONS = ("sphere", "gaussian", "rademacher")


def seed_sequence(seed: Any) -> np.random.SeedSequence:
    """Return the SeedSequence that an int, a sequence of ints, a Generator, a SeedSequence or None stands for.

    None draws fresh entropy; a Generator is advanced by one draw. The result's `entropy` repeats the run.
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence([int(word) for word in seed.integers(0, 2**32, size=4)])
    if isinstance(seed, (bool, float, str)):
        raise TypeError(f"seed must be an integer, a SeedSequence, a Generator or None, got {seed!r}")
    try:
        return np.random.SeedSequence(seed)
    except ValueError:
        raise ValueError(f"seed must not be negative, got {seed!r}") from None


def probe(dim: int, seeds: np.random.SeedSequence, index: int = 0, distribution: str = "sphere") -> Float64:
    """Draw probe number `index`, a float64 vector v of `dim` entries with E[v v^T] = I.

    `rademacher` has entries +-1, `gaussian` independent standard normal ones, `sphere` a uniform direction of norm
    sqrt(dim). Every probe has a stream of its own (a child of `seeds`), so it does not depend on how many are drawn.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"probes must be one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}")
    child = np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, index), pool_size=seeds.pool_size)
    generator = np.random.default_rng(child)
    if distribution == "rademacher":
        return generator.integers(0, 2, size=dim).astype(np.float64) * 2.0 - 1.0
    v = generator.standard_normal(dim)
    if distribution == "sphere":
        # einsum sums in one thread: the bits do not depend on a BLAS's number of threads.
        v *= np.sqrt(dim / np.einsum("i,i->", v, v))
    return v
