"""What a study does: how much of everything, for the whole study and for shorter ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlanczos.system.files import write_whole

__all__ = ["NETWORKS", "Settings", "full", "quick", "settle"]

# name: (batch norm, residual)
NETWORKS = {
    "residual, batch norm": (True, True),
    "residual": (False, True),
    "plain, batch norm": (True, False),
    "plain": (False, False),
}


@dataclass(frozen=True)
class Settings:
    """The sizes of a study; steps are those of the optimizer.

    Every network is trained from `seeds` seeds, and then from one more as long as a claim that speaks of it is
    undecided, up to `max_seeds`.

    `measure_at`, `population_at` and `descend_at` are the steps of measurements, of measurements with population
    statistics, and of the experiments with gradient descent; the learning rate falls tenfold after `drop_at`. `ladder`
    holds widths and blocks of the networks of other sizes, which are measured at `ladder_at`.
    """

    seeds: int
    max_seeds: int
    steps: int
    drop_at: int
    measure_at: tuple[int, ...]
    population_at: tuple[int, ...]
    descend_at: tuple[int, ...]
    samples: int
    k: int = 12
    num_probes: int = 2
    num_steps: int = 40
    descent_steps: int = 30
    batch_size: int = 128
    learning_rate: float = 0.02
    momentum: float = 0.9
    networks: tuple[str, ...] = tuple(NETWORKS)
    width: int = 8
    blocks: tuple[int, int] = (1, 2)
    ladder: tuple[tuple[int, tuple[int, int]], ...] = ()
    ladder_at: tuple[int, ...] = ()
    ladder_samples: int = 128
    ladder_seeds: int = 4

    def values(self) -> dict[str, Any]:
        """Return all as what JSON can hold."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def full() -> Settings:
    """Return the whole study."""
    return Settings(
        seeds=4,
        max_seeds=12,
        steps=600,
        drop_at=450,
        measure_at=(0, 10, 30, 80, 200, 320, 440, 460, 520, 600),
        population_at=(80, 440, 600),
        descend_at=(80, 440),
        samples=256,
        ladder=((8, (1, 2)), (16, (1, 3)), (30, (2, 4))),
        ladder_at=(0, 80, 440, 460, 600),
    )


def quick() -> Settings:
    """Return a study of one seed and few measurements, under 5 minutes on two cores."""
    return Settings(
        seeds=1,
        max_seeds=1,
        steps=300,
        drop_at=240,
        measure_at=(0, 80, 230, 300),
        population_at=(230,),
        descend_at=(80,),
        samples=128,
        num_steps=30,
        descent_steps=15,
    )


def settle(place: Path, settings: dict[str, Any]) -> None:
    """Write a study's settings into its folder; ValueError where the folder has those of another."""
    path = place / "settings.json"
    if not path.exists():
        with write_whole(path, "w") as file:
            json.dump(settings, file)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if before.get(name) != value]
    if other:
        text = ", ".join(f"{name} was {before.get(name)} and is {settings[name]}" for name in other)
        raise ValueError(f"{place} holds another study ({text}): give another --output, or the same options to go on")
