"""What a study does: how much of everything, for the whole study and for shorter ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["NETWORKS", "Settings", "full", "quick"]

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

    `measure_at`, `population_at` and `descend_at` are the steps of measurements, of measurements with population
    statistics, and of the experiments with gradient descent; the learning rate falls tenfold after `drop_at`.
    """

    seeds: tuple[int, ...]
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

    def values(self) -> dict[str, Any]:
        """Return all as what JSON can hold."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def full() -> Settings:
    """Return the whole study: three seeds, under 90 minutes on two cores."""
    return Settings(
        seeds=(0, 1, 2),
        steps=600,
        drop_at=450,
        measure_at=(0, 10, 30, 80, 200, 320, 440, 460, 520, 600),
        population_at=(80, 440, 600),
        descend_at=(80, 440),
        samples=256,
    )


def quick() -> Settings:
    """Return a study of one seed and few measurements, under 5 minutes on two cores."""
    return Settings(
        seeds=(0,),
        steps=300,
        drop_at=240,
        measure_at=(0, 80, 230, 300),
        population_at=(230,),
        descend_at=(80,),
        samples=128,
        num_steps=30,
        descent_steps=15,
    )
