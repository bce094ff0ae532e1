"""Independent work shared out over ranks: each does its portion, and all get everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from fastlanczos.errors import RankError
from fastlanczos.ranks.group import Group

__all__ = ["agreed_seeds", "in_portions"]

Record = TypeVar("Record")


def in_portions(group: Group, indices: range, work: Callable[[range], Iterable[Record]]) -> list[Record]:
    """Return one record for each index, in their order, of which each rank makes every size-th.

    Raises RankError where another rank's work has failed, and what it raised on that rank.
    """
    mine = indices[group.rank :: group.size]
    try:
        records = list(work(mine)) if len(mine) else []
    except BaseException:
        group.share(None)
        raise
    everyones = group.share(records)
    failed = [str(rank) for rank, theirs in enumerate(everyones) if theirs is None]
    if failed:
        raise RankError(f"rank {', '.join(failed)} has failed in its portion of the work: its own error says how")
    return [everyones[i % group.size][i // group.size] for i in range(len(indices))]


def agreed_seeds(group: Group, seeds: np.random.SeedSequence) -> np.random.SeedSequence:
    """Return rank 0's seeds, so that all draw the same."""
    entropy, spawn_key = group.share((seeds.entropy, seeds.spawn_key))[0]
    return np.random.SeedSequence(entropy, spawn_key=spawn_key)
