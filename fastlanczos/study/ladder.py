"""The claims that a small network may be too small for, at several sizes: width and depth as in the paper's ResNets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fastlanczos.report.results import Results
from fastlanczos.study.findings import findings
from fastlanczos.study.images import Data
from fastlanczos.study.networks import ImageNetwork
from fastlanczos.study.rounds import Limits, until_decided
from fastlanczos.study.settings import Settings, settle
from fastlanczos.study.training import Run
from fastlanczos.study.workers import Workers

__all__ = ["CLAIMS", "climb", "rungs"]

CLAIMS = ("outliers", "gradient-nearly-all", "rate-drop", "residual-smoother")


@dataclass(frozen=True)
class _Rung:
    settings: Settings
    place: Path


def rungs(settings: Settings, place: Path) -> list[_Rung]:
    """Return the sizes, smallest first, each with its settings and folder.

    Networks without batch norm, residual and plain; no experiments but the measurements that the claims speak of.
    """
    found = []
    for width, blocks in settings.ladder:
        lean = replace(
            settings,
            networks=("residual", "plain"),
            width=width,
            blocks=blocks,
            population_at=(),
            descend_at=(),
            measure_at=settings.ladder_at,
            samples=min(settings.samples, settings.ladder_samples),
            num_probes=1,
            seeds=settings.ladder_seeds,
            max_seeds=settings.ladder_seeds,
            ladder=(),
        )
        found.append(_Rung(lean, place / f"width-{width}"))
    return found


def climb(
    place: Path, settings: Settings, data: Data, facts: dict[str, Any], workers: Workers, hours: float | None, bar: Any
) -> list[dict[str, Any]]:
    """Train and measure all sizes; return a row for each claim of `CLAIMS` and size, as what JSON can hold."""
    rows: list[dict[str, Any]] = []
    for rung in rungs(settings, place):
        s = rung.settings
        settle(rung.place, {**s.values(), **facts})
        found = until_decided(
            s.networks,
            lambda network, seed, rung=rung: Run(rung.settings, data, network, seed, rung.place / "runs"),  # type: ignore[misc]
            lambda rung=rung: findings(Results.read(rung.place)),  # type: ignore[misc]
            Limits(s.seeds, s.max_seeds, hours),
            workers,
            bar,
        )
        size = parameters(s, data)
        losses = {run.name: run.losses[-20:] for run in Results.read(rung.place).runs}
        rows += [
            {**one.row(), "parameters": size, "loss": {name: sum(x) / max(1, len(x)) for name, x in losses.items()}}
            for one in found
            if one.claim.key in CLAIMS
        ]
    return rows


def parameters(settings: Settings, data: Data) -> int:
    """Return how many parameters a network of this size has."""
    images, labels = data
    model = ImageNetwork(
        images.shape[1],
        int(torch.as_tensor(labels).max()) + 1,
        batch_norm=False,
        residual=True,
        width=settings.width,
        blocks=settings.blocks,
    )
    return sum(p.numel() for p in model.parameters())
