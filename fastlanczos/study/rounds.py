"""Runs from one seed after the other, until all claims are decided or a limit is reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fastlanczos.study.findings import Finding
from fastlanczos.study.workers import Trained, Workers

__all__ = ["Limits", "until_decided", "wanted_by"]


class Limits:
    """How many seeds every network gets, the most that any gets, and when no other seed is begun."""

    def __init__(self, seeds: int, max_seeds: int, hours: float | None = None) -> None:
        self.seeds, self.max_seeds = seeds, max_seeds
        self._end = None if hours is None else time.perf_counter() + 3600 * hours

    @property
    def over(self) -> bool:
        """Whether the hours have passed."""
        return self._end is not None and time.perf_counter() > self._end


def until_decided(
    names: Sequence[str],
    make: Callable[[str, int], Trained],
    look: Callable[[], list[Finding]],
    limits: Limits,
    workers: Workers,
    bar: Any,
) -> list[Finding]:
    """Perform `make(name, seed)` for all names and the first seeds, then for those that undecided claims speak of.

    `look()` holds what has been measured against the claims; the last of it is returned. `bar` shows what is done, what
    is decided and what is left.
    """
    for seed in range(limits.max_seeds):
        wanted = list(names)
        if seed >= limits.seeds:
            found = look()
            wanted = list(wanted_by(found))
            if not wanted or limits.over:
                return found
            if not bar.disable:
                left = [one.claim.key for one in found if not one.decided]
                bar.write(f"{len(found) - len(left)} of {len(found)} claims decided; seed {seed} for {', '.join(left)}")
        runs = [make(name, seed) for name in wanted]
        bar.total = bar.n + sum(run.missing() for run in runs)
        bar.refresh()

        def done(what: str) -> None:
            bar.update()
            bar.set_postfix_str(what)

        workers.perform(runs, done)
    return look()


def wanted_by(found: list[Finding]) -> tuple[str, ...]:
    """Return the names of runs that an undecided claim speaks of."""
    return tuple(dict.fromkeys(name for one in found if not one.decided for name in one.claim.networks))
