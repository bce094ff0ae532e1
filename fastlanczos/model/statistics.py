"""The statistics that batch norm normalizes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["BatchNormStatistics", "LayerReached", "Moments"]


@dataclass
class Moments:
    """Mean and variance of each channel over all batches seen so far, in float64."""

    size: int = 0
    mean: torch.Tensor | float = 0.0
    squares: torch.Tensor | float = 0.0

    def add(self, x: torch.Tensor) -> None:
        """Take in a batch (samples, channels, ...)."""
        channels = x.detach().double().movedim(1, 0).flatten(1)
        mean = channels.mean(1)
        self.merge(channels.shape[1], mean, ((channels - mean[:, None]) ** 2).sum(1))

    def merge(self, size: int, mean: torch.Tensor, squares: torch.Tensor) -> None:
        """Take in so many values of each channel, with their mean and the sum of squares around it."""
        total, delta = self.size + size, mean - self.mean
        self.squares = self.squares + squares + delta**2 * (self.size * size / total)
        self.mean = self.mean + delta * (size / total)
        self.size = total

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (mean, variance)."""
        assert isinstance(self.mean, torch.Tensor)
        assert isinstance(self.squares, torch.Tensor)
        return self.mean, self.squares / self.size


class BatchNormStatistics:
    """Which statistics batch norm uses: "batch", "running", "population", or None for what the model's mode says.

    Those of the population are found layer by layer, each with the layers before it normalized by theirs: what a single
    batch of the whole data set would give. They belong to the calls of batch norm in the order of a forward pass.
    """

    def __init__(self, kind: str | None) -> None:
        if kind not in (None, "batch", "running", "population"):
            raise ValueError(f'batch_statistics must be "batch", "running", "population" or None, got {kind!r}')
        self.kind = kind
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def population(
        self,
        passes: Callable[[Callable[[Any], None]], None],
        reaches: Callable[[Any, Moments], bool],
        merged: Callable[[Moments], Moments] = lambda moments: moments,
    ) -> None:
        """Find the whole data set's statistics.

        `passes(visit)` visits each batch; `reaches(batch, moments)` goes forward to the next batch norm that has none;
        `merged` returns the moments of all ranks' batches, of size 0 where none has reached a batch norm.
        """
        self.layers = []
        while True:
            moments = Moments()

            def visit(batch: Any, moments: Moments = moments) -> None:
                reaches(batch, moments)

            passes(visit)
            moments = merged(moments)
            if moments.size == 0:
                return
            self.layers.append(moments.statistics())


class LayerReached(BaseException):
    """Ends a forward pass that has come to the batch norm whose statistics are looked for."""
