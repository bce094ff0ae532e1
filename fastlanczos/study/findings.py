"""Claims beside what was measured, and verdicts that may be looked at after each seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastlanczos.report.results import Results
from fastlanczos.study.claims import Claim, claims
from fastlanczos.study.sequential import FIRST_LOOK, interval, seeds_for
from fastlanczos.system.files import write_whole

__all__ = ["Finding", "findings", "tell", "write_findings", "written"]


@dataclass(frozen=True)
class Finding:
    """A claim and the numbers for and against it, one for each seed, in the order of the seeds.

    The verdict is "confirmed" where the whole interval lies within what is claimed, "opposite" where it all lies
    outside, "undecided" where it is too wide to tell after `most_seeds` or for now.
    """

    claim: Claim
    seeds: list[int]
    values: list[float]
    most_seeds: int

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the mean: what the intervals of all looks so far have in common.

        They hold the mean together; see `sequential`. (nan, nan) for fewer seeds than the first look takes.
        """
        looks = [
            interval(self.values[:n], self.most_seeds, grain=self.claim.grain)
            for n in range(FIRST_LOOK, len(self.values) + 1)
        ]
        if not looks:
            return float("nan"), float("nan")
        low, high = max(low for low, _ in looks), min(high for _, high in looks)
        return (low, high) if low <= high else looks[-1]  # five times in a hundred they need not meet

    @property
    def verdict(self) -> str:
        """What the numbers say of the claim."""
        if not self.values:
            return "not measured"
        low, high = self.interval
        if low > self.claim.claimed[0] and high < self.claim.claimed[1]:
            return "confirmed"
        if high < self.claim.claimed[0] or low > self.claim.claimed[1]:
            return "opposite"
        return "undecided"

    @property
    def decided(self) -> bool:
        """Whether there is a verdict either way."""
        return self.verdict in ("confirmed", "opposite")

    @property
    def leaning(self) -> str:
        """For what is undecided: the side that the mean is on."""
        if not self.values:
            return ""
        return "for it" if self.claim.claimed[0] < self.mean < self.claim.claimed[1] else "against it"

    @property
    def seeds_needed(self) -> int | None:
        """About how many seeds would decide, if mean and spread stay as they are; None where that is not known."""
        if self.decided or len(self.values) < FIRST_LOOK:
            return None
        distance = min(abs(self.mean - limit) for limit in self.claim.claimed)
        spread = max(float(np.std(self.values, ddof=1)), 0.5 * self.claim.grain)
        return seeds_for(distance, spread, self.most_seeds)

    def text(self) -> str:
        """Return the measured number with its interval, as people write it."""
        if not self.values:
            return "-"
        if len(self.values) < FIRST_LOOK:
            return f"{written(self.mean, self.claim.shown)} ({_count(len(self.values))})"
        low, high = (written(x, self.claim.shown) for x in self.interval)
        return f"{written(self.mean, self.claim.shown)} ({low} to {high})"

    def row(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        low, high = self.interval
        known = len(self.values) >= FIRST_LOOK
        return {
            "key": self.claim.key,
            "question": self.claim.question,
            "claim": self.claim.text,
            "source": self.claim.source,
            "statistic": self.claim.statistic,
            "claimed": [x if np.isfinite(x) else None for x in self.claim.claimed],
            "shown": self.claim.shown,
            "networks": list(self.claim.networks),
            "seeds": self.seeds,
            "values": self.values,
            "mean": self.mean if self.values else None,
            "interval": [low, high] if known else None,
            "verdict": self.verdict,
            "leaning": self.leaning,
            "seeds_needed": self.seeds_needed,
            "text": self.text(),
        }


def findings(results: Results) -> list[Finding]:
    """Hold a study's results against the paper's claims."""
    most = int(results.settings["max_seeds"])
    found = []
    for claim in claims(results.settings):
        by_seed = results.by_seed(claim.of, claim.networks)
        found.append(Finding(claim, list(by_seed), list(by_seed.values()), most))
    return found


def write_findings(place: Path, found: list[Finding], hours: float, ladder: Sequence[dict[str, Any]] = ()) -> None:
    """Write `findings.json`: all claims, those of other sizes, and how long the last run of the study took."""
    rows = [one.row() for one in found]
    with write_whole(place / "findings.json", "w") as file:
        json.dump({"findings": rows, "ladder": list(ladder), "hours": hours, "torch": torch.__version__}, file)


def tell(found: list[Finding]) -> None:
    """Print claims and verdicts."""
    for one in found:
        what = f"{one.verdict}, {_count(len(one.seeds))}"
        needed = f"; some {one.seeds_needed} seeds would decide" if one.seeds_needed else ""
        print(f"{what:22} {one.claim.text}\n{'':22}   {one.claim.statistic}: {one.text()}{needed}")


def written(x: float, shown: str) -> str:
    """Return a statistic as people write it: 1.5 x for a log10 of 0.18, 28% for a share of 0.28."""
    if shown == "share":
        return f"{100 * x:.3g}%"
    if shown == "times":
        return f"{10**x:.3g} x"
    return f"{x:.3g}"


def _count(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"
