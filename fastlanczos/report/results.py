"""The results of a study so far, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.records import Records

__all__ = ["Results", "RunResult", "run_folder"]


@dataclass(frozen=True)
class RunResult:
    """One network with one seed: measurements, those with population statistics, descents by step, losses."""

    name: str
    seed: int
    measurements: list[Measurement]
    population: list[Measurement]
    descents: dict[int, dict[str, Any]]
    losses: list[float]

    def at(self, step: int) -> Measurement:
        """Return the measurement at a step; raises KeyError if there is none."""
        return {m.step: m for m in self.measurements}[step]


@dataclass(frozen=True)
class Results:
    """All runs of a study and its settings."""

    settings: dict[str, Any]
    runs: list[RunResult]
    validation: dict[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read a study's folder; raises FileNotFoundError if it is none."""
        path = folder / "settings.json"
        if not path.exists():
            raise FileNotFoundError(f"{folder} holds no study: run `fastlanczos study --output {folder}` first")
        settings = json.loads(path.read_text(encoding="utf-8"))
        runs = []
        for name in settings["networks"]:
            network = folder / "runs" / run_folder(name)
            for seed in sorted(int(place.name.removeprefix("seed-")) for place in network.glob("seed-*")):
                place = network / f"seed-{seed}"
                measurements = Records(place).all()
                if not measurements:
                    continue
                training = place / "training.json"
                runs.append(
                    RunResult(
                        name,
                        seed,
                        measurements,
                        Records(place / "population").all(),
                        {int(p.stem.split("-")[1]): _json(p) for p in sorted(place.glob("descent-*.json"))},
                        _json(training)["losses"] if training.exists() else [],
                    )
                )
        validation = folder / "validation.json"
        return cls(settings, runs, _json(validation) if validation.exists() else None)

    def of(self, name: str) -> list[RunResult]:
        """Return the runs of a network, one for each seed."""
        return [run for run in self.runs if run.name == name]

    def by_seed(
        self, statistic: Callable[[dict[str, RunResult]], float], networks: Collection[str]
    ) -> dict[int, float]:
        """Return a statistic of some networks by the seed, leaving out seeds that lack a finished run of one."""
        values = {}
        for seed in sorted({run.seed for run in self.runs}):
            runs = {run.name: run for run in self.runs if run.seed == seed and run.losses}
            if not networks or not set(networks) <= set(runs):
                continue
            try:
                value = float(statistic(runs))
            except (KeyError, IndexError):  # measurements that a study stopped short of
                continue
            if np.isfinite(value):
                values[seed] = value
        return values


def run_folder(name: str) -> str:
    """Return the folder of a study's runs with this name."""
    return name.replace(", ", "-").replace(" ", "-")


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
