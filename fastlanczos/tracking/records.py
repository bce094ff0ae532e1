"""The measurements of a run as files, one per step, each written completely or not at all. Needs no PyTorch."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.system.files import write_whole
from fastlanczos.tracking.measurement import Measurement

__all__ = ["DamagedRecordWarning", "Records"]

_NAME = re.compile(r"step-(\d+)\.json")


class DamagedRecordWarning(UserWarning):
    """A file of a run's measurements cannot be read and is skipped."""


class Records:
    """The measurements of one run in a folder; readers and one writer may use it at the same time.

    Records are added, never changed. A writer that is killed leaves a whole record or none.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def path(self, step: int) -> Path:
        """Return the file of a step's record."""
        return self.directory / f"step-{step:08d}.json"

    def add(self, measurement: Measurement) -> None:
        """Write a record."""
        with write_whole(self.path(measurement.step), "w") as file:
            file.write(measurement.to_json())

    def get(self, step: int) -> Measurement | None:
        """Return the record of a step, None where there is none that is whole."""
        return self._read(self.path(step)) if self.path(step).exists() else None

    def all(self) -> list[Measurement]:
        """Return all whole records by step; warns of each that is not, naming it."""
        paths = sorted(p for p in self.directory.glob("step-*.json") if _NAME.fullmatch(p.name))
        found = (self._read(path) for path in paths)
        return sorted((m for m in found if m is not None), key=lambda m: m.step)

    def vectors(self, step: int) -> NDArray[np.float64] | None:
        """Return the eigenvectors of the last measurement before a step; None where there is none."""
        steps = [int(match[1]) for path in self.directory.glob("step-*.json") if (match := _NAME.fullmatch(path.name))]
        before = max((s for s in steps if s < step), default=None)
        if before is None:
            return None
        try:
            return np.asarray(np.load(self._vectors(before)))
        except (OSError, ValueError, EOFError):
            raise ValueError(
                f"{self._vectors(before)} is missing or damaged, and the measurement at step {step} was to start from "
                "it: give warm=False and another directory"
            ) from None

    def keep_vectors(self, step: int, vectors: NDArray[np.float64]) -> None:
        """Write the eigenvectors of a step, before its record."""
        with write_whole(self._vectors(step)) as file:
            np.save(file, vectors)

    def forget_vectors(self, step: int) -> None:
        """Remove those of earlier steps, after the record of this one."""
        for path in self.directory.glob("vectors-*.npy"):
            if path != self._vectors(step):
                path.unlink()

    def _vectors(self, step: int) -> Path:
        return self.directory / f"vectors-{step:08d}.npy"

    def settle(self, settings: dict[str, Any]) -> None:
        """Write down how the run's measurements are made, or raise ValueError where they were made otherwise so far."""
        path = self.directory / "settings.json"
        if not path.exists():
            with write_whole(path, "w") as file:
                json.dump(settings, file, indent=1)
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError(f"{path} is damaged: remove it, or give another directory") from None
        names = {**settings, **before}  # what one of them does not say is None
        other = {n: (before.get(n), settings.get(n)) for n in names if before.get(n) != settings.get(n)}
        if other:
            text = ", ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in other.items())
            raise ValueError(
                f"{self.directory} holds another run's measurements ({text}): give the same settings to continue it, "
                "or another directory"
            )

    def _read(self, path: Path) -> Measurement | None:
        try:
            return Measurement.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            warnings.warn(f"{path} is left out: {error}", DamagedRecordWarning, stacklevel=4)
            return None
