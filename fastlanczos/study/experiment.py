"""An experiment of several named runs, each a function of its seed whose numbers are kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fastlanczos.report.page import write_page
from fastlanczos.report.results import run_folder
from fastlanczos.study.claims import Claim
from fastlanczos.study.findings import Finding, tell, write_findings
from fastlanczos.study.rounds import Limits, until_decided
from fastlanczos.study.settings import settle
from fastlanczos.study.workers import Workers
from fastlanczos.system.files import write_whole

__all__ = ["Numbers", "Piece", "conduct", "numbers_of"]

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """One run: `work(name, seed, folder)` gives its numbers. It is sent to another process, and so is `work`."""

    work: Callable[[str, int, Path], Numbers]
    name: str
    seed: int
    folder: Path

    @property
    def path(self) -> Path:
        """Where its numbers are kept."""
        return self.folder / "numbers.json"

    def missing(self) -> int:
        """Return 1 before it is done, else 0."""
        return int(not self.path.exists())

    def perform(self, done: Callable[[str], Any]) -> None:
        """Do it, unless it was done, with torch's random numbers of its seed."""
        if not self.missing():
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            numbers = self.work(self.name, self.seed, self.folder)
        with write_whole(self.path, "w") as file:
            json.dump(numbers, file)
        done(f"{self.name}, seed {self.seed}")


def conduct(
    place: Path,
    names: Sequence[str],
    work: Callable[[str, int, Path], Numbers],
    claims: Sequence[Claim],
    settings: dict[str, Any],
    limits: Limits,
    *,
    jobs: int | None = None,
    draw: Callable[[Path, dict[int, dict[str, Numbers]]], list[Path]] | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Run an experiment into a folder, or continue one that was begun there; return claims with their verdicts.

    `draw(folder, numbers)` writes figures. A claim's statistic is of {name: numbers} of one seed.
    """
    settle(place, {**settings, "seeds": limits.seeds, "max_seeds": limits.max_seeds})
    started = time.perf_counter()

    def make(name: str, seed: int) -> Piece:
        return Piece(work, name, seed, place / "runs" / run_folder(name) / f"seed-{seed}")

    def look() -> list[Finding]:
        numbers = numbers_of(place, names)
        found = []
        for claim in claims:
            values = {seed: claim.of(runs) for seed, runs in numbers.items() if set(claim.networks) <= set(runs)}
            found.append(Finding(claim, list(values), list(values.values()), limits.max_seeds))
        return found

    with (
        tqdm(unit="run", desc=place.name, disable=not progress, smoothing=0.1) as bar,
        Workers(jobs) as workers,
    ):
        found = until_decided(names, make, look, limits, workers, bar)
    hours = (time.perf_counter() - started) / 3600
    write_findings(place, found, hours)
    pictures = draw(place / "figures", numbers_of(place, names)) if draw is not None else []
    page = write_page(place)
    if progress:
        tell(found)
        print(f"\n{60 * hours:.1f} minutes.  Written: {page}, {len(pictures)} figures, findings.json")
    return found


def numbers_of(place: Path, names: Sequence[str]) -> dict[int, dict[str, Numbers]]:
    """Return {seed: {name: numbers}} of all runs that are done."""
    found: dict[int, dict[str, Numbers]] = {}
    for name in names:
        for path in (place / "runs" / run_folder(name)).glob("seed-*/numbers.json"):
            seed = int(path.parent.name.removeprefix("seed-"))
            found.setdefault(seed, {})[name] = json.loads(path.read_text(encoding="utf-8"))
    return dict(sorted(found.items()))
