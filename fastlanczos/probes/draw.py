"""Random probe vectors. Each depends on the seed and its index alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64
from fastlanczos.ranks.shared import Shared

__all__ = ["DISTRIBUTIONS", "probe", "seed_sequence"]

DISTRIBUTIONS = ("sphere", "gaussian", "rademacher")

_CHUNK = 2**20  # entries of a stream


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


def probe(
    dim: int,
    seeds: np.random.SeedSequence,
    index: int = 0,
    distribution: str = "sphere",
    out: Float64 | None = None,
    *,
    shared: Shared | None = None,
) -> Float64:
    """Draw probe number `index`, a float64 vector v of `dim` entries with E[v v^T] = I, into `out` if it is given.

    `rademacher` has entries +-1, `gaussian` independent standard normal ones, `sphere` a uniform direction of norm
    sqrt(dim). Every probe has a stream of its own (a child of `seeds`), so it does not depend on how many are drawn; a
    long one has a stream for each chunk, drawn in threads. Where vectors are `shared` out over ranks each gets its part
    of the same vector.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"probes must be one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}")
    stretches = np.array([[0, dim]]) if shared is None else shared.stretches
    places = np.cumsum(stretches[:, 1] - stretches[:, 0])  # where each ends in this rank's part
    v = np.empty(int(places[-1]) if places.size else 0) if out is None else out

    def fill(key: tuple[int, ...], place: Float64) -> None:
        child = np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, *key), pool_size=seeds.pool_size)
        generator = np.random.default_rng(child)
        if distribution == "rademacher":
            place[:] = generator.integers(0, 2, size=place.size)
            place *= 2.0
            place -= 1.0
        else:
            generator.standard_normal(out=place)

    def fill_chunk(first: int) -> None:
        """Draw a chunk of the whole vector, or as much of it as lies in the part."""
        key = (index,) if dim <= _CHUNK else (index, first // _CHUNK)
        end = min(first + _CHUNK, dim)
        within = range(*np.searchsorted(stretches[:, 0], [first, end]).tolist())
        whole: Float64 | None = None
        for i in range(max(within.start - 1, 0), within.stop):  # the one before may reach into it
            low, high = max(first, int(stretches[i, 0])), min(end, int(stretches[i, 1]))
            if low >= high:
                continue
            stop = int(places[i]) - int(stretches[i, 1]) + high
            mine = v[stop - (high - low) : stop]
            if (low, high) == (first, end):
                fill(key, mine)
                return
            if whole is None:
                whole = np.empty(end - first)
                fill(key, whole)
            mine[:] = whole[low - first : high - first]

    firsts = range(0, dim, _CHUNK)
    if len(firsts) == 1:
        fill_chunk(0)
    else:
        with ThreadPoolExecutor(_core.num_threads()) as pool:
            list(pool.map(fill_chunk, firsts))
    if distribution == "sphere":
        # einsum sums in one thread: the bits do not depend on a BLAS's number of threads.
        square = float(np.einsum("i,i->", v, v))
        v *= np.sqrt(dim / (square if shared is None else shared.total(square)))
    return v
