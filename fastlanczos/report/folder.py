"""The contents of a folder to report on: tracked runs, or a study with settings, experiments and findings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlanczos.report.results import Results, run_folder
from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.records import Records

__all__ = ["Contents", "TrackedRun", "read"]


@dataclass(frozen=True)
class TrackedRun:
    """A run of a network: `name` says which, `label` which of several runs with that name."""

    name: str
    label: str
    measurements: list[Measurement]


@dataclass(frozen=True)
class Contents:
    """All runs in a folder; `study`, `findings` and `ladder`, findings for other sizes, where it is a study's."""

    runs: list[TrackedRun]
    study: Results | None
    findings: list[dict[str, Any]]
    ladder: list[dict[str, Any]]

    def named(self) -> dict[str, list[TrackedRun]]:
        """Return {name: its runs}, in the order of the folder."""
        groups: dict[str, list[TrackedRun]] = {}
        for run in self.runs:
            groups.setdefault(run.name, []).append(run)
        return groups


def read(folder: Path) -> Contents:
    """Read all that is there; raises FileNotFoundError if nothing is."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    settings = folder / "settings.json"
    if settings.exists() and "networks" in json.loads(settings.read_text(encoding="utf-8")):
        study = Results.read(folder)
        runs = []
        for run in study.runs:
            runs.append(TrackedRun(run.name, f"seed {run.seed}", run.measurements))
            if run.population:
                runs.append(TrackedRun(f"{run.name}, population statistics", f"seed {run.seed}", run.population))
        if runs:
            return Contents(runs, study, _written(folder, "findings"), _written(folder, "ladder"))
    runs = []
    found = _written(folder, "findings")
    names = {run_folder(name): name for row in found for name in row["networks"]}  # an experiment's
    for place in sorted({path.parent for path in folder.rglob("step-*.json")}):
        measurements = Records(place).all()
        if measurements and place.parent.name in names:
            runs.append(TrackedRun(names[place.parent.name], place.name.replace("-", " "), measurements))
        elif measurements:
            name = folder.resolve().name if place == folder else str(place.relative_to(folder))
            runs.append(TrackedRun(name, "", measurements))
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no measurements: give the directory= of a SpectrumTracker, or the --output of a study"
        )
    return Contents(runs, None, found, [])


def _written(folder: Path, what: str) -> list[dict[str, Any]]:
    path = folder / "findings.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")).get(what, []) if path.exists() else []
    return found
